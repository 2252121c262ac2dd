//! Answers and refusals, and that every form of the document is a bootstrap of Envoy.

use envoy_api::envoy::config::bootstrap::v3::Bootstrap;
use kuma_core::{
    meta::{Labels, Meta},
    resource::NoStatus,
};

use super::*;
use crate::json::{from_json, from_yaml};

/// A mesh `default` with the Dataplane `web-1`.
struct One;

impl Stored for One {
    fn has_mesh(&self, name: &str) -> bool {
        name == "default"
    }
    fn dataplane(&self, _: &str, name: &str) -> Option<Resource<Dataplane>> {
        let spec = json!({"networking": {"address": "10.0.0.1", "inbound": [{"port": 80}]}});
        let labels = Labels::from([("kuma.io/workload".to_owned(), "web".to_owned())]);
        let meta = Meta::new("default", name, labels);
        (name == "web-1").then(|| Resource::new(meta, serde_json::from_value(spec).unwrap(), NoStatus::default()))
    }
}

fn certificate(ca: bool) -> &'static str {
    if ca { include_str!("testdata/ca.pem") } else { include_str!("testdata/leaf.pem") }
}

fn request(over: Value) -> BootstrapRequest {
    let mut body = json!({"mesh": "default", "name": "web-1", "dataplaneToken": "t", "workdir": "/w"});
    for (key, value) in over.as_object().unwrap() {
        body[key] = value.clone();
    }
    BootstrapRequest::parse(body.to_string().as_bytes()).unwrap()
}

fn ask(over: Value, settings: &BootstrapSettings) -> Result<BootstrapResponse, BootstrapRefusal> {
    let sans = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let door = Door { host: "127.0.0.1:5678", ipv4_only: false, chain_pem: certificate(true), sans: &sans };
    let response = answer(&request(over), &door, settings, &One)?;
    from_json::<Bootstrap>(response.envoy.clone()).unwrap();
    from_yaml::<Bootstrap>(&response.to_yaml()).unwrap();
    Ok(response)
}

fn refusal(over: Value) -> (u16, String) {
    let refusal = ask(over, &BootstrapSettings::default()).unwrap_err();
    (refusal.status(), refusal.body())
}

fn dataplane_with(networking: Value) -> String {
    json!({"type": "Dataplane", "mesh": "default", "name": "web-1", "networking": networking}).to_string()
}

#[test]
fn a_stored_dataplane_gets_its_bootstrap() {
    let response = ask(json!({}), &BootstrapSettings::default()).unwrap();
    let pipe = json!({"pipe": {"path": "/w/kuma-envoy-admin.sock", "mode": 384}});
    assert_eq!(response.envoy["admin"]["address"], pipe);
    assert_eq!(response.envoy["node"]["cluster"], "web");
    assert_eq!(
        response.envoy["hdsConfig"]["grpcServices"],
        response.envoy["dynamicResources"]["adsConfig"]["grpcServices"]
    );
    let envelope = response.to_json();
    assert_eq!(envelope["kumaSidecarConfiguration"]["networking"]["address"], "10.0.0.1");
    assert!(envelope["kumaSidecarConfiguration"]["metrics"]["aggregate"].is_null());
}

#[test]
fn texts_stay_texts_in_yaml() {
    let odd =
        json!({"dataplaneToken": "0x10", "systemCaPath": "yes", "dnsPort": 15053, "workdir": "1e3", "features": ["~"]});
    let response = ask(odd, &BootstrapSettings::default()).unwrap();
    let read: Value = serde_saphyr::from_str(&response.to_yaml()).unwrap();
    assert_eq!(read, response.envoy);
    for text in ["'0x10'", "'yes'", "'15053'", "'1e3'", "'~'"] {
        assert!(response.to_yaml().contains(text), "{text} is not quoted");
    }
}

#[test]
fn without_a_work_directory_the_admin_api_is_a_port() {
    let response = ask(json!({"workdir": null}), &BootstrapSettings::default()).unwrap();
    assert_eq!(response.envoy["admin"]["address"]["socketAddress"]["portValue"], 9901);
    assert_eq!(response.envoy["node"]["metadata"]["dataplane.admin.socketPath"], Value::Null);
    assert!(response.admin_socket_missed);
    let none = BootstrapSettings { admin_port: 0, ..Default::default() };
    let response = ask(json!({"workdir": ""}), &none).unwrap();
    assert!(response.envoy.get("admin").is_none() && !response.admin_socket_missed);
}

#[test]
fn everything_that_a_proxy_tells_is_in_the_metadata() {
    let sent = json!({
        "dataplaneResource": dataplane_with(json!({"address": "10.0.0.9", "inbound": [{"port": 80}], "admin": {"port": 7}})),
        "dynamicMetadata": {"HOST_IP": "10.1.2.3", "version.dependencies.x": "1.2"},
        "version": {"envoy": {"version": "1.40.0", "kumaDpCompatible": true}},
        "otelEnv": {"shared": {"signal": "shared", "effectiveAuthMode": "none"}},
        "dataplaneConfig": {"ipFamilyMode": "dualstack", "redirect": {"inbound": {"enabled": true, "port": 15006}}},
        "features": ["b", "a", "b"], "appProbeProxyDisabled": true, "readinessPort": 9902, "ipv6Enabled": true,
        "operatingSystem": "linux", "resources": {"maxHeapSizeBytes": 0},
    });
    let metadata = ask(sent.clone(), &BootstrapSettings::default()).unwrap().envoy["node"]["metadata"].clone();
    assert_eq!(metadata["dataplane.resource"], sent["dataplaneResource"]);
    assert_eq!(metadata["dataplane.admin.port"], "7");
    assert_eq!(metadata["dataplane.readinessReporter.port"], "9902");
    assert_eq!(metadata["dataplane.appProbeProxy.enabled"], "true");
    assert_eq!(metadata["dynamicMetadata"], json!({"HOST_IP": "10.1.2.3"}));
    assert_eq!(
        metadata["version"],
        json!({"kumaDp": {}, "envoy": {"version": "1.40.0", "kumaDpCompatible": true}, "dependencies": {"x": "1.2"}})
    );
    assert_eq!(metadata["transparentProxy"], sent["dataplaneConfig"]);
    assert_eq!(metadata["features"], json!(["a", "b"]));
    assert_eq!(
        metadata["otelEnvInventory"],
        json!({"pipeEnabled": false, "shared": sent["otelEnv"]["shared"], "traces": null, "logs": null, "metrics": null,
               "validationErrors": null})
    );
}

#[test]
fn tokens_in_files_are_read_by_the_other_client() {
    let settings = BootstrapSettings { reloadable_tokens: true, xds_host: "fd00::1".to_owned(), ..Default::default() };
    let envoy = ask(json!({"dataplaneTokenPath": "/t"}), &settings).unwrap().envoy;
    let google = &envoy["dynamicResources"]["adsConfig"]["grpcServices"][0]["googleGrpc"];
    assert_eq!(google["targetUri"], "[fd00::1]:5678");
    assert_eq!(google["callCredentials"][0]["fromPlugin"]["typedConfig"]["secretData"]["filename"], "/t");
    assert_eq!(envoy["staticResources"]["clusters"].as_array().unwrap().len(), 1);
    // Without a file it is the token itself.
    let envoy = ask(json!({}), &settings).unwrap().envoy;
    let service = &envoy["dynamicResources"]["adsConfig"]["grpcServices"][0];
    assert_eq!(service["initialMetadata"], json!([{"key": "authorization", "value": "t"}]));
}

#[test]
fn only_names_need_a_family() {
    let sans = ["cp.mesh".to_owned(), "*.wild.mesh".to_owned(), "127.0.0.1".to_owned()];
    let of = |host| {
        let door = Door { host, ipv4_only: true, chain_pem: certificate(true), sans: &sans };
        let envoy = answer(&request(json!({})), &door, &BootstrapSettings::default(), &One).unwrap().envoy;
        let ads = envoy["staticResources"]["clusters"][1].clone();
        (ads["type"].as_str().unwrap().to_owned(), ads["dnsLookupFamily"].as_str().map(str::to_owned))
    };
    assert_eq!(of("cp.mesh:5678"), ("STRICT_DNS".to_owned(), Some("V4_ONLY".to_owned())));
    assert_eq!(of("a.wild.mesh"), ("STRICT_DNS".to_owned(), Some("V4_ONLY".to_owned())));
    assert_eq!(of("127.0.0.1"), ("STATIC".to_owned(), None));
}

#[test]
fn hosts_lose_their_port() {
    for (header, host) in
        [("cp:5678", "cp"), ("cp", "cp"), ("[::1]:5678", "::1"), ("[::1]", "::1"), ("fd00::1", "fd00::1"), ("", "")]
    {
        assert_eq!(without_port(header), host, "{header}");
    }
}

#[test]
fn refusals_have_their_status_and_words() {
    assert_eq!(BootstrapRequest::parse(b"{").unwrap_err().status(), 400);
    assert_eq!(BootstrapRequest::parse(b"{").unwrap_err().body(), "");
    let (status, text) = refusal(json!({"dataplaneToken": ""}));
    assert_eq!(status, 422);
    assert_eq!(
        text,
        "Dataplane Token is required. Generate token using 'kumactl generate dataplane-token > /path/file' and provide it \
         via --dataplane-token-file=/path/file argument to Kuma DP"
    );
    assert_eq!(refusal(json!({"name": "other"})), (404, String::new()));
    assert_eq!(refusal(json!({"mesh": "other"})), (404, String::new()));
    let (status, text) = refusal(json!({"caCert": certificate(false)}));
    assert_eq!(status, 400);
    assert!(text.ends_with("'kuma-dp run --ca-cert-file=file' or via KUMA_CONTROL_PLANE_CA_CERT_FILE"), "{text}");
    assert_eq!(refusal(json!({"caCert": "x"})).0, 422);
    assert_eq!(refusal(json!({"proxyType": "ingress"})).0, 422);
    assert_eq!(refusal(json!({"dataplaneResource": "{"})).0, 422);
    assert_eq!(refusal(json!({"dataplaneResource": r#"{"type": "Mesh", "name": "m"}"#})).0, 422);
    assert_eq!(
        refusal(json!({"dataplaneResource": dataplane_with(json!({"inbound": [{"port": 80}]}))})),
        (422, "networking.address: address can't be empty".to_owned())
    );
    let elsewhere = dataplane_with(json!({"address": "10.0.0.1"})).replace("default", "zzz");
    assert_eq!(
        refusal(json!({"dataplaneResource": elsewhere})),
        (422, r#"mesh: mesh "zzz" does not exist"#.to_owned())
    );
    let outbound = json!({"port": 1, "backendRef": {"kind": "MeshService", "name": "b", "port": 80}});
    let declared = dataplane_with(json!({"address": "10.0.0.1", "outbound": [outbound]}));
    assert!(ask(json!({"dataplaneResource": declared}), &BootstrapSettings::default()).is_ok());
    assert_eq!(
        refusal(json!({"dataplaneResource": declared, "dataplaneConfig": {}})),
        (422, "outbound: should be empty since dataplane is in Transparent Proxying mode".to_owned())
    );
}

#[test]
fn the_host_has_to_be_in_the_certificate() {
    let sans = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let door = Door { host: "cp.mesh:5678", ipv4_only: false, chain_pem: certificate(true), sans: &sans };
    let refused = answer(&request(json!({})), &door, &BootstrapSettings::default(), &One).unwrap_err();
    let lines: Vec<String> = refused.body().lines().map(str::to_owned).collect();
    assert_eq!(refused.status(), 400);
    assert_eq!(
        lines[0],
        "A data plane proxy is trying to connect to the control plane using \"cp.mesh\" address, but the certificate in \
         the control plane has the following SANs [\"127.0.0.1\" \"localhost\"]. Either change the --cp-address in kuma-dp \
         to one of those or execute the following steps:"
    );
    assert_eq!(lines.len(), 4);
    assert!(lines[1].ends_with("--type=server --hostname=cp.mesh'"));
    // A configured host was checked when the control plane started.
    let settings = BootstrapSettings { xds_host: "cp.mesh".to_owned(), ..Default::default() };
    assert!(answer(&request(json!({})), &door, &settings, &One).is_ok());
}
