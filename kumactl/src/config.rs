//! The client's configuration file: which control planes there are, and which one is active.

use std::{
    collections::BTreeMap,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use kuma_core::document::{self, Limits, Part};
use serde::{Deserialize, Serialize};

use crate::output::yaml::to_yaml;

const HOW: &str = "Use `kumactl config control-planes add` to add a Control Plane and make it active";

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Known control planes.
    #[serde(alias = "control_planes", skip_serializing_if = "Vec::is_empty")]
    pub control_planes: Vec<ControlPlane>,
    /// Known contexts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<Context>,
    /// Name of the active context.
    #[serde(alias = "current_context", skip_serializing_if = "String::is_empty")]
    pub current_context: String,
}

/// A control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlPlane {
    /// Its name here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<Coordinates>,
}

/// Where a control plane is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Coordinates {
    /// Its REST API.
    #[serde(alias = "api_server", skip_serializing_if = "Option::is_none")]
    pub api_server: Option<ApiServer>,
}

/// How to call a REST API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiServer {
    /// Base URL; a path prefix is allowed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// CA of its certificate.
    #[serde(alias = "ca_cert_file", skip_serializing_if = "String::is_empty")]
    pub ca_cert_file: String,
    /// Own certificate.
    #[serde(alias = "client_cert_file", skip_serializing_if = "String::is_empty")]
    pub client_cert_file: String,
    /// Key of the own certificate.
    #[serde(alias = "client_key_file", skip_serializing_if = "String::is_empty")]
    pub client_key_file: String,
    /// Headers of every request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// Name of the authentication plugin; `tokens` or empty.
    #[serde(alias = "auth_type", skip_serializing_if = "String::is_empty")]
    pub auth_type: String,
    /// Its configuration.
    #[serde(alias = "auth_conf", skip_serializing_if = "BTreeMap::is_empty")]
    pub auth_conf: BTreeMap<String, String>,
    /// The server's certificate is not verified.
    #[serde(alias = "skip_verify", skip_serializing_if = "std::ops::Not::not")]
    pub skip_verify: bool,
}

/// A header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A context: a control plane and defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Context {
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Name of its control plane.
    #[serde(alias = "control_plane", skip_serializing_if = "String::is_empty")]
    pub control_plane: String,
    /// Defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
}

/// Defaults of a context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Mesh.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mesh: String,
}

impl Config {
    /// A control plane `local` on this machine.
    pub fn local() -> Self {
        let api_server = ApiServer { url: "http://localhost:5681".into(), ..ApiServer::default() };
        Self {
            control_planes: vec![ControlPlane {
                name: "local".into(),
                coordinates: Some(Coordinates { api_server: Some(api_server) }),
            }],
            contexts: vec![Context { name: "local".into(), control_plane: "local".into(), defaults: None }],
            current_context: "local".into(),
        }
    }

    /// Reads the file; one that does not exist reads as [`Config::local`]. It is written when something is changed.
    ///
    /// # Errors
    /// What cannot be read or parsed, with the path.
    pub fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::local());
        }
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).with_context(|| format!("Failed to read configuration from file {shown:?}"))?;
        let failed = |fault| anyhow!("Failed to parse configuration from file {shown:?}: {fault}");
        let text = document::text(&bytes, Limits::REQUEST).map_err(failed)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        Part::whole(text).decode(Limits::REQUEST).map_err(failed)
    }

    /// Writes the file (0600) by rename, so that nobody reads half of it. A symbolic link stays, what it leads to is replaced.
    ///
    /// # Errors
    /// What cannot be written, with the path.
    pub fn save(&self, path: &Path) -> Result<()> {
        // Where there is nothing yet, it is written where it was asked for.
        let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .with_context(|| format!("Failed to create a directory {:?}", dir.display().to_string()))?;
        let failed = || format!("Failed to write configuration into file {:?}", path.display().to_string());
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = write_private(&temporary, &self.yaml()).and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            // It may hold tokens, and nobody would find it. The error that counts is the first one.
            let _ = std::fs::remove_file(&temporary);
        }
        written.with_context(failed)
    }

    /// The file as text.
    pub fn yaml(&self) -> String {
        to_yaml(&serde_json::to_value(self).unwrap_or_default())
    }

    /// The active control plane.
    ///
    /// # Errors
    /// None is active, or the active context leads nowhere.
    pub fn active(&self) -> Result<&ControlPlane> {
        if self.current_context.is_empty() {
            return Err(anyhow!("active Control Plane is not set. {HOW}"));
        }
        self.contexts
            .iter()
            .find(|c| c.name == self.current_context)
            .and_then(|context| self.control_planes.iter().find(|cp| cp.name == context.control_plane))
            .ok_or_else(|| anyhow!("apparently, configuration is broken. {HOW}"))
    }

    /// Mesh that the active context stands for, if it says so.
    pub fn default_mesh(&self) -> Option<&str> {
        let context = self.contexts.iter().find(|c| c.name == self.current_context)?;
        context.defaults.as_ref().map(|d| d.mesh.as_str()).filter(|mesh| !mesh.is_empty())
    }

    /// Uses the context of this name, else the control plane of this name, in memory only.
    ///
    /// # Errors
    /// There is neither.
    pub fn use_named(&mut self, name: &str) -> Result<()> {
        if self.contexts.iter().any(|c| c.name == name) {
            name.clone_into(&mut self.current_context);
            return self.active().map(|_| ());
        }
        if !self.control_planes.iter().any(|cp| cp.name == name) {
            let known: Vec<&str> = self.contexts.iter().map(|c| c.name.as_str()).collect();
            return Err(anyhow!(
                "there is no context and no Control Plane with name {name:?}, the contexts are: {}",
                known.join(", ")
            ));
        }
        // A control plane without a context of its own.
        self.contexts.push(Context { name: name.to_owned(), control_plane: name.to_owned(), defaults: None });
        name.clone_into(&mut self.current_context);
        Ok(())
    }

    /// Adds a control plane with a context of its name, and makes it active.
    ///
    /// # Errors
    /// The name is taken and `overwrite` is not set.
    pub fn add(&mut self, control_plane: ControlPlane, overwrite: bool) -> Result<()> {
        let name = control_plane.name.clone();
        match self.control_planes.iter_mut().find(|cp| cp.name == name) {
            Some(known) if overwrite => *known = control_plane,
            Some(_) => {
                return Err(anyhow!(
                    "Control Plane with name {name:?} already exists. Use --overwrite to replace an existing one."
                ));
            }
            None => self.control_planes.push(control_plane),
        }
        let context = Context { name: name.clone(), control_plane: name.clone(), defaults: None };
        match self.contexts.iter_mut().find(|c| c.name == name) {
            Some(known) if overwrite => *known = context,
            Some(_) => return Err(anyhow!("Context with name {name:?} already exists")),
            None => self.contexts.push(context),
        }
        self.current_context = name;
        Ok(())
    }

    /// Removes a control plane and the contexts that lead to it.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let at = self
            .control_planes
            .iter()
            .position(|cp| cp.name == name)
            .ok_or_else(|| anyhow!("there is no Control Plane with name {name:?}"))?;
        self.control_planes.remove(at);
        self.contexts.retain(|c| c.control_plane != name);
        if !self.contexts.iter().any(|c| c.name == self.current_context) {
            self.current_context = self.contexts.first().map(|c| c.name.clone()).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes another context active.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn switch(&mut self, name: &str) -> Result<()> {
        if !self.contexts.iter().any(|c| c.name == name) {
            return Err(anyhow!("there is no Control Plane with name {name:?}"));
        }
        name.clone_into(&mut self.current_context);
        Ok(())
    }
}

/// Writes a file that only this user can read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// Where the file is unless somebody says otherwise.
///
/// # Errors
/// There is no home directory.
pub fn default_path() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").filter(|h| !h.is_empty()).ok_or_else(|| {
        anyhow!("$HOME is not set: say where the configuration is with --config-file, or use --no-config")
    })?;
    Ok(PathBuf::from(home).join(".kumactl/config"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, url: &str) -> ControlPlane {
        let api_server = ApiServer { url: url.into(), ..ApiServer::default() };
        ControlPlane { name: name.into(), coordinates: Some(Coordinates { api_server: Some(api_server) }) }
    }

    #[test]
    fn a_missing_file_is_the_local_control_plane_and_is_not_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/config");
        assert_eq!(Config::load(&path).expect("defaults"), Config::local());
        assert!(!path.exists());
        Config::local().save(&path).expect("a file");
        assert_eq!(Config::load(&path).expect("a file"), Config::local());
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_link_to_the_file_stays_a_link() {
        let dir = tempfile::tempdir().expect("a folder");
        let (kept, link) = (dir.path().join("dotfiles/kumactl"), dir.path().join("config"));
        Config::default().save(&kept).expect("a file");
        std::os::unix::fs::symlink("dotfiles/kumactl", &link).expect("a link");
        Config::local().save(&link).expect("a file");
        assert!(link.is_symlink());
        assert_eq!(Config::load(&kept).expect("a file"), Config::local());
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("a folder");
        // A folder cannot be replaced by a file.
        let path = dir.path().join("config");
        std::fs::create_dir(&path).expect("a folder");
        let error = format!("{:#}", Config::local().save(&path).expect_err("a folder is in the way"));
        assert!(error.starts_with(&format!("Failed to write configuration into file {path:?}")), "{error}");
        let left: Vec<_> = std::fs::read_dir(dir.path()).expect("a folder").map(|e| e.expect("it").path()).collect();
        assert_eq!(left, [path]);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_with_the_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("config");
        let fault = |content: &[u8]| {
            std::fs::write(&path, content).expect("a file");
            let error = format!("{:#}", Config::load(&path).expect_err("no configuration"));
            error
                .strip_prefix(&format!("Failed to parse configuration from file {path:?}: "))
                .expect("its name")
                .to_owned()
        };
        assert!(fault(b"contexts:\n- name: [\n").starts_with("line 2, column 9: "));
        let wrong = fault(b"controlPlanes:\n- name: a\n  coordinates: 1\n");
        assert!(wrong.starts_with("line 3, column "), "{wrong}");
        assert!(fault(b"contexts: \xff\n").starts_with("line 1, column 11: the text is not UTF-8"));
        assert!(fault("[".repeat(10_000).as_bytes()).contains("nested more than"));
    }

    #[test]
    fn the_first_context_takes_over_when_the_active_one_goes() {
        let mut config = Config::local();
        config.add(named("b", "http://b"), false).expect("a new name");
        assert_eq!(config.active().expect("active").name, "b");
        let again = config.add(named("b", "http://c"), false).expect_err("taken");
        assert_eq!(
            again.to_string(),
            "Control Plane with name \"b\" already exists. Use --overwrite to replace an existing one."
        );
        config.remove("b").expect("it is there");
        assert_eq!(config.current_context, "local");
        config.remove("local").expect("it is there");
        assert!(config.active().expect_err("none").to_string().starts_with("active Control Plane is not set."));
    }

    #[test]
    fn a_name_of_one_call_is_a_context_or_else_a_control_plane() {
        let mut config = Config::local();
        config.control_planes.push(named("bare", "http://bare"));
        config.contexts.push(Context {
            name: "staging".into(),
            control_plane: "local".into(),
            defaults: Some(Defaults { mesh: "demo".into() }),
        });
        let unknown = config.use_named("x").expect_err("unknown").to_string();
        assert!(unknown.contains("the contexts are: local, staging"), "{unknown}");
        config.use_named("staging").expect("a context");
        assert_eq!((config.active().expect("active").name.as_str(), config.default_mesh()), ("local", Some("demo")));
        config.use_named("bare").expect("a control plane");
        assert_eq!((config.active().expect("active").name.as_str(), config.default_mesh()), ("bare", None));
    }
}
