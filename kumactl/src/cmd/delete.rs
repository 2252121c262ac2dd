//! `delete`: one resource.

use anyhow::{Context as _, Result, anyhow};
use clap::ArgMatches;
use reqwest::Method;

use super::{Session, path, text};
use crate::{Streams, cli};

/// Runs `delete`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let (word, name) = (text(args, "type"), text(args, "name"));
    let kind = cli::kind(word)?;
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
