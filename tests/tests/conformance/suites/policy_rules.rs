//! `policy-rules`: rules that come of policies which are known to match.

use std::sync::Arc;

use kuma_core::{
    plan::{InboundRules, MeshFacts, Names, PolicyView, ProxyConf, ToRules, sorted_entries},
    policies::policy::Policy,
    registry::{Kind, WithPolicy},
    resource::AnyResource,
    state::MeshState,
};
use serde_json::{Value, json};

use crate::{
    case::{Case, Check},
    compare, documents,
    report::Outcome,
    rules,
};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(case, &check))).collect()
}

fn one(case: &Case, check: &Check<'_>) -> Result<(), String> {
    let meta = documents::names(&check.doc["params"]["meta"]);
    let all = documents::resources(&case.input("resources").ok_or("no resources")?, |_| meta.clone())?;
    let everything = case.area() == "single-item";
    let matched: Vec<AnyResource> = all
        .iter()
        .filter(|(_, written)| everything || written.starts_with("matched-for-rules-"))
        .map(|(resource, _)| resource.clone())
        .collect();
    let kind = matched.first().ok_or("nothing matches")?.kind();
    let work = Work {
        output: check.doc["output"].as_str().unwrap_or_default(),
        golden: compare::yaml(&check.golden(case).ok_or("the check names no golden")?)?,
        context: all.into_iter().map(|(resource, _)| resource).collect(),
        matched,
    };
    Kind::with_policy(kind, work).ok_or_else(|| format!("{kind} is no policy"))?
}

struct Work<'a> {
    output: &'a str,
    golden: Value,
    context: Vec<AnyResource>,
    matched: Vec<AnyResource>,
}

impl WithPolicy for Work<'_> {
    type Out = Result<(), String>;

    fn run<P: Policy>(self) -> Self::Out {
        let views: Vec<Arc<PolicyView<P>>> =
            self.matched.iter().filter_map(AnyResource::typed).map(|p| Arc::new(PolicyView::of(&p))).collect();
        match self.output {
            "outboundRules" => {
                let mesh = self.matched.first().map(|m| m.meta.mesh.clone()).unwrap_or_default();
                let facts = MeshFacts::of(&MeshState::of(self.context), &mesh, &Names::default());
                rules::same_to_rules(&ToRules::build(&views, &facts.rule_context()), &self.golden)
            }
            "sortedToEntries" => compare::values(&sorted(&views)?, &self.golden),
            "inboundRules" => {
                let found = rules::inbound(&InboundRules::build(&views))?;
                compare::values(&json!({"rules": found}), &self.golden)
            }
            "proxyConf" => {
                let found = ProxyConf::build(&views).ok_or("no policy has a default")?;
                let origins = found.origins.iter().map(|head| documents::shown(head)).collect::<Result<Vec<_>, _>>()?;
                compare::values(&json!({"Conf": *found.conf, "Origin": origins}), &self.golden)
            }
            other => Err(format!("there is no output {other:?} in this suite")),
        }
    }
}

fn sorted<P: Policy>(views: &[Arc<PolicyView<P>>]) -> Result<Value, String> {
    let mut out = Vec::new();
    for entry in sorted_entries(views, &[]) {
        out.push(json!({
            "Entry": {"targetRef": entry.target, "default": *entry.conf},
            "Meta": documents::shown(&entry.policy)?,
            "TopLevel": entry.policy.top,
            "RuleIndex": entry.index,
        }));
    }
    Ok(out.into())
}
