//! Writes the documents that follow from code, so that they cannot say anything else than the code does.
//!
//! They are committed: readers find them without building, and a change shows in review. A test, and
//! `release gen --check`, fail when one of them is not what the code gives.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use kuma_core::registry::{Descriptor, Kind, Role, Scope, Shape, Sync};

use crate::workspace;

/// A file that is written by `gen`.
#[derive(Debug)]
struct Document {
    /// Path within the repository.
    path: &'static str,
    content: String,
}

fn documents() -> Vec<Document> {
    vec![Document { path: "docs/reference/kinds.md", content: kinds() }]
}

/// Writes all documents, or with `check` only tells which of them are not current.
pub fn run(check: bool) -> Result<()> {
    let root = workspace::root();
    let stale: Vec<_> = documents().into_iter().filter(|document| !is_current(&root, document)).collect();
    if check {
        let names: Vec<_> = stale.iter().map(|document| document.path).collect();
        if !names.is_empty() {
            bail!("not what the code gives: {}. Run `cargo run -p release -- gen` and commit", names.join(", "));
        }
        return Ok(());
    }
    for document in stale {
        let path = root.join(document.path);
        fs::write(&path, &document.content).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", document.path);
    }
    Ok(())
}

fn is_current(root: &Path, document: &Document) -> bool {
    fs::read_to_string(root.join(document.path)).is_ok_and(|content| content == document.content)
}

fn kinds() -> String {
    let mut text = String::from(
        "# Kinds of resources\n\n\
         <!-- Written by `cargo run -p release -- gen` from kuma-core/src/registry.rs. Do not edit. -->\n\n\
         The REST collection of a mesh-scoped kind lies under `/meshes/{mesh}/`, that of a global one under `/`.\n\
         *Fields* tells whether those of the spec stand beside `type` and `name` or under `spec`. *Travels* tells\n\
         between which control planes of a multi-zone deployment objects are copied.\n\n\
         ## Resources\n\n\
         | Kind | Scope | REST collection | kumactl | Short | Fields | Status | Travels | Access |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows().filter(|row| !row.is_policy()) {
        let cells = [shared_cells(row), vec![access(row)]].concat();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text.push_str(
        "\n## Policies\n\n\
         In the order in which they are applied. *Parts* are the sections of `spec` beside `targetRef`.\n\n\
         | Kind | Scope | REST collection | kumactl | Short | Fields | Status | Travels | Parts | Order |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut policies: Vec<_> = rows()
        .filter_map(|row| match row.role {
            Role::Policy(targets) => Some((targets, row)),
            _ => None,
        })
        .collect();
    policies.sort_by_key(|(targets, _)| targets.order);
    for (targets, row) in policies {
        let parts = [("to", targets.to), ("rules", targets.rules), ("default", targets.own)];
        let parts: Vec<_> = parts.iter().filter(|(_, has)| *has).map(|(name, _)| format!("`{name}`")).collect();
        let cells = [shared_cells(row), vec![parts.join(" "), targets.order.to_string()]].concat();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn rows() -> impl Iterator<Item = &'static Descriptor> {
    Kind::ALL.iter().map(|kind| kind.descriptor())
}

fn shared_cells(row: &Descriptor) -> Vec<String> {
    let code = |text: &str| format!("`{text}`");
    let or_none = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), code);
    let scope = match row.scope {
        Scope::Mesh => "mesh",
        Scope::Global => "global",
    };
    let fields = match row.shape {
        Shape::Flat => "flat",
        Shape::SpecStatus => "`spec`",
    };
    let travels = match row.sync {
        Sync::None => "no",
        Sync::GlobalToZone => "global to zones",
        Sync::ZoneToGlobal => "zone to global",
        Sync::Both => "both ways",
    };
    let path = row.alias.map_or_else(|| code(row.path), |alias| format!("{}, {}", code(row.path), code(alias)));
    vec![
        row.name.to_owned(),
        scope.to_owned(),
        path,
        or_none(row.cli),
        or_none(row.short),
        fields.to_owned(),
        if row.has_status { "yes" } else { "no" }.to_owned(),
        travels.to_owned(),
    ]
}

fn access(row: &Descriptor) -> String {
    if row.read_only() {
        "read only"
    } else if row.admin_only() {
        "admins only"
    } else {
        "all users"
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_documents_are_what_the_code_gives() {
        run(true).unwrap();
    }

    #[test]
    fn every_kind_is_listed() {
        let text = kinds();
        for kind in Kind::ALL {
            assert!(text.contains(&format!("\n| {} |", kind.name())), "{kind}");
        }
    }
}
