//! kuma-dp gives Envoy cheaper expressions for the tags of statistics; the metrics are the same, but for those of the
//! listener that kuma-dp polls.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use kuma_dp::bootstrap::stats::cheaper;
use tests::harness::{eventually, http, mesh::Programs, ports::free_port, process::Process};

/// Tags as control planes hand them out.
const TAGS: &str = r"statsConfig:
  statsTags:
  - {tagName: name, regex: '^grpc\.((.+)\.)'}
  - {tagName: status, regex: '^grpc.*streams_closed(_([0-9]+))'}
  - {tagName: worker, regex: '(worker_([0-9]+)\.)'}
  - {tagName: listener, regex: '((.+?)\.)rbac\.'}
";

/// Labels that these tags make of what Envoy does here.
const LABELS: [&str; 6] = [
    r#"name="sink""#,
    r#"status="14""#,
    r#"worker="0""#,
    r#"worker="1""#,
    r#"listener="http.self_inbound_dp_http""#,
    r#"listener="self_inbound_dp_tcp""#,
];

pub(crate) fn cheaper_tags_make_the_same_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port(), free_port()];
    let config = format!("{TAGS}{}", config(ports));
    let given = metrics(dir.path(), "given", &config, ports);
    for label in LABELS {
        assert!(given.iter().any(|series| series.contains(label)), "nothing has {label}: {given:#?}");
    }
    let inbounds = ["http".to_owned(), "tcp".to_owned()];
    for (name, inbounds) in [("anywhere", None), ("listeners", Some(&inbounds[..]))] {
        let cheaper = cheaper(&config, inbounds);
        assert_ne!(cheaper, config);
        let cheaper = metrics(dir.path(), name, &cheaper, ports);
        let is_ours = |series: &&String| series.contains("system_dynamicconfig");
        let (ours, differing): (Vec<_>, Vec<_>) = given.symmetric_difference(&cheaper).partition(is_ours);
        assert!(differing.is_empty(), "{name}: {differing:#?}");
        assert!(ours.len() > 50, "{name}: {ours:#?}");
        assert!(!cheaper.iter().any(|series| is_ours(&series)), "{name}: {cheaper:#?}");
    }
    println!("  {} series", given.len());
}

/// Statistics of every origin: worker threads, RBAC in HTTP and in TCP, a gRPC client, clusters and listeners.
fn config([http, tcp, polled]: [u16; 3]) -> String {
    let extension = |path: &str| format!("'@type': type.googleapis.com/envoy.extensions.{path}");
    let rules = "rules: {action: ALLOW, policies: {}}";
    let (http_rbac, tcp_rbac) = (extension("filters.http.rbac.v3.RBAC"), extension("filters.network.rbac.v3.RBAC"));
    let manager = extension("filters.network.http_connection_manager.v3.HttpConnectionManager");
    let router = extension("filters.http.router.v3.Router");
    let sink = extension("access_loggers.grpc.v3.HttpGrpcAccessLogConfig");
    let proxy = extension("filters.network.tcp_proxy.v3.TcpProxy");
    format!(
        "node: {{id: a, cluster: b}}
enableDispatcherStats: true
staticResources:
  clusters:
  - {{name: backend, type: STATIC, loadAssignment: {{clusterName: backend}}}}
  listeners:
  - name: http
    address: {{socketAddress: {{address: 127.0.0.1, portValue: {http}}}}}
    filterChains:
    - filters:
      - name: manager
        typedConfig:
          {manager}
          statPrefix: self_inbound_dp_http
          routeConfig:
            virtualHosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: backend}}}}]}}]
          accessLog:
          - name: sink
            typedConfig:
              {sink}
              commonConfig:
                logName: l
                bufferSizeBytes: 0
                transportApiVersion: V3
                grpcService: {{googleGrpc: {{targetUri: '127.0.0.1:1', statPrefix: sink}}}}
          httpFilters:
          - {{name: rbac, typedConfig: {{{http_rbac}, {rules}}}}}
          - {{name: router, typedConfig: {{{router}}}}}
  - name: tcp
    address: {{socketAddress: {{address: 127.0.0.1, portValue: {tcp}}}}}
    filterChains:
    - filters:
      - {{name: rbac, typedConfig: {{{tcp_rbac}, statPrefix: self_inbound_dp_tcp., {rules}}}}}
      - {{name: proxy, typedConfig: {{{proxy}, statPrefix: x, cluster: backend}}}}
  - name: system_dynamicconfig
    statPrefix: system_dynamicconfig
    address: {{socketAddress: {{address: 127.0.0.1, portValue: {polled}}}}}
    filterChains:
    - filters:
      - name: manager
        typedConfig:
          {manager}
          statPrefix: system_dynamicconfig
          routeConfig: {{virtualHosts: [{{name: v, domains: ['*']}}]}}
          httpFilters: [{{name: router, typedConfig: {{{router}}}}}]
"
    )
}

/// Metrics of an Envoy with this bootstrap that has refused a request: names and labels, without values.
fn metrics(dir: &Path, name: &str, bootstrap: &str, [http, ..]: [u16; 3]) -> BTreeSet<String> {
    let socket = dir.join(format!("{name}.sock"));
    let file = dir.join(format!("{name}.yaml"));
    fs::write(&file, format!("admin: {{address: {{pipe: {{path: {}}}}}}}\n{bootstrap}", socket.display())).unwrap();
    let log = dir.join(format!("{name}.log"));
    let _envoy = Process::start(name, Programs::get().path("envoy"), &log, |command| {
        command.args(["--concurrency", "2", "--use-dynamic-base-id", "--config-path"]).arg(&file);
    });
    let get = |path: &str| http::get(&*socket, path, &[]).ok().filter(|answer| answer.status == 200);
    let stats = |text: &str| get("/stats").filter(|answer| answer.body.contains(text));
    eventually("Envoy started", || stats("listener_manager.workers_started: 1"));
    assert_eq!(http::get(SocketAddr::from((Ipv4Addr::LOCALHOST, http)), "/", &[]).unwrap().status, 403);
    eventually("the sink not reached", || stats("streams_closed_14"));
    let text = get("/stats/prometheus").unwrap().body;
    let series = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
        let (series, _value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap();
        let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
        labels.sort_unstable();
        format!("{name} {}", labels.join(","))
    });
    series.collect()
}
