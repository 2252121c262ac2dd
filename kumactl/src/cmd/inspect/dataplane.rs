//! `inspect dataplane`: one proxy, one aspect of it.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::registry::Kind;
use serde_json::Value;

use crate::{
    Streams,
    client::Api,
    cmd::{escape, path, text},
    output::{self, Format, table},
};

/// Runs `inspect dataplane`.
pub(super) async fn dataplane(
    api: &Api,
    mesh: &str,
    args: &ArgMatches,
    format: Format,
    streams: &mut Streams<'_>,
) -> Result<()> {
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
