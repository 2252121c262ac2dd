//! `rollback`: makes a resource again what it was, as a new revision.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::registry::{Kind, Role};
use reqwest::Method;
use serde_json::Value;

use super::{
    Session,
    history::{History, unshown},
    path, text,
};
use crate::{Streams, cli, output::diff};

/// Runs `rollback`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let (word, name, mesh) = (text(args, "type"), text(args, "name"), session.mesh(args));
    let kind = cli::kind(word)?;
    if kind.descriptor().read_only() {
        return Err(anyhow!("TYPE: {word} is readOnly, can't use it for write action"));
    }
    if kind.descriptor().role == Role::Secret {
        return Err(anyhow!(
            "a {kind} cannot be rolled back: what was in it is not kept once it is replaced. Apply the former data again"
        ));
    }
    let number = args.get_one::<u64>("revision").copied().unwrap_or_default();
    let api = session.checked_api(streams).await?;
    let history = History::of(&api, kind, mesh, name).await?;
    let wanted = diff::wanted(find(history.revisions(), number, kind, name)?);

    let url = path(kind, mesh, Some(name));
    let answer = api.get(&url).await?;
    let now = if answer.status == 404 { None } else { Some(answer.json()?) };
    let lines = diff::lines(now.as_ref(), Some(&wanted), streams.colours);
    if now.is_some() && lines.is_empty() {
        writeln!(streams.out, "{kind} {name:?} is as it was at revision {number}: nothing to do")?;
        return Ok(());
    }
    streams.out.write_all(lines.as_bytes())?;
    if args.get_flag("dry-run") {
        return Ok(());
    }
    // A control plane that keeps fields which no document shows brings those of the revision back as well.
    let answer = api.call(Method::PUT, &format!("{url}?revision={number}"), Some(&wanted)).await?;
    if let Some(problem) = answer.problem() {
        return Err(anyhow!(problem.flat()).context(format!("{kind} {name:?} was not rolled back")));
    }
    // An answer without a body has no warnings.
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    for warning in said["warnings"].as_array().into_iter().flatten() {
        writeln!(streams.err, "Warning: {}", warning.as_str().unwrap_or_default())?;
    }
    if now.is_some() {
        writeln!(streams.out, "rolled back {kind} {name:?} to revision {number}")?;
    } else {
        writeln!(streams.out, "created {kind} {name:?} again, as it was at revision {number}")?;
    }
    Ok(())
}

/// The resource as it was at a revision.
fn find<'a>(revisions: &'a [Value], number: u64, kind: Kind, name: &str) -> Result<&'a Value> {
    let Some(at) = revisions.iter().position(|revision| revision["revision"] == number) else {
        let known: Vec<String> = revisions.iter().rev().map(|revision| revision["revision"].to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(anyhow!("there is no revision {number} of {kind} {name:?}; kept are: {known}"));
    };
    let revision = &revisions[at];
    if let Some(resource) = revision.get("resource") {
        return Ok(resource);
    }
    if revision["action"] != "deleted" {
        return Err(anyhow!("revision {number} of {kind} {name:?} cannot be had: {}", unshown(revision)));
    }
    let before = revisions[at + 1..].iter().find(|revision| revision.get("resource").is_some());
    let hint =
        before.map(|before| format!("; revision {} is what was deleted", before["revision"])).unwrap_or_default();
    Err(anyhow!("revision {number} of {kind} {name:?} is its deletion{hint}"))
}
