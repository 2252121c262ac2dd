use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::*;
use crate::registry::Kind;

fn read(kind: Kind, value: Value) -> crate::resource::AnyResource {
    from_rest(kind, &value).unwrap().resource
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn flat_documents_keep_the_spec_beside_the_head() {
    let dp = read(
        Kind::Dataplane,
        json!({"type": "Dataplane", "name": "a", "mesh": "m", "labels": {"kuma.io/zone": "z"},
               "networking": {"address": "10.0.0.1", "inbound": [{"port": "80", "service_port": 81, "tags": {"a": "b"}}]}}),
    );
    let out = to_rest(&dp);
    assert_eq!(
        out,
        json!({"type": "Dataplane", "mesh": "m", "name": "a", "creationTime": "0001-01-01T00:00:00Z",
               "modificationTime": "0001-01-01T00:00:00Z", "labels": {"kuma.io/zone": "z"}, "kri": "kri_dp_m_z__a_",
               "networking": {"address": "10.0.0.1", "inbound": [{"port": 80, "servicePort": 81}]}})
    );
    assert_eq!(keys(&out), ["type", "mesh", "name", "creationTime", "modificationTime", "labels", "kri", "networking"]);
}

#[test]
fn an_empty_flat_spec_prints_the_head_only() {
    let mesh = read(Kind::Mesh, json!({"type": "Mesh", "name": "m", "mtls": {"enabledBackend": "x"}}));
    assert_eq!(keys(&to_rest(&mesh)), ["type", "name", "creationTime", "modificationTime", "kri"]);
}

#[test]
fn destinations_show_their_server_names() {
    let service = read(
        Kind::MeshService,
        json!({"type": "MeshService", "name": "web",
               "spec": {"ports": [{"port": 90}, {"port": 80, "name": "http", "targetPort": "x"}]}}),
    );
    let out = to_rest(&service);
    assert_eq!(keys(&out)[6..], ["snis", "spec", "status"]);
    assert_eq!(
        out["snis"],
        json!([{"port": 80, "sni": "sni.msvc.default.web.http"}, {"port": 90, "sni": "sni.msvc.default.web.90"}])
    );
    assert_eq!(keys(&out["spec"]), ["state", "selector", "ports"]);
    assert_eq!(out["status"], json!({"tls": {}, "dataplaneProxies": {}}));
}

#[test]
fn times_are_in_the_zone_of_the_reader() {
    let time = "2026-01-05T10:00:00.25Z".parse().unwrap();
    assert_eq!(time_text(time, &TimeZone::UTC), "2026-01-05T10:00:00.25Z");
    let tokyo = TimeZone::fixed(jiff::tz::offset(9));
    assert_eq!(time_text(time, &tokyo), "2026-01-05T19:00:00.25+09:00");
}

#[test]
fn schema_faults_come_sorted_and_alone() {
    let fault = from_rest(Kind::MeshTimeout, &json!({"type": "MeshRetry", "labels": {"a": 1}, "creationTime": "foo"}));
    let Err(DecodeFault::Schema(violations)) = fault else { panic!("{fault:?}") };
    let texts: Vec<&str> = violations.0.iter().map(|v| v.message.as_str()).collect();
    assert!(violations.0.iter().all(|v| v.field.is_empty()));
    assert_eq!(
        texts,
        [
            ".name in body is required",
            ".spec in body is required",
            "creationTime in body must be of type date-time: \"foo\"",
            "labels.a in body must be of type string: \"number\"",
            "type in body should be one of [MeshTimeout]",
        ]
    );
    let fault = from_rest(Kind::MeshTimeout, &json!({"type": "MeshTimeout", "name": "a", "spec": null}));
    assert_eq!(fault.unwrap_err().to_string(), ": spec in body must be of type object: \"null\"");
}

#[test]
fn decoding_faults_name_the_field() {
    let fault = from_rest(Kind::Dataplane, &json!({"networking": {"gateway": {"type": "BUILTIN"}}})).unwrap_err();
    assert_eq!(
        fault.to_string(),
        r#"invalid Dataplane object: "networking.gateway.type: invalid value for enum type: \"BUILTIN\"""#
    );
    let fault = from_text(Kind::Mesh, b"null").unwrap_err();
    assert_eq!(fault.to_string(), r#"invalid Mesh object: "expected a JSON object, found null""#);
    assert!(from_text(Kind::Mesh, b"{").is_err());
    assert!(from_rest(Kind::Mesh, &json!({"name": 1})).is_err());
    assert!(from_rest(Kind::Mesh, &json!({"name": "a", "creationTime": "x"})).is_err());
}

#[test]
fn kubernetes_form() {
    let secret = read(Kind::Secret, json!({"type": "Secret", "name": "s", "mesh": "m", "data": "dGVzdA=="}));
    assert_eq!(
        to_k8s(&secret, "kuma-system"),
        json!({"kind": "Secret", "apiVersion": "v1", "type": "system.kuma.io/secret", "data": {"value": "dGVzdA=="},
               "metadata": {"name": "s", "namespace": "kuma-system", "creationTimestamp": "0001-01-01T00:00:00Z",
                            "labels": {"kuma.io/mesh": "m"}}})
    );
    let mesh = read(Kind::Mesh, json!({"type": "Mesh", "name": "m"}));
    assert_eq!(keys(&to_k8s(&mesh, "x")), ["kind", "apiVersion", "metadata", "spec"]);
    assert_eq!(keys(&to_k8s(&mesh, "x")["metadata"]), ["name", "creationTimestamp"]);
}

#[test]
fn overviews_join_the_insight() {
    let dp = read(Kind::Dataplane, json!({"name": "a", "mesh": "m", "networking": {"address": "10.0.0.1"}}));
    let insight = read(Kind::DataplaneInsight, json!({"name": "a", "mesh": "m", "subscriptions": [{"id": "1"}]}));
    let utc = TimeZone::UTC;
    let out = overview(&dp, Some(&insight), Gap::Omit, &utc);
    assert_eq!(out["type"], "DataplaneOverview");
    assert_eq!(out["kri"], "kri_dp_m___a_");
    assert_eq!(out["dataplane"]["networking"]["address"], "10.0.0.1");
    assert_eq!(out["dataplaneInsight"]["subscriptions"][0]["id"], "1");
    assert_eq!(overview(&dp, None, Gap::Omit, &utc).get("dataplaneInsight"), None);
    assert_eq!(overview(&dp, None, Gap::Empty, &utc)["dataplaneInsight"], json!({}));
}
