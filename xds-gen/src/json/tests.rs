use envoy_api::envoy::{
    config::listener::v3::{Listener, filter::ConfigType},
    extensions::filters::network::http_connection_manager::v3::HttpConnectionManager,
};
use serde_json::json;

use super::*;

const LISTENER: &str = r#"
name: self_inbound_dp_http
address: { socketAddress: { address: 127.0.0.1, portValue: 10000 } }
enable_reuse_port: false
trafficDirection: INBOUND
filterChains:
- filters:
  - name: envoy.filters.network.http_connection_manager
    typedConfig:
      '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      statPrefix: in
      streamIdleTimeout: 1.5s
      httpFilters:
      - name: envoy.filters.http.rbac
        typedConfig:
          '@type': type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
          rules: { policies: { p: { permissions: [{ url_path: { path: { prefix: "/" } } }], principals: [{ any: true }] } } }
      - name: envoy.filters.http.router
        typedConfig: { '@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
      routeConfig:
        virtualHosts:
        - { name: dp, domains: ['*'], routes: [{ match: { prefix: / }, route: { cluster: app, timeout: 0s } }] }
"#;

#[test]
fn nested_any_opens_both_ways() {
    let listener: Listener = from_yaml(LISTENER).unwrap();
    let Some(ConfigType::TypedConfig(any)) = &listener.filter_chains[0].filters[0].config_type else {
        panic!("no typed config")
    };
    let manager = HttpConnectionManager::decode(&any.value[..]).unwrap();
    assert_eq!((manager.stat_prefix.as_str(), manager.http_filters.len()), ("in", 2));

    let value = to_json(&listener).unwrap();
    let hcm = &value["filterChains"][0]["filters"][0]["typedConfig"];
    assert_eq!(hcm["streamIdleTimeout"], "1.500s");
    assert_eq!(
        hcm["httpFilters"][0]["typedConfig"]["rules"]["policies"]["p"]["permissions"],
        json!([{"urlPath": {"path": {"prefix": "/"}}}])
    );
    assert_eq!(value["enableReusePort"], false, "an explicit false is written");
    assert_eq!(from_json::<Listener>(value).unwrap(), listener);
}

#[test]
fn an_any_carries_its_type() {
    let value = json!({"@type": "type.googleapis.com/envoy.extensions.filters.network.kafka_broker.v3.KafkaBroker",
        "statPrefix": "k"});
    let any = json_to_any(value.clone()).unwrap();
    assert_eq!(any_to_json(&any).unwrap(), value);
    // A type without a Rust struct.
    let value = json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "statPrefix": "authz"});
    assert_eq!(any_to_json(&json_to_any(value.clone()).unwrap()).unwrap(), value);
    // One whose JSON is no object.
    let value = json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"});
    assert_eq!(any_to_json(&json_to_any(value.clone()).unwrap()).unwrap(), value);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let message = |yaml: &str| from_yaml::<Listener>(yaml).unwrap_err().to_string();
    let prefix = "invalid envoy.config.listener.v3.Listener: ";
    let cases = [
        ("nme: x", "unrecognized field name 'nme'"),
        ("trafficDirection: SIDEWAYS", "trafficDirection: unrecognized enum value 'SIDEWAYS'"),
        (
            "address: { socketAddress: { portValue: eighty } }",
            "address.socketAddress.portValue: invalid digit found in string",
        ),
    ];
    for (yaml, detail) in cases {
        assert_eq!(message(yaml), format!("{prefix}{detail}"));
    }
    let unknown = "filterChains: [{filters: [{name: a, typedConfig: {'@type': type.googleapis.com/envoy.No}}]}]";
    assert!(message(unknown).contains("envoy.No"), "{}", message(unknown));
    assert!(message("a: [").starts_with("invalid YAML: "), "{}", message("a: ["));
    assert!(message("a: [").contains("line 1"), "{}", message("a: ["));
    assert_eq!(bytes_to_json("envoy.No", &[]).unwrap_err().to_string(), "the Envoy API has no message \"envoy.No\"");
}
