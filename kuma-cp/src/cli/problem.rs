//! What is wrong with a command line, in the words that users know.

use std::error::Error as _;

use clap::{
    Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Parsed;

/// Turns an error of the parser into what is shown.
pub(super) fn of(error: &Error, mut command: Command) -> Parsed {
    let text = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    // The flag alone, without the name of its value.
    let flag = text(ContextKind::InvalidArg).unwrap_or_default();
    let flag = flag.split([' ', '=']).next().unwrap_or_default().to_owned();
    let problem = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Parsed::Show(error.to_string());
        }
        ErrorKind::MissingSubcommand => return Parsed::Show(command.render_help().to_string()),
        ErrorKind::InvalidSubcommand => {
            let name = text(ContextKind::InvalidSubcommand).unwrap_or_default();
            // The usage names the command that has no such part.
            let within = error.to_string();
            if within.contains("kuma-cp migrate")
                && let Some(migrate) = command.find_subcommand_mut("migrate")
            {
                return Parsed::Show(migrate.render_help().to_string());
            }
            let meant = text(ContextKind::SuggestedSubcommand);
            let meant = meant.map(|name| format!("\n\nDid you mean this?\n\t{name}\n")).unwrap_or_default();
            format!("unknown command {name:?} for \"kuma-cp\"{meant}")
        }
        ErrorKind::UnknownArgument => match flag.strip_prefix('-') {
            Some(long) if long.starts_with('-') => format!("unknown flag: {flag}"),
            Some(short) => format!("unknown shorthand flag: {:?} in {flag}", short.chars().next().unwrap_or('-')),
            None => format!("unknown command {flag:?} for \"kuma-cp\""),
        },
        ErrorKind::InvalidValue if text(ContextKind::InvalidValue).is_none_or(|v| v.is_empty()) => {
            format!("flag needs an argument: {flag}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let value = text(ContextKind::InvalidValue).unwrap_or_default();
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("invalid argument {value:?} for {flag:?} flag: {reason}")
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(texts)) => texts.join(", "),
                _ => String::new(),
            };
            format!("missing {missing}; with --help the command shows how it is used")
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    };
    Parsed::Refuse { usage: command.render_help().to_string(), problem }
}
