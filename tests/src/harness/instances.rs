//! Several control planes on one database, and what each says of itself.

use std::net::SocketAddr;

use super::{
    http::{self, Answer},
    mesh::Mesh,
    postgres::Database,
    until,
};

/// A control plane for each way to one database, the first of which leads, with more settings. Proxies that trust one
/// trust all, as they would behind one name.
pub fn start(ways: &[Database], more: &[(&str, &str)]) -> Vec<Mesh> {
    let mut all: Vec<Mesh> = Vec::new();
    for way in ways {
        let environment = way.environment();
        let mut settings: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.extend(more);
        let Some(first) = all.first() else {
            Mesh::prepare(&settings).migrate();
            all.push(Mesh::start_with(&settings));
            until("the first one leads", || leads(&all[0]));
            continue;
        };
        let files = ["cp/kuma-cp.crt", "cp/kuma-cp.key"].map(|file| first.path(file).to_str().unwrap().to_owned());
        settings.extend([("KUMA_GENERAL_TLS_CERT_FILE", &*files[0]), ("KUMA_GENERAL_TLS_KEY_FILE", &*files[1])]);
        all.push(Mesh::start_with(&settings));
    }
    all
}

/// An answer of the port of diagnostics.
pub fn diagnostics(mesh: &Mesh, path: &str) -> Answer {
    let port: u16 = mesh.setting("KUMA_DIAGNOSTICS_SERVER_PORT").parse().unwrap();
    http::get(SocketAddr::from(([127, 0, 0, 1], port)), path, &[]).unwrap()
}

/// The sum of all series of a metric that counts whole things.
pub fn sum(mesh: &Mesh, metric: &str) -> u64 {
    let metrics = diagnostics(mesh, "/metrics").body;
    let is_of = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
    metrics.lines().filter(is_of).map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// How many responses this one has sent to proxies.
pub fn responses_sent(mesh: &Mesh) -> u64 {
    sum(mesh, "xds_responses_sent")
}

/// Whether this one leads.
pub fn leads(mesh: &Mesh) -> bool {
    sum(mesh, "leader") == 1
}
