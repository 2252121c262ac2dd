//! The committed list of checks that are expected to pass: one id a line, sorted.

use std::{collections::BTreeSet, path::PathBuf};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conformance/expected.txt")
}

pub(crate) fn load() -> BTreeSet<String> {
    let text = std::fs::read_to_string(path()).unwrap_or_else(|e| panic!("{}: {e}", path().display()));
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

pub(crate) fn store(expected: &BTreeSet<String>) {
    let mut text = String::from("# Conformance checks that are expected to pass. The list only grows.\n");
    for id in expected {
        text.push_str(id);
        text.push('\n');
    }
    std::fs::write(path(), text).unwrap_or_else(|e| panic!("{}: {e}", path().display()));
}
