//! `apply`: creates or changes the resources of a source, after all of them were checked.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::{
    document::{Part, split},
    json::to_rest,
    registry::Shape,
    resource::AnyResource,
};
use reqwest::Method;
use serde_json::Value;

use super::{
    Session, pairs, path,
    source::{self, Source},
    text,
};
use crate::{Streams, client::Api, document, output, template, version};

/// Runs `apply`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let vars = pairs(args, "var")?;
    let sources = source::read(text(args, "file"), streams).await?;
    if sources.iter().all(|source| source.text.trim().is_empty()) {
        return Err(anyhow!("no resource(s) passed to apply"));
    }
    let dry_run = args.get_flag("dry-run");
    let api = session.checked_api(streams).await;
    if let Err(error) = &api
        && dry_run
    {
        writeln!(streams.err, "{}", version::unknown(error))?;
    }
    // What is wrong with the resources is told even if there is nobody to send them to.
    let resources = read(&sources, &vars, streams)?;
    if dry_run {
        return print(&resources, streams);
    }
    let api = api?;
    for resource in &resources {
        write(&api, resource, streams).await?;
    }
    Ok(())
}

/// All resources of texts. What is wrong with any of them is printed, and then it is an error.
fn read(sources: &[Source], vars: &[(String, String)], streams: &mut Streams<'_>) -> Result<Vec<AnyResource>> {
    let values = template::variables(vars);
    let mut resources = Vec::new();
    let mut seen = BTreeSet::new();
    let mut failed = false;
    let parts = sources.iter().flat_map(|source| split(&source.text).into_iter().map(move |part| (source, part)));
    for (index, (source, part)) in parts.enumerate() {
        let place = match &source.file {
            Some(file) => format!("resource[{index}] in {file}"),
            None => format!("resource[{index}]"),
        };
        let filled = if vars.is_empty() { Ok(part.text.to_owned()) } else { template::render(part.text, &values) };
        let read = filled
            .map_err(|fault| format!("failed to parse resource: the template cannot be filled: {fault}"))
            .and_then(|text| {
                // Places are those of the file, as long as the template fills lines and makes none.
                document::read(&Part { text: &text, start: part.start }).map_err(|fault| fault.to_string())
            });
        match read {
            Ok(document) => {
                for warning in document.warnings {
                    writeln!(streams.err, "Warning: {place}: {warning}")?;
                }
                let key = document.resource.key();
                let (kind, name) = (key.kind, key.name.clone());
                if !seen.insert(key) {
                    writeln!(streams.err, "Warning: {place}: {kind} {name:?} is there twice; the last one counts")?;
                }
                resources.push(document.resource);
            }
            Err(fault) => {
                failed = true;
                writeln!(streams.err, "{place}: {fault}")?;
            }
        }
    }
    if failed { Err(anyhow!("failed to validate some resources")) } else { Ok(resources) }
}

fn print(resources: &[AnyResource], streams: &mut Streams<'_>) -> Result<()> {
    for (index, resource) in resources.iter().enumerate() {
        if index > 0 {
            writeln!(streams.out, "---")?;
        }
        let shown = to_rest(&resource.with_status_of(None));
        let flat = resource.kind().descriptor().shape == Shape::Flat;
        streams.out.write_all(output::resource_yaml(&shown, flat).as_bytes())?;
    }
    Ok(())
}

/// A resource as it is sent: without what the control plane computes.
fn body(resource: &AnyResource) -> Value {
    let mut body = to_rest(resource);
    if let Value::Object(fields) = &mut body {
        for computed in ["creationTime", "modificationTime", "kri"] {
            fields.shift_remove(computed);
        }
        if resource.kind().descriptor().shape == Shape::SpecStatus {
            for computed in ["snis", "status"] {
                fields.shift_remove(computed);
            }
        }
    }
    body
}

async fn write(api: &Api, resource: &AnyResource, streams: &mut Streams<'_>) -> Result<()> {
    let (kind, mesh, name) = (resource.kind(), &resource.meta.mesh, &resource.meta.name);
    let what = format!("resource type=\"{kind}\" mesh=\"{mesh}\" name=\"{name}\"");
    let failed = |problem: String| anyhow!("{what}: failed server side: {problem}");
    let url = path(kind, mesh, Some(name));
    let known = api.get(&url).await?;
    let created = known.status == 404;
    if !created && let Some(problem) = known.problem() {
        return Err(failed(problem.flat()));
    }
    let answer = api.call(Method::PUT, &url, Some(&body(resource))).await?;
    if let Some(problem) = answer.problem() {
        return Err(failed(problem.flat()));
    }
    // An answer without a body has no warnings.
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    for warning in said["warnings"].as_array().into_iter().flatten() {
        writeln!(streams.err, "Warning: {}", warning.as_str().unwrap_or_default())?;
    }
    writeln!(streams.out, "{what} {}", if created { "Created" } else { "Updated" })?;
    Ok(())
}
