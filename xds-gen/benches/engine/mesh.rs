//! A mesh in memory, and an engine that is stepped as a control plane does it.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use kuma_core::{
    defaults,
    engine::{Batch, Counters, Engine, ProxySet, Render, StreamId, Up, WideUnits},
    ir::{AdminListener, Cluster, Endpoints, Inbound, Name, Outbound, Own, ProxyWide},
    json::from_rest,
    labels::{self, Site},
    meta::{Meta, Version},
    plan::{Features, NodeFacts, PlanSettings},
    registry::Kind,
    resource::{AnyResource, Key},
    resources,
    state::MeshState,
    store::{Change, Revision, WatchEvent},
};
use serde_json::{Value, json};
use xds_gen::{
    render::{
        AdminTls, has_admin_listener,
        units::{self, AdminIssuer},
    },
    set::{Rendered, TypeUrl, Version as RenderedVersion},
};

pub(crate) const SERVICES: usize = 100;
/// The service that changes are about.
pub(crate) const CHANGED: usize = 7;
const REACHED: usize = 10;
const FEW: usize = 10;
const MESH: &str = "default";

/// Who may call what in a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Everybody may call everything.
    All,
    /// Each may call ten services, different ones from its neighbours.
    Ten,
    /// The same, but only the first ten proxies may call the service that changes, however many proxies there are.
    Few,
}

/// What a proxy may call.
pub(crate) enum Reach {
    /// Everything.
    All,
    /// Services with these numbers.
    Some(Vec<usize>),
}

/// What one step took.
pub(crate) struct Step {
    pub(crate) took: Duration,
    /// What the engine had done before and after.
    counters: (Counters, Counters),
    /// Streams whose set was replaced.
    sets: usize,
}

impl Step {
    /// This one and the one right after it, as one change.
    pub(crate) fn and(self, next: Self) -> Self {
        let counters = (self.counters.0, next.counters.1);
        Self { took: self.took + next.took, counters, sets: self.sets + next.sets }
    }

    /// Counters that moved, by name.
    pub(crate) fn counted(&self) -> String {
        let text = format!("{:?}", self.counters.1 - self.counters.0);
        let fields = text.trim_start_matches("Counters {").trim_end_matches('}').split(',');
        let moved: Vec<_> = fields.map(str::trim).filter(|field| !field.ends_with(": 0")).collect();
        format!("{}, new sets: {}", moved.join(", "), self.sets)
    }
}

/// State, engine, and what streams hold.
pub(crate) struct Mesh {
    shape: Shape,
    state: MeshState,
    revision: u64,
    engine: Engine<Envoy>,
    node: Arc<NodeFacts>,
    streams: HashMap<StreamId, Option<Arc<ProxySet<Arc<Rendered>>>>>,
}

impl Mesh {
    /// Default policies, services, and Dataplanes, none of them connected.
    pub(crate) fn new(proxies: usize, shape: Shape) -> Self {
        let node = NodeFacts {
            features: Features { strict_inbound_ports: true, reuse_port: true, ..Features::default() },
            dns_port: 15_053,
            readiness_port: 9_902,
            admin_port: 9_901,
            admin_address: "127.0.0.1".into(),
            work_dir: "/run/kuma-dp".into(),
            ipv6: false,
            ..NodeFacts::default()
        };
        let render = Envoy { issuer: Arc::new(NoKeys) };
        let mut mesh = Self {
            shape,
            state: MeshState::new(),
            revision: 0,
            engine: Engine::new(PlanSettings::default(), render),
            node: Arc::new(node),
            streams: HashMap::new(),
        };
        let policies = defaults::policies(&Site::zone("default"), MESH, &resources::Mesh::default());
        mesh.store(std::iter::once(defaults::default_mesh()).chain(policies).collect());
        mesh.write((0..SERVICES).map(service).collect());
        let dataplanes = (0..proxies).map(|nth| dataplane(&proxy_name(nth), nth % SERVICES, nth, &mesh.reach(nth)));
        let dataplanes = dataplanes.collect();
        mesh.write(dataplanes);
        mesh
    }

    /// What the nth proxy may call.
    pub(crate) fn reach(&self, nth: usize) -> Reach {
        if self.shape == Shape::All {
            return Reach::All;
        }
        // The step is no divisor of the number of services, and differs between neighbours.
        let step = [1, 3, 7, 9, 11, 13, 17, 19][nth / SERVICES % 8];
        let mut reached: Vec<_> = (0..REACHED).map(|at| (nth + at * step) % SERVICES).collect();
        if self.shape == Shape::Few {
            reached.retain(|service| *service != CHANGED);
            if nth < FEW {
                reached.push(CHANGED);
            }
        }
        Reach::Some(reached)
    }

    /// Stores documents and lets the engine know.
    pub(crate) fn write(&mut self, documents: Vec<Value>) -> Step {
        self.store(documents.into_iter().map(resource).collect())
    }

    fn store(&mut self, resources: Vec<AnyResource>) -> Step {
        let version = Version(self.revision + 1);
        let change = |mut resource: AnyResource| {
            resource.meta.version = version;
            Change { key: resource.key(), now: Some(resource) }
        };
        self.commit(resources.into_iter().map(change).collect())
    }

    pub(crate) fn delete(&mut self, kind: &str, name: &str) -> Step {
        let key = Key::new(Kind::by_name(kind).expect("a kind of the registry"), MESH, name);
        self.commit(vec![Change { key, now: None }])
    }

    fn commit(&mut self, changes: Vec<Change>) -> Step {
        self.revision += 1;
        let changes =
            self.state.apply(&WatchEvent::Changes { revision: Revision(self.revision), changes: changes.into() });
        self.step(Batch { state: Some(self.state.clone()), changes, ..Batch::default() })
    }

    /// One stream for each of these proxies.
    pub(crate) fn connect(&mut self, names: impl IntoIterator<Item = String>) -> Step {
        let up = |name: String| {
            let stream = StreamId(self.streams.len() as u64);
            self.streams.insert(stream, None);
            Up { stream, mesh: MESH.into(), name: name.into(), node: self.node.clone() }
        };
        let up = names.into_iter().map(up).collect();
        self.step(Batch { up, ..Batch::default() })
    }

    fn step(&mut self, batch: Batch) -> Step {
        let before = self.engine.counters();
        let begin = Instant::now();
        let wakes = self.engine.step(batch);
        let took = begin.elapsed();
        let mut sets = 0;
        for wake in wakes {
            if let Some((set, _)) = wake.set {
                sets += 1;
                self.streams.insert(wake.stream, Some(set));
            }
        }
        Step { took, counters: (before, self.engine.counters()), sets }
    }
}

pub(crate) fn proxy_name(nth: usize) -> String {
    format!("proxy-{nth}")
}

/// A MeshService with the address and the name that a control plane gives it.
pub(crate) fn service(nth: usize) -> Value {
    let name = format!("service-{nth}");
    json!({
        "type": "MeshService", "name": name,
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "appProtocol": "http"}],
            "selector": {"dataplaneLabels": {"matchLabels": {"app": name}}}},
        "status": {"vips": [{"ip": ip(241, nth)}],
            "addresses": [{"hostname": format!("{name}.svc.mesh.local"), "status": "Available", "origin": "HostnameGenerator",
                "hostnameGeneratorRef": {"coreName": "local-universal-mesh-service"}}]},
    })
}

/// A Dataplane of a service, at an address that follows from its number.
pub(crate) fn dataplane(name: &str, service: usize, address: usize, reach: &Reach) -> Value {
    let mut redirection = json!({"redirectPortInbound": 15_006, "redirectPortOutbound": 15_001});
    if let Reach::Some(services) = reach {
        let reference = |nth: &usize| json!({"kind": "MeshService", "name": format!("service-{nth}")});
        redirection["reachableBackends"] = json!({"refs": services.iter().map(reference).collect::<Vec<_>>()});
    }
    json!({
        "type": "Dataplane", "name": name,
        "labels": {"app": format!("service-{service}"), "instance": name},
        "networking": {"address": ip(10, address), "transparentProxying": redirection,
            "inbound": [{"name": "http", "port": 8080, "protocol": "http"}]},
    })
}

fn ip(first: u8, nth: usize) -> String {
    Ipv4Addr::from_bits((u32::from(first) << 24) + nth as u32 + 1).to_string()
}

fn resource(mut document: Value) -> AnyResource {
    document["mesh"] = json!(MESH);
    let kind = document["type"].as_str().and_then(Kind::by_name).expect("a kind of the registry");
    let resource = from_rest(kind, &document).unwrap_or_else(|error| panic!("{error}: {document}")).resource;
    let labels = labels::compute(&Site::zone("default"), &resource).into();
    resource.with_meta(Meta { labels, ..resource.meta.clone() })
}

/// Renders to Envoy's messages.
struct Envoy {
    issuer: Arc<dyn AdminIssuer>,
}

/// Certificates are issued when they are sent, and nothing is sent here.
struct NoKeys;

impl AdminIssuer for NoKeys {
    fn version(&self) -> RenderedVersion {
        RenderedVersion::of(b"no keys")
    }

    fn issue(&self, _own: &Own) -> Option<AdminTls> {
        None
    }
}

impl Render for Envoy {
    type Unit = Arc<Rendered>;

    fn name(unit: &Self::Unit) -> &Name {
        &unit.name
    }

    fn same(one: &Self::Unit, other: &Self::Unit) -> bool {
        Arc::ptr_eq(one, other) || one.version == other.version
    }

    fn outbound(&self, outbound: &Arc<Outbound>) -> Self::Unit {
        units::outbound(outbound)
    }

    fn cluster(&self, cluster: &Cluster) -> Self::Unit {
        units::cluster(cluster)
    }

    fn endpoints(&self, cluster: &Name, endpoints: &Endpoints) -> Self::Unit {
        units::endpoints(cluster, endpoints)
    }

    fn inbound(&self, inbound: &Arc<Inbound>) -> (Self::Unit, Self::Unit) {
        let [cluster, listener] = units::inbound(inbound);
        (listener, cluster)
    }

    fn wide(&self, wide: &Arc<ProxyWide>) -> WideUnits<Self::Unit> {
        let (clusters, listeners) = units::wide(wide).into_iter().partition(|unit| unit.type_url == TypeUrl::Cluster);
        WideUnits { clusters, listeners }
    }

    fn admin(&self, admin: &AdminListener, own: &Own) -> Option<Self::Unit> {
        has_admin_listener(own).then(|| units::admin_listener(admin, &self.issuer))
    }
}
