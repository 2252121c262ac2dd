//! `inspect dataplanes`: one row per proxy.

use std::fmt::Write as _;

use anyhow::Result;
use clap::ArgMatches;
use kuma_core::registry::Kind;
use serde_json::{Value, json};

use super::{count, items, print_list};
use crate::{
    Streams,
    client::Api,
    cmd::{escape, pairs, path},
    output::{Format, cells, table},
};

/// Runs `inspect dataplanes`.
pub(super) async fn dataplanes(
    api: &Api,
    mesh: &str,
    args: &ArgMatches,
    format: Format,
    streams: &mut Streams<'_>,
) -> Result<()> {
    let mut query = Vec::new();
    for name in ["gateway", "ingress"] {
        if args.get_flag(name) {
            query.push(format!("{name}=true"));
        }
    }
    for (key, value) in pairs(args, "tag")? {
        query.push(format!("tag={}", escape(&format!("{key}:{value}"))));
    }
    let url = format!("{}/_overview", path(Kind::Dataplane, mesh, None));
    let list = api.list(&url, &query.join("&")).await?;
    if format != Format::Table {
        return print_list(&list, format, streams);
    }
    const HEADER: [&str; 17] = [
        "MESH",
        "NAME",
        "TAGS",
        "STATUS",
        "LAST CONNECTED AGO",
        "LAST UPDATED AGO",
        "TOTAL UPDATES",
        "TOTAL ERRORS",
        "CERT REGENERATED AGO",
        "CERT EXPIRATION",
        "CERT REGENERATIONS",
        "CERT BACKEND",
        "SUPPORTED CERT BACKENDS",
        "KUMA-DP VERSION",
        "ENVOY VERSION",
        "DEPENDENCIES VERSIONS",
        "NOTES",
    ];
    let rows: Vec<Vec<String>> = items(&list).iter().map(|item| overview_row(item, streams)).collect();
    streams.out.write_all(table::table(&HEADER, &rows).as_bytes())?;
    let mut refused = String::new();
    for item in items(&list) {
        rejections(&item, &mut refused);
    }
    if !refused.is_empty() {
        write!(streams.out, "\nRefused by Envoy (the last good configuration is kept):\n{refused}")?;
    }
    Ok(())
}

fn overview_row(item: &Value, streams: &Streams<'_>) -> Vec<String> {
    let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let insight = &item["dataplaneInsight"];
    let subscriptions = insight["subscriptions"].as_array().cloned().unwrap_or_default();
    let last = subscriptions.last().cloned().unwrap_or_default();
    let sum = |key: &str| -> u64 { subscriptions.iter().map(|s| count(&s["status"]["total"][key])).sum() };
    let (status, notes) = status(item);
    let mtls = &insight["mTLS"];
    let (issued, supported) = if mtls.is_object() {
        let supported: Vec<String> = mtls["supportedBackends"].as_array().into_iter().flatten().map(field).collect();
        (field(&mtls["issuedBackend"]), supported.join(","))
    } else {
        ("-".to_owned(), String::new())
    };
    let dependencies: Vec<String> = last["version"]["dependencies"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, version)| format!("{name}: {}", field(version)))
        .collect();
    vec![
        field(&item["mesh"]),
        field(&item["name"]),
        cells::tags(&item["labels"], &item["dataplane"]["networking"]["gateway"]["tags"]),
        status,
        cells::ago(streams.now, &last["connectTime"]),
        cells::ago(streams.now, &last["status"]["lastUpdateTime"]),
        sum("responsesSent").to_string(),
        sum("responsesRejected").to_string(),
        cells::ago(streams.now, &mtls["lastCertificateRegeneration"]),
        cells::date(&mtls["certificateExpirationTime"], &streams.zone),
        count(&mtls["certificateRegenerations"]).to_string(),
        issued,
        supported,
        field(&last["version"]["kumaDp"]["version"]),
        field(&last["version"]["envoy"]["version"]),
        if dependencies.is_empty() { "-".to_owned() } else { dependencies.join(", ") },
        notes.join(";"),
    ]
}

/// Status of a proxy, and what is not ready about it.
fn status(item: &Value) -> (String, Vec<String>) {
    let networking = &item["dataplane"]["networking"];
    let online = item["dataplaneInsight"]["subscriptions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|s| s["connectTime"].is_string() && !s["disconnectTime"].is_string());
    if networking["gateway"].is_object() {
        return (if online { "Online" } else { "Offline" }.to_owned(), Vec::new());
    }
    let mut notes = Vec::new();
    let mut ready = 0;
    for inbound in networking["inbound"].as_array().into_iter().flatten() {
        let unhealthy = inbound["health"].is_object() && inbound["health"]["ready"] != json!(true);
        if unhealthy || inbound["state"] == json!("NotReady") {
            notes.push(format!("inbound[port={}] is not ready", inbound["port"]));
        } else {
            ready += 1;
        }
    }
    for listener in networking["listeners"].as_array().into_iter().flatten() {
        if listener["state"] == json!("NotReady") {
            let kind = listener["type"].as_str().unwrap_or_default();
            notes.push(format!("listener[port={},type={kind}] is not ready", listener["port"]));
        } else {
            ready += 1;
        }
    }
    let status = if !online || ready == 0 {
        "Offline"
    } else if notes.is_empty() {
        "Online"
    } else {
        "Partially degraded"
    };
    (status.to_owned(), notes)
}

/// What Envoy refuses on the newest stream of a proxy.
fn rejections(item: &Value, out: &mut String) {
    let name = item["name"].as_str().unwrap_or_default();
    let last = item["dataplaneInsight"]["subscriptions"].as_array().and_then(|s| s.last());
    for rejection in last.and_then(|s| s["status"]["rejections"].as_array()).into_iter().flatten() {
        let field = |key: &str| rejection[key].as_str().unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {name}: {} {}: {}", field("type"), field("name"), field("reason"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(networking: Value, live: bool) -> Value {
        let mut subscription = json!({"connectTime": "2026-01-01T00:00:00Z"});
        if !live {
            subscription["disconnectTime"] = "2026-01-01T00:01:00Z".into();
        }
        json!({
            "name": "web-1",
            "dataplane": {"networking": networking},
            "dataplaneInsight": {"subscriptions": [subscription]},
        })
    }

    fn shown(networking: Value, live: bool) -> (String, String) {
        let (status, notes) = status(&item(networking, live));
        (status, notes.join(";"))
    }

    #[test]
    fn a_proxy_is_as_ready_as_its_inbounds_and_listeners() {
        let ready = json!({"port": 1});
        let waiting = json!({"port": 2, "state": "NotReady"});
        let ill = json!({"port": 3, "health": {"ready": false}});
        let ignored = json!({"port": 4, "state": "Ignored"});
        let listener = json!({"port": 5, "type": "ZoneIngress", "state": "NotReady"});
        for (networking, live, status, notes) in [
            (json!({"inbound": [ready]}), true, "Online", ""),
            (json!({"inbound": [ready]}), false, "Offline", ""),
            (json!({"inbound": [ignored]}), true, "Online", ""),
            (json!({"inbound": [ready, waiting]}), true, "Partially degraded", "inbound[port=2] is not ready"),
            (json!({"inbound": [ill]}), true, "Offline", "inbound[port=3] is not ready"),
            (
                json!({"inbound": [ready], "listeners": [listener]}),
                true,
                "Partially degraded",
                "listener[port=5,type=ZoneIngress] is not ready",
            ),
            (json!({}), true, "Offline", ""),
            (json!({"gateway": {}, "inbound": [waiting]}), true, "Online", ""),
            (json!({"gateway": {}}), false, "Offline", ""),
        ] {
            assert_eq!(shown(networking.clone(), live), (status.to_owned(), notes.to_owned()), "{networking}");
        }
    }
}
