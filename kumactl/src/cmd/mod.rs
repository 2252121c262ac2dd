//! The commands, one file each.

mod apply;
mod config;
mod delete;
mod generate;
mod get;
mod history;
mod inspect;
mod rollback;
mod source;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use clap::{ArgMatches, parser::ValueSource};
use kuma_core::{
    duration::GoDuration,
    registry::{Kind, Scope},
};

use crate::{
    Streams, cli,
    client::Api,
    config::{Config, default_path},
    output, version,
};

/// What a command starts from: the configuration and where it is kept.
pub(crate) struct Session {
    config: Config,
    path: Option<PathBuf>,
    timeout: Duration,
}

impl Session {
    fn open(matches: &ArgMatches) -> Result<Self> {
        let text = matches.get_one::<String>("api-timeout").map_or("1m", String::as_str);
        let timeout = text
            .parse::<GoDuration>()
            .map_err(|e| anyhow!("invalid argument {text:?} for \"--api-timeout\" flag: {e}"))?
            .to_std();
        let path = if matches.get_flag("no-config") {
            None
        } else {
            Some(match matches.get_one::<String>("config-file").filter(|p| !p.is_empty()) {
                Some(path) => PathBuf::from(path),
                None => default_path()?,
            })
        };
        let mut config = match &path {
            Some(path) => Config::load(path)?,
            None => Config::local(),
        };
        // What `config` writes must not depend on what another flag chose for one call.
        let chosen = matches.get_one::<String>("context").filter(|n| !n.is_empty());
        if let Some(name) = chosen.filter(|_| matches.subcommand_name() != Some("config")) {
            config.use_named(name)?;
        }
        Ok(Self { config, path, timeout })
    }

    /// The mesh that a command is about: as said, else the default of the context, else `default`.
    fn mesh<'a>(&'a self, args: &'a ArgMatches) -> &'a str {
        let said = args.try_get_one::<String>("mesh").ok().flatten().map_or("default", String::as_str);
        if matches!(args.try_contains_id("mesh"), Ok(true))
            && args.value_source("mesh") == Some(ValueSource::CommandLine)
        {
            return said;
        }
        self.config.default_mesh().unwrap_or(said)
    }

    fn api(&self) -> Result<Api> {
        Api::new(self.config.active()?, self.timeout)
    }

    /// The API, after a warning if client and control plane do not fit.
    async fn checked_api(&self, streams: &mut Streams<'_>) -> Result<Api> {
        let api = self.api()?;
        if let Some(warning) = version::mismatch(&api).await? {
            writeln!(streams.err, "{warning}")?;
        }
        Ok(api)
    }
}

/// Runs what the command line says.
pub(crate) async fn run(matches: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    // A script for the shell needs no configuration, and must not fail for want of a home directory.
    if let Some(("completion", args)) = matches.subcommand() {
        return completion(args, streams);
    }
    let session = Session::open(matches)?;
    match matches.subcommand() {
        Some(("apply", args)) => apply::run(&session, args, streams).await,
        Some(("get", args)) => get::run(&session, args, streams).await,
        Some(("delete", args)) => delete::run(&session, args, streams).await,
        Some(("history", args)) => history::run(&session, args, streams).await,
        Some(("rollback", args)) => rollback::run(&session, args, streams).await,
        Some(("inspect", args)) => inspect::run(&session, args, streams).await,
        Some(("generate", args)) => generate::run(&session, args, streams).await,
        Some(("config", args)) => config::run(session, args, streams).await,
        Some(("version", args)) => print_version(&session, args, streams).await,
        _ => Err(anyhow!("no command was given")),
    }
}

fn completion(args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let shell = args.get_one::<String>("shell").map_or("bash", String::as_str);
    let shell: clap_complete::Shell = shell.parse().map_err(|e: String| anyhow!(e))?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(), "kumactl", &mut script);
    streams.out.write_all(&script)?;
    Ok(())
}

async fn print_version(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    if args.get_flag("detailed") {
        write!(streams.out, "Client:\n{}", version::details())?;
    } else {
        writeln!(streams.out, "Client: {} {}", version::PRODUCT, version::VERSION)?;
    }
    let index = match session.api() {
        Ok(api) => match api.get("/").await {
            Ok(answer) => answer.json(),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match index {
        Ok(index) => {
            if args.get_flag("detailed") {
                let text = output::json(&index).trim_end().replace('\n', "\n   ");
                writeln!(streams.out, "Server: {text}")?;
            } else {
                let text = |key: &str| index[key].as_str().unwrap_or_default();
                writeln!(streams.out, "Server: {} {}", text("product"), text("version"))?;
            }
        }
        Err(error) => writeln!(streams.err, "Unable to connect to control plane: {error:#}")?,
    }
    Ok(())
}

/// Path of a collection, or of one resource in it.
pub(crate) fn path(kind: Kind, mesh: &str, name: Option<&str>) -> String {
    let descriptor = kind.descriptor();
    let mut path = match descriptor.scope {
        Scope::Mesh => format!("/meshes/{}/{}", escape(mesh), descriptor.path),
        Scope::Global => format!("/{}", descriptor.path),
    };
    if let Some(name) = name {
        path.push('/');
        path.push_str(&escape(name));
    }
    path
}

/// A path segment or query value.
pub(crate) fn escape(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// A text argument; empty if it was not given.
pub(crate) fn text<'a>(args: &'a ArgMatches, name: &str) -> &'a str {
    args.get_one::<String>(name).map_or("", String::as_str)
}

/// Repeated `name=value` arguments, in order.
pub(crate) fn pairs(args: &ArgMatches, name: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for given in args.get_many::<String>(name).into_iter().flatten() {
        for part in split_pairs(given) {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                anyhow!("invalid argument {given:?} for \"--{name}\" flag: {part} must be formatted as key=value")
            })?;
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(pairs)
}

/// One pair as it is, or several separated by commas; a pair in double quotes keeps its commas.
fn split_pairs(given: &str) -> Vec<String> {
    if given.matches('=').count() <= 1 {
        return vec![given.to_owned()];
    }
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in given.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_separate_pairs_only_where_there_are_several() {
        assert_eq!(split_pairs("a=1,2"), ["a=1,2"]);
        assert_eq!(split_pairs("a=1,b=2"), ["a=1", "b=2"]);
        assert_eq!(split_pairs("\"a=1,2\",b=2"), ["a=1,2", "b=2"]);
    }

    #[test]
    fn paths_follow_the_scope() {
        assert_eq!(path(Kind::Mesh, "m", Some("a b")), "/meshes/a%20b");
        assert_eq!(path(Kind::Dataplane, "m", None), "/meshes/m/dataplanes");
    }
}
