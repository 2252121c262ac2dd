//! Command lines that cannot be run: the first line is what scripts know from the published tool, the rest helps.

use std::{ffi::OsString, fmt::Write as _};

use clap::{
    ArgAction, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use kuma_core::suggest::nearest;

/// Nothing is to be run: help was asked for, or the command line is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// For stdout.
    pub out: String,
    /// For stderr.
    pub err: String,
    /// The exit status is not 0.
    pub failed: bool,
}

/// What is printed instead of running a command line (program name first).
pub(crate) fn stop(root: &Command, args: &[OsString], error: &clap::Error) -> Stop {
    let place = Place::find(root, args);
    let help =
        |command: &Command| Stop { out: command.clone().render_help().to_string(), err: String::new(), failed: false };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            return Stop { out: error.render().to_string(), err: String::new(), failed: false };
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            return help(&place.command);
        }
        _ => {}
    }
    if let Some(topic) = place.topic() {
        let mut stop = help(root);
        stop.out = format!("Unknown help topic [`{topic}`]\n{}", stop.out);
        return stop;
    }
    let mut err = format!("Error: {}\n", place.first_line(error));
    let near = place.near(error);
    if !near.is_empty() {
        err.push_str("\nDid you mean this?\n");
        for word in near {
            // Writing to a String cannot fail.
            let _ = writeln!(err, "\t{word}");
        }
        err.push('\n');
    }
    let _ = writeln!(err, "Run '{} --help' for usage.", place.path);
    Stop { out: String::new(), err, failed: true }
}

/// Where in the tree of commands a command line ends.
struct Place {
    command: Command,
    /// `kumactl get meshes`.
    path: String,
    /// What is left over that is no flag.
    words: Vec<String>,
}

impl Place {
    fn find(root: &Command, args: &[OsString]) -> Self {
        let mut root = root.clone();
        root.build();
        let mut command = &root;
        let mut path = root.get_name().to_owned();
        let mut words = Vec::new();
        let mut rest = args.iter().skip(1).map(|arg| arg.to_string_lossy());
        let mut flags = true;
        while let Some(arg) = rest.next() {
            if flags && arg == "--" {
                flags = false;
            } else if flags && arg.len() > 1 && arg.starts_with('-') {
                if takes_next(command, &arg) {
                    rest.next();
                }
            } else if let Some(child) = command.find_subcommand(&*arg).filter(|_| words.is_empty()) {
                command = child;
                path = format!("{path} {}", child.get_name());
            } else {
                words.push(arg.into_owned());
            }
        }
        Self { command: command.clone(), path, words }
    }

    /// `help` about something that is no command.
    fn topic(&self) -> Option<String> {
        let asked = self.path.split(' ').nth(1) == Some("help");
        (asked && !self.words.is_empty()).then(|| self.words.join("` `"))
    }

    fn positionals(&self) -> usize {
        self.command.get_positionals().filter(|arg| !arg.is_hide_set()).count()
    }

    fn first_line(&self, error: &clap::Error) -> String {
        let given = strings(error, ContextKind::InvalidArg);
        let value = strings(error, ContextKind::InvalidValue).pop().unwrap_or_default();
        let flag = given.first().and_then(|arg| arg.split_whitespace().next()).unwrap_or_default();
        let flag = flag.split_once('=').map_or(flag, |(name, _)| name).trim_end_matches('[');
        let count = || format!("accepts {} arg(s), received {}", self.positionals(), self.words.len());
        match error.kind() {
            ErrorKind::InvalidSubcommand => {
                let word = strings(error, ContextKind::InvalidSubcommand).pop().unwrap_or_default();
                format!("unknown command {word:?} for {:?}", self.path)
            }
            ErrorKind::UnknownArgument if flag.starts_with("--") => format!("unknown flag: {flag}"),
            ErrorKind::UnknownArgument if flag.len() > 1 && flag.starts_with('-') => {
                let letter = flag.chars().nth(1).unwrap_or_default();
                format!("unknown shorthand flag: {letter:?} in {flag}")
            }
            ErrorKind::UnknownArgument if self.positionals() == 0 => {
                format!("unknown command {:?} for {:?}", self.words.first().cloned().unwrap_or_default(), self.path)
            }
            ErrorKind::UnknownArgument => count(),
            ErrorKind::MissingRequiredArgument => {
                let flags: Vec<&str> =
                    given.iter().filter_map(|arg| arg.strip_prefix("--")?.split([' ', '=']).next()).collect();
                if flags.len() < given.len() {
                    return count();
                }
                let mut flags: Vec<String> = flags.into_iter().map(|name| format!("{name:?}")).collect();
                flags.sort();
                format!("required flag(s) {} not set", flags.join(", "))
            }
            ErrorKind::InvalidValue if flag == "--log-level" && !value.is_empty() => {
                format!("unknown log level {value:?}")
            }
            ErrorKind::InvalidValue if value.is_empty() && flag.starts_with('-') => {
                format!("flag needs an argument: {flag}")
            }
            ErrorKind::InvalidValue if !flag.starts_with('-') => {
                format!("unknown command {value:?} for {:?}", self.path)
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                let why = std::error::Error::source(error)
                    .map_or_else(|| "it is not allowed".to_owned(), ToString::to_string);
                format!("invalid argument {value:?} for {flag:?} flag: {why}")
            }
            _ => {
                let text = error.render().to_string();
                let text = text.trim_start_matches("error: ");
                text.lines().next().unwrap_or_default().to_owned()
            }
        }
    }

    /// Commands or flags that may have been meant.
    fn near(&self, error: &clap::Error) -> Vec<String> {
        let given = strings(error, ContextKind::InvalidArg).pop().unwrap_or_default();
        if error.kind() == ErrorKind::UnknownArgument && given.starts_with("--") {
            let names: Vec<&str> = self.command.get_arguments().filter_map(clap::Arg::get_long).collect();
            let word = given.trim_start_matches('-').split('=').next().unwrap_or_default();
            return nearest(word, names.into_iter()).map(|name| format!("--{name}")).into_iter().collect();
        }
        let Some(word) = self.words.first() else { return Vec::new() };
        let children = self.command.get_subcommands().map(Command::get_name);
        let values: Vec<String> = self
            .command
            .get_positionals()
            .flat_map(clap::Arg::get_possible_values)
            .map(|value| value.get_name().to_owned())
            .collect();
        let known = children.chain(values.iter().map(String::as_str));
        nearest(word, known).map(str::to_owned).into_iter().collect()
    }
}

fn strings(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// A flag whose value is the next argument.
fn takes_next(command: &Command, arg: &str) -> bool {
    let known = command.get_arguments().find(|known| match arg.strip_prefix("--") {
        Some(long) => known.get_long() == Some(long),
        None => arg.len() == 2 && known.get_short() == arg.chars().nth(1),
    });
    known.is_some_and(|known| {
        matches!(known.get_action(), ArgAction::Set | ArgAction::Append) && !known.is_require_equals_set()
    })
}

#[cfg(test)]
mod tests {
    use super::Stop;
    use crate::cli;

    fn stop(line: &str) -> Stop {
        match cli::parse(line.split_whitespace().map(Into::into)) {
            Ok(_) => panic!("{line} is accepted"),
            Err(stop) => stop,
        }
    }

    fn accepted(line: &str) -> clap::ArgMatches {
        cli::parse(line.split_whitespace().map(Into::into)).unwrap_or_else(|stop| panic!("{line}: {}", stop.err))
    }

    #[test]
    fn first_lines_are_those_of_the_published_tool() {
        for (line, first) in [
            ("kumactl aply -f x", "unknown command \"aply\" for \"kumactl\""),
            ("kumactl get meshez", "unknown command \"meshez\" for \"kumactl get\""),
            ("kumactl --no-config get meshez", "unknown command \"meshez\" for \"kumactl get\""),
            ("kumactl inspect services", "unknown command \"services\" for \"kumactl inspect\""),
            ("kumactl config control-planes ad", "unknown command \"ad\" for \"kumactl config control-planes\""),
            ("kumactl get dataplanes x", "unknown command \"x\" for \"kumactl get dataplanes\""),
            ("kumactl completion powershell", "unknown command \"powershell\" for \"kumactl completion\""),
            ("kumactl get meshes --sise 5", "unknown flag: --sise"),
            ("kumactl get meshes --sise=5", "unknown flag: --sise"),
            ("kumactl get meshes -x", "unknown shorthand flag: 'x' in -x"),
            ("kumactl config control-planes add", "required flag(s) \"address\", \"name\" not set"),
            ("kumactl apply", "required flag(s) \"file\" not set"),
            ("kumactl apply -f", "flag needs an argument: --file"),
            ("kumactl delete", "accepts 2 arg(s), received 0"),
            ("kumactl delete mesh", "accepts 2 arg(s), received 1"),
            ("kumactl delete mesh a b -m x", "accepts 2 arg(s), received 3"),
            ("kumactl get mesh", "accepts 1 arg(s), received 0"),
            (
                "kumactl get meshes --size x",
                "invalid argument \"x\" for \"--size\" flag: invalid digit found in string",
            ),
            ("kumactl get meshes --log-level loud", "unknown log level \"loud\""),
            (
                "kumactl apply -f x --dry-run=maybe",
                "invalid argument \"maybe\" for \"--dry-run\" flag: expected true or false",
            ),
        ] {
            let stop = stop(line);
            assert_eq!(stop.err.lines().next().unwrap_or_default(), format!("Error: {first}"), "{line}");
            assert!(stop.failed && stop.out.is_empty(), "{line}");
        }
    }

    #[test]
    fn nearly_right_words_get_a_suggestion() {
        for (line, word, path) in [
            ("kumactl aply", "apply", "kumactl"),
            ("kumactl get meshez", "meshes", "kumactl get"),
            ("kumactl get meshes --sise 5", "--size", "kumactl get meshes"),
            ("kumactl completion bas", "bash", "kumactl completion"),
        ] {
            let err = stop(line).err;
            assert!(
                err.ends_with(&format!("\n\nDid you mean this?\n\t{word}\n\nRun '{path} --help' for usage.\n")),
                "{err}"
            );
        }
        assert!(!stop("kumactl get qqqqqq").err.contains("Did you mean"));
    }

    #[test]
    fn help_is_no_failure() {
        for (line, part) in [
            ("kumactl", "Usage: kumactl"),
            ("kumactl --no-config", "Usage: kumactl"),
            ("kumactl get", "Usage: kumactl get"),
            ("kumactl completion", "Usage: kumactl completion"),
            ("kumactl apply --help", "Usage: kumactl apply"),
            ("kumactl help get", "Usage: kumactl get"),
            ("kumactl help x", "Unknown help topic [`x`]\n"),
        ] {
            let stop = stop(line);
            assert!(!stop.failed && stop.err.is_empty(), "{line}: {}", stop.err);
            assert!(stop.out.contains(part), "{line}: {}", stop.out);
        }
    }

    #[test]
    fn what_the_published_tool_accepts_is_accepted() {
        for line in [
            "kumactl version x y",
            "kumactl inspect dataplanes x",
            "kumactl generate user-token --name a --valid-for 1h x",
            "kumactl get -o json meshes",
            "kumactl get meshes --size=-1",
            "kumactl get global-secrets",
            "kumactl get global-secret x",
            "kumactl apply -f a -f b",
        ] {
            accepted(line);
        }
        let apply = accepted("kumactl apply --dry-run=false -f a -f b");
        let (_, apply) = apply.subcommand().expect("a command");
        assert!(!apply.get_flag("dry-run"));
        assert_eq!(apply.get_one::<String>("file").map(String::as_str), Some("b"));
    }
}
