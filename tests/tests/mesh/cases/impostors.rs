//! Proxies that are not, or not alone, who they say they are.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use tests::harness::{
    PATIENCE,
    mesh::{Mesh, Programs, dataplane},
    ports::free_port,
    process::Process,
    until,
};

use super::shop::Shop;

/// The end of a log as it is now.
fn log(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A token for another workload, mesh or name is refused, already at the bootstrap; an Envoy that comes without asking
/// for one is refused as well.
pub(crate) fn tokens_are_for_their_workloads() {
    let mesh = Mesh::start();
    let token = |name: &str, arguments: &[&str]| {
        let token = mesh.kumactl(&[&["generate", "dataplane-token", "--valid-for", "1h"], arguments].concat());
        mesh.file(name, token)
    };
    let other = token("other.token", &["--workload", "other"]);
    let web = |nth: u8| dataplane(&format!("web-{nth}"), "web", Ipv4Addr::LOCALHOST, free_port(), free_port());
    for (file, says) in [
        (
            other.clone(),
            "authentication failed: dataplane workload \"web\" is not allowed with this token. Allowed workload in token is \"other\"",
        ),
        (
            token("name.token", &["--name", "web-9"]),
            "authentication failed: proxy name from requestor: web-1 is different than in token: web-9",
        ),
        (mesh.file("none.token", "secret"), "not a JWT"),
    ] {
        let mut proxy = mesh.kuma_dp("web-1", &web(1), &["--dataplane-token-file", file.to_str().unwrap()]);
        let status = proxy.process.ended(PATIENCE);
        let log = log(&mesh.path("kuma-dp-web-1.log"));
        println!("  {}", log.lines().last().unwrap_or_default());
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.lines().last().is_some_and(|last| last.starts_with("Error: ") && last.contains(says)), "{log}");
    }
    assert!(!mesh.kumactl(&["get", "dataplanes"]).contains("web-1"));
    // With the right one it comes in; its bootstrap with the wrong one is refused at discovery.
    let right = token("right.token", &["--workload", "web"]);
    let proxy = mesh.proxy("web-2", &web(2), &["--dataplane-token-file", right.to_str().unwrap()]);
    let [right, other] = [right, other].map(|file| std::fs::read_to_string(file).unwrap());
    let log_file = mesh.path("envoy-impostor.log");
    let _impostor = bare_envoy(&mesh, "web-2", &log_file, |bootstrap| bootstrap.replace(right.trim(), other.trim()));
    until("the refusal", || {
        log(&log_file).contains("authentication failed: dataplane workload \"web\" is not allowed")
    });
    assert!(proxy.admin.connected());
}

/// An Envoy without kuma-dp, started with a changed bootstrap of a proxy that runs.
fn bare_envoy(mesh: &Mesh, of: &str, log: &Path, change: impl Fn(String) -> String) -> Process {
    let bootstrap = std::fs::read_to_string(mesh.path(&format!("dp-{of}/bootstrap.yaml"))).unwrap();
    let own = bootstrap.replace("kuma-envoy-admin.sock", "impostor.sock");
    let changed = change(own.clone());
    assert_ne!(changed, own, "the change changes nothing");
    let file = mesh.file("impostor.yaml", changed);
    Process::start("envoy", Programs::get().path("envoy"), log, |command| {
        command.arg("--config-path").arg(file).args(["--disable-hot-restart", "--concurrency", "1"]);
    })
}

/// State-of-the-world discovery is refused, with the reason in Envoy's log.
pub(crate) fn state_of_the_world_is_refused() {
    let mesh = Mesh::start();
    let web = dataplane("web-1", "web", Ipv4Addr::LOCALHOST, free_port(), free_port());
    let proxy = mesh.proxy("web-1", &web, &[]);
    let log_file = mesh.path("envoy-impostor.log");
    let _impostor = bare_envoy(&mesh, "web-1", &log_file, |bootstrap| bootstrap.replace("DELTA_GRPC", "GRPC"));
    until("the refusal", || log(&log_file).contains("this control plane speaks delta xDS only"));
    let text = log(&log_file);
    println!("  {}", text.lines().find(|line| line.contains("delta xDS only")).unwrap());
    assert!(proxy.admin.connected());
}

/// Two proxies under one name take the place from each other: the control plane says so, nobody fails, and when one of
/// them goes the other one stays.
pub(crate) fn one_name_twice_is_told() {
    let mut shop = Shop::open(1, 1, &["--drain-time", "1s"]);
    let cp_log = shop.mesh.path("kuma-cp.log");
    let twin = std::fs::read_to_string(shop.mesh.path("backend-1.yaml")).unwrap();
    // The same Dataplane under another file name: another folder for Envoy, the same proxy for everybody else.
    let mut twin = shop.mesh.proxy("twin", &twin, &["--drain-time", "1s"]);
    let words = "are two proxies running under this name?";
    until("the report", || log(&cp_log).contains(words));
    let reports = || log(&cp_log).lines().filter(|line| line.contains(words)).count();
    println!("  {}", log(&cp_log).lines().find(|line| line.contains(words)).unwrap());
    assert_eq!(shop.ask("/", &[]), (200, "backend-1".to_owned()));
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(reports(), 1, "one report a minute is enough");
    twin.terminate();
    twin.ends_well(PATIENCE);
    until("the first one connected again", || shop.backends[0].proxy.admin.connected());
    assert_eq!(shop.backends[0].proxy.process.has_ended(), None);
    assert_eq!(shop.ask("/", &[]), (200, "backend-1".to_owned()));
}
