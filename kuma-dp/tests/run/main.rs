//! `kuma-dp run` from the outside: real process, real Envoy, a control plane that knows one answer.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod cp;
mod dp;

use std::{
    io::Read,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixDatagram, UnixStream},
            process::ExitStatusExt,
        },
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cp::ControlPlane;
use dp::{Dp, eventually, free_port, get, is_alive};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, RecordType, rdata::A},
};
use kuma_dp::http::Peer;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

const WEB: &str = "{type: Dataplane, mesh: default, name: web, networking: {address: 127.0.0.1}}";
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln";

/// A control plane for an Envoy that says hello on the returned port.
async fn hello_cp() -> (ControlPlane, u16) {
    let port = free_port();
    (ControlPlane::http(move |request| cp::bootstrap(&cp::envoy(request, port))).await, port)
}

fn port(request: &Value, key: &str) -> u16 {
    request[key].as_u64().unwrap() as u16
}

/// A kuma-dp that is up, with its readiness port.
async fn up(cp: &ControlPlane, args: &[&str]) -> (Dp, u16) {
    let url = cp.http_url();
    let dp = Dp::run(&[&["--cp-address", &url, "--dataplane", WEB], args].concat(), &[]);
    let readiness = port(&cp.request(&dp).await, "readinessPort");
    dp.ready(readiness).await;
    (dp, readiness)
}

fn tcp(port: u16) -> Peer {
    Peer::Tcp(([127, 0, 0, 1], port).into())
}

#[tokio::test]
async fn it_starts_drains_and_ends() {
    let (cp, hello) = hello_cp().await;
    let drain = Duration::from_secs(2);
    let (mut dp, readiness) = up(&cp, &["--drain-time", "2s"]).await;
    assert_eq!(dp.readiness(readiness).await, (200, "LIVE\n".into()));
    assert_eq!(get(&tcp(hello), "/").await, (200, "hello".into()));
    let log = dp.log();
    assert!(log.contains("starting main dispatch loop") && !log.contains("envoy.filters.http:"), "{log}");
    let envoy = dp.envoy().await;
    let work_dir = std::fs::read_dir(dp.home.path()).unwrap().flatten().find(|e| e.path().is_dir()).unwrap().path();
    let metrics = get(&Peer::Unix(work_dir.join("kuma-mh-web-default.sock")), "/meshmetric").await;
    assert!(metrics.0 == 200 && metrics.1.contains("envoy_server_live{} 1"), "{metrics:?}");

    let begin = Instant::now();
    dp.signal(Signal::SIGTERM);
    let terminating = (503, "TERMINATING".to_owned());
    eventually(|| dp.log(), async || (dp.readiness(readiness).await == terminating).then_some(())).await;
    let admin = Peer::Unix(work_dir.join("kuma-envoy-admin.sock"));
    eventually(|| dp.log(), async || (get(&admin, "/ready").await == (503, "DRAINING\n".into())).then_some(())).await;
    assert!(begin.elapsed() < drain, "draining is told at once");
    assert_eq!(get(&tcp(hello), "/").await, (200, "hello".into()), "listeners serve on");
    assert!(is_alive(envoy));

    let status = dp.ended().await;
    assert!(status.success(), "{status}\n{}", dp.log());
    let took = begin.elapsed();
    assert!(took >= drain && took < drain * 3, "{took:?}");
    assert!(!is_alive(envoy));
    assert_eq!(dp.work_dirs(), 0, "the temporary work directory is removed");
}

/// Under a service manager standard output is a socket, which nobody can open by the name /dev/stdout.
#[tokio::test]
async fn access_logs_on_standard_output_come_out_of_a_socket() {
    let hello = free_port();
    let cp = ControlPlane::http(move |request| {
        let mut bootstrap = cp::envoy(request, hello);
        let manager = &mut bootstrap["staticResources"]["listeners"][0]["filterChains"][0]["filters"][0]["typedConfig"];
        manager["accessLog"] = json!([{"name": "envoy.access_loggers.file", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/stdout",
            "logFormat": {"textFormatSource": {"inlineString": "%REQ(:PATH)% %RESPONSE_CODE%\n"}}
        }}]);
        cp::bootstrap(&bootstrap)
    })
    .await;
    let (mut ours, stdout) = UnixStream::pair().unwrap();
    let url = cp.http_url();
    let args = ["--cp-address", &url, "--dataplane", WEB, "--drain-time", "1ms"];
    let mut dp = Dp::run_into(OwnedFd::from(stdout), &args);
    dp.ready(port(&cp.request(&dp).await, "readinessPort")).await;
    assert_eq!(get(&tcp(hello), "/").await, (200, "hello".into()), "{}", dp.log());
    dp.signal(Signal::SIGTERM);
    assert!(dp.ended().await.success(), "{}", dp.log());
    let mut lines = String::new();
    ours.read_to_string(&mut lines).unwrap();
    assert_eq!(lines, "/ 200\n");
    assert!(dp.log().contains("starting main dispatch loop"), "Envoy's own log stays on standard error");
}

/// A service manager that listens at an abstract name.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new() -> Self {
        let name = format!("kuma-dp-{}-{}", std::process::id(), free_port());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, name: format!("@{name}") }
    }

    /// Everything up to the first message that begins like this.
    async fn hear(&self, until: &str, dp: &Dp) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|message: &String| message.starts_with(until)) {
            let next = async || {
                let mut buffer = [0; 4096];
                let length = self.socket.recv(&mut buffer).ok()?;
                Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
            };
            heard.push(eventually(|| format!("{until} is awaited:\n{}", dp.log()), next).await);
        }
        heard
    }
}

#[tokio::test]
async fn a_service_manager_is_told_how_it_goes() {
    let manager = Manager::new();
    let (is_up, hello) = (Arc::new(AtomicBool::new(false)), free_port());
    let asked = is_up.clone();
    let cp = ControlPlane::http(move |request| {
        if asked.load(Ordering::Relaxed) {
            cp::bootstrap(&cp::envoy(request, hello))
        } else {
            cp::refusal(503, "starting")
        }
    })
    .await;
    let url = cp.http_url();
    let args = ["--cp-address", &url, "--dataplane", WEB, "--drain-time", "1s"];
    let mut dp = Dp::run(&args, &[("NOTIFY_SOCKET", &manager.name), ("WATCHDOG_USEC", "300000")]);
    let heard = manager.hear("STATUS=waiting for the control plane: unexpected status code: 503", &dp).await;
    assert!(heard.contains(&"EXTEND_TIMEOUT_USEC=60000000".to_owned()), "{heard:?}");
    assert!(heard.contains(&format!("STATUS=fetching the bootstrap from {url}")), "{heard:?}");
    assert!(!heard.iter().any(|message| message.starts_with("READY=1")), "{heard:?}");

    is_up.store(true, Ordering::Relaxed);
    let heard = manager.hear("READY=1", &dp).await;
    assert_eq!(heard.last().unwrap(), "READY=1\nSTATUS=web in mesh default: Envoy is ready");
    assert_eq!(get(&tcp(hello), "/").await, (200, "hello".into()), "ready is ready");
    for _ in 0..2 {
        manager.hear("WATCHDOG=1", &dp).await;
    }
    kill(Pid::from_raw(dp.envoy().await), Signal::SIGSTOP).unwrap();
    manager.hear("STATUS=web in mesh default: Envoy's admin API", &dp).await;
    manager.hear("WATCHDOG=1", &dp).await;
    kill(Pid::from_raw(dp.envoy().await), Signal::SIGCONT).unwrap();
    manager.hear("STATUS=web in mesh default: Envoy is ready", &dp).await;

    dp.signal(Signal::SIGTERM);
    let heard = manager.hear("STOPPING=1", &dp).await;
    let expected = "STOPPING=1\nEXTEND_TIMEOUT_USEC=31000000\nSTATUS=draining: connections have 1s to finish";
    assert_eq!(heard.last().unwrap(), expected);
    assert!(dp.ended().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_the_wait() {
    let (cp, _) = hello_cp().await;
    let (mut dp, readiness) = up(&cp, &["--drain-time", "10m"]).await;
    dp.signal(Signal::SIGINT);
    eventually(|| dp.log(), async || (dp.readiness(readiness).await.0 == 503).then_some(())).await;
    let begin = Instant::now();
    dp.signal(Signal::SIGTERM);
    assert!(dp.ended().await.success());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn drained_listeners_need_no_wait() {
    let (cp, hello) = hello_cp().await;
    let (mut dp, readiness) = up(&cp, &["--drain-time", "10m"]).await;
    dp.signal(Signal::SIGUSR2);
    eventually(|| dp.log(), async || dp.log().contains("inbound listeners are draining").then_some(())).await;
    assert_eq!(dp.readiness(readiness).await.0, 200);
    assert_eq!(get(&tcp(hello), "/").await.0, 200);
    let begin = Instant::now();
    dp.signal(Signal::SIGTERM);
    assert!(dp.ended().await.success());
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_killed_kuma_dp_leaves_no_envoy() {
    let (cp, hello) = hello_cp().await;
    let (mut dp, _) = up(&cp, &[]).await;
    let envoy = dp.envoy().await;
    dp.signal(Signal::SIGKILL);
    assert_eq!(dp.ended().await.signal(), Some(9));
    eventually(String::new, async || (!is_alive(envoy)).then_some(())).await;
    assert_eq!(get(&tcp(hello), "/").await.0, 0);
}

#[tokio::test]
async fn a_dead_envoy_is_started_again() {
    let (cp, hello) = hello_cp().await;
    let (mut dp, readiness) = up(&cp, &["--drain-time", "1ms"]).await;
    let first = dp.envoy().await;
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    let second = eventually(|| dp.log(), async || dp.envoy_pid().filter(|pid| *pid != first)).await;
    dp.ready(readiness).await;
    assert_eq!(get(&tcp(hello), "/").await.0, 200);
    assert!(dp.log().contains("Envoy died: signal 9"), "{}", dp.log());
    dp.signal(Signal::SIGTERM);
    assert!(dp.ended().await.success());
    assert!(!is_alive(second));
}

#[tokio::test]
async fn an_envoy_that_keeps_dying_is_given_up_and_the_cause_told() {
    let cp = ControlPlane::http(|request| {
        let mut bootstrap = cp::envoy(request, 1);
        bootstrap["staticResources"]["listeners"] = json!([{"name": "no-address"}]);
        cp::bootstrap(&bootstrap)
    })
    .await;
    let url = cp.http_url();
    let mut dp = Dp::run(&["--cp-address", &url, "--dataplane", WEB], &[]);
    let status = dp.ended().await;
    let log = dp.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let last = log.lines().last().unwrap();
    assert!(last.starts_with("Error: Envoy died 5 times within "), "{log}");
    assert!(last.ends_with("cause: error adding listener named 'no-address': address is necessary"), "{last}");
    assert_eq!(log.matches("Starting it again").count(), 4, "{log}");
}

#[tokio::test]
async fn an_envoy_that_somebody_asked_to_end_ends_kuma_dp() {
    let (cp, _) = hello_cp().await;
    let (mut dp, _) = up(&cp, &[]).await;
    kill(Pid::from_raw(dp.envoy().await), Signal::SIGTERM).unwrap();
    assert_eq!(dp.ended().await.code(), Some(0), "{}", dp.log());
}

#[tokio::test]
async fn two_share_a_machine_without_a_flag() {
    let (first_cp, _) = hello_cp().await;
    let (second_cp, _) = hello_cp().await;
    let url = [first_cp.http_url(), second_cp.http_url()];
    let first = Dp::run(&["--cp-address", &url[0], "--dataplane", WEB], &[]);
    let first_request = first_cp.request(&first).await;
    let second = Dp::run(&["--cp-address", &url[1], "--dataplane", WEB], &[]);
    let second_request = second_cp.request(&second).await;
    first.ready(port(&first_request, "readinessPort")).await;
    second.ready(port(&second_request, "readinessPort")).await;
    for name in ["readinessPort", "dnsPort"] {
        assert_ne!(port(&first_request, name), port(&second_request, name));
    }
    // Another kuma-dp of this machine may have taken or left a default meanwhile, so either of the two may have given way.
    let logs = first.log() + &second.log();
    assert!(logs.matches("the default port is in use, using another").count() >= 2, "{logs}");
}

#[tokio::test]
async fn two_on_one_address_get_different_admin_ports() {
    // Not loopback, but of this host: what a connection to the outside would come from.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("192.0.2.1:9").expect("this test needs an address besides loopback");
    let address = probe.local_addr().unwrap().ip();
    let resource = format!("{{type: Dataplane, name: web, networking: {{address: {address}}}}}");
    let mut requests = Vec::new();
    let mut running = Vec::new();
    for _ in 0..2 {
        let (cp, _) = hello_cp().await;
        let dp = Dp::run(&["--cp-address", &cp.http_url(), "--dataplane", &resource], &[]);
        let request = cp.request(&dp).await;
        let sent: Value = serde_json::from_str(request["dataplaneResource"].as_str().unwrap()).unwrap();
        requests.push(sent["networking"]["admin"]["port"].as_u64().unwrap_or(9901));
        dp.ready(port(&request, "readinessPort")).await;
        running.push(dp);
    }
    assert_ne!(requests[0], requests[1]);
}

#[tokio::test]
async fn a_chosen_port_that_is_taken_is_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut dp = Dp::run(&["--dataplane", WEB], &[("KUMA_READINESS_PORT", &port)]);
    assert_eq!(dp.ended().await.code(), Some(1));
    let expected = format!("Error: cannot listen on 127.0.0.1:{port} for readiness: ");
    assert!(dp.log().contains(&expected), "{}", dp.log());

    let mut dp = Dp::run(&["--dataplane", WEB, "--dns-proxy-port", &port], &[]);
    assert_eq!(dp.ended().await.code(), Some(1));
    assert!(dp.log().contains(&format!("Error: cannot listen on 127.0.0.1:{port} for DNS: ")), "{}", dp.log());
}

#[tokio::test]
async fn names_of_the_mesh_come_through_envoy_before_readiness() {
    let dns = format!("{}", free_port());
    let body = r#"{"records":[{"name":"backend.svc.mesh.local","ips":["241.0.0.0"]}],"ttl":30,"extraLabels":{}}"#;
    let cp = ControlPlane::http(move |request| {
        let mut bootstrap = cp::envoy(request, free_port());
        let socket = format!("{}/kuma-mesh-metric-config.sock", request["workdir"].as_str().unwrap());
        let address = json!({"pipe": {"path": socket}});
        let listeners = bootstrap["staticResources"]["listeners"].as_array_mut().unwrap();
        listeners.push(cp::hello("system_dynamicconfig", &address, "/dns", body));
        cp::bootstrap(&bootstrap)
    })
    .await;
    let url = cp.http_url();
    let args = ["--cp-address", &url, "--dataplane", WEB, "--transparent-proxy", "--dns-proxy-port", &dns];
    let dp = Dp::run(&args, &[]);
    let request = cp.request(&dp).await;
    assert_eq!(request["dataplaneConfig"]["redirect"]["dns"]["port"].to_string(), dns);
    dp.ready(port(&request, "readinessPort")).await;
    // Ready means that names are there: one query is enough.
    let mut query = Message::query();
    query.add_query(Query::query(Name::from_ascii("backend.svc.mesh.local.").unwrap(), RecordType::A));
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(&query.to_vec().unwrap(), format!("127.0.0.1:{dns}")).await.unwrap();
    let mut buffer = [0; 512];
    let received = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await;
    let answer = Message::from_vec(&buffer[..received.expect("an answer").unwrap()]).unwrap();
    assert_eq!(answer.answers[0].data, RData::A(A::new(241, 0, 0, 0)), "{}", dp.log());
}

/// A folder as a control plane of this machine leaves it.
fn local_folder(ca: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("ca.crt", ca), ("dataplane-token", TOKEN)] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_control_plane_of_this_machine_is_trusted_without_flags() {
    let port = free_port();
    let (cp, ca) = ControlPlane::https(move |request| cp::bootstrap(&cp::envoy(request, port))).await;
    let folder = local_folder(&ca);
    let local = folder.path().to_str().unwrap();
    let dp = Dp::run(&["--cp-address", &cp.https_url(), "--dataplane", WEB], &[("KUMA_LOCAL_DIR", local)]);
    let request = cp.request(&dp).await;
    assert_eq!(request["dataplaneToken"], TOKEN);
    assert_eq!(request["dataplaneTokenPath"], format!("{local}/dataplane-token"));
    assert_eq!(request["caCert"], ca);
}

/// Runs until it ends with status 1, and returns its log.
async fn failed(args: &[&str], env: &[(&str, &str)]) -> String {
    let mut dp = Dp::run(args, &[&[("KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", "250ms")], env].concat());
    let status = dp.ended().await;
    assert_eq!(status.code(), Some(1), "{}", dp.log());
    assert_eq!(dp.work_dirs(), 0);
    dp.log()
}

#[tokio::test]
async fn every_way_not_to_get_a_bootstrap_is_told() {
    let gone = format!("https://127.0.0.1:{}", free_port());
    let log = failed(&["--cp-address", &gone, "--dataplane", WEB], &[]).await;
    assert!(log.contains("no bootstrap from the control plane yet, trying again"), "{log}");
    assert!(log.contains("Error: no bootstrap after trying for 0s: Failed to fetch Envoy bootstrap config. "), "{log}");
    assert!(log.contains("is kuma-cp running, and is --cp-address right?"), "{log}");

    let refusing = ControlPlane::http(|_| cp::refusal(422, "mesh: mesh \"zzz\" does not exist")).await.http_url();
    let log = failed(&["--cp-address", &refusing, "--dataplane", WEB], &[]).await;
    let expected =
        "Error: Failed to fetch Envoy bootstrap config. Invalid request: mesh: mesh \"zzz\" does not exist\n";
    assert!(log.ends_with(expected) && !log.contains("trying again"), "{log}");

    let unknown = ControlPlane::http(|_| cp::refusal(404, "")).await.http_url();
    let log = failed(&["--cp-address", &unknown, "--name", "web", "--mesh", "default"], &[]).await;
    assert!(log.contains("Dataplane entity not found. If you are running on Universal please"), "{log}");

    let log = failed(&["--cp-address", "ftp://localhost:1", "--dataplane", WEB], &[]).await;
    assert!(log.contains("unsupported URL scheme \"ftp\", must be http or https"), "{log}");
}

#[tokio::test]
async fn tls_trouble_is_told_in_words() {
    let (cp, _) = ControlPlane::https(|_| cp::refusal(500, "")).await;
    let (other, other_ca) = ControlPlane::https(|_| cp::refusal(500, "")).await;
    let folder = local_folder(&other_ca);
    let ca_file = folder.path().join("ca.crt");
    let ca_file = ca_file.to_str().unwrap();

    let wrong_ca = ["--cp-address", &cp.https_url(), "--dataplane", WEB, "--ca-cert-file", ca_file];
    let log = failed(&wrong_ca, &[]).await;
    assert!(log.contains("check that --ca-cert-file is the CA of this control plane"), "{log}");

    let wrong_name = format!("https://127.0.0.1:{}", other.address.port());
    let log = failed(&["--cp-address", &wrong_name, "--dataplane", WEB, "--ca-cert-file", ca_file], &[]).await;
    assert!(log.contains("its certificate is for") && log.contains("localhost"), "{log}");

    let (plain, _) = hello_cp().await;
    let log = failed(&["--cp-address", &plain.https_url(), "--dataplane", WEB, "--skip-verify"], &[]).await;
    assert!(log.contains("it does not speak TLS there"), "{log}");
}

#[tokio::test]
async fn a_wrong_envoy_is_told_before_anything_else() {
    let log = |dp: &Dp| dp.log();
    let mut dp = Dp::start(&["run", "--dataplane", WEB], &[("PATH", "/nowhere")]);
    assert_eq!(dp.ended().await.code(), Some(1));
    assert!(
        log(&dp).contains("Error: no Envoy found: there is no executable \"envoy\" beside kuma-dp"),
        "{}",
        log(&dp)
    );

    let mut dp = Dp::start(&["run", "--dataplane", WEB, "--binary-path", "/bin/true"], &[]);
    assert_eq!(dp.ended().await.code(), Some(1));
    assert!(log(&dp).contains("Error: /bin/true is not a usable Envoy"), "{}", log(&dp));
}

#[tokio::test]
async fn a_stop_before_the_bootstrap_is_obeyed() {
    let gone = format!("https://127.0.0.1:{}", free_port());
    let mut dp = Dp::run(&["--cp-address", &gone, "--dataplane", WEB], &[]);
    eventually(|| dp.log(), async || dp.log().contains("trying again").then_some(())).await;
    dp.signal(Signal::SIGTERM);
    assert!(dp.ended().await.success());
    assert_eq!(dp.work_dirs(), 0);
    assert!(Path::new(dp.home.path()).exists());
}
