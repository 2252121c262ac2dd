//! Collects outcomes and prints the table.

use std::collections::{BTreeMap, BTreeSet};

/// What a check said.
pub(crate) struct Outcome {
    /// Name of the check within its case.
    pub(crate) name: String,
    /// Passed, or why not.
    pub(crate) result: Result<(), String>,
}

impl Outcome {
    pub(crate) fn new(name: &str, result: Result<(), String>) -> Self {
        Self { name: name.into(), result }
    }

    pub(crate) fn fail(name: &str, reason: impl Into<String>) -> Self {
        Self::new(name, Err(reason.into()))
    }
}

/// All outcomes so far.
#[derive(Default)]
pub(crate) struct Report {
    outcomes: BTreeMap<String, (String, Result<(), String>)>,
    skipped: BTreeMap<String, usize>,
}

impl Report {
    pub(crate) fn add(&mut self, suite: &str, case: &str, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.outcomes.insert(format!("{case}#{}", outcome.name), (suite.to_owned(), outcome.result));
        }
    }

    /// A suite that nothing runs yet.
    pub(crate) fn skipped(&mut self, suite: &str, cases: usize) {
        self.skipped.insert(suite.to_owned(), cases);
    }

    pub(crate) fn passed(&self) -> impl Iterator<Item = &str> {
        self.outcomes.iter().filter(|(_, (_, r))| r.is_ok()).map(|(id, _)| id.as_str())
    }

    pub(crate) fn failed(&self) -> usize {
        self.outcomes.values().filter(|(_, r)| r.is_err()).count()
    }

    /// Expected checks that did not pass, or did not run.
    pub(crate) fn lost(&self, expected: &BTreeSet<String>) -> Vec<String> {
        expected.iter().filter(|id| !matches!(self.outcomes.get(*id), Some((_, Ok(()))))).cloned().collect()
    }

    pub(crate) fn reason(&self, id: &str) -> Option<String> {
        match self.outcomes.get(id) {
            Some((_, Err(reason))) => Some(indent(reason)),
            Some(_) => None,
            None => Some("  it did not run".into()),
        }
    }

    pub(crate) fn print(&self, expected: &BTreeSet<String>, failing: bool) {
        if failing {
            for (id, (_, result)) in &self.outcomes {
                if let Err(reason) = result {
                    println!("FAIL {id}\n{}", indent(reason));
                }
            }
        }
        let mut rows: BTreeMap<&str, (usize, usize, usize)> =
            self.skipped.keys().map(|s| (s.as_str(), (0, 0, 0))).collect();
        for (id, (suite, result)) in &self.outcomes {
            let row = rows.entry(suite).or_default();
            row.0 += 1;
            row.1 += usize::from(result.is_ok());
            row.2 += usize::from(expected.contains(id));
        }
        println!("{:<30} | {:>5} | {:>6} | {:>8}", "suite", "ran", "passed", "expected");
        println!("{:-<30}-+-{:->5}-+-{:->6}-+-{:->8}", "", "", "", "");
        let mut total = (0, 0, 0);
        for (suite, (ran, passed, wanted)) in rows {
            println!("{suite:<30} | {ran:>5} | {passed:>6} | {wanted:>8}");
            total = (total.0 + ran, total.1 + passed, total.2 + wanted);
        }
        println!("{:<30} | {:>5} | {:>6} | {:>8}", "total", total.0, total.1, total.2);
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|l| format!("  {l}")).collect::<Vec<_>>().join("\n")
}
