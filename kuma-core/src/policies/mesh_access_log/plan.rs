//! What MeshAccessLog says about units.

use std::sync::Arc;

use super::{AccessLogs, LogBackend, LogFormat, MeshAccessLog, format::Scene};
use crate::{
    ir::{self, AccessLog, IdTest, LogCondition, LogPart, LogSink, OutboundFilter, OwnPart, Protocol},
    kri::Kri,
    plan::{InboundFacts, InboundRules},
    policies::{
        policy::{Conf, Never, OutboundAt, OutboundConfs, Policy, RuleItem, Stage, ToItem},
        target::{Match, TargetRef},
    },
};

impl Conf for AccessLogs {}

/// Who calls an inbound, or is called where nothing is known: listeners cannot tell.
const UNKNOWN: &str = "unknown";
/// What stands for everything that is not in the mesh.
const EXTERNAL: &str = "external";

impl LogBackend {
    /// Where it is and how its lines look; `None` for what does not exist.
    fn sink(&self) -> Option<(LogSink, Option<&LogFormat>)> {
        match self.kind.as_str() {
            "File" => {
                let file = self.file.as_ref()?;
                Some((LogSink::File(file.path.as_str().into()), file.format.as_ref()))
            }
            "Tcp" => {
                let tcp = self.tcp.as_ref()?;
                Some((LogSink::Tcp(tcp.address.as_str().into()), tcp.format.as_ref()))
            }
            // It refers to a MeshOpenTelemetryBackend. None can exist yet: like any reference to nothing it is left out
            // here, and told in the status.
            _ => None,
        }
    }

    fn log(&self, scene: &Scene, condition: Option<&LogCondition>) -> Option<Arc<AccessLog>> {
        let (to, format) = self.sink()?;
        Some(Arc::new(AccessLog { condition: condition.cloned(), to, line: scene.line(format) }))
    }
}

impl AccessLogs {
    fn logs<'a>(
        &'a self,
        scene: &'a Scene,
        condition: Option<&'a LogCondition>,
    ) -> impl Iterator<Item = Arc<AccessLog>> + 'a {
        self.backends.iter().flatten().filter_map(move |backend| backend.log(scene, condition))
    }
}

impl Policy for MeshAccessLog {
    type To = AccessLogs;
    type In = AccessLogs;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<AccessLogs>> {
        let item = |i: &super::AccessLogTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }

    fn rule_items(&self) -> Vec<RuleItem<AccessLogs>> {
        let item = |r: &super::AccessLogRule| RuleItem {
            matches: r.matches.clone().unwrap_or_default(),
            conf: r.conf.clone(),
        };
        self.rules.iter().flatten().map(item).collect()
    }

    fn outbound(confs: &OutboundConfs<AccessLogs>, at: OutboundAt<'_>, out: &mut ir::Outbound) {
        let scene = Scene {
            protocol: at.protocol,
            direction: "OUTBOUND",
            mesh: LogPart::Text(at.destination.mesh.clone()),
            source: LogPart::Own(OwnPart::Service),
            destination: LogPart::Text(at.destination.name.clone()),
        };
        // Requests of routes with logs of their own are not those of the destination.
        let rest = at.protocol.is_http().then_some(LogCondition::Unmarked);
        if let Some(service) = &confs.service {
            out.logs.extend(service.logs(&scene, rest.as_ref()));
        }
        let OutboundFilter::Http(http) = &mut out.filter else { return };
        if !at.protocol.is_http() {
            return;
        }
        let mut own: Vec<(Kri, &ir::Name, &AccessLogs)> =
            confs.routes.iter().filter_map(|(name, conf)| Some((name.parse().ok()?, name, &**conf))).collect();
        own.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        for (kri, name, conf) in own {
            // Written as readers of names understand them, who join what follows the last part.
            let mark = ir::Name::from(kri.to_string());
            let condition = LogCondition::Marked(mark.clone());
            out.logs.extend(conf.logs(&scene, Some(&condition)));
            http.log_marks.insert(name.clone(), mark);
        }
    }

    fn inbound(rules: &InboundRules<AccessLogs>, at: &InboundFacts, out: &mut ir::Inbound) {
        // An inbound without a name is none that anybody refers to.
        let named = *at.section != *at.port.to_string();
        let inbound = if named { OwnPart::Inbound(at.section.clone()) } else { OwnPart::Service };
        let scene = Scene {
            protocol: out.protocol,
            direction: "INBOUND",
            mesh: LogPart::Own(OwnPart::Mesh),
            source: LogPart::Text(UNKNOWN.into()),
            destination: LogPart::Own(inbound),
        };
        for rule in &*rules.rules {
            let condition = rule.condition.as_ref().and_then(client);
            out.logs.extend(rule.conf.logs(&scene, condition.as_ref()));
        }
    }

    fn leaving(conf: Option<&AccessLogs>, out: &mut ir::ProxyWide) {
        let Some(conf) = conf else { return };
        let scene = |destination: LogPart| Scene {
            protocol: Protocol::Tcp,
            direction: "OUTBOUND",
            mesh: LogPart::Own(OwnPart::Mesh),
            source: LogPart::Own(OwnPart::Service),
            destination,
        };
        if let Some(passthrough) = &mut out.passthrough {
            passthrough.logs.extend(conf.logs(&scene(LogPart::Text(EXTERNAL.into())), None));
        }
        if let Some(direct) = &mut out.direct_access {
            direct.logs.extend(conf.logs(&scene(LogPart::Listener), None));
        }
    }
}

/// The condition of a rule; `None` for one that says nothing.
fn client(condition: &Match) -> Option<LogCondition> {
    let id = condition.spiffe_id.as_ref().map(|id| match id.kind.as_str() {
        "Prefix" => IdTest::Prefix(id.value.as_str().into()),
        _ => IdTest::Exact(id.value.as_str().into()),
    });
    let server_name = condition.sni.as_ref().map(|sni| sni.value.as_str().into());
    (id.is_some() || server_name.is_some()).then_some(LogCondition::Client { id, server_name })
}

#[cfg(test)]
mod tests;
