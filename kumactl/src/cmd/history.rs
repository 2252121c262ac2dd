//! `history`: the revisions of a resource, and what each of them changed.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use kuma_core::registry::Kind;
use serde_json::Value;

use super::{Session, path, text};
use crate::{
    Streams, cli,
    client::Api,
    output::{self, Format, cells, diff, table},
};

/// Title of the problem of a control plane that keeps histories and has none of this resource.
const NONE: &str = "Could not retrieve the history of a resource";

/// The revisions of a resource as the control plane tells them, newest first.
pub(super) struct History(Value);

impl History {
    /// Asks for it.
    pub(super) async fn of(api: &Api, kind: Kind, mesh: &str, name: &str) -> Result<Self> {
        let answer = api.get(&format!("{}/_history", path(kind, mesh, Some(name)))).await?;
        match answer.problem() {
            None => Ok(Self(answer.json()?)),
            Some(problem) if problem.status == 404 && problem.title == NONE => {
                Err(anyhow!("there is no {kind} with name {name:?}, and no history of one"))
            }
            // Others find no such path, or take it for a view of a proxy.
            Some(problem) if matches!(problem.status, 400 | 404 | 405) => Err(anyhow!(
                "this control plane keeps no history: it answered {} to a question for it. \
                 `kumactl version` shows which version it is",
                problem.status
            )),
            Some(problem) => Err(problem.into()),
        }
    }

    /// Newest first.
    pub(super) fn revisions(&self) -> &[Value] {
        self.0["items"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// Runs `history`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let (kind, name) = (cli::kind(text(args, "type"))?, text(args, "name"));
    let format = Format::parse(text(args, "output"))?;
    let api = session.checked_api(streams).await?;
    let history = History::of(&api, kind, session.mesh(args), name).await?;
    let shown = match format {
        Format::Json => output::json(&history.0),
        Format::Yaml => output::yaml::to_yaml(&history.0),
        Format::Table if history.revisions().is_empty() => {
            "No revisions: nothing was changed since the control plane keeps histories\n".to_owned()
        }
        Format::Table if args.get_flag("diff") => diffs(history.revisions(), streams),
        Format::Table => rows(history.revisions(), streams),
    };
    streams.out.write_all(shown.as_bytes())?;
    Ok(())
}

fn rows(revisions: &[Value], streams: &Streams<'_>) -> String {
    let row = |(n, revision): (usize, &Value)| {
        vec![
            revision["revision"].to_string(),
            cells::date(&revision["time"], &streams.zone),
            author(revision),
            what(revision, revisions.get(n + 1)),
        ]
    };
    table::table(&["REVISION", "TIME", "WHO", "WHAT"], &revisions.iter().enumerate().map(row).collect::<Vec<_>>())
}

fn diffs(revisions: &[Value], streams: &Streams<'_>) -> String {
    let mut out = String::new();
    for (n, revision) in revisions.iter().enumerate() {
        let before = revisions.get(n + 1);
        let action = revision["action"].as_str().unwrap_or_default();
        let title = format!(
            "revision {}, {}, {action} by {}",
            revision["revision"],
            cells::date(&revision["time"], &streams.zone),
            author(revision)
        );
        if n > 0 {
            out.push('\n');
        }
        out.push_str(&diff::paint(&title, "33", streams.colours));
        out.push('\n');
        out.push_str(&match (before.map(|b| b.get("resource")), revision.get("resource")) {
            // The revision before it is not kept: what changed is not known.
            (None, Some(_)) if action == "updated" => "  what was before is not kept any more\n".to_owned(),
            (_, None) if action != "deleted" => format!("  {}\n", unshown(revision)),
            (before, after) => diff::lines(before.flatten(), after, streams.colours),
        });
    }
    out
}

/// Who wrote a revision.
pub(super) fn author(revision: &Value) -> String {
    let part = |key: &str| revision["author"][key].as_str().unwrap_or_default();
    match (part("type"), part("name")) {
        ("user", name) => name.to_owned(),
        ("control-plane", "") => "control plane".to_owned(),
        ("control-plane", name) => format!("control plane ({name})"),
        ("another-program", _) => "another program".to_owned(),
        (sort, "") => sort.to_owned(),
        (sort, name) => format!("{sort} {name}"),
    }
}

fn what(revision: &Value, before: Option<&Value>) -> String {
    let action = revision["action"].as_str().unwrap_or_default();
    let Some(resource) = revision.get("resource") else {
        return if revision.get("unreadable").is_some() { unshown(revision) } else { action.to_owned() };
    };
    match before.and_then(|before| before.get("resource")) {
        Some(before) if action == "updated" => diff::summary(before, resource),
        _ => action.to_owned(),
    }
}

/// Why it is not said what the resource was.
pub(super) fn unshown(revision: &Value) -> String {
    match revision["unreadable"].as_str() {
        Some(why) => format!("this control plane cannot read it: {why}"),
        None => "what was in it is not kept".to_owned(),
    }
}
