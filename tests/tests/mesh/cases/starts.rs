//! Starts that fail: what is missing or taken is told, and the process ends.

use std::net::Ipv4Addr;

use tests::harness::{
    PATIENCE,
    mesh::{Mesh, dataplane},
    ports::free_port,
    until,
};

use super::input::bomb;

/// A kuma-dp that cannot start: its exit status and the end of what it says.
fn failed(mesh: &Mesh, dataplane: &str, arguments: &[&str]) -> String {
    // A name of its own, so that its log is its own.
    let name = format!("failing-{}", free_port());
    let mut proxy =
        mesh.kuma_dp_with(&name, dataplane, arguments, &[("KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", "500ms")]);
    let status = proxy.process.ended(PATIENCE);
    let log = std::fs::read_to_string(mesh.path(&format!("kuma-dp-{name}.log"))).unwrap();
    let last = log.lines().rev().take_while(|line| !line.starts_with("Error: ")).count();
    let told = log.lines().rev().take(last + 1).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n");
    println!("  {told}");
    assert_eq!(status.code(), Some(1), "{log}");
    assert_eq!(proxy.envoy(), None);
    told
}

/// kuma-dp and kumactl, with a control plane that is somewhere else or somebody else, and with what is no Envoy.
pub(crate) fn failed_starts_are_told() {
    let mesh = Mesh::start();
    let web = dataplane("web-1", "web", Ipv4Addr::LOCALHOST, free_port(), free_port());
    let nowhere = format!("https://127.0.0.1:{}", free_port());
    let api = format!("https://{}", mesh.api);
    let (ca, _) = self_signed();
    let other_ca = mesh.file("other.crt", ca);
    let no_envoy = mesh.path("no-envoy");
    let (other_ca, no_envoy) = (other_ca.to_str().unwrap(), no_envoy.to_str().unwrap());
    let cases: [(&[&str], &str); 6] = [
        (
            &["--binary-path", no_envoy],
            "which --binary-path (or KUMA_DATAPLANE_RUNTIME_BINARY_PATH) names: no executable file is there",
        ),
        (&["--binary-path", "/bin/true"], "/bin/true is not a usable Envoy: `--version` printed"),
        (&["--cp-address", &nowhere], "is kuma-cp running, and is --cp-address right?"),
        (&["--cp-address", &api], "it does not speak TLS there; use the data plane server's port"),
        (&["--ca-cert-file", other_ca], "check that --ca-cert-file is the CA of this control plane"),
        (&["--ca-cert-file", no_envoy], "could not read the control plane's CA certificate"),
    ];
    for (arguments, says) in cases {
        let told = failed(&mesh, &web, arguments);
        assert!(told.starts_with("Error: ") && told.contains(says), "{told}");
    }
    let resources = [
        (web.replace("inbound:", "inbound: ["), "cannot be read: line 10, column "),
        (bomb(), "its aliases repeat more than 20000 values"),
        (web.replace("type: Dataplane", "type: Mesh"), "invalid proxy resource type \"Mesh\", expected Dataplane"),
        (web.replace("mesh: default", "mesh: other"), "mesh: mesh \"other\" does not exist"),
        (web.replace("address: 127.0.0.1", "address: 0.0.0.0"), "networking.address"),
    ];
    for (resource, says) in resources {
        let told = failed(&mesh, &resource, &[]);
        assert!(told.contains(says), "{told}");
    }

    // What is only odd is told as well.
    let odd = mesh.kuma_dp("odd", &web.replace("protocol: http", "protcol: http"), &[]);
    let says = "networking.inbound[0].protcol: there is no such field, it is ignored; did you mean \"protocol\"?";
    until("the warning", || std::fs::read_to_string(mesh.path("kuma-dp-odd.log")).unwrap().contains(says));
    drop(odd);
    kumactl_elsewhere(&mesh, other_ca);
}

/// kumactl, with a control plane that is somewhere else or somebody else.
fn kumactl_elsewhere(mesh: &Mesh, other_ca: &str) {
    let call = |url: &str, ca: &str| {
        let server = format!("{{url: \"{url}\", caCertFile: \"{ca}\"}}");
        let text = format!(
            "controlPlanes: [{{name: x, coordinates: {{apiServer: {server}}}}}]\ncontexts: [{{name: x, controlPlane: \
             x}}]\ncurrentContext: x\n"
        );
        let output = mesh.try_kumactl_of(&mesh.file("elsewhere.yaml", text), &["get", "meshes"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        print!("  {told}");
        (output.status.code(), told)
    };
    let (plain, tls) = (mesh.api.port(), mesh.api_tls.port());
    let own_ca = mesh.path("cp/kuma-cp.crt");
    assert_eq!(call(&format!("https://localhost:{tls}"), own_ca.to_str().unwrap()), (Some(0), String::new()));
    for (url, ca, says) in [
        (
            format!("http://127.0.0.1:{}", free_port()),
            "",
            "cannot be reached: Connection refused (os error 111). Is it running?",
        ),
        (
            format!("https://localhost:{tls}"),
            "",
            "its certificate is self-signed and not a trusted one; say whom to trust with",
        ),
        (
            format!("https://localhost:{tls}"),
            other_ca,
            "its certificate is self-signed and not a trusted one; say whom to trust with",
        ),
        (format!("https://localhost:{plain}"), "", "it does not speak TLS there; try http://"),
        (format!("http://localhost:{tls}"), "", "does not answer in HTTP; try https://"),
    ] {
        let (status, told) = call(&url, ca);
        assert_eq!(status, Some(1), "{told}");
        assert!(told.starts_with("Error: ") && told.contains(says) && told.lines().count() == 1, "{told}");
    }
}

/// A certificate of somebody else and its key, PEM.
fn self_signed() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Ports that somebody else has: kuma-cp and kuma-dp name the port and the setting.
pub(crate) fn taken_ports_are_told() {
    let mesh = Mesh::start();
    for setting in ["KUMA_API_SERVER_HTTP_PORT", "KUMA_DP_SERVER_PORT", "KUMA_DIAGNOSTICS_SERVER_PORT"] {
        let port = mesh.setting(setting);
        let (mut second, log) = mesh.another_cp(&[(setting, port)]);
        let status = second.ended(PATIENCE);
        let log = std::fs::read_to_string(log).unwrap();
        let last = log.lines().last().unwrap_or_default();
        println!("  {last}");
        assert_eq!(status.code(), Some(1), "{log}");
        let says = format!(":{port}: bind: address already in use");
        assert!(last.starts_with("Error: ") && last.contains(&says) && last.contains(setting), "{log}");
    }
    assert_eq!(mesh.rest("GET", "/meshes/default", b"").unwrap().status, 200);
    let web = dataplane("web-1", "web", Ipv4Addr::LOCALHOST, free_port(), free_port());
    let taken = mesh.api.port().to_string();
    let told = failed(&mesh, &web, &["--dns-proxy-port", &taken]);
    assert!(told.contains(&format!("cannot listen on 127.0.0.1:{taken} for DNS")), "{told}");
    assert!(told.contains("--dns-proxy-port"), "{told}");
}
