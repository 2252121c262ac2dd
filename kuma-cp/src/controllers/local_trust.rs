//! Leaves the CA of this control plane and a token for the Mesh `default` where a kuma-dp of the same user looks, so
//! that the two work together on one machine without a flag and without anything switched off.

use std::{
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    state::StateHandle,
    tls::ServedCertificate,
    tokens::{self, DataplaneClaims, Purpose},
};

/// Certificate of the CA.
const CA_FILE: &str = "ca.crt";
/// The token.
const TOKEN_FILE: &str = "dataplane-token";
/// Mesh that the token is for.
const MESH: &str = "default";

/// The folder: the first that is set of `$KUMA_LOCAL_DIR`, `$XDG_RUNTIME_DIR/kuma` and `~/.kuma/local`.
pub fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("KUMA_LOCAL_DIR")
        .or_else(|| set("XDG_RUNTIME_DIR").map(|dir| dir.join("kuma")))
        .or_else(|| set("HOME").map(|home| home.join(".kuma/local")))
}

/// Writes the CA at once and the token as soon as it can be signed. What cannot be written is said once; nothing
/// depends on it but comfort.
pub async fn run(
    folder: PathBuf,
    certificate: Arc<ServedCertificate>,
    tokens_wanted: bool,
    state: StateHandle,
    stop: CancellationToken,
) {
    let outcome = tokio::select! {
        // At the end the state ends as well, which is no failure.
        biased;
        () = stop.cancelled() => return,
        outcome = leave(&folder, &certificate, tokens_wanted, &state) => outcome,
    };
    match outcome {
        Ok(()) => {
            tracing::info!(folder = %folder.display(), "a kuma-dp of this user on this machine needs no CA file and no token");
        }
        Err(error) => tracing::info!(
            error = format!("{error:#}"), folder = %folder.display(),
            "a kuma-dp on this machine needs --ca-cert-file and --dataplane-token-file: they could not be left for it"
        ),
    }
}

async fn leave(
    folder: &Path,
    certificate: &ServedCertificate,
    tokens_wanted: bool,
    state: &StateHandle,
) -> anyhow::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write(&folder.join(CA_FILE), certificate.chain_pem().as_bytes())?;
    if !tokens_wanted {
        return Ok(());
    }
    let mut changes = state.subscribe();
    loop {
        let current = state.current();
        if (Purpose::Dataplane { mesh: MESH }).newest_key(&*current).is_some() {
            let claims = DataplaneClaims { mesh: MESH.to_owned(), ..DataplaneClaims::default() };
            let id = uuid::Uuid::new_v4();
            let token = tokens::issue(&claims, MESH, &*current, Timestamp::now(), id, tokens::DEFAULT_VALIDITY)?;
            return write(&folder.join(TOKEN_FILE), token.as_bytes());
        }
        changes.next().await.context("the control plane is shutting down")?;
    }
}

/// Replaces a file by rename; only this user may read it.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    std::fs::rename(&temporary, path).with_context(|| path.display().to_string())
}
