//! Replays the conformance data: prints a table `suite | ran | passed | expected` and compares with the committed
//! list of checks that are expected to pass (`tests/conformance/expected.txt`), which may only grow.
//!
//! The data is read from `../shared/conformance` beside the project. `KUMA_CONFORMANCE_DIR` points at another folder of
//! the same layout, for which nothing is expected: then the exit status is 0 only if every check that ran passed.
//! `KUMA_CONFORMANCE_STORE` chooses the [`store`] behind the API. `KUMA_CONFORMANCE_BLESS=1` adds checks that pass to the
//! list. An argument filters checks by substring.

mod case;
mod compare;
mod documents;
mod expected;
mod report;
mod rest;
mod rules;
mod store;
mod suites;
mod transform;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use report::{Outcome, Report};

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let foreign = std::env::var_os("KUMA_CONFORMANCE_DIR").map(PathBuf::from);
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let data = foreign.clone().unwrap_or_else(|| project.join("../shared/conformance"));
    if !data.is_dir() {
        return missing(&data, foreign.is_some());
    }
    let mut report = Report::default();
    for name in case::suites(&data) {
        let cases = case::load(&data, &name);
        let Some(run) = suites::find(&name) else {
            report.skipped(&name, cases.len());
            continue;
        };
        for case in cases {
            if filter.as_ref().is_some_and(|f| !case.id.contains(f.as_str())) {
                continue;
            }
            // A panic in one case is that case's failure.
            let outcomes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&case)))
                .unwrap_or_else(|_| vec![Outcome::fail("panic", "the case panicked")]);
            report.add(&name, &case.id, outcomes);
        }
    }
    if foreign.is_some() {
        report.print(&BTreeSet::new(), true);
        return if report.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let mut expected = expected::load();
    if std::env::var_os("KUMA_CONFORMANCE_BLESS").is_some() {
        expected.extend(report.passed().map(str::to_owned));
        expected::store(&expected);
    }
    let lost = if filter.is_some() { Vec::new() } else { report.lost(&expected) };
    report.print(&expected, filter.is_some() || std::env::var_os("KUMA_CONFORMANCE_VERBOSE").is_some());
    for id in &lost {
        println!("LOST {id}: expected to pass{}", report.reason(id).map(|r| format!("\n{r}")).unwrap_or_default());
    }
    let fresh = report.passed().filter(|id| !expected.contains(*id)).count();
    if fresh > 0 {
        println!("{fresh} checks pass that are not on the list yet: run with KUMA_CONFORMANCE_BLESS=1 to add them");
    }
    let (passed, store) = (report.passed().count(), store::chosen());
    println!("\nconformance: {passed} passed, {} failed; stores of the API: {store}", lost.len());
    if lost.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without the data the project's own tests stand alone, except where somebody relies on it.
fn missing(data: &std::path::Path, asked_for: bool) -> ExitCode {
    println!("conformance: 0 CASES RAN, there is no folder {}", data.display());
    if asked_for || std::env::var_os("CI").is_some() {
        println!("conformance: the data is required here");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
