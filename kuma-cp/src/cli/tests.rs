//! What command lines ask for. What the commands then do is tested by running the executable.

use super::*;

fn parsed(args: &[&str]) -> Parsed {
    parse(std::iter::once("kuma-cp").chain(args.iter().copied()).map(OsString::from))
}

fn problem(args: &[&str]) -> String {
    match parsed(args) {
        Parsed::Refuse { usage, problem } => {
            assert!(usage.contains("Usage:"), "{usage}");
            problem
        }
        Parsed::Show(text) => panic!("{args:?} shows {text}"),
        Parsed::Do(cli, _) => panic!("{args:?} does {cli:?}"),
    }
}

fn shown(args: &[&str]) -> String {
    match parsed(args) {
        Parsed::Show(text) => text,
        Parsed::Refuse { problem, .. } => panic!("{args:?} is refused: {problem}"),
        Parsed::Do(cli, _) => panic!("{args:?} does {cli:?}"),
    }
}

fn options(args: &[&str]) -> (Command, LogOptions) {
    match parsed(args) {
        Parsed::Do(cli, options) => (cli.command, options),
        Parsed::Refuse { problem, .. } => panic!("{args:?} is refused: {problem}"),
        Parsed::Show(text) => panic!("{args:?} shows {text}"),
    }
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn flags_are_read_before_and_after_the_command() {
    let (command, log) =
        options(&["--log-level", "debug", "run", "-c", "/f", "--log-max-size=0x10", "--log-max-age", "-1"]);
    let Command::Run(flags) = command else { panic!("{command:?}") };
    assert_eq!(flags.file.path(), Some(Path::new("/f")));
    assert_eq!((log.level, log.max_size, log.max_age, log.max_retained_files), (LogLevel::Debug, 16, 0, 1000));
    let (command, log) = options(&["run", "--config-file", "a", "--config-file", ""]);
    let Command::Run(flags) = command else { panic!("{command:?}") };
    assert_eq!(flags.file.path(), None, "the last one counts");
    assert_eq!(log, LogOptions::default());
    let (_, log) = options(&["migrate", "up", "--log-output-path", "x.log"]);
    assert_eq!(log.file.as_deref(), Some(Path::new("x.log")));
    assert!(matches!(options(&["version", "-a"]).0, Command::Version { detailed: true }));
}

#[test]
fn problems_have_the_known_texts() {
    for (args, expected) in [
        (&["x"][..], "unknown command \"x\" for \"kuma-cp\""),
        (&["rum"], "unknown command \"rum\" for \"kuma-cp\"\n\nDid you mean this?\n\trun\n"),
        (&["run", "--nope"], "unknown flag: --nope"),
        (&["run", "--nope=1"], "unknown flag: --nope"),
        (&["run", "-x"], "unknown shorthand flag: 'x' in -x"),
        (&["run", "extra"], "unknown command \"extra\" for \"kuma-cp\""),
        (&["run", "--config-file"], "flag needs an argument: --config-file"),
        (
            &["run", "--log-max-size", "x"],
            "invalid argument \"x\" for \"--log-max-size\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (&["run", "--log-level", "trace"], "unknown log level \"trace\""),
        (&["version", "--log-level", ""], "unknown log level \"\""),
    ] {
        assert_eq!(problem(args), expected, "{args:?}");
    }
}

#[test]
fn help_is_shown_without_an_error() {
    for args in [&[][..], &["--help"], &["help"]] {
        let text = shown(args);
        assert!(
            text.contains("Examples:") && text.contains("migrate") && text.contains("--log-level"),
            "{args:?} {text}"
        );
    }
    for args in [&["migrate"][..], &["migrate", "down"], &["migrate", "--help"]] {
        let text = shown(args);
        assert!(text.contains("kuma-cp migrate") && text.contains("up"), "{args:?} {text}");
    }
    let text = shown(&["run", "--help"]);
    assert!(text.contains("--print-config") && text.contains("Examples:"), "{text}");
}

#[test]
fn an_error_is_one_line_that_says_everything_once() {
    let file = anyhow::Error::new(std::io::Error::other("disk full"));
    assert_eq!(
        one_line(&file.context("could not write /x: disk full").context("no certificate")),
        "no certificate: could not write /x: disk full"
    );
    let plain = anyhow::anyhow!("inner").context("outer");
    assert_eq!(one_line(&plain), "outer: inner");
}

#[test]
fn the_service_unit_calls_what_there_is() {
    let unit = include_str!("../../../release/assets/systemd/kuma-cp.service");
    let commands: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    let [command] = commands[..] else { panic!("{commands:?}") };
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("/opt/kuma/bin/kuma-cp"));
    let (command, _) = options(&words.collect::<Vec<_>>());
    let Command::Run(flags) = command else { panic!("{command:?}") };
    assert_eq!(flags.file.path(), Some(Path::new("/etc/kuma/kuma-cp.conf.yml")));
}
