//! Why a proxy gets no bootstrap, in the published words and with the HTTP status that goes with them.

use std::net::IpAddr;

use kuma_core::validate::Violations;

const TOKEN: &str = "Dataplane Token is required. Generate token using 'kumactl generate dataplane-token > /path/file' \
                     and provide it via --dataplane-token-file=/path/file argument to Kuma DP";

const NOT_A_CA: &str = "A data plane proxy is trying to verify the control plane using the certificate which is not a \
                        certificate authority (basic constraint 'CA' is set to 'false').\n\
                        Provide CA that was used to sign a certificate used in the control plane by using \
                        'kuma-dp run --ca-cert-file=file' or via KUMA_CONTROL_PLANE_CA_CERT_FILE";

/// Why a proxy gets no bootstrap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapRefusal {
    /// The body is not a request.
    #[error("the body is not a bootstrap request: {0}")]
    NotARequest(String),
    /// Proxies have to prove who they are, and this one brought nothing for it.
    #[error("{TOKEN}")]
    TokenRequired,
    /// The Dataplane in the request breaks a rule.
    #[error("{0}")]
    InvalidDataplane(Violations),
    /// The mesh of the Dataplane in the request does not exist.
    #[error("mesh: mesh {0:?} does not exist")]
    UnknownMesh(String),
    /// Outbounds are either declared or found by redirection.
    #[error("outbound: should be empty since dataplane is in Transparent Proxying mode")]
    OutboundsWithTransparentProxy,
    /// The certificate of the server is not for the host that the proxy knows it by.
    #[error(
        "A data plane proxy is trying to connect to the control plane using {host:?} address, but the certificate in the \
         control plane has the following SANs {}. Either change the --cp-address in kuma-dp to one of those or execute the \
         following steps:\n\
         1) Generate a new certificate with the address you are trying to use. It is recommended to use trusted Certificate \
         Authority, but you can also generate self-signed certificates using 'kumactl generate tls-certificate \
         --type=server --hostname={host}'\n\
         2) Set KUMA_GENERAL_TLS_CERT_FILE and KUMA_GENERAL_TLS_KEY_FILE or the equivalent in Kuma CP config file to the \
         new certificate.\n\
         3) Start kuma-dp, the control plane picks up the new certificate on its own.",
        list(.sans)
    )]
    WrongHost {
        /// The host in the address that kuma-dp was given.
        host: String,
        /// What the certificate is for: addresses, then names.
        sans: Vec<String>,
    },
    /// The certificate that the server is to be verified with cannot have signed anything.
    #[error("{NOT_A_CA}")]
    NotACa,
    /// Neither sent nor stored.
    #[error("the Dataplane or its Mesh does not exist")]
    NotFound,
    /// Not a type of proxy.
    #[error("proxyType: {0:?} is not a valid proxy type, it has to be \"dataplane\"")]
    ProxyType(String),
    /// The Dataplane in the request cannot be read.
    #[error("dataplaneResource: not a Dataplane: {0}")]
    UnreadableDataplane(String),
    /// The CA that the server is to be verified with cannot be read.
    #[error("caCert: not a PEM certificate: {0}. Check the file given to kuma-dp with --ca-cert-file")]
    UnreadableCa(String),
}

impl BootstrapRefusal {
    pub(super) fn wrong_host(host: &str, sans: &[String]) -> Self {
        let (mut ordered, names): (Vec<String>, Vec<String>) =
            sans.iter().cloned().partition(|san| san.parse::<IpAddr>().is_ok());
        ordered.extend(names);
        Self::WrongHost { host: host.to_owned(), sans: ordered }
    }

    /// HTTP status of the answer.
    pub const fn status(&self) -> u16 {
        match self {
            Self::NotARequest(_) | Self::WrongHost { .. } | Self::NotACa => 400,
            Self::NotFound => 404,
            _ => 422,
        }
    }

    /// Body of the answer, plain text. Empty where proxies look at the status alone.
    pub fn body(&self) -> String {
        match self {
            Self::NotARequest(_) | Self::NotFound => String::new(),
            other => other.to_string(),
        }
    }
}

/// `["a" "b"]`
fn list(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
