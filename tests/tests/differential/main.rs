//! Plans and renders the recorded scenarios offline, and compares with what was recorded for each proxy (`ads`).
//!
//! No server runs: resources are taken from the scenario, services with their addresses and hostnames from the recorded
//! lists. Scenarios that use kinds which this build does not know are counted and left out. The scenarios that agree are
//! listed in `tests/differential/agreed.txt`, which may only grow; `KUMA_DIFFERENTIAL_BLESS=1` adds to it.
//!
//! The data is read from `../shared/differential/scenarios` beside the project. `KUMA_DIFFERENTIAL_DIR` names another
//! folder of the same layout, of which every scenario that can be run has to agree. An argument filters scenarios by
//! substring.

mod agreed;
mod compare;
mod scenario;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use scenario::{Loaded, Scenario};

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let foreign = std::env::var_os("KUMA_DIFFERENTIAL_DIR").map(PathBuf::from);
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let data = foreign.clone().unwrap_or_else(|| project.join("../shared/differential/scenarios"));
    if !data.is_dir() {
        return missing(&data, foreign.is_some());
    }
    let mut report = Report::default();
    for dir in scenario::folders(&data) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if filter.as_ref().is_none_or(|f| name.contains(f.as_str())) {
            report.add(name, &dir);
        }
    }
    report.print(filter.is_some());
    if foreign.is_some() {
        return if report.differ.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    report.against_the_list(filter.as_deref())
}

/// Without the data the project's own tests stand alone, except where somebody relies on it.
fn missing(data: &Path, asked_for: bool) -> ExitCode {
    println!("differential: 0 SCENARIOS RAN, there is no folder {}", data.display());
    if asked_for || std::env::var_os("CI").is_some() {
        println!("differential: the data is required here");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What came of each scenario.
#[derive(Default)]
struct Report {
    agree: BTreeSet<String>,
    differ: BTreeMap<String, Vec<String>>,
    unknown: BTreeMap<String, BTreeSet<String>>,
    no_proxy: BTreeSet<String>,
    /// Proxies of all scenarios that agree.
    proxies: usize,
}

impl Report {
    fn add(&mut self, name: String, dir: &Path) {
        match Scenario::load(dir) {
            Loaded::Unknown(kinds) => {
                self.unknown.insert(name, kinds);
            }
            Loaded::NoProxy => {
                self.no_proxy.insert(name);
            }
            Loaded::Ready(scenario) => {
                let differences = scenario.run();
                if differences.is_empty() {
                    self.proxies += scenario.proxies();
                    self.agree.insert(name);
                } else {
                    self.differ.insert(name, differences);
                }
            }
        }
    }

    fn print(&self, verbose: bool) {
        for (name, differences) in &self.differ {
            println!("{name}: {} differences", differences.len());
            for difference in differences.iter().take(if verbose { 100 } else { 10 }) {
                println!("  {difference}");
            }
        }
        if verbose {
            for (name, kinds) in &self.unknown {
                println!("{name}: left out, kinds {kinds:?} are not known");
            }
            for name in &self.no_proxy {
                println!("{name}: left out, nothing was recorded for a proxy");
            }
        }
        println!(
            "differential: {} agree ({} proxies), {} differ; left out: {} use unknown kinds, {} record no proxy",
            self.agree.len(),
            self.proxies,
            self.differ.len(),
            self.unknown.len(),
            self.no_proxy.len()
        );
    }

    /// Scenarios on the list that do not agree any more are failures; others only show.
    fn against_the_list(&self, filter: Option<&str>) -> ExitCode {
        let mut agreed = agreed::load();
        if std::env::var_os("KUMA_DIFFERENTIAL_BLESS").is_some() {
            agreed.extend(self.agree.iter().cloned());
            agreed::store(&agreed);
        }
        let fresh = self.agree.difference(&agreed).count();
        if fresh > 0 {
            println!(
                "{fresh} scenarios agree that are not on the list: run with KUMA_DIFFERENTIAL_BLESS=1 to add them"
            );
        }
        let lost: Vec<&String> = agreed
            .iter()
            .filter(|name| filter.is_none_or(|f| name.contains(f)) && !self.agree.contains(*name))
            .collect();
        for name in &lost {
            println!("LOST {name}: on the list, but does not agree or did not run");
        }
        println!("differential: {} on the list, {} lost", agreed.len(), lost.len());
        if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
