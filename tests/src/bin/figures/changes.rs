//! From a `PUT` to the ack of real Envoys.
//!
//! The clock starts before the request is written and stops when the last response that came of it has been acked by
//! the last Envoy, as seen by the [tap](crate::tap). Envoy withholds the ack of a changed cluster until it is warm, so
//! this is also the time until the change is in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::harness::{
    PATIENCE,
    app::App,
    http::Client,
    mesh::{self, Mesh, Proxy},
    ports::free_port,
    until,
};

use crate::{
    sample::{Sample, millis},
    table::Row,
    tap::{Exchange, Tap},
};

const CHANGES: u32 = 100;
const FRONTENDS: usize = 2;
const BACKENDS: u8 = 2;
/// When nothing was sent for so long after the last ack, nothing more will come of the change.
const QUIET: Duration = Duration::from_millis(50);
const BOUND: &str = "median 20 ms, worst 100 ms";

/// Frontends behind transparent proxies, so that they reach every service there is, and backends.
struct Scene {
    port: u16,
    tap: Tap,
    client: Client,
    // Dropped before the mesh: their processes write into its folder.
    frontends: Vec<Proxy>,
    _backends: Vec<(App, Proxy)>,
    mesh: Mesh,
}

/// One kind of change.
struct Kind {
    name: &'static str,
    path: fn(u32) -> String,
    body: fn(u32, &Scene) -> Value,
    /// Types of resources that every frontend has to ack.
    acks: &'static [&'static str],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "endpoint",
        path: |_| "/meshes/default/dataplanes/moving".to_owned(),
        body: |nth, scene| {
            json!({"type": "Dataplane", "name": "moving", "mesh": "default", "labels": {"kuma.io/workload": "backend"},
                "networking": {"address": format!("127.0.1.{}", nth + 1),
                    "inbound": [{"name": "http", "port": scene.port, "protocol": "http"}]}})
        },
        acks: &["ClusterLoadAssignment"],
    },
    Kind {
        name: "MeshTimeout on a cluster",
        path: |_| "/meshes/default/meshtimeouts/changing".to_owned(),
        body: |nth, _| {
            let conf = json!({"connectionTimeout": format!("{}ms", 1_000 + nth)});
            json!({"type": "MeshTimeout", "name": "changing", "mesh": "default",
                "spec": {"to": [{"targetRef": backend(), "default": conf}]}})
        },
        acks: &["Cluster", "ClusterLoadAssignment"],
    },
    Kind {
        name: "MeshHTTPRoute",
        path: |_| "/meshes/default/meshhttproutes/changing".to_owned(),
        body: |nth, scene| {
            let mut to = backend();
            to["port"] = json!(scene.port);
            let rule = json!({"matches": [{"path": {"type": "PathPrefix", "value": format!("/{nth}")}}],
                "default": {"backendRefs": [to]}});
            json!({"type": "MeshHTTPRoute", "name": "changing", "mesh": "default",
                "spec": {"to": [{"targetRef": backend(), "rules": [rule]}]}})
        },
        acks: &["Listener"],
    },
    Kind {
        name: "new service",
        path: |nth| format!("/meshes/default/meshservices/new-{nth}"),
        body: |nth, scene| {
            json!({"type": "MeshService", "name": format!("new-{nth}"), "mesh": "default",
                "spec": {"selector": {"dataplaneLabels": {"matchLabels": {"kuma.io/workload": "backend"}}},
                    "ports": [{"name": "http", "port": 80, "targetPort": scene.port, "appProtocol": "http"}]}})
        },
        acks: &["Cluster", "ClusterLoadAssignment", "Listener"],
    },
];

fn backend() -> Value {
    json!({"kind": "MeshService", "labels": {"kuma.io/display-name": "backend"}})
}

/// All kinds, in one mesh.
pub(crate) fn measure() -> Vec<Row> {
    let mut scene = Scene::open();
    KINDS.iter().map(|kind| scene.measure(kind)).collect()
}

/// What became of one change.
struct Outcome {
    /// Until the last ack.
    acked: Duration,
    /// Until the control plane had written the last response.
    sent: Duration,
    /// Until the control plane had answered the request.
    accepted: Duration,
    begin: Instant,
    exchanges: Vec<Exchange>,
}

impl Scene {
    fn open() -> Self {
        let tap_port = free_port();
        let mesh = Mesh::start_with(&[("KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT", &tap_port.to_string())]);
        let tap = Tap::open(tap_port, mesh.dp_server, &mesh.path("cp/kuma-cp.crt"), &mesh.path("cp/kuma-cp.key"));
        let port = free_port();
        let backend = |nth: u8| {
            let (name, address) = (format!("backend-{nth}"), Ipv4Addr::new(127, 0, 0, 10 + nth));
            let service_port = free_port();
            let app = App::start(&name, (address, service_port).into());
            let dataplane = mesh::dataplane(&name, "backend", address, port, service_port);
            (app, mesh.proxy(&name, &dataplane, &[]))
        };
        let backends: Vec<_> = (1..=BACKENDS).map(backend).collect();
        let frontend = |nth: usize| {
            let name = format!("frontend-{nth}");
            let dataplane = mesh::dataplane(&name, "frontend", Ipv4Addr::LOCALHOST, free_port(), free_port());
            let (inbound, outbound) = (free_port(), free_port());
            let redirected = format!(
                "  transparentProxying: {{redirectPortInbound: {inbound}, redirectPortOutbound: {outbound}}}\n"
            );
            // Redirection names the port of DNS, so that it never moves by itself.
            let dns = free_port().to_string();
            mesh.proxy(&name, &(dataplane + &redirected), &["--dns-proxy-port", &dns])
        };
        let frontends: Vec<_> = (1..=FRONTENDS).map(frontend).collect();
        let known = |proxy: &Proxy| proxy.admin.endpoints("backend").is_some_and(|all| all.len() == backends.len());
        until("all backends known to all frontends", || frontends.iter().all(known));
        let client = Client::new(mesh.api);
        Self { port, tap, client, frontends, _backends: backends, mesh }
    }

    fn measure(&mut self, kind: &Kind) -> Row {
        let before = self.processor_time();
        let outcomes: Vec<Outcome> = (1..=CHANGES).map(|nth| self.change(kind, nth)).collect();
        let now = self.processor_time();
        let acked: Sample = outcomes.iter().map(|outcome| outcome.acked).collect();
        let sent: Sample = outcomes.iter().map(|outcome| outcome.sent).collect();
        println!("  {}: {acked}; sent by the control plane: {sent}", kind.name);
        println!("    on the way: {}", timeline(outcomes.iter()));
        let slowest = outcomes.iter().max_by_key(|outcome| outcome.acked);
        println!("    the slowest: {}", timeline(slowest.into_iter()));
        println!("    per change and proxy: {}", per_proxy(&outcomes));
        let per_change = |nth: usize| millis(now[nth].saturating_sub(before[nth]) / CHANGES);
        let [control_plane, envoys, ours] = [0, 1, 2].map(per_change);
        println!("    processor time per change: {control_plane} control plane, {envoys} both Envoys, {ours} the tap");
        let measured = format!("{acked} ({} of it until sent)", millis(sent.median()));
        Row::new(format!("PUT to Envoy's ack: {}", kind.name), measured, BOUND)
    }

    /// Of the control plane, of the Envoys of all frontends, and of the tap with all else in this process.
    fn processor_time(&mut self) -> [Duration; 3] {
        let envoys = self.frontends.iter().map(|proxy| processor_time(proxy.envoy().unwrap())).sum();
        [processor_time(self.mesh.cp().pid()), envoys, processor_time(std::process::id() as i32)]
    }

    fn change(&mut self, kind: &Kind, nth: u32) -> Outcome {
        let (path, body) = ((kind.path)(nth), (kind.body)(nth, self).to_string());
        let first = self.tap.count();
        let begin = Instant::now();
        let answer = self.client.send("PUT", &path, &[("content-type", "application/json")], body.as_bytes()).unwrap();
        let accepted = begin.elapsed();
        assert!(matches!(answer.status, 200 | 201), "PUT {path}: {} {}", answer.status, answer.body);
        let (mut passed, mut exchanges, mut last) = (0, Vec::new(), None);
        loop {
            // Nothing is looked at twice: that would take processor time from those that are measured.
            let now = self.tap.passed();
            if now != passed {
                (passed, exchanges) = (now, self.tap.exchanges(first));
                last = settled(&exchanges, kind.acks);
            }
            if let Some(last) = last
                && last.elapsed() > QUIET
            {
                let sent = exchanges.iter().map(|exchange| exchange.sent).max().unwrap();
                return Outcome { acked: last - begin, sent: sent - begin, accepted, begin, exchanges };
            }
            assert!(begin.elapsed() < PATIENCE, "{} {nth}: not acked within {PATIENCE:?}: {exchanges:#?}", kind.name);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The last ack, if every frontend has acked each of these types and nothing is without an answer.
fn settled(exchanges: &[Exchange], types: &[&str]) -> Option<Instant> {
    for exchange in exchanges {
        assert!(exchange.refused.is_none(), "Envoy refuses {exchange:?}");
    }
    let acked_by = |kind: &&str| {
        let streams = exchanges.iter().filter(|exchange| exchange.kind == **kind).map(|exchange| exchange.stream);
        streams.collect::<BTreeSet<_>>().len()
    };
    let all = types.iter().all(|kind| acked_by(kind) == FRONTENDS);
    let last = exchanges.iter().map(|exchange| exchange.answered).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    all.then_some(last)
}

/// Processor time of a process, in all threads, since its start.
fn processor_time(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold anything; what follows it is numbered from 3.
    let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u32 = fields[14 - 3..=15 - 3].iter().map(|field| field.parse::<u32>().unwrap()).sum();
    // Hundredths of a second, on every machine that we build for.
    Duration::from_millis(10) * ticks
}

/// When the later proxy was sent a type, and had acked it: `answer 1.9 ms; Cluster sent 2.1 ms, acked 6.0 ms`, medians.
fn timeline<'a>(outcomes: impl Iterator<Item = &'a Outcome> + Clone) -> String {
    let mut by_type: BTreeMap<&str, (Vec<Duration>, Vec<Duration>)> = BTreeMap::new();
    for outcome in outcomes.clone() {
        let mut last: BTreeMap<&str, (Instant, Instant)> = BTreeMap::new();
        for exchange in &outcome.exchanges {
            let Some(answered) = exchange.answered else { continue };
            let known = last.entry(&exchange.kind).or_insert((exchange.sent, answered));
            *known = (known.0.max(exchange.sent), known.1.max(answered));
        }
        for (kind, (sent, answered)) in last {
            let (all_sent, all_answered) = by_type.entry(kind).or_default();
            all_sent.push(sent - outcome.begin);
            all_answered.push(answered - outcome.begin);
        }
    }
    let median = |times: Vec<Duration>| millis(times.into_iter().collect::<Sample>().median());
    let accepted = median(outcomes.map(|outcome| outcome.accepted).collect());
    let one = |(kind, (sent, acked)): (&str, (Vec<Duration>, Vec<Duration>))| {
        format!("; {kind} sent {}, acked {}", median(sent), median(acked))
    };
    format!("answer {accepted}{}", by_type.into_iter().map(one).collect::<String>())
}

/// Responses, resources and bytes by type, on average: `Cluster 1.0/1.0/812 B`.
fn per_proxy(outcomes: &[Outcome]) -> String {
    let mut by_type: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for exchange in outcomes.iter().flat_map(|outcome| &outcome.exchanges) {
        let (responses, resources, bytes) = by_type.entry(&exchange.kind).or_default();
        *responses += 1;
        *resources += exchange.names.len();
        *bytes += exchange.bytes;
    }
    let per = (outcomes.len() * FRONTENDS) as f64;
    let one = |(kind, (responses, resources, bytes)): (&&str, &(usize, usize, usize))| {
        let (responses, resources) = (*responses as f64 / per, *resources as f64 / per);
        format!("{kind} {responses:.1} responses, {resources:.1} resources, {:.0} bytes", *bytes as f64 / per)
    };
    by_type.iter().map(one).collect::<Vec<_>>().join("; ")
}
