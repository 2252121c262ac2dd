//! Builds the executables that are shipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::source::Source;
use crate::workspace;

/// The packages whose executables are shipped, each of the same name.
pub const SHIPPED: [&str; 3] = ["kuma-cp", "kuma-dp", "kumactl"];

/// How the executables are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Optimised, stripped, and the same bytes wherever the sources lie.
    Shipped,
    /// As `cargo build` does it, sharing its cache: quick, and large.
    Debug,
}

/// Builds all of [`SHIPPED`], showing cargo's progress; the path of each by name.
pub fn build(how: Build, source: &Source) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--locked", "--message-format=json-render-diagnostics"]);
    for name in SHIPPED {
        cargo.args(["--package", name]);
    }
    if how == Build::Shipped {
        let target = host_triple()?;
        // With a target named, the flags apply to what is shipped and not to build scripts, so that these are
        // shared with every other build.
        cargo.args(["--release", "--target", &target]);
        let roots = path_roots()?;
        let rust: Vec<String> = roots.iter().map(|(from, to)| format!("--remap-path-prefix={from}={to}")).collect();
        let c: Vec<String> = roots.iter().map(|(from, to)| format!("-ffile-prefix-map={from}={to}")).collect();
        cargo.env("CARGO_ENCODED_RUSTFLAGS", with_given_rust_flags(rust).join("\u{1f}"));
        let c_flags = format!("CFLAGS_{}", target.replace('-', "_"));
        let given = std::env::var(&c_flags).or_else(|_| std::env::var("CFLAGS")).unwrap_or_default();
        cargo.env(&c_flags, format!("{given} {}", c.join(" ")).trim());
        // For C code that puts a date in. The same for every commit: with another one, all of that is built again.
        cargo.env("SOURCE_DATE_EPOCH", "0");
        // What `kuma-cp version --detailed` and its like print.
        cargo.env("KUMA_GIT_COMMIT", &source.commit).env("KUMA_GIT_TAG", &source.describe);
        cargo.env("KUMA_BUILD_DATE", rfc3339(source.epoch));
    }
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo could not build {} (see above)", SHIPPED.join(", "));
    }
    let built = executables(&String::from_utf8_lossy(&output.stdout));
    for name in SHIPPED {
        if !built.contains_key(name) {
            bail!("cargo reported success, but built no executable {name}");
        }
    }
    Ok(built)
}

/// The executables among cargo's messages.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed
        .filter_map(|message| {
            let path = message.get("executable")?.as_str()?;
            let name = message.get("target")?.get("name")?.as_str()?;
            Some((name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

/// The folders whose names would end up in panic messages and C assertions, and what stands there instead.
///
/// The most specific comes last: both compilers let the last match win.
fn path_roots() -> Result<Vec<(String, &'static str)>> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    let root = workspace::root();
    let target = workspace::target_dir();
    let mut roots = vec![(text(&home)?, "/cargo"), (text(&root)?, "/kuma"), (text(&target)?, "/build")];
    roots.sort_by_key(|(from, _): &(String, _)| from.len());
    Ok(roots)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not valid UTF-8", path.display()))
}

fn with_given_rust_flags(ours: Vec<String>) -> Vec<String> {
    let encoded = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let plain = std::env::var("RUSTFLAGS").unwrap_or_default();
    let given = if encoded.is_empty() {
        plain.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    } else {
        encoded.split('\u{1f}').map(str::to_owned).collect()
    };
    given.into_iter().chain(ours).collect()
}

/// The platform that rustc builds for by default.
pub fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .current_dir(workspace::root())
        .arg("-vV")
        .output()
        .with_context(|| format!("cannot start {}", rustc.to_string_lossy()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// A date as the executables print it, such as `2026-11-25T10:16:00Z`.
fn rfc3339(epoch: u64) -> String {
    let (days, seconds) = (epoch / 86_400, epoch % 86_400);
    // Years of 365.2425 days, counted from March so that the leap day comes last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_764_065_760), "2025-11-25T10:16:00Z");
    }

    #[test]
    fn picks_executables_out_of_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"kuma_core"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"kuma-cp"},"executable":"/t/release/kuma-cp"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let expected = BTreeMap::from([("kuma-cp".to_owned(), PathBuf::from("/t/release/kuma-cp"))]);
        assert_eq!(executables(messages), expected);
    }
}
