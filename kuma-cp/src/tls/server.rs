//! The server side of TLS: which versions and cipher suites, and whether clients show a certificate.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};

use super::{ServedCertificate, TlsError, pem};

/// Versions and cipher suites of a server, in the names of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Lowest version, `TLSv1_2` or `TLSv1_3`; empty: the lowest that is safe.
    pub min_version: String,
    /// Highest version; empty: the highest there is.
    pub max_version: String,
    /// Cipher suites of TLS 1.2; empty: all that are safe. Those of TLS 1.3 are fixed.
    pub cipher_suites: Vec<String>,
}

/// Whether clients show a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// Who shows one is verified with this CA file.
    Optional(PathBuf),
    /// Everybody shows one and is verified with this CA file.
    Required(PathBuf),
}

/// Builds the TLS side of a listener. `protocols` are offered by ALPN, the preferred one first.
pub fn server_config(
    certificate: Arc<ServedCertificate>,
    limits: &Limits,
    clients: &ClientAuth,
    protocols: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(provider(limits));
    let fail = |reason: String| TlsError::Limits {
        min: limits.min_version.clone(),
        max: limits.max_version.clone(),
        ciphers: limits.cipher_suites.clone(),
        reason,
    };
    let versions = versions(limits);
    if versions.is_empty() {
        return Err(fail("the minimum is above the maximum".to_owned()));
    }
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|e| fail(e.to_string()))?;
    let builder = match clients {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Optional(path) | ClientAuth::Required(path) => {
            let roots = Arc::new(pem::read_roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier =
                if matches!(clients, ClientAuth::Optional(_)) { verifier.allow_unauthenticated() } else { verifier };
            let verifier =
                verifier.build().map_err(|e| TlsError::ClientCa { path: path.clone(), reason: e.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

fn versions(limits: &Limits) -> Vec<&'static SupportedProtocolVersion> {
    let mut out: Vec<&SupportedProtocolVersion> = Vec::new();
    if limits.min_version != "TLSv1_3" {
        out.push(&TLS12);
    }
    if limits.max_version != "TLSv1_2" {
        out.push(&TLS13);
    }
    out
}

/// The provider with the cipher suites that the limits name. Names of suites that are not safe, which the library does
/// not have, are left out with a warning.
fn provider(limits: &Limits) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if limits.cipher_suites.is_empty() {
        return provider;
    }
    provider.cipher_suites.retain(|suite| {
        let fixed = suite.version() == &TLS13;
        let name = format!("{:?}", suite.suite());
        fixed || limits.cipher_suites.contains(&name)
    });
    for name in &limits.cipher_suites {
        // The library spells the suites of TLS 1.3 `TLS13_`.
        let here = aws_lc_rs::ALL_CIPHER_SUITES.iter().any(|s| {
            let own = format!("{:?}", s.suite());
            own == *name || own.replacen("TLS13_", "TLS_", 1) == *name
        });
        if !here {
            tracing::warn!(cipher = %name, "cipher suite is not offered: it is not safe");
        }
    }
    provider
}
