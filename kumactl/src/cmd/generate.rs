//! `generate`: tokens that the control plane signs.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow};
use clap::ArgMatches;
use kuma_core::duration::GoDuration;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Session, text};
use crate::{Streams, client::Problem};

/// Runs `generate`.
pub(super) async fn run(session: &Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let Some((word, args)) = args.subcommand() else { return Err(anyhow!("say what to generate")) };
    let (path, body, what) = match word {
        "dataplane-token" => ("/tokens/dataplane", dataplane(session.mesh(args), args)?, "dataplane token"),
        "zone-token" => ("/tokens/zone", zone(args)?, "zone token"),
        "user-token" => ("/tokens/user", user(args)?, "user token"),
        other => return Err(anyhow!("{other} cannot be generated")),
    };
    let api = session.checked_api(streams).await?;
    let token = match api.call(Method::POST, path, Some(&body)).await {
        Ok(answer) => answer.text(),
        Err(error) => Err(error),
    };
    // A problem document speaks for itself.
    let token = match token {
        Err(error) if error.downcast_ref::<Problem>().is_none_or(|p| p.title.is_empty()) => {
            Err(error).with_context(|| format!("failed to generate a {what}"))
        }
        token => token,
    }?;
    write!(streams.out, "{token}")?;
    Ok(())
}

fn valid_for(args: &ArgMatches) -> Result<String> {
    let given = text(args, "valid-for");
    let duration: GoDuration =
        given.parse().map_err(|e| anyhow!("invalid argument {given:?} for \"--valid-for\" flag: {e}"))?;
    if duration.is_zero() {
        return Err(anyhow!("You must set a token validFor value"));
    }
    Ok(duration.to_string())
}

fn dataplane(mesh: &str, args: &ArgMatches) -> Result<Value> {
    let kind = text(args, "proxy-type");
    if !matches!(kind, "" | "dataplane") {
        return Err(anyhow!("{kind} is not a valid proxy type"));
    }
    let mut tags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for given in args.get_many::<String>("tag").into_iter().flatten() {
        let (key, values) = given.split_once('=').ok_or_else(|| {
            anyhow!("invalid argument {given:?} for \"--tag\" flag: {given} must be formatted as key=value")
        })?;
        tags.entry(key.to_owned()).or_default().extend(values.split(',').map(str::to_owned));
    }
    Ok(json!({
        "name": text(args, "name"),
        "mesh": mesh,
        "tags": tags,
        "type": kind,
        "workload": text(args, "workload"),
        "validFor": valid_for(args)?,
    }))
}

fn list(args: &ArgMatches, name: &str) -> Vec<String> {
    args.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

fn zone(args: &ArgMatches) -> Result<Value> {
    let scope = list(args, "scope");
    if !scope.is_empty() {
        return Err(anyhow!("invalid --scope values: [{}] (supported scopes: [])", scope.join(" ")));
    }
    Ok(json!({"zone": text(args, "zone"), "scope": scope, "validFor": valid_for(args)?}))
}

fn user(args: &ArgMatches) -> Result<Value> {
    Ok(json!({"name": text(args, "name"), "groups": list(args, "group"), "validFor": valid_for(args)?}))
}
