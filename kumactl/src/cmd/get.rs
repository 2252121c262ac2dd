//! `get`: stored resources, a list or one.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::registry::{Kind, Scope, Shape};
use serde_json::{Value, json};

use super::{Session, escape, path, text};
use crate::{
    Streams, cli,
    client::{Problem, next_offset},
    output::{self, Format, cells, table},
};

/// Runs `get`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let Some((word, args)) = args.subcommand() else { return Err(anyhow!("say what to get")) };
    let api = session.checked_api(streams).await?;
    let mesh = session.mesh(args);
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
    let url = path(kind, mesh, None);
    let size = args.get_one::<i64>("size").copied().unwrap_or_default();
    let offset = text(args, "offset");
    // Somebody who asks for a page gets that page, everybody else gets everything.
    let list = if size == 0 && offset.is_empty() {
        api.list(&url, "").await
    } else {
        let mut query = Vec::new();
        if size != 0 {
            query.push(format!("size={size}"));
        }
        if !offset.is_empty() {
            query.push(format!("offset={}", escape(offset)));
        }
        async { api.get(&format!("{url}?{}", query.join("&"))).await?.json() }.await
    };
    let list = list.map_err(|error| {
        // A problem document speaks for itself.
        let bare = error.downcast_ref::<Problem>().is_none_or(|p| p.title.is_empty());
        if bare { error.context(format!("failed to list {kind}")) } else { error }
    })?;
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
    let whole = json!({"total": list["total"], "items": items, "next": list["next"]});
    let mut text = match format {
        Format::Json => output::json(&whole),
        Format::Yaml => output::yaml::to_yaml(&whole),
        Format::Table => rows(kind, &items, streams),
    };
    if format == Format::Table
        && let Some(offset) = next_offset(list)
    {
        text.push_str(&format!("\nRerun command with --offset={offset} argument to retrieve more resources\n"));
    }
    streams.out.write_all(text.as_bytes())?;
    Ok(())
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
