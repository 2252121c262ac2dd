//! `config`: the client's own configuration.

use anyhow::{Context as _, Result, anyhow};
use clap::ArgMatches;

use super::{Session, pairs, text};
use crate::{
    Streams,
    client::Api,
    config::{ApiServer, ControlPlane, Coordinates, Header},
    output::table,
    version,
};

const NONE_LEFT: &str = "there is no active Control Plane left. Use `kumactl config control-planes add` to add a \
                         Control Plane and make it active";

/// Runs `config`.
pub(super) async fn run(session: Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    match args.subcommand() {
        Some(("view", _)) => {
            writeln!(streams.out, "{}", session.config.yaml())?;
            Ok(())
        }
        Some(("control-planes", args)) => match args.subcommand() {
            Some(("list", _)) => list(&session, streams),
            Some(("add", args)) => add(session, args, streams).await,
            Some(("remove", args)) => remove(session, text(args, "name"), streams),
            Some(("switch", args)) => switch(session, text(args, "name"), streams),
            _ => Err(anyhow!("say what to do with control planes")),
        },
        _ => Err(anyhow!("say what to do with the configuration")),
    }
}

fn save(session: &Session) -> Result<()> {
    match &session.path {
        Some(path) => session.config.save(path),
        None => Err(anyhow!("the configuration cannot be changed together with --no-config")),
    }
}

fn list(session: &Session, streams: &mut Streams<'_>) -> Result<()> {
    let config = &session.config;
    let active = config.contexts.iter().find(|c| c.name == config.current_context).map(|c| c.control_plane.as_str());
    let rows: Vec<Vec<String>> = config
        .control_planes
        .iter()
        .map(|cp| {
            let url = cp.coordinates.as_ref().and_then(|c| c.api_server.as_ref()).map(|s| s.url.clone());
            let mark = if active == Some(cp.name.as_str()) { "*" } else { "" };
            vec![mark.to_owned(), cp.name.clone(), url.unwrap_or_default()]
        })
        .collect();
    streams.out.write_all(table::table(&["ACTIVE", "NAME", "ADDRESS"], &rows).as_bytes())?;
    Ok(())
}

async fn add(mut session: Session, args: &ArgMatches, streams: &mut Streams<'_>) -> Result<()> {
    let name = text(args, "name").to_owned();
    let given = |key: &str| text(args, key).to_owned();
    let mut headers: Vec<Header> =
        pairs(args, "headers")?.into_iter().map(|(key, value)| Header { key, value }).collect();
    headers.sort_by(|a, b| a.key.cmp(&b.key));
    let server = ApiServer {
        url: given("address"),
        ca_cert_file: absolute(text(args, "ca-cert-file"))?,
        client_cert_file: absolute(text(args, "client-cert-file"))?,
        client_key_file: absolute(text(args, "client-key-file"))?,
        headers,
        auth_type: given("auth-type"),
        auth_conf: pairs(args, "auth-conf")?.into_iter().collect(),
        skip_verify: args.get_flag("skip-verify"),
    };
    let address = url::Url::parse(&server.url).map_err(|e| anyhow!("API Server URL is invalid: {e}"))?;
    if !matches!(address.scheme(), "http" | "https") {
        return Err(anyhow!(
            "API Server URL is invalid: the scheme must be http or https, it is {:?}",
            address.scheme()
        ));
    }
    if server.client_cert_file.is_empty() != server.client_key_file.is_empty() {
        return Err(anyhow!("Both --client-cert-file and --client-key-file needs to be specified"));
    }
    match server.auth_type.as_str() {
        "" => {}
        "tokens" if server.auth_conf.get("token").is_none_or(String::is_empty) => {
            return Err(anyhow!("--auth-conf is not valid: provide token=YOUR_TOKEN"));
        }
        "tokens" => {}
        other => return Err(anyhow!("authentication plugin of type {other:?} is not found")),
    }
    let control_plane =
        ControlPlane { name: name.clone(), coordinates: Some(Coordinates { api_server: Some(server.clone()) }) };
    session.config.add(control_plane, args.get_flag("overwrite"))?;
    if !args.get_flag("skip-check") {
        check(&server, &session).await?;
    }
    save(&session)?;
    writeln!(streams.out, "added Control Plane {name:?}\nswitched active Control Plane to {name:?}")?;
    Ok(())
}

/// The file that `path` names from here. The configuration outlives the current folder. None stays none.
fn absolute(path: &str) -> Result<String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    let whole = std::path::absolute(path).with_context(|| format!("cannot tell where {path:?} is"))?;
    whole.into_os_string().into_string().map_err(|whole| anyhow!("the path {} is not valid UTF-8", whole.display()))
}

/// A control plane of this product answers there.
async fn check(server: &ApiServer, session: &Session) -> Result<()> {
    let api = Api::unauthenticated(server, session.timeout)?;
    let index = match api.get("/").await {
        Ok(answer) => answer.json(),
        Err(error) => Err(error),
    }
    .map_err(|e| anyhow!("could not connect to the Control Plane API Server: {e:#}"))?;
    let product = index["product"].as_str().unwrap_or_default();
    let preview = index["version"].as_str().is_some_and(|v| v.contains("preview"));
    if product != version::PRODUCT && !preview {
        return Err(anyhow!(
            "this CLI is for {} but the control plane you're connected to is {product}. Please use the CLI for your control plane",
            version::PRODUCT
        ));
    }
    Ok(())
}

fn remove(mut session: Session, name: &str, streams: &mut Streams<'_>) -> Result<()> {
    session.config.remove(name)?;
    save(&session)?;
    writeln!(streams.out, "removed Control Plane {name:?}")?;
    let current = &session.config.current_context;
    if current.is_empty() {
        writeln!(streams.out, "{NONE_LEFT}")?;
    } else {
        writeln!(streams.out, "switched active Control Plane to {current:?}")?;
    }
    Ok(())
}

fn switch(mut session: Session, name: &str, streams: &mut Streams<'_>) -> Result<()> {
    session.config.switch(name)?;
    save(&session)?;
    writeln!(streams.out, "switched active Control Plane to {name:?}")?;
    Ok(())
}
