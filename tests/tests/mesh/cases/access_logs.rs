//! Access logs: lines arrive where a policy says, about what it says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tests::harness::{
    mesh::{self, Mesh},
    ports::free_port,
    until,
};

use super::shop::Shop;

/// Where the mesh reaches a mail server.
const MAIL: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 25);

/// Lines of a file that does not have to exist yet.
fn lines(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A policy with one backend for each destination.
fn policy(name: &str, items: &[(String, String)]) -> String {
    let mut out = format!("type: MeshAccessLog\nmesh: default\nname: {name}\nspec:\n  to:\n");
    for (target, backends) in items {
        out.push_str(&format!("    - targetRef: {target}\n      default: {{backends: [{backends}]}}\n"));
    }
    out
}

fn file(path: &Path, format: &str) -> String {
    format!("{{type: File, file: {{path: '{}', format: {{type: Plain, plain: '{format}'}}}}}}", path.display())
}

/// A route to the backend by path; the log names it.
fn route(name: &str) -> String {
    format!(
        "type: MeshHTTPRoute\nmesh: default\nname: {name}\nspec:\n  to:\n    - targetRef: {{kind: MeshService, labels: \
         {{kuma.io/display-name: backend}}}}\n      rules: [{{matches: [{{path: {{type: Exact, value: /{name}}}}}], \
         default: {{}}}}]\n"
    )
}

fn of_route(name: &str) -> String {
    format!("{{kind: MeshHTTPRoute, labels: {{kuma.io/display-name: {name}}}}}")
}

/// A line for each request on both sides, in the caller's words and in the default ones.
pub(crate) fn a_line_for_each_request() {
    let shop = Shop::open(1, 1, &[]);
    let (out, inbound) = (shop.mesh.path("out.log"), shop.mesh.path("in.log"));
    let of_clients = shop.mesh.path("of-clients.log");
    let format =
        "%KUMA_SOURCE_SERVICE% %KUMA_DESTINATION_SERVICE% %KUMA_TRAFFIC_DIRECTION% %REQ(:PATH)% %RESPONSE_CODE%";
    shop.mesh.apply(&policy("out", &[("{kind: Mesh}".to_owned(), file(&out, format))]));
    shop.mesh.apply(&format!(
        "type: MeshAccessLog\nmesh: default\nname: in\nspec:\n  rules:\n    - default: {{backends: [{{type: File, file: \
         {{path: '{}'}}}}]}}\n    - matches: [{{spiffeID: {{type: Prefix, value: 'spiffe://default'}}}}]\n      default: \
         {{backends: [{{type: File, file: {{path: '{}'}}}}]}}\n",
        inbound.display(),
        of_clients.display()
    ));
    let both = || {
        shop.ask("/again", &[]);
        !lines(&out).is_empty() && !lines(&inbound).is_empty()
    };
    until("lines on both sides", both);
    assert_eq!(shop.ask("/marked", &[]), (200, "backend-1".to_owned()));
    let marked = |file: &Path| lines(file).into_iter().filter(|line| line.contains("/marked")).collect::<Vec<_>>();
    until("the line of the caller", || !marked(&out).is_empty());
    assert_eq!(marked(&out), ["frontend backend OUTBOUND /marked 200"]);
    until("the line of the called", || !marked(&inbound).is_empty());
    let [line] = &marked(&inbound)[..] else { panic!("one line for one request") };
    assert!(line.contains(r#"default "GET /marked HTTP/2" 200"#), "{line}");
    let inbound = r#""unknown" "kri_dp_default_default__backend-1_http""#;
    assert!(line.contains(inbound), "{line}");
    // Callers have no identity here: the file of a rule about identities was opened, and stays empty.
    assert_eq!(fs::read_to_string(&of_clients).unwrap(), "");
    let status = shop.mesh.kumactl(&["get", "meshaccesslog", "in", "-o", "yaml"]);
    assert!(status.contains("AllBackendRefsResolved"), "{status}");
}

/// Routes with logs of their own, one of them with none; whatever they do not take is the destination's.
pub(crate) fn routes_write_apart() {
    let shop = Shop::open(1, 1, &[]);
    let (all, items) = (shop.mesh.path("all.log"), shop.mesh.path("items.log"));
    shop.mesh.apply(&format!("{}---\n{}", route("items"), route("quiet")));
    shop.mesh.apply(&policy(
        "by-route",
        &[
            ("{kind: Mesh}".to_owned(), file(&all, "%REQ(:PATH)%")),
            (of_route("items"), file(&items, "%REQ(:PATH)%")),
            (of_route("quiet"), String::new()),
        ],
    ));
    until("a line of the route", || {
        assert_eq!(shop.ask("/items", &[]).0, 200);
        !lines(&items).is_empty()
    });
    // From here on everything is written as the policies say.
    shop.ask("/begin", &[]);
    for path in ["/items", "/quiet", "/other", "/end"] {
        assert_eq!(shop.ask(path, &[]), (200, "backend-1".to_owned()));
    }
    until("the last line", || lines(&all).iter().any(|line| line == "/end"));
    let rest: Vec<String> = lines(&all).into_iter().skip_while(|line| line != "/begin").collect();
    assert_eq!(rest, ["/begin", "/other", "/end"]);
    assert!(lines(&items).iter().all(|line| line == "/items"), "{:?}", lines(&items));
}

/// Lines travel through kuma-dp to a TCP server, also those that Envoy still has when it ends.
pub(crate) fn lines_reach_a_server() {
    let mut shop = Shop::open(1, 1, &["--drain-time", "100ms"]);
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            if lines.any(|line| sender.send(line).is_err()) {
                return;
            }
        }
    });
    let json =
        "{type: Json, json: [{key: to, value: '%KUMA_DESTINATION_SERVICE%'}, {key: path, value: '%REQ(:PATH)%'}]}";
    let backend = format!("{{type: Tcp, tcp: {{address: '{address}', format: {json}}}}}");
    shop.mesh.apply(&policy("tcp", &[("{kind: Mesh}".to_owned(), backend)]));
    let mut line = String::new();
    until("a line at the server", || {
        shop.ask("/sent", &[]);
        line = received.try_iter().last().unwrap_or_default();
        !line.is_empty()
    });
    assert_eq!(line, r#"{"path":"/sent","to":"backend"}"#);
    // Envoy has just written, and keeps this one for as long as it lives.
    shop.ask("/last", &[]);
    let frontend = &mut shop.frontends[0];
    frontend.terminate();
    frontend.ends_well(Duration::from_secs(30));
    let at_end = |line: &String| line == r#"{"path":"/last","to":"backend"}"#;
    until("the line of the end", || received.try_iter().any(|line| at_end(&line)));
}

/// A rule about server names makes Envoy wait for a handshake. A client that waits for its server to speak first is not
/// cut off for that.
pub(crate) fn a_server_speaks_first() {
    let mesh = Mesh::start();
    let server = TcpListener::bind((MAIL, 0)).unwrap();
    let service_port = server.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            // Whoever has gone does not need it.
            let _ = stream.write_all(b"220 ready\r\n");
        }
    });
    let port = free_port();
    let dataplane =
        mesh::dataplane("mail", "mail", MAIL, port, service_port).replace("protocol: http", "protocol: tcp");
    assert!(dataplane.contains("protocol: tcp"), "{dataplane}");
    let _proxy = mesh.proxy("mail", &dataplane, &[]);
    let log = mesh.path("mail.log");
    mesh.apply(&format!(
        "type: MeshAccessLog\nmesh: default\nname: named\nspec:\n  rules:\n    - matches: [{{sni: {{type: Exact, value: \
         mail.example}}}}]\n      default: {{backends: [{{type: File, file: {{path: '{}'}}}}]}}\n",
        log.display(),
    ));
    until("a greeting that had to wait", || {
        let begin = Instant::now();
        let mut greeting = String::new();
        let mut stream = BufReader::new(TcpStream::connect((MAIL, port)).unwrap());
        stream.read_line(&mut greeting).unwrap();
        assert_eq!(greeting, "220 ready\r\n", "after {:?}", begin.elapsed());
        begin.elapsed() > Duration::from_millis(900)
    });
    assert_eq!(lines(&log), [""; 0], "nobody asked for that name");
}
