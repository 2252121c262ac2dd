//! The routes of the port, called without a socket.

use axum::body::Body;
use tower::ServiceExt;

use super::*;

struct Port(Diagnostics);

impl Port {
    fn new() -> Self {
        let log = LogControl::new(LogLevel::Info);
        let metrics = Arc::new(Metrics::new("z", &log));
        Self(Diagnostics { readiness: Readiness::of(["a", "b"]), metrics, log })
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, String, axum::http::HeaderMap) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
        let answer = router(self.0.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap(), headers)
    }

    async fn plain(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, body, _) = self.call(method, path, body).await;
        (status, body)
    }
}

#[tokio::test]
async fn it_is_ready_when_every_task_is_done() {
    let port = Port::new();
    let readiness = port.0.readiness.clone();
    assert_eq!(port.plain("GET", "/ready", "").await, (503, String::new()));
    assert_eq!(port.plain("GET", "/healthy", "").await, (200, String::new()));
    readiness.done("a");
    readiness.done("nobody waits for this");
    assert_eq!(readiness.left(), ["b"]);
    assert_eq!(port.plain("POST", "/ready", "").await.0, 503);
    readiness.done("b");
    assert_eq!(port.plain("POST", "/ready", "").await, (200, String::new()));
    readiness.wait_for("store");
    assert_eq!(port.plain("HEAD", "/ready", "").await.0, 503);
}

#[tokio::test]
async fn levels_are_read_and_changed() {
    let port = Port::new();
    assert_eq!(port.plain("GET", "/logging", "").await, (200, "{\"components\":{}}\n".to_owned()));
    let set = |c: &str, l: &str| json!({"component": c, "level": l}).to_string();
    assert_eq!(port.plain("PUT", "/logging", &set("xds", "debug")).await, (200, String::new()));
    assert_eq!(port.plain("PUT", "/logging", &set("api", "off")).await, (200, String::new()));
    let shown = "{\"components\":{\"api\":\"off\",\"xds\":\"debug\"}}\n".to_owned();
    let (status, body, headers) = port.call("GET", "/logging", "").await;
    assert_eq!(
        (status, body, &headers[header::CONTENT_TYPE]),
        (200, shown, &"application/json".parse::<HeaderValue>().unwrap())
    );
    assert_eq!(port.plain("DELETE", "/logging/api", "").await, (200, String::new()));
    assert_eq!(port.plain("DELETE", "/logging/api", "").await, (200, String::new()));
    assert_eq!(port.plain("DELETE", "/logging", "").await, (200, "{\"components\":{\"xds\":\"debug\"}}\n".to_owned()));
    assert!(port.0.log.overrides().is_empty());
}

#[tokio::test]
async fn bad_changes_have_the_published_texts() {
    let port = Port::new();
    let long = format!("{{\"component\":\"a\",\"level\":\"{}\"}}", "x".repeat(5000));
    for (body, expected) in [
        ("", "invalid request body"),
        ("[]", "invalid request body"),
        (&*long, "invalid request body"),
        ("{}", "component name must not be empty"),
        (r#"{"component":"a b","level":"x"}"#, r#"component name "a b" contains invalid characters"#),
        (r#"{"component":"a"}"#, r#"invalid log level: unknown log level """#),
        (r#"{"component":"a","level":"trace"}"#, r#"invalid log level: unknown log level "trace""#),
    ] {
        assert_eq!(port.plain("PUT", "/logging", body).await, (400, format!("{expected}\n")), "{body}");
    }
    for i in 0..200 {
        port.0.log.set(&format!("c{i}"), LogLevel::Off).unwrap();
    }
    let many = port.plain("PUT", "/logging", r#"{"component":"a","level":"info"}"#).await;
    assert_eq!(many, (429, "maximum number of component overrides (200) reached\n".to_owned()));
    assert_eq!(port.plain("POST", "/logging", "").await, (405, "method not allowed\n".to_owned()));
    let (status, body, headers) = port.call("GET", "/logging/a", "").await;
    assert_eq!(
        (status, body.as_str(), &headers[header::ALLOW]),
        (405, "Method Not Allowed\n", &HeaderValue::from_static("DELETE"))
    );
    let invalid = port.plain("DELETE", "/logging/-", "").await;
    assert_eq!(invalid, (400, "component name \"-\" contains invalid characters\n".to_owned()));
    for path in ["/", "/nothing", "/ready/", "/debug/pprof/"] {
        assert_eq!(port.plain("GET", path, "").await, (404, "404 page not found\n".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn metrics_carry_the_zone() {
    let port = Port::new();
    port.0.metrics.set_info("cp-1", "");
    port.0.metrics.set_info("cp-1", "c");
    port.0.metrics.leader.set(1);
    port.0.metrics.register(|registry| {
        registry.register("mine", "Mine", Gauge::<i64>::default());
    });
    use prometheus_client::metrics::gauge::Gauge;
    let (status, body, headers) = port.call("GET", "/metrics", "").await;
    assert_eq!((status, headers[header::CONTENT_TYPE].to_str().unwrap()), (200, metrics::CONTENT_TYPE));
    assert!(body.contains("leader{zone=\"z\"} 1\n"), "{body}");
    assert!(body.contains("mine{zone=\"z\"} 0\n"), "{body}");
    let info: Vec<&str> = body.lines().filter(|l| l.starts_with("cp_info{")).collect();
    assert_eq!(info.len(), 1, "{body}");
    assert!(info[0].contains("zone=\"z\"") && info[0].contains("cluster_id=\"c\""), "{body}");
    let value = |name: &str| {
        let line =
            body.lines().find(|l| l.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("{name}: {body}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
    let age = jiff::Timestamp::now().as_second() as f64 - value("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
    assert!(body.ends_with("# EOF\n"));
}

/// The lines of a metric, without its comments.
fn lines<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))).collect()
}

#[tokio::test]
async fn requests_are_counted_by_the_pattern_of_their_path() {
    use crate::api::{RoutePattern, Scheme, Site, over_memory};

    let port = Port::new();
    let api = &port.0.metrics.api_server;
    let context = Arc::new(over_memory(Site::zone("z"), []).await.unwrap());
    let router = api.observe(crate::api::router(context, Scheme::Http));
    for (method, path) in
        [("GET", "/meshes"), ("GET", "/meshes/one"), ("GET", "/meshes/two"), ("GET", "/nothing"), ("FROB", "/meshes")]
    {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.extensions().get::<RoutePattern>().is_some(), path != "/nothing" && method == "GET");
    }
    let text = port.plain("GET", "/metrics", "").await.1;
    let labels = |handler: &str, method: &str, code: u16| {
        format!(r#"{{zone="z",handler="{handler}",method="{method}",code="{code}"}}"#)
    };
    let mut expected = [
        labels("/meshes", "GET", 200) + " 1",
        labels("/meshes/{name}", "GET", 404) + " 2",
        labels("", "GET", 404) + " 1",
        labels("", "other", 405) + " 1",
    ]
    .map(|labels| format!("api_server_http_request_duration_seconds_count{labels}"));
    expected.sort();
    let mut counts = lines(&text, "api_server_http_request_duration_seconds_count");
    counts.sort_unstable();
    assert_eq!(counts, expected);
    assert_eq!(lines(&text, "api_server_http_response_size_bytes_count").len(), 4);
    let idle = r#"api_server_http_requests_inflight{zone="z",handler=""} 0"#;
    assert_eq!(lines(&text, "api_server_http_requests_inflight"), [idle]);
}

#[tokio::test]
async fn calls_are_counted_from_their_begin_to_their_end() {
    use axum::routing::post;
    use tonic::Status;

    use crate::dp_server::grpc;

    let port = Port::new();
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    let stream = post(|request: Request| async move {
        let sent = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let (frames, receiver) = tokio::sync::mpsc::channel(4);
        // What came goes back twice.
        for _ in 0..2 {
            frames.send(Ok(sent.clone())).await.unwrap();
        }
        grpc::response(receiver)
    });
    let refused = post(|| async { grpc::refuse(&Status::unauthenticated("who are you")) });
    let router = Router::new().route(path, stream).route("/other.Service/{method}", refused);
    let router = port.0.metrics.grpc.observe(router);
    let call = |path: &str| {
        let body = Body::from(grpc::frame(&"hello".to_owned()));
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/grpc").body(body).unwrap();
        router.clone().oneshot(request)
    };
    let answer = call(path).await.unwrap();
    axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    // This one is cut off.
    drop(call(path).await.unwrap());
    for method in ["A", "B"] {
        drop(call(&format!("/other.Service/{method}")).await.unwrap());
    }
    let plain = Request::post(path).body(Body::empty()).unwrap();
    drop(router.clone().oneshot(plain).await.unwrap());

    let text = port.plain("GET", "/metrics", "").await.1;
    let delta = r#"grpc_service="envoy.service.discovery.v3.AggregatedDiscoveryService",grpc_method="DeltaAggregatedResources",grpc_type="bidi_stream""#;
    let other = r#"grpc_service="other",grpc_method="other",grpc_type="bidi_stream""#;
    let sorted = |name: &str| {
        let mut lines: Vec<String> = lines(&text, name).iter().map(|l| (*l).to_owned()).collect();
        lines.sort();
        lines
    };
    let started = |labels: &str| format!(r#"grpc_server_started_total{{zone="z",{labels}}} 2"#);
    assert_eq!(sorted("grpc_server_started_total"), [started(delta), started(other)]);
    let handled = |labels: &str, code: &str, count: u64| {
        format!(r#"grpc_server_handled_total{{zone="z",{labels},grpc_code="{code}"}} {count}"#)
    };
    assert_eq!(
        sorted("grpc_server_handled_total"),
        [handled(delta, "Canceled", 1), handled(delta, "OK", 1), handled(other, "Unauthenticated", 2)]
    );
    assert!(
        sorted("grpc_server_msg_received_total")
            .contains(&format!(r#"grpc_server_msg_received_total{{zone="z",{delta}}} 2"#))
    );
    assert!(
        sorted("grpc_server_msg_sent_total").contains(&format!(r#"grpc_server_msg_sent_total{{zone="z",{delta}}} 2"#))
    );
}

#[tokio::test]
async fn objects_are_counted_by_kind() {
    use kuma_core::{
        meta::Meta,
        registry::Kind,
        resource::{AnyResource, NoStatus},
        resources::Mesh,
    };

    use crate::state::StateHandle;

    let port = Port::new();
    let mesh = |name: &str| AnyResource::new(Meta::new("", name, Default::default()), Mesh::default(), NoStatus {});
    let state = StateHandle::of([mesh("a"), mesh("b")]);
    port.0.metrics.register(|r| r.register_collector(Box::new(metrics::objects::Objects(state))));
    let text = port.plain("GET", "/metrics", "").await.1;
    let counts = lines(&text, "resources_count");
    assert_eq!(counts.len(), Kind::ALL.len() - 1, "all but MeshInsight");
    assert!(counts.contains(&r#"resources_count{zone="z",resource_type="Mesh"} 2"#), "{counts:?}");
    assert!(counts.contains(&r#"resources_count{zone="z",resource_type="Dataplane"} 0"#), "{counts:?}");
}
