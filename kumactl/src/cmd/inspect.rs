//! `inspect`: what the mesh is doing, as the control plane computes or remembers it.

mod dataplane;
mod dataplanes;
mod policy;

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use serde_json::{Value, json};

use super::{Session, text};
use crate::{
    Streams, cli,
    client::{Api, Problem},
    output::{self, Format, cells, table},
};

/// Runs `inspect`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let Some((word, args)) = args.subcommand() else { return Err(anyhow!("say what to inspect")) };
    let format = Format::parse(text(args, "output"))?;
    let api = session.checked_api(streams).await?;
    let mesh = session.mesh(args);
    let done = match word {
        "dataplanes" => dataplanes::dataplanes(&api, mesh, args, format, streams).await,
        "dataplane" => dataplane::dataplane(&api, mesh, args, format, streams).await,
        "meshes" => meshes(&api, format, streams).await,
        "zones" => zones(&api, format, streams).await,
        word => {
            let kind = cli::kinds()
                .find(|(_, singular)| *singular == word)
                .map(|(kind, _)| kind)
                .ok_or_else(|| anyhow!("{word} cannot be inspected"))?;
            policy::affected(&api, mesh, kind, args, format, streams).await
        }
    };
    done.map_err(|error| {
        let unknown = error.downcast_ref::<Problem>().is_some_and(|p| p.status == 404 && p.title.is_empty());
        if unknown {
            error.context(format!("this control plane does not offer what `inspect {word}` asks for"))
        } else {
            error
        }
    })
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

/// 64-bit numbers come as text.
fn count(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str().and_then(|t| t.parse().ok())).unwrap_or(0)
}
