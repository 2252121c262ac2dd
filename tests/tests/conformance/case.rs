//! Loads cases: a folder with `case.yaml`, or a single file in table suites.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// One case.
pub(crate) struct Case {
    /// `suite/area/name`.
    pub(crate) id: String,
    /// Its description.
    pub(crate) doc: Value,
    /// Folder of the files that it names.
    pub(crate) dir: PathBuf,
}

/// One assertion of a case.
pub(crate) struct Check<'a> {
    pub(crate) name: &'a str,
    pub(crate) doc: &'a Value,
}

impl Case {
    /// Assertions in order; a single-file case has one, called `case`.
    pub(crate) fn checks(&self) -> Vec<Check<'_>> {
        match self.doc.get("checks").and_then(Value::as_array) {
            Some(list) => {
                list.iter().map(|doc| Check { name: doc["name"].as_str().unwrap_or_default(), doc }).collect()
            }
            None => vec![Check { name: "case", doc: &self.doc }],
        }
    }

    /// Area: the part of the id between suite and name.
    pub(crate) fn area(&self) -> &str {
        let mut parts = self.id.split('/');
        parts.next();
        parts.next().unwrap_or_default()
    }

    /// A parameter of the case.
    pub(crate) fn param(&self, name: &str) -> &Value {
        &self.doc["params"][name]
    }

    /// Text of the input file with this role.
    pub(crate) fn input(&self, role: &str) -> Option<String> {
        self.doc["inputs"][role].as_str().map(|file| self.file(file))
    }

    /// Text of a file beside the case.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.dir.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }
}

impl Check<'_> {
    /// The expected value: text of the file in `expected`, if there is one.
    pub(crate) fn golden(&self, case: &Case) -> Option<String> {
        self.doc["expected"].as_str().map(|file| case.file(file))
    }
}

/// Names of all suites in the folder.
pub(crate) fn suites(data: &Path) -> Vec<String> {
    let mut names: Vec<String> = entries(data)
        .into_iter()
        .filter(|p| p.join("cases").is_dir())
        .filter_map(|p| p.file_name().and_then(|n| n.to_str()).map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// All cases of a suite, by id.
pub(crate) fn load(data: &Path, suite: &str) -> Vec<Case> {
    let root = data.join(suite).join("cases");
    let mut cases = Vec::new();
    collect(&root, &root, suite, &mut cases);
    cases.sort_by(|a, b| a.id.cmp(&b.id));
    cases
}

fn collect(root: &Path, dir: &Path, suite: &str, out: &mut Vec<Case>) {
    if dir.join("case.yaml").is_file() {
        out.push(read(root, &dir.join("case.yaml"), dir, suite, dir));
        return;
    }
    for path in entries(dir) {
        if path.is_dir() {
            collect(root, &path, suite, out);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            out.push(read(root, &path, dir, suite, &path.with_extension("")));
        }
    }
}

fn read(root: &Path, file: &Path, dir: &Path, suite: &str, named: &Path) -> Case {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let doc: Value = crate::compare::yaml(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let name = named.strip_prefix(root).unwrap_or(named).display().to_string();
    Case { id: format!("{suite}/{name}"), doc, dir: dir.to_owned() }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}
