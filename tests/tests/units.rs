//! What the archive brings for a Linux host fits the executables: variables exist, files are named as they are packed.

use std::collections::BTreeSet;

use kuma_cp::config;

/// Everything in `conf/` that is no configuration file of kuma-cp.
fn helpers() -> impl Iterator<Item = (&'static str, &'static str)> {
    release::archive::CONF.into_iter().filter(|(name, _)| name.contains('/'))
}

/// Words that begin with `KUMA_`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| word.starts_with("KUMA_"))
}

const GUIDE: &str = include_str!("../../docs/guides/linux.md");

#[test]
fn what_the_guide_copies_is_in_the_archive() {
    let packed: Vec<_> = release::archive::CONF.into_iter().map(|(name, _)| name).collect();
    let words = GUIDE.split(|c: char| c.is_whitespace() || "`,)(".contains(c));
    let named: Vec<_> = words.filter_map(|word| word.split_once("conf/").map(|(_, name)| name)).collect();
    let files: Vec<_> = named.into_iter().filter(|name| name.contains('.') || name.starts_with("logrotate/")).collect();
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        let found = match file.split_once('*') {
            Some((folder, ending)) => packed.iter().any(|name| name.starts_with(folder) && name.ends_with(ending)),
            None => packed.contains(&file.trim_end_matches('.')),
        };
        assert!(found, "{file} is not packed");
    }
}

#[test]
fn every_variable_of_units_exists() {
    let mut known: BTreeSet<String> = config::keys().into_iter().filter_map(|key| key.env).collect();
    known.extend(kuma_dp::config::env::VARIABLES.iter().map(|(name, _)| (*name).to_owned()));
    let mut found = 0;
    for (file, text) in helpers().chain([("the guide", GUIDE)]) {
        for variable in variables(text) {
            assert!(known.contains(variable), "{file} names {variable}, which does not exist");
            found += 1;
        }
    }
    assert!(found > 5, "{found}");
}

#[test]
fn units_wait_for_readiness_and_watch() {
    for (file, text) in helpers().filter(|(file, _)| file.ends_with(".service")) {
        let has = |line: &str| text.lines().any(|l| l == line);
        for line in ["Type=notify", "NotifyAccess=main", "NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077"] {
            assert!(has(line), "{file} lacks {line}");
        }
        assert!(text.contains("\nWatchdogSec="), "{file}");
        // The unit begins and ends: a section that lost its head would be ignored with a warning.
        for section in ["[Unit]", "[Service]", "[Install]"] {
            assert!(has(section), "{file} lacks {section}");
        }
    }
}

#[test]
fn the_users_of_units_are_made() {
    let of = |name: &str| release::archive::CONF.into_iter().find(|(file, _)| *file == name).unwrap().1;
    let users = of("systemd/sysusers.conf");
    for unit in ["systemd/kuma-cp.service", "systemd/kuma-dp@.service"] {
        let user = of(unit).lines().find_map(|line| line.strip_prefix("User=")).unwrap();
        assert!(users.lines().any(|line| line.starts_with(&format!("u {user} "))), "{user}");
    }
}
