//! The licences of everything that is linked into the executables, as one text.
//!
//! Cargo's metadata tells which packages are linked and what licence each names; the texts are read from the
//! packages' sources, which cargo has on disk. A text that many packages share is printed once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{executables, workspace};

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: String,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Debug, Deserialize)]
struct DependencyKind {
    /// Absent for what is linked; `build` or `dev` otherwise.
    kind: Option<String>,
}

/// The text for the executables of these packages of the workspace.
pub(super) fn collect(roots: &[&str]) -> Result<String> {
    let output = workspace::cargo()
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", &executables::host_triple()?])
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("cannot read cargo's metadata")?;
    render(&linked(&metadata, roots))
}

/// The packages from elsewhere that end up in the executables, by name and version.
fn linked<'a>(metadata: &'a Metadata, roots: &[&str]) -> Vec<&'a Package> {
    let packages: BTreeMap<&str, &Package> = metadata.packages.iter().map(|p| (p.id.as_str(), p)).collect();
    let nodes: BTreeMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let ours = metadata.packages.iter().filter(|package| package.source.is_none());
    let mut todo: Vec<&str> = ours.filter(|p| roots.contains(&p.name.as_str())).map(|p| p.id.as_str()).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        // A macro runs in the compiler; neither it nor what it uses is linked.
        let is_macro =
            packages.get(id).is_some_and(|p| p.targets.iter().any(|t| t.kind.iter().any(|k| k == "proc-macro")));
        if is_macro || !seen.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
        let linked = dependencies.iter().filter(|dependency| dependency.dep_kinds.iter().any(|k| k.kind.is_none()));
        todo.extend(linked.map(|dependency| dependency.pkg.as_str()));
    }
    let mut found: Vec<_> =
        seen.iter().filter_map(|id| packages.get(id).copied()).filter(|p| p.source.is_some()).collect();
    found.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    found
}

fn render(packages: &[&Package]) -> Result<String> {
    let mut text = String::from(
        "The executables kuma-cp, kuma-dp and kumactl contain the packages below, each under the licence that it\n\
         names. The texts follow after the list.\n\n",
    );
    // Text -> the packages that carry it.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let name = format!("{} {}", package.name, package.version);
        let licence = package.license.as_deref().unwrap_or("see its text below");
        text.push_str(&format!("{name}: {licence}"));
        if let Some(repository) = &package.repository {
            text.push_str(&format!(" ({repository})"));
        }
        let folder = Path::new(&package.manifest_path).parent().context("a manifest without a folder")?;
        let contents = licence_texts(folder)?;
        text.push_str(if contents.is_empty() { " (brings no text of its own)\n" } else { "\n" });
        for content in contents {
            texts.entry(content).or_default().push(name.clone());
        }
    }
    let mut sections: Vec<_> = texts.into_iter().map(|(content, names)| (names, content)).collect();
    sections.sort();
    for (names, content) in sections {
        text.push_str(&format!("\n{}\n{}\n\n{}\n", "-".repeat(80), names.join(", "), content.trim_end()));
    }
    Ok(text)
}

/// The licence and notice files at the top of a package's sources, in the order of their names.
fn licence_texts(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"].iter().any(|word| name.starts_with(word))
            && !name.ends_with(".RS")
    });
    paths.sort();
    let read = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n").trim_end().to_owned())
    };
    paths.iter().map(|path| read(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, ours: bool, kind: &str) -> Package {
        Package {
            id: name.into(),
            name: name.into(),
            version: "1.0.0".into(),
            license: Some("MIT".into()),
            repository: None,
            source: (!ours).then(|| "registry".into()),
            manifest_path: format!("/nonexistent/{name}/Cargo.toml"),
            targets: vec![Target { kind: vec![kind.into()] }],
        }
    }

    fn dependency(on: &str, kind: Option<&str>) -> Dependency {
        Dependency { pkg: on.into(), dep_kinds: vec![DependencyKind { kind: kind.map(Into::into) }] }
    }

    #[test]
    fn follows_what_is_linked_and_nothing_else() {
        let metadata = Metadata {
            packages: vec![
                package("app", true, "bin"),
                package("own-lib", true, "lib"),
                package("linked", false, "lib"),
                package("macro", false, "proc-macro"),
                package("of-macro", false, "lib"),
                package("of-build", false, "lib"),
                package("of-tests", false, "lib"),
            ],
            resolve: Resolve {
                nodes: vec![
                    Node {
                        id: "app".into(),
                        deps: vec![dependency("own-lib", None), dependency("of-build", Some("build"))],
                    },
                    Node {
                        id: "own-lib".into(),
                        deps: vec![
                            dependency("linked", None),
                            dependency("macro", None),
                            dependency("of-tests", Some("dev")),
                        ],
                    },
                    Node { id: "macro".into(), deps: vec![dependency("of-macro", None)] },
                ],
            },
        };
        let names: Vec<_> = linked(&metadata, &["app"]).iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["linked"]);
    }

    #[test]
    fn every_linked_package_names_a_licence_and_brings_a_text() {
        let text = collect(&executables::SHIPPED).unwrap();
        assert!(text.contains("\ntokio 1."), "{}", &text[..2000.min(text.len())]);
        assert!(text.contains("Permission is hereby granted, free of charge"));
        assert!(!text.contains("see its text below"), "a package names no licence");
        assert!(!text.contains("\nserde_derive "), "macros are not linked");
    }
}
