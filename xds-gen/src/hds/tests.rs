//! What is checked, and what reports change.

use envoy_api::envoy::service::health::v3::{EndpointHealth, LocalityEndpointsHealth};
use serde_json::{Value, json};

use super::*;
use crate::json::to_json;

fn dataplane(inbounds: Value) -> Dataplane {
    let ports = json!({"redirectPortInbound": 15006});
    let spec = json!({"networking": {"address": "10.0.0.1", "inbound": inbounds, "transparentProxying": ports}});
    serde_json::from_value(spec).unwrap()
}

fn report(clusters: &[(&str, HealthStatus)]) -> EndpointHealthResponse {
    let cluster = |(name, status): &(&str, HealthStatus)| ClusterEndpointsHealth {
        cluster_name: (*name).to_owned(),
        locality_endpoints_health: vec![LocalityEndpointsHealth {
            endpoints_health: vec![EndpointHealth { health_status: (*status).into(), ..Default::default() }],
            ..Default::default()
        }],
    };
    EndpointHealthResponse { cluster_endpoints_health: clusters.iter().map(cluster).collect(), ..Default::default() }
}

fn ready(dataplane: &Dataplane) -> Vec<bool> {
    dataplane.networking.as_ref().unwrap().inbound.iter().map(Inbound::healthy).collect()
}

#[test]
fn the_admin_api_is_checked_where_it_is() {
    let at = |metadata: Value| {
        let found = specifier(&dataplane(json!([])), &NodeFacts::from_metadata(&metadata), &HdsSettings::default());
        to_json(&found).unwrap()["clusterHealthChecks"][0]["localityEndpoints"][0]["endpoints"][0]["address"].clone()
    };
    assert_eq!(at(json!({"dataplane.admin.socketPath": "/a.sock"})), json!({"pipe": {"path": "/a.sock"}}));
    assert_eq!(
        at(json!({"dataplane.admin.port": "7", "dataplane.admin.address": "::"})),
        json!({"socketAddress": {"address": "::1", "portValue": 7}})
    );
    let off = HdsSettings { admin_port: 0, ..Default::default() };
    assert_eq!(specifier(&dataplane(json!([])), &NodeFacts::default(), &off).cluster_health_checks, []);
}

#[test]
fn checks_escape_the_redirection() {
    let probe = json!({"tcp": {}, "timeout": "1.5s", "unhealthyThreshold": 3});
    let inbounds = json!([
        {"port": 80, "servicePort": 8080, "serviceProbe": probe},
        {"port": 81, "serviceAddress": "fd00::7", "serviceProbe": {}},
        {"port": 82, "serviceAddress": "127.0.0.1", "serviceProbe": {}},
        {"port": 83},
    ]);
    let found = specifier(&dataplane(inbounds), &NodeFacts::default(), &HdsSettings::default());
    let found = to_json(&found).unwrap()["clusterHealthChecks"].clone();
    let names: Vec<&str> = found.as_array().unwrap().iter().map(|c| c["clusterName"].as_str().unwrap()).collect();
    assert_eq!(names, ["system_envoy_admin", "localhost:8080", "localhost:81", "localhost:82"]);
    let source = |i: usize| found[i]["upstreamBindConfig"]["sourceAddress"]["address"].clone();
    assert_eq!([source(1), source(2), source(3)], [json!("127.0.0.6"), json!("::6"), Value::Null]);
    assert_eq!(found[1]["healthChecks"][0]["timeout"], "1.500s");
    assert_eq!(found[1]["healthChecks"][0]["unhealthyThreshold"], 3);
    assert_eq!(found[2]["healthChecks"][0]["unhealthyThreshold"], 1);
    let redirected_as_told = NodeFacts::from_metadata(&json!({
        "features": ["feature-transparent-proxy-in-dataplane-metadata"], "transparentProxy": {},
    }));
    let told =
        specifier(&dataplane(json!([{"port": 80, "serviceProbe": {}}])), &redirected_as_told, &HdsSettings::default());
    assert_eq!(told.cluster_health_checks[1].upstream_bind_config, None);
}

#[test]
fn reports_make_inbounds_ready_and_not_ready() {
    use HealthStatus::{Healthy, Timeout, Unhealthy, Unknown};
    let mut new = dataplane(json!([
        {"port": 80, "servicePort": 8080, "serviceProbe": {}}, {"port": 81}, {"port": 82, "state": "Ignored"},
    ]));
    new.await_probes();
    assert_eq!(ready(&new), [false, true, false]);
    // Nothing is heard of the application: it counts as well, as before Envoy has looked.
    let up = fold_report(&report(&[(ADMIN, Healthy)]), &new).unwrap();
    assert_eq!(ready(&up), [true, true, false]);
    assert_eq!(fold_report(&report(&[(ADMIN, Unknown), ("localhost:8080", Unknown)]), &up), None);
    let down = fold_report(&report(&[("localhost:8080", Timeout)]), &up).unwrap();
    assert_eq!(ready(&down), [false, true, false]);
    let inbounds = serde_json::to_value(&down).unwrap()["networking"]["inbound"].clone();
    assert_eq!((&inbounds[0]["state"], &inbounds[0]["health"]), (&json!("NotReady"), &json!({})));
    assert_eq!(inbounds[2], json!({"port": 82, "state": "Ignored"}));
    for admin in [ADMIN, ADMIN_BEFORE] {
        let all = fold_report(&report(&[(admin, Unhealthy), ("localhost:8080", Healthy)]), &up).unwrap();
        assert_eq!(ready(&all), [false, false, false]);
    }
    let shared = dataplane(json!([{"port": 80, "servicePort": 9}, {"port": 81, "servicePort": 9}]));
    assert_eq!(ready(&fold_report(&report(&[("localhost:9", Unhealthy)]), &shared).unwrap()), [false, false]);
}
