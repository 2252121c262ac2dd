//! TLS of every port: the crypto provider, certificates in files, our own server certificate, and the server side
//! with its limits.
//!
//! [`own`] makes a certificate where the user gives none, [`served`] keeps the one in use up to date with its files,
//! [`server`] turns it and the limits of the configuration into what a listener needs.

pub mod own;
pub mod pem;
pub mod served;
pub mod server;
#[cfg(test)]
mod tests;

pub use own::{Names, ensure_own};
pub use pem::{TlsError, certificates, is_ca, subject_names};
pub use served::ServedCertificate;
pub use server::{ClientAuth, Limits, server_config};

/// Installs the one crypto provider of the process. Called first in `main`; calling it again does nothing.
pub fn install_provider() {
    // The only error is that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Cipher suites that count as safe, by the names that the configuration takes, sorted.
pub const SECURE_CIPHERS: [&str; 13] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Cipher suites that the configuration takes although they are not safe, sorted. None of them is ever offered.
pub const INSECURE_CIPHERS: [&str; 12] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// Is it a name of a cipher suite that the configuration takes?
pub fn is_known_cipher(name: &str) -> bool {
    SECURE_CIPHERS.contains(&name) || INSECURE_CIPHERS.contains(&name)
}
