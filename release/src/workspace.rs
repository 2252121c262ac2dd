//! Where this workspace lies, where its builds go, and how cargo is called for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that every crate of the workspace carries.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder with the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The folder that cargo builds into: `CARGO_TARGET_DIR`, else `target` in the workspace.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        // Cargo reads a relative value from the folder it was started in; so do we.
        Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)),
        _ => root().join("target"),
    }
}

/// The folder for executables that are fetched, not built: `KUMA_TOOLS_DIR`, else `tools` in the target folder.
pub fn tools_dir() -> PathBuf {
    match std::env::var_os("KUMA_TOOLS_DIR") {
        Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| PathBuf::from(dir)),
        _ => target_dir().join("tools"),
    }
}

/// The cargo that runs us, else the one on `PATH`, started in the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // Set by the `cargo run` that started us; a nested cargo would take them for its own package's.
    for inherited in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        cargo.env_remove(inherited);
    }
    cargo
}
