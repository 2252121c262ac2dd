//! `health-discovery`: what Envoy is asked to check for a Dataplane. The Mesh does not matter, so a case whose Mesh is
//! gone is like any other.

use kuma_core::{duration::GoDuration, json::from_rest, plan::NodeFacts, registry::Kind, resources::Dataplane};
use serde_json::Value;
use xds_gen::{
    hds::{HdsSettings, specifier},
    json::to_json,
};

use crate::{case::Case, compare, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    let found = found(case);
    let compared = |golden: Option<String>| {
        let expected = compare::yaml(&golden.ok_or("the check names no golden")?)?;
        compare::values(&found.clone()?, &expected)
    };
    case.checks().into_iter().map(|check| Outcome::new(check.name, compared(check.golden(case)))).collect()
}

fn found(case: &Case) -> Result<Value, String> {
    let mut document = compare::yaml(&case.input("dataplaneSpec").ok_or("no Dataplane")?)?;
    for (key, value) in [("type", "Dataplane"), ("mesh", "mesh-1"), ("name", "dp-1")] {
        document[key] = value.into();
    }
    let received = from_rest(Kind::Dataplane, &document).map_err(|e| e.to_string())?;
    let dataplane = received.resource.spec::<Dataplane>().ok_or("not a Dataplane")?;
    let node = NodeFacts::from_metadata(case.param("nodeMetadata"));
    to_json(&specifier(dataplane, &node, &settings(case)?)).map_err(|e| e.to_string())
}

fn settings(case: &Case) -> Result<HdsSettings, String> {
    let hds = case.param("hds");
    let checks = &hds["checkDefaults"];
    let time = |value: &Value| value.as_str().unwrap_or("0s").parse::<GoDuration>().map_err(|e| e.to_string());
    let number = |value: &Value| value.as_u64().unwrap_or_default() as u32;
    Ok(HdsSettings {
        report_interval: time(&hds["interval"])?,
        timeout: time(&checks["timeout"])?,
        interval: time(&checks["interval"])?,
        no_traffic_interval: time(&checks["noTrafficInterval"])?,
        healthy_threshold: number(&checks["healthyThreshold"]),
        unhealthy_threshold: number(&checks["unhealthyThreshold"]),
        admin_port: number(case.param("defaultAdminPort")),
    })
}
