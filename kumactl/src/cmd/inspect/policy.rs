//! `inspect <policy>`: the proxies that one policy affects.

use anyhow::Result;
use clap::ArgMatches;
use kuma_core::registry::Kind;
use serde_json::{Value, json};

use super::{count, items};
use crate::{
    Streams,
    client::Api,
    cmd::{path, text},
    output::{self, Format, table},
};

/// Runs `inspect <policy>`.
pub(super) async fn affected(
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
