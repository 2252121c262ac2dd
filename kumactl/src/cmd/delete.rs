//! `delete`: one resource.

use anyhow::{Context as _, Result, anyhow};
use clap::ArgMatches;
use kuma_core::suggest::nearest;
use reqwest::Method;

use super::{Session, path, text};
use crate::{Streams, cli};

/// Runs `delete`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let (word, name) = (text(args, "type"), text(args, "name"));
    let singular = |alias: &str| alias.trim_end_matches('s').to_owned();
    let kind = cli::kinds()
        .find(|(kind, cli)| *cli == word || kind.descriptor().alias.is_some_and(|a| singular(a) == word))
        .map(|(kind, _)| kind)
        .ok_or_else(|| {
            let mut known: Vec<String> = cli::kinds().map(|(_, cli)| cli.to_owned()).collect();
            known.extend(cli::kinds().filter_map(|(kind, _)| kind.descriptor().alias).map(singular));
            known.sort();
            let near = nearest(word, known.iter().map(String::as_str));
            let near = near.map(|near| format!("\nDid you mean {near}?")).unwrap_or_default();
            anyhow!("unknown TYPE: {word}. Allowed values: {}{near}", known.join(", "))
        })?;
    if kind.descriptor().read_only() {
        return Err(anyhow!("TYPE: {word} is readOnly, can't use it for write action"));
    }
    let api = session.checked_api(streams).await?;
    let answer = api.call(Method::DELETE, &path(kind, session.mesh(args), Some(name)), None).await?;
    if answer.status == 404 {
        return Err(anyhow!("there is no {kind} with name {name:?}"));
    }
    if let Some(problem) = answer.problem() {
        // A problem document speaks for itself.
        if !problem.title.is_empty() {
            return Err(problem.into());
        }
        return Err(anyhow!(problem.flat())).with_context(|| format!("failed to delete {kind} with the name {name:?}"));
    }
    writeln!(streams.out, "deleted {kind} {name:?}")?;
    Ok(())
}
