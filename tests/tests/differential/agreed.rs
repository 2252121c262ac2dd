//! The committed list of scenarios whose plans agree with what was recorded: one name a line, sorted.

use std::{collections::BTreeSet, path::PathBuf};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("differential/agreed.txt")
}

pub(crate) fn load() -> BTreeSet<String> {
    let text = std::fs::read_to_string(path()).unwrap_or_else(|e| panic!("{}: {e}", path().display()));
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

pub(crate) fn store(agreed: &BTreeSet<String>) {
    let mut text = String::from("# Scenarios whose plans agree with what was recorded. The list only grows.\n");
    for name in agreed {
        text.push_str(name);
        text.push('\n');
    }
    std::fs::write(path(), text).unwrap_or_else(|e| panic!("{}: {e}", path().display()));
}
