//! Version of this build, and whether it fits the control plane's.

use serde_json::Value;

use crate::client::Api;

/// Product name.
pub const PRODUCT: &str = "Kuma";
/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Sent with every request.
pub fn user_agent() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("kumactl/{VERSION} ({}; {arch}; {PRODUCT}/{})", std::env::consts::OS, commit_short())
}

/// Commit of this build, or `unknown`.
pub fn commit() -> &'static str {
    option_env!("KUMA_GIT_COMMIT").unwrap_or("unknown")
}

fn commit_short() -> &'static str {
    commit().get(..7).unwrap_or("unknown")
}

/// Detailed version, one fact per line.
pub fn details() -> String {
    format!(
        "Product:       {PRODUCT}\nVersion:       {VERSION}\nGit Tag:       {}\nGit Commit:    {}\nBuild Date:    {}\n",
        option_env!("KUMA_GIT_TAG").unwrap_or("unknown"),
        commit(),
        option_env!("KUMA_BUILD_DATE").unwrap_or("unknown"),
    )
}

const FAILED: &str = "WARNING: Failed to retrieve server version, can't check compatibility: ";

/// The warning of a command that goes on although the control plane cannot be asked for its version.
pub fn unknown(error: &anyhow::Error) -> String {
    format!("{FAILED}{error:#}")
}

/// A warning if client and control plane differ, or if the latter does not tell its version.
///
/// # Errors
/// It cannot be called at all. Whatever is asked of it next will fail in the same words.
pub async fn mismatch(api: &Api) -> anyhow::Result<Option<String>> {
    let index: Value = match api.get("/").await?.json() {
        Ok(index) => index,
        Err(error) => return Ok(Some(format!("{FAILED}Unable to retrieve server version: {error:#}"))),
    };
    let product = index["product"].as_str().unwrap_or_default();
    let version = index["version"].as_str().unwrap_or_default();
    if version.contains("preview") || (product == PRODUCT && version == VERSION) {
        return Ok(None);
    }
    Ok(Some(format!(
        "WARNING: You are using kumactl version {VERSION} for {PRODUCT}, but the server returned version: {product} for {version}"
    )))
}
