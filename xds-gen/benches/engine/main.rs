//! What one change costs the engine, over meshes of several sizes: `cargo bench -p xds-gen --bench engine [PROXIES]…`.
//!
//! Streams are simulated: no socket, no Envoy, nothing but planning and rendering. Each change is made a few times;
//! what is printed is the median of [`Engine::step`](kuma_core::engine::Engine::step), the growth over the sizes, and
//! what the engine counted. A change that touches as much in every mesh should cost the same at every size.

mod allocated;
mod mesh;

use std::time::{Duration, Instant};

use serde_json::json;

use mesh::{CHANGED, Mesh, Reach, SERVICES, Shape, Step, dataplane, proxy_name, service};

const SIZES: &[usize] = &[100, 500, 2000];
/// Each change is made so often, or until it has taken this long.
const REPEATS: u32 = 20;
const ENOUGH: Duration = Duration::from_secs(4);

/// A change: its name, and what makes it for the nth time.
type Change = (&'static str, fn(&mut Mesh, u32) -> Step);

const CHANGES: &[Change] = &[
    ("endpoint comes or goes", |mesh, nth| {
        let name = "extra";
        let extra = dataplane(name, CHANGED, 60_000, &Reach::All);
        if nth % 2 == 1 { mesh.write(vec![extra]) } else { mesh.delete("Dataplane", name) }
    }),
    ("connect timeout to one service", |mesh, nth| {
        mesh.write(vec![timeout(json!({"connectionTimeout": format!("{}s", nth + 1)}))])
    }),
    ("request timeout to one service", |mesh, nth| {
        mesh.write(vec![timeout(json!({"http": {"requestTimeout": format!("{}s", nth + 1)}}))])
    }),
    ("a proxy of a known service", |mesh, nth| {
        let name = format!("late-{nth}");
        let registered = mesh.write(vec![dataplane(&name, CHANGED, 50_000 + nth as usize, &mesh.reach(nth as usize))]);
        registered.and(mesh.connect([name]))
    }),
    ("a service without endpoints", |mesh, nth| mesh.write(vec![service(SERVICES + nth as usize)])),
    ("a write that no plan reads", |mesh, nth| {
        mesh.write(vec![
            json!({"type": "Secret", "name": "unread", "data": if nth % 2 == 0 { "YQ==" } else { "Yg==" }}),
        ])
    }),
];

fn timeout(conf: serde_json::Value) -> serde_json::Value {
    let target = json!({"kind": "MeshService", "labels": {"kuma.io/display-name": format!("service-{CHANGED}")}});
    json!({"type": "MeshTimeout", "name": "changing", "spec": {"to": [{"targetRef": target, "default": conf}]}})
}

/// One line of a table, over all sizes.
struct Line {
    name: &'static str,
    measured: Vec<f64>,
    counted: String,
}

fn main() {
    // Cargo passes flags of its own.
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if given.is_empty() { SIZES.to_vec() } else { given };
    for (title, shape) in [
        ("all reachable", Shape::All),
        ("10 reachable, different ones for each proxy", Shape::Ten),
        ("10 reachable, the one that changes by 10 proxies", Shape::Few),
    ] {
        let columns: Vec<Vec<Line>> = sizes.iter().map(|size| measure(*size, shape)).collect();
        println!("\n{SERVICES} services, {title}: time in ms, memory in KB");
        print(&sizes, columns);
    }
}

/// A log of everything that goes in and out of every proxy, to a file and to a server.
fn access_logs() -> Vec<serde_json::Value> {
    let backends = json!([
        {"type": "File", "file": {"path": "/var/log/mesh.log"}},
        {"type": "Tcp", "tcp": {"address": "logs.example:514"}},
    ]);
    let item = json!({"targetRef": {"kind": "Mesh"}, "default": {"backends": backends}});
    vec![
        json!({"type": "MeshAccessLog", "name": "out", "spec": {"to": [item]}}),
        json!({"type": "MeshAccessLog", "name": "in", "spec": {"rules": [{"default": {"backends": backends}}]}}),
    ]
}

/// One stream for each proxy: the step, and the memory that was needed for each, in KB.
fn connect_all(mesh: &mut Mesh, proxies: usize) -> (Step, f64) {
    let before = allocated::bytes();
    let step = mesh.connect((0..proxies).map(proxy_name));
    (step, (allocated::bytes() - before) as f64 / proxies as f64 / 1024.0)
}

fn measure(proxies: usize, shape: Shape) -> Vec<Line> {
    let (_, logged) = {
        let mut mesh = Mesh::new(proxies, shape);
        mesh.write(access_logs());
        connect_all(&mut mesh, proxies)
    };
    let mut mesh = Mesh::new(proxies, shape);
    let (cold, bare) = connect_all(&mut mesh, proxies);
    let mut lines = vec![
        Line { name: "all streams at once", measured: vec![millis(cold.took)], counted: cold.counted() },
        Line { name: "memory for each proxy, KB", measured: vec![bare], counted: String::new() },
        Line { name: "the same, mesh-wide access log", measured: vec![logged], counted: String::new() },
        Line { name: "what the access log adds, KB", measured: vec![logged - bare], counted: String::new() },
    ];
    for (name, change) in CHANGES {
        // The first of its kind may create what later ones change.
        change(&mut mesh, 0);
        let begin = Instant::now();
        let mut steps = Vec::new();
        for nth in 1..=REPEATS {
            steps.push(change(&mut mesh, nth));
            if begin.elapsed() > ENOUGH {
                break;
            }
        }
        steps.sort_by_key(|step| step.took);
        let median = &steps[steps.len() / 2];
        lines.push(Line { name, measured: vec![millis(median.took)], counted: median.counted() });
    }
    lines
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// Prints the lines of all sizes side by side. The growth is the exponent k of `size^k`, from the smallest to the
/// largest mesh; counters are those of the last size.
fn print(sizes: &[usize], mut columns: Vec<Vec<Line>>) {
    let Some(mut lines) = columns.pop() else { return };
    for (at, line) in lines.iter_mut().enumerate() {
        let smaller = columns.iter().flat_map(|column| column[at].measured.iter().copied());
        line.measured = smaller.chain(line.measured.iter().copied()).collect();
    }
    let cells = |texts: Vec<String>| texts.iter().map(|text| format!(" {text:>9} ")).collect::<Vec<_>>().join("|");
    let headings = cells(sizes.iter().map(|size| format!("{size} p.")).collect());
    println!(
        "| {:31} |{headings}| growth | counted with {} proxies",
        "change",
        sizes.last().copied().unwrap_or_default()
    );
    println!("|{}|{}--------|---", "-".repeat(33), "-----------|".repeat(sizes.len()));
    for line in lines {
        let numbers = cells(line.measured.iter().map(|number| format!("{number:.3}")).collect());
        println!("| {:31} |{numbers}| {:>6} | {}", line.name, growth(sizes, &line.measured), line.counted);
    }
}

fn growth(sizes: &[usize], measured: &[f64]) -> String {
    match (sizes, measured) {
        ([small, .., large], [first, .., last]) if small != large && *first > 0.0 => {
            format!("{:.2}", (last / first).ln() / (*large as f64 / *small as f64).ln())
        }
        _ => String::new(),
    }
}
