//! `inspect`: what the mesh is doing, as the control plane computes or remembers it.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::registry::Kind;
use serde_json::{Value, json};

use super::{Session, escape, pairs, path, text};
use crate::{
    Streams, cli,
    client::Api,
    output::{self, Format, cells, table},
};

/// Runs `inspect`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let Some((word, args)) = args.subcommand() else { return Err(anyhow!("say what to inspect")) };
    let format = Format::parse(text(args, "output"))?;
    let api = session.checked_api(streams).await?;
    let mesh = session.mesh(args);
    match word {
        "dataplanes" => dataplanes(&api, mesh, args, format, streams).await,
        "dataplane" => dataplane(&api, mesh, args, format, streams).await,
        "meshes" => meshes(&api, format, streams).await,
        "zones" => zones(&api, format, streams).await,
        policy => {
            let kind = cli::kinds()
                .find(|(_, singular)| *singular == policy)
                .map(|(kind, _)| kind)
                .ok_or_else(|| anyhow!("{policy} cannot be inspected"))?;
            affected(&api, mesh, kind, args, format, streams).await
        }
    }
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// A list as the published tool prints it: without the URL of a next page.
fn print_list(list: &Value, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    let whole = json!({"total": list["total"], "items": list["items"], "next": Value::Null});
    let text = if format == Format::Json { output::json(&whole) } else { output::yaml::to_yaml(&whole) };
    streams.out.write_all(text.as_bytes())?;
    Ok(())
}

async fn dataplanes(api: &Api, mesh: &str, args: &ArgMatches, format: Format, streams: &mut Streams<'_>) -> Result<()> {
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

/// 64-bit numbers come as text.
fn count(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str().and_then(|t| t.parse().ok())).unwrap_or(0)
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

async fn dataplane(api: &Api, mesh: &str, args: &ArgMatches, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    let kind = text(args, "type");
    for (flag, set, wanted) in [
        ("include-eds", args.get_flag("include-eds"), "config-dump"),
        ("shadow", args.get_flag("shadow"), "config"),
        ("include", args.get_many::<String>("include").is_some(), "config"),
    ] {
        if set && kind != wanted {
            return Err(anyhow!("flag '--{flag}' can be used only when '--type={wanted}'"));
        }
    }
    let base = path(Kind::Dataplane, mesh, Some(text(args, "name")));
    let url = match kind {
        "policies" => return policies(api, &base, format, streams).await,
        "config-dump" => format!("{base}/xds?include_eds={}", args.get_flag("include-eds")),
        "stats" => format!("{base}/stats"),
        "clusters" => format!("{base}/clusters"),
        "config" => {
            let include: Vec<String> = args.get_many::<String>("include").into_iter().flatten().cloned().collect();
            format!("{base}/_config?shadow={}&include={}", args.get_flag("shadow"), escape(&include.join(",")))
        }
        _ => return Err(anyhow!("invalid inspection type")),
    };
    let body = api.get(&url).await?.text()?;
    write!(streams.out, "{body}")?;
    Ok(())
}

async fn policies(api: &Api, base: &str, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    let answer = api.get(&format!("{base}/_policies")).await?.json()?;
    let text = match format {
        Format::Json => output::json(&answer),
        Format::Yaml => output::yaml::to_yaml(&answer),
        Format::Table => {
            let row = |policy: &Value| {
                let origins: Vec<&str> =
                    policy["origins"].as_array().into_iter().flatten().filter_map(|o| o["kri"].as_str()).collect();
                vec![policy["kind"].as_str().unwrap_or_default().to_owned(), origins.join(",")]
            };
            let rows: Vec<Vec<String>> = answer["policies"].as_array().into_iter().flatten().map(row).collect();
            table::table(&["Kind", "Origins"], &rows)
        }
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(())
}

async fn meshes(api: &Api, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    let list = api.list("/mesh-insights", "").await?;
    if format != Format::Table {
        return print_list(&list, format, streams);
    }
    let row = |item: &Value| {
        let proxies = &item["dataplanes"];
        vec![
            item["name"].as_str().unwrap_or_default().to_owned(),
            format!("{}/{}", count(&proxies["online"]), count(&proxies["total"])),
        ]
    };
    let rows: Vec<Vec<String>> = items(&list).iter().map(row).collect();
    streams.out.write_all(table::table(&["MESH", "DATAPLANES"], &rows).as_bytes())?;
    Ok(())
}

async fn zones(api: &Api, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    const HEADER: [&str; 8] = [
        "NAME",
        "STATUS",
        "LAST CONNECTED AGO",
        "LAST UPDATED AGO",
        "TOTAL UPDATES",
        "TOTAL ERRORS",
        "ZONE-CP VERSION",
        "BACKEND",
    ];
    let list = api.list("/zones/_overview", "").await?;
    if format != Format::Table {
        return print_list(&list, format, streams);
    }
    let row = |item: &Value| {
        let subscriptions = item["zoneInsight"]["subscriptions"].as_array().cloned().unwrap_or_default();
        let last = subscriptions.last().cloned().unwrap_or_default();
        let live = subscriptions.iter().any(|s| s["connectTime"].is_string() && !s["disconnectTime"].is_string());
        let enabled = item["zone"]["enabled"] != json!(false);
        let sum = |key: &str| subscriptions.iter().map(|s| count(&s["status"]["total"][key])).sum::<u64>();
        // A configuration that does not parse has no backend to show.
        let config: Value =
            last["config"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        vec![
            item["name"].as_str().unwrap_or_default().to_owned(),
            if live && enabled { "Online" } else { "Offline" }.to_owned(),
            cells::ago(streams.now, &last["connectTime"]),
            cells::ago(streams.now, &last["status"]["lastUpdateTime"]),
            sum("responsesSent").to_string(),
            sum("responsesRejected").to_string(),
            last["version"]["kumaCp"]["version"].as_str().unwrap_or_default().to_owned(),
            config["store"]["type"].as_str().unwrap_or_default().to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = items(&list).iter().map(row).collect();
    streams.out.write_all(table::table(&HEADER, &rows).as_bytes())?;
    Ok(())
}

async fn affected(
    api: &Api,
    mesh: &str,
    kind: Kind,
    args: &ArgMatches,
    format: Format,
    streams: &mut Streams<'_>,
) -> Result<()> {
    let base = path(kind, mesh, Some(text(args, "name")));
    if args.get_flag("new-api") {
        let answer = api.list(&format!("{base}/_resources/dataplanes"), "").await?;
        let text = match format {
            Format::Json => output::json(&answer),
            Format::Yaml => output::yaml::to_yaml(&answer),
            Format::Table => {
                let field = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
                let row = |item: &Value| vec![field(item, "type"), field(item, "mesh"), field(item, "name")];
                let rows: Vec<Vec<String>> = items(&answer).iter().map(row).collect();
                format!("{}\nTotal: {}\n", table::table(&["Type", "Mesh", "Name"], &rows), count(&answer["total"]))
            }
        };
        streams.out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let answer = api.get(&format!("{base}/dataplanes")).await?.json()?;
    let mut out = String::from("Affected data plane proxies:\n\n");
    for (i, item) in items(&answer).iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str("  ");
        out.push_str(item["dataplane"]["name"].as_str().unwrap_or_default());
        let attachments = item["attachments"].as_array().cloned().unwrap_or_default();
        let plain = |a: &Value| a["type"] == json!("dataplane");
        if attachments.is_empty() || (attachments.len() == 1 && attachments.iter().all(plain)) {
            out.push('\n');
            continue;
        }
        out.push_str(":\n");
        for attachment in &attachments {
            let field = |key: &str| attachment[key].as_str().unwrap_or_default();
            let line = match field("type") {
                "service" => format!("service {}", field("service")),
                "dataplane" => "dataplane".to_owned(),
                kind => format!("{kind} {}({})", field("name"), field("service")),
            };
            out.push_str(&format!("    {line}\n"));
        }
    }
    streams.out.write_all(out.as_bytes())?;
    Ok(())
}
