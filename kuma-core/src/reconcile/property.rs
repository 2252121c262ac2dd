//! The incremental way and the way from scratch say the same, whatever happens.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    meta::{Labels, Version, label},
    policies::{
        AccessLogTo, AccessLogs, BackendResourceRef, LogBackend, MeshAccessLog, ObservabilityStatus, OpenTelemetryLog,
    },
    resource::NoStatus,
    resources::{
        Dataplane, DataplaneInsight, DataplaneRef, HostnameGenerator, HostnameSelector, Inbound, IntOrString,
        LabelSelector, Mesh, MeshServicePort, MeshServiceSelector, Networking, Subscription, Vip, Workload,
        WorkloadStatus,
    },
    state::MeshState,
    store::{Change, Revision, WatchEvent},
};

/// Something is written or deleted by somebody else.
#[derive(Clone, Debug)]
enum Op {
    Mesh(usize, bool),
    Dataplane(usize, usize, Option<Proxy>),
    Insight(usize, usize, Option<bool>),
    Service(usize, usize, Option<Written>),
    Workload(usize, usize, Option<bool>),
    /// Whether it refers to a collector, and whether it comes from elsewhere.
    AccessLog(usize, Option<(bool, bool)>),
    Generator(usize, Option<(usize, usize, bool)>),
}

#[derive(Clone, Debug)]
struct Proxy {
    workload: usize,
    app: usize,
    ports: Vec<u32>,
    ready: bool,
}

#[derive(Clone, Debug)]
struct Written {
    selector: usize,
    target: usize,
    origin: usize,
    managed: bool,
    team: bool,
    grace: usize,
    vip: bool,
}

/// Ops, then time, then a step whose batch is written or not.
#[derive(Clone, Debug)]
struct Round {
    ops: Vec<Op>,
    seconds: i64,
    written: bool,
}

const MESHES: [&str; 2] = ["m", "n"];
const DATAPLANES: [&str; 4] = ["d1", "d2", "d3", "d4"];
/// The last but one is no name of a service, the last no label.
const WORKLOADS: [&str; 5] = ["api", "web", "db", "Not a name", ""];
const APPS: [&str; 2] = ["one", "two"];
const SERVICES: [&str; 4] = ["api", "web", "db", "mine"];
const TEMPLATES: [&str; 4] =
    ["{{ .Name }}.local", "same.local", "{{ label \"team\" }}.local", "{{ .Name }}.{{ .Zone }}.{{ .Mesh }}"];
const GENERATORS: [&str; 3] = ["g1", "g2", "g3"];

fn op() -> impl Strategy<Value = Op> {
    let proxy = (0..WORKLOADS.len(), 0..APPS.len(), vec(80u32..82, 0..3), any::<bool>());
    let proxy = proxy.prop_map(|(workload, app, ports, ready)| Proxy { workload, app, ports, ready });
    let generator = (0..TEMPLATES.len(), 0..3usize, any::<bool>());
    let mesh = || prop_oneof![4 => Just(0usize), 1 => Just(1usize)];
    prop_oneof![
        2 => (mesh(), prop::bool::weighted(0.8)).prop_map(|(m, there)| Op::Mesh(m, there)),
        6 => (mesh(), 0..DATAPLANES.len(), option::weighted(0.8, proxy)).prop_map(|(m, n, p)| Op::Dataplane(m, n, p)),
        3 => (mesh(), 0..DATAPLANES.len(), option::of(any::<bool>())).prop_map(|(m, n, p)| Op::Insight(m, n, p)),
        3 => (mesh(), 0..SERVICES.len(), option::of(written())).prop_map(|(m, n, s)| Op::Service(m, n, s)),
        1 => (mesh(), 0..WORKLOADS.len() - 2, option::of(any::<bool>())).prop_map(|(m, n, w)| Op::Workload(m, n, w)),
        1 => (mesh(), option::of(any::<(bool, bool)>())).prop_map(|(m, log)| Op::AccessLog(m, log)),
        2 => (0..GENERATORS.len(), option::weighted(0.8, generator)).prop_map(|(n, g)| Op::Generator(n, g)),
    ]
}

fn written() -> impl Strategy<Value = Written> {
    let written = (0..5usize, 0..3usize, 0..3usize, any::<bool>(), any::<bool>(), 0..4usize, any::<bool>());
    written.prop_map(|(selector, target, origin, managed, team, grace, vip)| Written {
        selector,
        target,
        origin,
        managed,
        team,
        grace,
        vip,
    })
}

fn round() -> impl Strategy<Value = Round> {
    (vec(op(), 0..4), prop_oneof![Just(0i64), 1..20i64, 50..70i64], prop::bool::weighted(0.8))
        .prop_map(|(ops, seconds, written)| Round { ops, seconds, written })
}

/// A store and its clock.
struct World {
    state: MeshState,
    clock: Timestamp,
    version: u64,
    changes: BTreeMap<Key, Option<AnyResource>>,
}

impl World {
    fn put(&mut self, resource: AnyResource) {
        let key = resource.key();
        let mut resource = resource;
        self.version += 1;
        resource.meta.created = self.state.get(&key).map_or(self.clock, |old| old.meta.created);
        resource.meta.version = Version(self.version);
        self.note(key, Some(resource));
    }

    fn note(&mut self, key: Key, now: Option<AnyResource>) {
        let change = Change { key: key.clone(), now: now.clone() };
        self.state.apply(&WatchEvent::Changes { revision: Revision(self.version), changes: [change].into() });
        self.changes.insert(key, now);
    }

    fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes).into_iter().map(|(key, now)| Change { key, now }).collect()
    }

    fn write(&mut self, writes: &[Write]) {
        for write in writes {
            match write {
                Write::Create { resource, .. } | Write::Update { resource, .. } | Write::Replace { resource, .. } => {
                    self.put(resource.clone());
                }
                Write::Delete { key, .. } => self.note(key.clone(), None),
            }
        }
    }

    fn perform(&mut self, op: &Op) {
        let (key, resource) = match op {
            Op::Mesh(m, there) => {
                let meta = Meta::new("", MESHES[*m], Labels::new());
                let mesh = AnyResource::new(meta, Mesh::default(), NoStatus {});
                (mesh.key(), there.then_some(mesh))
            }
            Op::Dataplane(m, n, proxy) => {
                let meta = |labels| Meta::new(MESHES[*m], DATAPLANES[*n], labels);
                let key = Key::new(Kind::Dataplane, MESHES[*m], DATAPLANES[*n]);
                (key, proxy.as_ref().map(|p| dataplane(meta(proxy_labels(p)), p)))
            }
            Op::Insight(m, n, online) => {
                let key = Key::new(Kind::DataplaneInsight, MESHES[*m], DATAPLANES[*n]);
                let insight = online.map(|online| {
                    let gone = (!online).then(|| "now".into());
                    let subscription = Subscription {
                        connect_time: Some("then".into()),
                        disconnect_time: gone,
                        ..Subscription::default()
                    };
                    let insight = DataplaneInsight { subscriptions: vec![subscription], ..DataplaneInsight::default() };
                    AnyResource::new(Meta::new(MESHES[*m], DATAPLANES[*n], Labels::new()), insight, NoStatus {})
                });
                (key, insight)
            }
            Op::Service(m, n, written) => {
                let key = Key::new(Kind::MeshService, MESHES[*m], SERVICES[*n]);
                let written = written.as_ref().map(|w| service(&key, w, self.clock));
                (key, written)
            }
            Op::Workload(m, n, managed) => {
                let key = Key::new(Kind::Workload, MESHES[*m], WORKLOADS[*n]);
                let workload = managed.map(|managed| {
                    let by = if managed { "workload-generator" } else { "somebody" };
                    let labels = Labels::from([(label::MANAGED_BY.into(), by.into())]);
                    let meta = Meta::new(key.mesh.clone(), key.name.clone(), labels);
                    AnyResource::new(meta, Workload {}, WorkloadStatus::default())
                });
                (key, workload)
            }
            Op::AccessLog(m, log) => {
                let key = Key::new(Kind::MeshAccessLog, MESHES[*m], "log");
                let log = log.map(|(refers, foreign)| access_log(&key, refers, foreign));
                (key, log)
            }
            Op::Generator(n, spec) => {
                let key = Key::new(Kind::HostnameGenerator, "", GENERATORS[*n]);
                (key.clone(), spec.map(|(template, selector, zone)| generator(&key, template, selector, zone)))
            }
        };
        match resource {
            Some(resource) => self.put(resource),
            None if self.state.get(&key).is_some() => self.note(key, None),
            None => {}
        }
    }
}

fn proxy_labels(proxy: &Proxy) -> Labels {
    let mut labels = Labels::from([("app".into(), APPS[proxy.app].into())]);
    if !WORKLOADS[proxy.workload].is_empty() {
        labels.insert(label::WORKLOAD.into(), WORKLOADS[proxy.workload].into());
    }
    labels
}

fn dataplane(meta: Meta, proxy: &Proxy) -> AnyResource {
    let inbound = |port: &u32| {
        let mut inbound = Inbound { port: *port, name: format!("p{port}"), ..Inbound::default() };
        inbound.set_ready(proxy.ready);
        inbound
    };
    let networking = Networking { inbound: proxy.ports.iter().map(inbound).collect(), ..Networking::default() };
    AnyResource::new(meta, Dataplane { networking: Some(networking) }, NoStatus {})
}

fn service(key: &Key, written: &Written, clock: Timestamp) -> AnyResource {
    let mut labels = Labels::new();
    if written.team {
        labels.insert("team".into(), "core".into());
    }
    if written.managed {
        labels.insert(label::MANAGED_BY.into(), "meshservice-generator".into());
    }
    if let Some(origin) = ["zone", "global"].get(written.origin) {
        labels.insert(label::ORIGIN.into(), (*origin).into());
    }
    match written.grace {
        0 => drop(labels.insert(label::GRACE_PERIOD_STARTED.into(), clock.to_string())),
        1 => drop(labels.insert(label::GRACE_PERIOD_STARTED.into(), "no time".into())),
        _ => {}
    }
    let by_labels = |k: &str, v: &str| LabelSelector::of([(k.to_owned(), v.to_owned())].into());
    let (dataplane_labels, dataplane_ref) = match written.selector {
        0 => (Some(by_labels("app", "one")), None),
        1 => (Some(by_labels(label::WORKLOAD, "api")), None),
        2 => (Some(LabelSelector::default()), None),
        3 => (None, Some(DataplaneRef { name: "d1".into() })),
        _ => (None, None),
    };
    let target_port = match written.target {
        0 => Some(IntOrString::Int(80)),
        1 => Some(IntOrString::Text("p81".into())),
        _ => None,
    };
    let ports = vec![MeshServicePort { port: 80, target_port, ..MeshServicePort::default() }];
    let spec = MeshService {
        selector: MeshServiceSelector { dataplane_labels, dataplane_ref },
        ports,
        ..MeshService::default()
    };
    let mut status = MeshServiceStatus::default();
    if written.vip {
        status.vips = vec![Vip { ip: "241.0.0.2".into() }];
    }
    AnyResource::new(Meta::new(key.mesh.clone(), key.name.clone(), labels), spec, status)
}

fn access_log(key: &Key, refers: bool, foreign: bool) -> AnyResource {
    let reference = BackendResourceRef { labels: Some(Labels::from([("a".into(), "b".into())])), ..Default::default() };
    let backend = LogBackend {
        kind: "OpenTelemetry".into(),
        open_telemetry: refers
            .then(|| OpenTelemetryLog { backend_ref: Some(reference), ..OpenTelemetryLog::default() }),
        ..LogBackend::default()
    };
    let item = AccessLogTo { conf: AccessLogs { backends: Some(vec![backend]) }, ..AccessLogTo::default() };
    let labels = if foreign { Labels::from([(label::ORIGIN.into(), "global".into())]) } else { Labels::new() };
    let meta = Meta::new(key.mesh.clone(), key.name.clone(), labels);
    let spec = MeshAccessLog { to: Some(vec![item]), ..MeshAccessLog::default() };
    AnyResource::new(meta, spec, ObservabilityStatus::default())
}

fn generator(key: &Key, template: usize, selector: usize, zone: bool) -> AnyResource {
    let selected = match selector {
        0 => Some(LabelSelector::default()),
        1 => Some(LabelSelector::of([(label::ORIGIN.to_owned(), "zone".to_owned())].into())),
        _ => None,
    };
    let labels = zone.then(|| (label::ORIGIN.into(), "zone".into())).into_iter().collect();
    let spec = HostnameGenerator {
        selector: HostnameSelector { mesh_service: selected, ..HostnameSelector::default() },
        template: TEMPLATES[template].into(),
        extension: None,
    };
    AnyResource::new(Meta::new("", key.name.clone(), labels), spec, NoStatus {})
}

/// A batch in a form that can be compared.
fn shown(outcome: &Outcome) -> Vec<String> {
    let due = outcome.due.map(|at| format!("due {at}"));
    outcome.writes.iter().map(|write| format!("{write:#?}")).chain(due).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_agree_after_every_step(rounds in vec(round(), 1..20), generate in any::<bool>(), small in any::<bool>()) {
        let settings = Settings {
            generate_services: generate,
            generate_workloads: generate,
            settle: Duration::from_secs(5),
            grace_period: Duration::from_mins(1),
            service_range: if small { "241.0.0.0/30" } else { "241.0.0.0/8" }.parse().expect("a network"),
            ..Settings::in_zone("east")
        };
        let mut world = World {
            state: MeshState::new(),
            clock: Timestamp::from_second(1_700_000_000).expect("in range"),
            version: 0,
            changes: BTreeMap::new(),
        };
        let mut incremental = Reconciler::new(settings.clone());
        let mut vips = Vips::new(settings.service_range);
        world.perform(&Op::Mesh(0, true));
        for round in rounds {
            for op in &round.ops {
                world.perform(op);
            }
            // No two batches are written at one time, so that none of them changes who is the oldest.
            world.clock += SignedDuration::from_secs(round.seconds + 1);
            let expected = reconcile(&world.state, &settings, world.clock, &mut vips);
            let changes = world.take_changes();
            let outcome = incremental.step(&world.state, &changes, world.clock);
            prop_assert_eq!(shown(&outcome), shown(&expected));
            if !round.written {
                continue;
            }
            world.write(&outcome.writes);
            let expected = reconcile(&world.state, &settings, world.clock, &mut vips);
            let changes = world.take_changes();
            let outcome = incremental.step(&world.state, &changes, world.clock);
            prop_assert_eq!(shown(&outcome), shown(&expected));
            prop_assert!(outcome.writes.is_empty(), "one batch leads to the fixed point: {:#?}", outcome.writes);
        }
    }

    /// What is derived ahead of a write is what would be derived after it; a write that comes to nothing leaves no trace.
    #[test]
    fn what_is_derived_ahead_of_a_write_is_left_alone_after_it(
        rounds in vec((vec(op(), 0..3), 0..SERVICES.len(), written(), any::<bool>()), 1..12),
    ) {
        let settings = Settings {
            settle: Duration::from_secs(5),
            grace_period: Duration::from_mins(1),
            ..Settings::in_zone("east")
        };
        let mut world = World {
            state: MeshState::new(),
            clock: Timestamp::from_second(1_700_000_000).expect("in range"),
            version: 0,
            changes: BTreeMap::new(),
        };
        let mut incremental = Reconciler::new(settings.clone());
        world.perform(&Op::Mesh(0, true));
        for (ops, name, asked, kept) in rounds {
            world.perform(&Op::Mesh(0, true));
            for op in &ops {
                world.perform(op);
            }
            world.clock += SignedDuration::from_secs(1);
            let changes = world.take_changes();
            let outcome = incremental.step(&world.state, &changes, world.clock);
            world.write(&outcome.writes);
            let changes = world.take_changes();
            incremental.step(&world.state, &changes, world.clock);

            world.clock += SignedDuration::from_secs(1);
            let key = Key::new(Kind::MeshService, MESHES[0], SERVICES[name]);
            let before = world.state.get(&key).cloned();
            // As admission does it: what is stored of the status stays.
            let asked = service(&key, &Written { managed: false, grace: 3, vip: false, ..asked }, world.clock);
            let resource = asked.with_status_of(before.as_ref());
            let mut batch = match &before {
                Some(stored) => vec![Write::Replace { resource, expected: stored.meta.version }],
                None => vec![Write::Create { resource, owner: None }],
            };
            incremental.complete(&world.state, &mut batch, world.clock);
            prop_assert_eq!(batch.len(), 1);
            prop_assert_eq!(batch[0].key(), key.clone());
            if kept {
                world.write(&batch);
            }
            let changes = world.take_changes();
            let outcome = incremental.step(&world.state, &changes, world.clock);
            if kept {
                let again = outcome.writes.iter().find(|write| write.key() == key);
                prop_assert!(again.is_none(), "derived twice: {batch:#?} {again:#?}");
            }
            world.write(&outcome.writes);
            let left = reconcile(&world.state, &settings, world.clock, &mut Vips::new(settings.service_range)).writes;
            prop_assert!(left.is_empty(), "not derived: {left:#?}");
            let addresses: Vec<String> = world.state.typed_in::<MeshService>(MESHES[0])
                .flat_map(|service| service.status().vips.clone())
                .map(|vip| vip.ip)
                .filter(|ip| ip != "241.0.0.2")
                .collect();
            let different: std::collections::BTreeSet<&String> = addresses.iter().collect();
            prop_assert_eq!(different.len(), addresses.len(), "an address was given twice");
        }
    }
}
