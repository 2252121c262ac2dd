//! Which Envoy to run, and which version it is.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::Serialize;
use tokio::process::Command;

use crate::{host, version};

/// `envoy --version` answers in a fraction of this.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

/// No usable Envoy.
#[derive(Debug, thiserror::Error)]
pub enum BinaryError {
    /// `--binary-path` leads nowhere.
    #[error(
        "no Envoy at {0}, which --binary-path (or KUMA_DATAPLANE_RUNTIME_BINARY_PATH) names: no executable file is there"
    )]
    NotThere(PathBuf),
    /// `--binary-path` is a name that PATH does not know.
    #[error("no executable {0:?} in PATH, which --binary-path (or KUMA_DATAPLANE_RUNTIME_BINARY_PATH) names")]
    NotInPath(String),
    /// Neither beside kuma-dp nor in PATH.
    #[error(
        "no Envoy found: there is no executable \"envoy\" beside kuma-dp{0} nor in PATH; --binary-path names one elsewhere"
    )]
    NotFound(String),
    /// It does not start.
    #[error("cannot run {path}: {source}{hint}")]
    Start {
        /// The executable.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What it may mean, or nothing.
        hint: &'static str,
    },
    /// It does something else than print a version.
    #[error("{path} is not a usable Envoy: `--version` {what}")]
    NotEnvoy {
        /// The executable.
        path: PathBuf,
        /// What it did.
        what: String,
    },
}

/// What `envoy --version` says. Serialized as in the bootstrap request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyVersion {
    /// As in `1.40.0`.
    pub version: String,
    /// `revision/version/status/build type/ssl`.
    pub build: String,
    /// Whether this kuma-dp is tested with it; informational.
    pub kuma_dp_compatible: bool,
}

/// Finds Envoy: the one somebody named, and only that; else the one beside kuma-dp, else the one in `search_path`.
pub fn find(
    configured: &str,
    is_explicit: bool,
    own_folder: Option<&Path>,
    search_path: Option<&OsStr>,
) -> Result<PathBuf, BinaryError> {
    if configured.contains('/') {
        let path = PathBuf::from(configured);
        return if host::is_executable(&path) { Ok(path) } else { Err(BinaryError::NotThere(path)) };
    }
    if is_explicit {
        let found = host::in_path(configured, search_path);
        return found.ok_or_else(|| BinaryError::NotInPath(configured.to_owned()));
    }
    own_folder
        .map(|folder| folder.join(configured))
        .filter(|path| host::is_executable(path))
        .or_else(|| host::in_path(configured, search_path))
        .ok_or_else(|| {
            BinaryError::NotFound(own_folder.map(|folder| format!(" in {}", folder.display())).unwrap_or_default())
        })
}

/// Runs `path --version`.
pub async fn ask_version(path: &Path) -> Result<EnvoyVersion, BinaryError> {
    let mut command = Command::new(path);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let not_envoy = |what: String| BinaryError::NotEnvoy { path: path.to_owned(), what };
    let output = match tokio::time::timeout(VERSION_TIMEOUT, command.output()).await {
        Err(_) => return Err(not_envoy(format!("did not end within {VERSION_TIMEOUT:?}"))),
        Ok(Err(source)) => return Err(BinaryError::Start { path: path.to_owned(), hint: hint(&source), source }),
        Ok(Ok(output)) => output,
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match parse_version(&text) {
        Some(version) => Ok(version),
        None if output.status.success() => Err(not_envoy(format!("printed {:?}", shortened(&text)))),
        None => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(not_envoy(format!("ended with {} and {:?}", output.status, shortened(&said))))
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        // ENOEXEC
        Some(8) => " (it is built for another kind of machine, or is no program)",
        // ENOENT although the file is there
        Some(2) => " (its dynamic loader is missing: it is built for another C library)",
        _ => "",
    }
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(200).collect()
}

fn parse_version(text: &str) -> Option<EnvoyVersion> {
    let line = text.lines().find(|line| line.contains("version:"))?;
    let build = line.split_once("version:")?.1.trim();
    let parts: Vec<&str> = build.split('/').collect();
    let [_, version, _, _, _] = parts[..] else { return None };
    Some(EnvoyVersion {
        version: version.to_owned(),
        build: build.to_owned(),
        kuma_dp_compatible: version::is_tested_with(version),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(folder: &Path, name: &str, body: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, body).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_version_line_is_read() {
        let text = "\nenvoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL\n\n";
        let expected = EnvoyVersion {
            version: "1.40.0".into(),
            build: "9e55/1.40.0/Clean/RELEASE/BoringSSL".into(),
            kuma_dp_compatible: true,
        };
        assert_eq!(parse_version(text), Some(expected));
        assert_eq!(parse_version("envoy  version: 1.40.0"), None);
        assert_eq!(parse_version("GNU bash, version 5"), None);
    }

    #[test]
    fn beside_kuma_dp_comes_before_path_and_a_named_one_stands_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (own, elsewhere) = (dir.path().join("bin"), dir.path().join("usr"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&elsewhere).unwrap();
        let in_path = script(&elsewhere, "envoy", "");
        let search = Some(elsewhere.as_os_str());
        assert_eq!(find("envoy", false, Some(&own), search).unwrap(), in_path);
        let beside = script(&own, "envoy", "");
        assert_eq!(find("envoy", false, Some(&own), search).unwrap(), beside);
        assert_eq!(find("envoy", true, Some(&own), search).unwrap(), in_path);
        assert_eq!(find(in_path.to_str().unwrap(), true, Some(&own), None).unwrap(), in_path);

        let text = |configured: &str, explicit| find(configured, explicit, None, search).unwrap_err().to_string();
        assert!(text("/nowhere/envoy", true).contains("/nowhere/envoy"));
        assert!(text("envoy-1.2", true).contains("no executable \"envoy-1.2\" in PATH"));
        assert!(text("other", false).contains("--binary-path"));
    }

    #[tokio::test]
    async fn what_is_not_envoy_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let other = script(dir.path(), "other", "#!/bin/sh\necho hello\n");
        assert!(ask_version(&other).await.unwrap_err().to_string().contains("printed \"hello\""));
        let failing = script(dir.path(), "failing", "#!/bin/sh\necho no such luck >&2; exit 3\n");
        let text = ask_version(&failing).await.unwrap_err().to_string();
        assert!(text.contains("exit status: 3") && text.contains("no such luck"), "{text}");
        let garbage = script(dir.path(), "garbage", "\u{7f}ELF");
        let text = ask_version(&garbage).await.unwrap_err().to_string();
        assert!(text.contains("another kind of machine"), "{text}");
    }
}
