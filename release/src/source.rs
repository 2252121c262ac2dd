//! Which sources are being packed: the commit, its date, and whether the work tree differs from it.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The state of the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Full commit hash; empty outside a git repository.
    pub commit: String,
    /// What `git describe --tags --always` says; empty outside a git repository.
    pub describe: String,
    /// Seconds since 1970 that every packed file carries.
    pub epoch: u64,
    /// Whether tracked files differ from the commit.
    pub dirty: bool,
}

impl Source {
    /// Reads it from git, with `SOURCE_DATE_EPOCH` as the stronger word on the date.
    pub fn read() -> Result<Self> {
        let given = match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(text) => Some(text.parse().with_context(|| format!("SOURCE_DATE_EPOCH is not a number: '{text}'"))?),
            Err(_) => None,
        };
        let Some(commit) = git(&["rev-parse", "HEAD"]) else {
            let Some(epoch) = given else {
                bail!("these sources are not a git checkout: set SOURCE_DATE_EPOCH to the date that packed files get");
            };
            return Ok(Self { commit: String::new(), describe: String::new(), epoch, dirty: false });
        };
        let committed = git(&["log", "-1", "--format=%ct"]).and_then(|text| text.parse().ok());
        Ok(Self {
            describe: git(&["describe", "--tags", "--always"]).unwrap_or_default(),
            epoch: given.or(committed).context("git does not tell the date of the commit")?,
            dirty: git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|changes| !changes.is_empty()),
            commit,
        })
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").current_dir(workspace::root()).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
