//! Mutual TLS towards endpoints.

use kuma_core::ir::UpstreamTls;

use super::{
    cluster, matcher,
    proto::{
        core::{TransportSocket, transport_socket},
        pack,
        tls::{
            CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher, UpstreamTlsContext,
            common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
            subject_alt_name_matcher::SanType,
        },
    },
};

/// Application protocol that tells mesh traffic from TLS of the application.
const ALPN: &str = "kuma";

/// Transport socket of a cluster whose endpoints prove one of the given identities.
pub(super) fn upstream(tls: &UpstreamTls) -> TransportSocket {
    let validation = CertificateValidationContext {
        match_typed_subject_alt_names: tls.sans.iter().map(|id| san(SanType::Uri, id)).collect(),
        ..Default::default()
    };
    let combined = CombinedCertificateValidationContext {
        default_validation_context: Some(validation),
        validation_context_sds_secret_config: Some(secret(&tls.trust_secret)),
        ..Default::default()
    };
    socket(&UpstreamTlsContext {
        sni: tls.sni.clone(),
        common_tls_context: Some(CommonTlsContext {
            alpn_protocols: vec![ALPN.to_owned()],
            tls_certificate_sds_secret_configs: vec![secret(&tls.identity_secret)],
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(combined)),
            ..Default::default()
        }),
        ..Default::default()
    })
}

/// A transport socket with this TLS context.
pub(super) fn socket<M: prost::Message + prost::Name>(context: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(context))),
    }
}

/// The subject alternative name must equal this.
pub(super) fn san(kind: SanType, exact: &str) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher { san_type: kind.into(), matcher: Some(matcher::exact(exact)), ..Default::default() }
}

/// A secret that arrives over ADS.
fn secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(cluster::ads()) }
}
