//! The command line: commands, flags and help, derived from the registry where they concern kinds.

use std::ffi::OsString;

use anyhow::anyhow;
use clap::{Arg, ArgAction, ArgMatches, Command};
use kuma_core::{
    registry::{Kind, Role},
    suggest::nearest,
};

use crate::{
    usage::{self, Stop},
    version::VERSION,
};

/// Reads a command line (program name first).
///
/// # Errors
/// [`Stop`] with what is to be printed instead of running anything.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = command();
    command.clone().try_get_matches_from(&args).map_err(|error| usage::stop(&command, &args, &error))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    flag(name, help)
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .value_name("BOOL")
        .value_parser(boolean)
}

/// The spellings that Go reads.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".into()),
    }
}

/// Further arguments, which the published tool does not look at.
fn ignored() -> Arg {
    Arg::new("ignored").num_args(0..).hide(true)
}

fn mesh() -> Arg {
    flag("mesh", "Mesh of the resource").short('m').default_value("default").value_name("MESH")
}

fn output() -> Arg {
    flag("output", "table, yaml or json").short('o').default_value("table").value_name("FORMAT").global(true)
}

fn required(name: &'static str, help: &'static str) -> Arg {
    flag(name, help).required(true)
}

/// A command that only groups others.
fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true).arg_required_else_help(true)
}

/// The whole command line.
pub fn command() -> Command {
    group("kumactl", "Manage Kuma: apply resources, look at them, and ask what the mesh is doing")
        .version(VERSION)
        .disable_version_flag(true)
        .args_override_self(true)
        .max_term_width(110)
        .after_help(
            "Examples:\n  kumactl config control-planes add --name=prod --address=https://kuma.example:5682 \\\n      \
             --auth-type=tokens --auth-conf token=\"$(cat token)\"\n  kumactl apply -f mesh.yaml\n  kumactl get dataplanes\n  \
             kumactl inspect dataplanes",
        )
        .arg(flag("config-file", "Path of the client's configuration [default: $HOME/.kumactl/config]").global(true))
        .arg(flag("context", "Name of the control plane to use for this call").global(true))
        .arg(
            flag("log-level", "off, info or debug")
                .global(true)
                .default_value("off")
                .value_parser(["off", "info", "debug"]),
        )
        .arg(switch("no-config", "Neither read nor write a configuration: use http://localhost:5681").global(true))
        .arg(flag("api-timeout", "Longest time for one call, such as 10s; 0 is no limit").global(true).default_value("1m0s"))
        .subcommand(apply())
        .subcommand(get())
        .subcommand(delete())
        .subcommand(history())
        .subcommand(rollback())
        .subcommand(inspect())
        .subcommand(generate())
        .subcommand(config())
        .subcommand(
            Command::new("completion")
                .about("Print a completion script for a shell")
                .after_help("Example:\n  source <(kumactl completion bash)")
                .arg_required_else_help(true)
                .arg(Arg::new("shell").required(true).value_parser(["bash", "zsh", "fish"])),
        )
        .subcommand(
            Command::new("version")
                .about("Print the versions of this client and of the control plane")
                .arg(switch("detailed", "Print everything that is known of the build").short('a'))
                .arg(ignored()),
        )
}

fn apply() -> Command {
    Command::new("apply")
        .about("Create or change resources")
        .after_help(
            "Examples:\n  kumactl apply -f resources.yaml\n  kumactl apply -f policies/\n  \
             kumactl apply -f https://example.com/route.yaml\n  \
             cat dataplane.yaml | kumactl apply -v address=10.0.0.1 -f -\n  kumactl apply -f mesh.yaml --dry-run",
        )
        .arg(required("file", "File, directory, URL, or - for standard input").short('f').value_name("SOURCE"))
        .arg(
            flag("var", "Value for {{ name }} in the documents; may be repeated")
                .short('v')
                .action(ArgAction::Append)
                .value_name("NAME=VALUE"),
        )
        .arg(switch("dry-run", "Check and print the resources, change nothing"))
}

/// Kinds that the command line offers.
pub fn kinds() -> impl Iterator<Item = (Kind, &'static str)> {
    Kind::ALL.iter().filter_map(|k| Some((*k, k.descriptor().cli?)))
}

/// The kind of this name in the singular.
///
/// # Errors
/// There is none, with the names that there are.
pub fn kind(word: &str) -> anyhow::Result<Kind> {
    let singular = |alias: &str| alias.trim_end_matches('s').to_owned();
    kinds()
        .find(|(kind, cli)| *cli == word || kind.descriptor().alias.is_some_and(|a| singular(a) == word))
        .map(|(kind, _)| kind)
        .ok_or_else(|| {
            let mut known: Vec<String> = kinds().map(|(_, cli)| cli.to_owned()).collect();
            known.extend(kinds().filter_map(|(kind, _)| kind.descriptor().alias).map(singular));
            known.sort();
            let near = nearest(word, known.iter().map(String::as_str));
            let near = near.map(|near| format!("\nDid you mean {near}?")).unwrap_or_default();
            anyhow!("unknown TYPE: {word}. Allowed values: {}{near}", known.join(", "))
        })
}

/// Plural of a kind on the command line.
pub fn plural(kind: Kind) -> &'static str {
    kind.descriptor().path
}

fn get() -> Command {
    let mut get = group("get", "Show stored resources").arg(output()).after_help(
        "Examples:\n  kumactl get meshes\n  kumactl get dataplanes -m payments\n  kumactl get meshtimeout mt-1 -o yaml",
    );
    for (kind, singular) in kinds() {
        let descriptor = kind.descriptor();
        let mut list = Command::new(plural(kind))
            .about(format!("List {}", descriptor.display_plural))
            .arg(mesh())
            .arg(
                flag("size", "Most resources to show; 0 leaves it to the server")
                    .default_value("0")
                    .value_parser(clap::value_parser!(i64))
                    .allow_negative_numbers(true),
            )
            .arg(flag("offset", "Where to go on, as the previous page said").default_value(""));
        let mut one = Command::new(singular)
            .about(format!("Show one {}", descriptor.display))
            .arg(Arg::new("name").required(true).value_name("NAME"))
            .arg(mesh());
        if let Some(alias) = descriptor.alias {
            list = list.alias(alias);
            one = one.alias(alias.trim_end_matches('s'));
        }
        get = get.subcommand(list).subcommand(one);
    }
    get
}

fn delete() -> Command {
    Command::new("delete")
        .about("Delete a resource")
        .after_help("Example:\n  kumactl delete meshtimeout mt-1 -m default")
        .arg(Arg::new("type").required(true).value_name("TYPE"))
        .arg(Arg::new("name").required(true).value_name("NAME"))
        .arg(mesh())
}

fn history() -> Command {
    Command::new("history")
        .about("Show who changed a resource, when, and what")
        .after_help(
            "Examples:\n  kumactl history meshtimeout mt-1\n  kumactl history meshtimeout mt-1 -m payments --diff\n  \
             kumactl history mesh default -o yaml\n\nDeleted resources have a history for 90 days. \
             `kumactl rollback` brings them back.",
        )
        .arg(Arg::new("type").required(true).value_name("TYPE"))
        .arg(Arg::new("name").required(true).value_name("NAME"))
        .arg(mesh())
        .arg(output())
        .arg(switch("diff", "Show the changed lines of each revision"))
}

fn rollback() -> Command {
    Command::new("rollback")
        .about("Make a resource again what it was")
        .after_help(
            "Examples:\n  kumactl rollback meshtimeout mt-1 --revision 3 --dry-run\n  \
             kumactl rollback meshtimeout mt-1 --revision 3\n\nPrints what changes, as lines of YAML. The former content is \
             applied like any other and becomes a new\nrevision, so a rollback can be rolled back. A deleted resource is \
             created again.",
        )
        .arg(Arg::new("type").required(true).value_name("TYPE"))
        .arg(Arg::new("name").required(true).value_name("NAME"))
        .arg(mesh())
        .arg(
            required("revision", "Number of the revision, as `kumactl history` shows it")
                .value_name("N")
                .value_parser(clap::value_parser!(u64)),
        )
        .arg(switch("dry-run", "Print what would change, change nothing"))
}

fn inspect() -> Command {
    let mut inspect = group("inspect", "Show what the mesh is doing")
        .arg(output())
        .after_help("Examples:\n  kumactl inspect dataplanes\n  kumactl inspect dataplane web-1 --type=config")
        .subcommand(
            Command::new("dataplanes")
                .about("Show the state of data plane proxies")
                .arg(mesh())
                .arg(
                    flag("tag", "Only proxies with this tag; may be repeated")
                        .action(ArgAction::Append)
                        .value_name("NAME=VALUE"),
                )
                .arg(switch("gateway", "Only gateways"))
                .arg(switch("ingress", "Only ingresses"))
                .arg(ignored()),
        )
        .subcommand(
            Command::new("dataplane")
                .about("Show one data plane proxy")
                .arg(Arg::new("name").required(true).value_name("NAME"))
                .arg(mesh())
                .arg(flag("type", "policies, config, config-dump, stats or clusters").default_value("policies"))
                .arg(switch("include-eds", "Endpoints too (with --type=config-dump)"))
                .arg(switch("shadow", "As if policies labelled kuma.io/effect=shadow applied (with --type=config)"))
                .arg(
                    flag("include", "Further parts, such as diff (with --type=config)")
                        .action(ArgAction::Append)
                        .value_delimiter(','),
                ),
        )
        .subcommand(Command::new("meshes").about("Show the state of meshes").arg(ignored()))
        .subcommand(Command::new("zones").about("Show the state of zones").arg(ignored()));
    for (kind, singular) in kinds().filter(|(k, _)| matches!(k.descriptor().role, Role::Policy(_))) {
        inspect = inspect.subcommand(
            Command::new(singular)
                .about(format!("Show the proxies that a {} affects", kind.descriptor().display))
                .arg(Arg::new("name").required(true).value_name("NAME"))
                .arg(mesh())
                .arg(switch("new-api", "As a table, for policies with a targetRef"))
                .arg(flag("offset", "Where to go on").default_value("0")),
        );
    }
    inspect
}

fn valid_for() -> Arg {
    required("valid-for", "How long the token is valid, such as 24h")
}

fn generate() -> Command {
    group("generate", "Generate tokens")
        .subcommand(
            Command::new("dataplane-token")
                .about("Generate a token that lets a data plane proxy connect")
                .after_help("Example:\n  kumactl generate dataplane-token --name=web-1 --mesh=default --valid-for=720h > web-1.token")
                .arg(flag("name", "Only for the proxy of this name").default_value(""))
                .arg(mesh())
                .arg(flag("proxy-type", "Type of the proxy: dataplane").default_value(""))
                .arg(
                    flag("tag", "Only for proxies with this label; may be repeated")
                        .action(ArgAction::Append)
                        .value_name("NAME=V1,V2"),
                )
                .arg(flag("workload", "Only for proxies of this workload").default_value(""))
                .arg(valid_for())
                .arg(ignored()),
        )
        .subcommand(
            Command::new("zone-token")
                .about("Generate a token that lets a zone connect")
                .arg(required("zone", "Name of the zone"))
                .arg(flag("scope", "What the token is for").action(ArgAction::Append).value_delimiter(','))
                .arg(valid_for())
                .arg(ignored()),
        )
        .subcommand(
            Command::new("user-token")
                .about("Generate a token for the REST API")
                .arg(required("name", "Name of the user"))
                .arg(flag("group", "Group of the user; may be repeated").action(ArgAction::Append).value_delimiter(','))
                .arg(valid_for())
                .arg(ignored()),
        )
}

fn config() -> Command {
    let named = |about: &'static str| required("name", about);
    group("config", "Manage the client's configuration")
        .subcommand(Command::new("view").about("Print the configuration"))
        .subcommand(
            group("control-planes", "Manage the known control planes")
                .subcommand(Command::new("list").about("List the known control planes"))
                .subcommand(
                    Command::new("add")
                        .about("Add a control plane and use it")
                        .arg(named("Name of the control plane"))
                        .arg(required("address", "URL of its REST API"))
                        .arg(switch("overwrite", "Replace a control plane of the same name"))
                        .arg(flag("client-cert-file", "Own certificate").default_value(""))
                        .arg(flag("client-key-file", "Key of the own certificate").default_value(""))
                        .arg(flag("ca-cert-file", "CA of the server's certificate").default_value(""))
                        .arg(switch("skip-verify", "Do not verify the server's certificate"))
                        .arg(
                            flag("headers", "Header of every request; may be repeated")
                                .action(ArgAction::Append)
                                .value_name("NAME=VALUE"),
                        )
                        .arg(flag("auth-type", "Authentication plugin: tokens").default_value(""))
                        .arg(
                            flag("auth-conf", "Its configuration; may be repeated")
                                .action(ArgAction::Append)
                                .value_name("NAME=VALUE"),
                        )
                        .arg(switch("skip-check", "Do not ask the control plane whether it is there")),
                )
                .subcommand(
                    Command::new("remove").about("Forget a control plane").arg(named("Name of the control plane")),
                )
                .subcommand(
                    Command::new("switch").about("Use another control plane").arg(named("Name of the control plane")),
                ),
        )
}
