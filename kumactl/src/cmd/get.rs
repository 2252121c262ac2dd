//! `get`: stored resources, a list or one.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::registry::{Kind, Scope, Shape};
use serde_json::{Value, json};

use super::{Session, escape, path, text};
use crate::{
    Streams, cli,
    output::{self, Format, cells, table},
};

/// Runs `get`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let Some((word, args)) = args.subcommand() else { return Err(anyhow!("say what to get")) };
    let api = session.checked_api(streams).await?;
    let mesh = text(args, "mesh");
    let one = cli::kinds().find(|(_, singular)| *singular == word).map(|(kind, _)| kind);
    if let Some(kind) = one {
        let name = text(args, "name");
        let answer = api.get(&path(kind, mesh, Some(name))).await?;
        if answer.status == 404 {
            return Err(match kind.descriptor().scope {
                Scope::Global => anyhow!("No resources found"),
                Scope::Mesh => anyhow!("No resources found in {mesh} mesh"),
            });
        }
        let resource = answer.json()?;
        return print_one(kind, &resource, Format::parse(text(args, "output"))?, streams);
    }
    let kind = cli::kinds()
        .map(|(kind, _)| kind)
        .find(|kind| cli::plural(*kind) == word)
        .ok_or_else(|| anyhow!("{word} is not a kind of resource"))?;
    let mut query = Vec::new();
    let size = args.get_one::<i64>("size").copied().unwrap_or_default();
    if size != 0 {
        query.push(format!("size={size}"));
    }
    let offset = text(args, "offset");
    if !offset.is_empty() {
        query.push(format!("offset={}", escape(offset)));
    }
    let mut url = path(kind, mesh, None);
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    let list = api.get(&url).await?.json()?;
    print_list(kind, &list, Format::parse(text(args, "output"))?, streams)
}

fn print_one(kind: Kind, resource: &Value, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    let text = match format {
        Format::Json => output::json(resource),
        Format::Yaml => output::resource_yaml(resource, kind.descriptor().shape == Shape::Flat),
        Format::Table => rows(kind, std::slice::from_ref(resource), streams),
    };
    streams.out.write_all(text.as_bytes())?;
    Ok(())
}

fn print_list(kind: Kind, list: &Value, format: Format, streams: &mut Streams<'_>) -> Result<()> {
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let whole = json!({"total": list["total"], "items": items, "next": Value::Null});
    let mut text = match format {
        Format::Json => output::json(&whole),
        Format::Yaml => output::yaml::to_yaml(&whole),
        Format::Table => rows(kind, &items, streams),
    };
    if format == Format::Table
        && let Some(offset) = list["next"].as_str().and_then(next_offset)
    {
        text.push_str(&format!("\nRerun command with --offset={offset} argument to retrieve more resources\n"));
    }
    streams.out.write_all(text.as_bytes())?;
    Ok(())
}

/// The `offset` parameter of the URL of the next page.
fn next_offset(next: &str) -> Option<String> {
    let (_, query) = next.split_once('?')?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "offset").map(|(_, value)| value.into_owned())
}

fn rows(kind: Kind, items: &[Value], streams: &Streams<'_>) -> String {
    let field = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let row = |item: &Value| {
        let mut row = Vec::new();
        if kind.descriptor().mesh_scoped() {
            row.push(field(item, "mesh"));
        }
        row.push(field(item, "name"));
        if kind == Kind::Dataplane {
            row.push(cells::tags(&item["labels"], &item["networking"]["gateway"]["tags"]));
            row.push(field(&item["networking"], "address"));
        }
        row.push(cells::resource_age(streams.now, item));
        row
    };
    let header: &[&str] = match kind {
        Kind::Dataplane => &["MESH", "NAME", "TAGS", "ADDRESS", "AGE"],
        kind if kind.descriptor().mesh_scoped() => &["MESH", "NAME", "AGE"],
        _ => &["NAME", "AGE"],
    };
    table::table(header, &items.iter().map(row).collect::<Vec<_>>())
}
