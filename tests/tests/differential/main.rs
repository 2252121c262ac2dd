//! Plans and renders the recorded scenarios offline, and compares with what was recorded for each proxy (`ads`).
//!
//! No server runs: resources are taken from the scenario, services with their addresses and hostnames from the recorded
//! lists. Scenarios that use kinds which this build does not know are counted and left out. The data is read from
//! `../shared/differential/scenarios` beside the project, or from the folder that `KUMA_DIFFERENTIAL_DIR` names. An
//! argument filters scenarios by substring.

mod compare;
mod scenario;

use std::{path::PathBuf, process::ExitCode};

use scenario::{Loaded, Scenario};

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let foreign = std::env::var_os("KUMA_DIFFERENTIAL_DIR").map(PathBuf::from);
    let asked_for = foreign.is_some() || std::env::var_os("CI").is_some();
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let data = foreign.unwrap_or_else(|| project.join("../shared/differential/scenarios"));
    if !data.is_dir() {
        println!("differential: 0 SCENARIOS RAN, there is no folder {}", data.display());
        return if asked_for { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    for dir in scenario::folders(&data) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.contains(&filter) {
            continue;
        }
        match Scenario::load(&dir) {
            Loaded::Unknown(kinds) => {
                left_out += 1;
                if !filter.is_empty() {
                    println!("{name}: left out, kinds {kinds:?} are not known");
                }
            }
            Loaded::NoProxy => left_out += 1,
            Loaded::Ready(scenario) => {
                let differences = scenario.run();
                if differences.is_empty() {
                    passed += 1;
                } else {
                    failed += 1;
                    println!("{name}: {} differences", differences.len());
                    for difference in differences.iter().take(10) {
                        println!("  {difference}");
                    }
                }
            }
        }
    }
    println!("\ndifferential: {passed} passed, {failed} failed, {left_out} left out");
    if failed == 0 && passed + left_out > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
