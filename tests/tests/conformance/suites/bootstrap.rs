//! `bootstrap`: the Envoy configuration that a proxy gets for its request. Both areas go through the request and the
//! answer in their wire forms.

use kuma_core::{
    duration::GoDuration,
    meta::{Labels, Meta},
    resource::{NoStatus, Resource},
    resources::Dataplane,
};
use serde_json::{Value, json};
use xds_gen::bootstrap::{BootstrapRequest, BootstrapSettings, Door, Stored, answer};

use crate::{case::Case, compare, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    let bootstrap = bootstrap(case);
    let compared = |golden: Option<String>| {
        let mut expected = compare::yaml(&golden.ok_or("the check names no golden")?)?;
        let mut found = bootstrap.clone()?;
        sort_features(&mut expected);
        sort_features(&mut found);
        compare::values(&found, &expected)
    };
    case.checks().into_iter().map(|check| Outcome::new(check.name, compared(check.golden(case)))).collect()
}

fn bootstrap(case: &Case) -> Result<Value, String> {
    let body = case.param("request").to_string();
    let request = BootstrapRequest::parse(body.as_bytes()).map_err(|e| e.to_string())?;
    let spec = serde_json::from_value(case.param("dataplane").clone()).map_err(|e| e.to_string())?;
    let workload = Labels::from([("kuma.io/workload".to_owned(), "backend".to_owned())]);
    let meta = Meta::new(request.mesh.as_str(), request.name.as_str(), workload);
    let stored = One(Resource::new(meta, spec, NoStatus::default()));
    let chain = certificate(case)?;
    let door = Door { host: "localhost:5678", ipv4_only: false, chain_pem: &chain, sans: &["localhost".to_owned()] };
    let response = answer(&request, &door, &settings(case)?, &stored).map_err(|e| e.to_string())?;
    compare::yaml(&response.to_yaml())
}

fn certificate(case: &Case) -> Result<String, String> {
    let suite = case.dir.ancestors().find(|dir| dir.ends_with("bootstrap")).ok_or("the case is outside its suite")?;
    std::fs::read_to_string(suite.join("common/server-cert.pem")).map_err(|e| e.to_string())
}

/// The settings of the case. The suite's default has no admin port and no socket.
fn settings(case: &Case) -> Result<BootstrapSettings, String> {
    let params = &case.param("serverConfig")["params"];
    let mut base = json!({
        "adminAddress": "127.0.0.1", "adminAccessLogPath": "/dev/null", "xdsHost": "", "xdsPort": 5678,
        "xdsConnectTimeout": "1s", "xdsGrpcMaxReceiveMessageBytes": 4_194_304, "adminPort": 0,
    });
    if case.param("serverConfigIsComplete") == true {
        base = json!({});
    }
    for (key, value) in params.as_object().into_iter().flatten() {
        base[key] = value.clone();
    }
    let text = |key: &str| base[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| base[key].as_u64().unwrap_or_default() as u32;
    let connect = base["xdsConnectTimeout"].as_str().unwrap_or("0s");
    let flag = |key: &str| case.param(key).as_bool().unwrap_or_default();
    Ok(BootstrapSettings {
        admin_address: text("adminAddress"),
        admin_port: number("adminPort"),
        admin_unix_socket: base["envoyAdminUnixSocket"].as_bool().unwrap_or_default(),
        admin_access_log_path: text("adminAccessLogPath"),
        xds_host: text("xdsHost"),
        xds_port: number("xdsPort"),
        xds_connect_timeout: connect.parse::<GoDuration>().map_err(|e| e.to_string())?,
        xds_max_receive_message_bytes: number("xdsGrpcMaxReceiveMessageBytes"),
        reloadable_tokens: flag("useTokenPath"),
        token_required: flag("authForDataplane"),
        hds: flag("hdsEnabled"),
    })
}

fn sort_features(bootstrap: &mut Value) {
    if let Some(features) = bootstrap["node"]["metadata"]["features"].as_array_mut() {
        features.sort_by_key(ToString::to_string);
    }
}

/// One mesh with one Dataplane.
struct One(Resource<Dataplane>);

impl Stored for One {
    fn has_mesh(&self, name: &str) -> bool {
        *self.0.meta.mesh == *name
    }
    fn dataplane(&self, mesh: &str, name: &str) -> Option<Resource<Dataplane>> {
        (*self.0.meta.mesh == *mesh && *self.0.meta.name == *name).then(|| self.0.clone())
    }
}
