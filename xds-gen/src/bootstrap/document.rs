//! The bootstrap document. It is text that Envoy reads once, so it is built as protobuf JSON straight away; tests read
//! every form of it back as the message.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kuma_core::{duration::GoDuration, sockets};
use serde_json::{Map, Value, json};

use super::{BootstrapRequest, BootstrapSettings, DATAPLANE};

const ACCESS_LOG_SINK: &str = "system_access_log_sink";
const ADS: &str = "system_ads";
const VALIDATION: &str = "cp_validation_ctx";
/// Prefix of dynamic metadata that tells versions of what kuma-dp brought along.
const DEPENDENCY: &str = "version.dependencies.";
/// Access to a socket: its owner.
const OWNER_ONLY: u32 = 0o600;
const FILE_METADATA: &str = "envoy.grpc_credentials.file_based_metadata";

/// Everything that a bootstrap depends on.
pub(super) struct Input<'a> {
    pub(super) request: &'a BootstrapRequest,
    pub(super) settings: &'a BootstrapSettings,
    /// Label of the Dataplane.
    pub(super) workload: Option<&'a str>,
    pub(super) admin: Option<Admin<'a>>,
    /// Host of the control plane.
    pub(super) host: &'a str,
    /// The host is a name of IPv4 addresses only.
    pub(super) ipv4_only: bool,
    /// CA of the control plane, PEM.
    pub(super) ca: &'a str,
    pub(super) credential: Credential<'a>,
}

/// Envoy's admin API.
pub(super) struct Admin<'a> {
    pub(super) address: &'a str,
    pub(super) port: u32,
    /// Path of the socket that it listens on instead.
    pub(super) socket: Option<String>,
}

/// How the proxy proves who it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// Not at all.
    None,
    /// With this token.
    Token(&'a str),
    /// With what stands in this file of its host.
    File(&'a str),
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The document.
pub(super) fn render(input: &Input<'_>) -> Value {
    let service = grpc_service(input);
    let over_ads = json!({"ads": {}, "initialFetchTimeout": "0s", "resourceApiVersion": "V3"});
    let discovery = |api: &str| {
        json!({
            "apiType": api,
            "grpcServices": [service],
            "setNodeOnFirstMessageOnly": true,
            "transportApiVersion": "V3",
        })
    };
    let mut clusters = vec![access_log_sink(input)];
    if !matches!(input.credential, Credential::File(_)) {
        clusters.push(ads(input));
    }
    let mut document = json!({
        "defaultRegexEngine": {
            "name": "envoy.regex_engines.google_re2",
            "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.regex_engines.v3.GoogleRE2"},
        },
        "dynamicResources": {
            "adsConfig": discovery("DELTA_GRPC"),
            "cdsConfig": over_ads,
            "ldsConfig": over_ads,
        },
        "layeredRuntime": {"layers": [{"name": "kuma", "staticLayer": {
            "re2.max_program_size.error_level": u32::MAX,
            "re2.max_program_size.warn_level": 1000,
        }}]},
        "node": {
            "cluster": input.workload.unwrap_or("unknown"),
            "id": format!("{}.{}", input.request.mesh, input.request.name),
            "metadata": metadata(input),
        },
        "staticResources": {"clusters": clusters, "secrets": [secret(input)]},
        "statsConfig": {"statsTags": [
            {"tagName": "name", "regex": r"^grpc\.((.+)\.)"},
            {"tagName": "status", "regex": r"^grpc.*streams_closed(_([0-9]+))"},
            {"tagName": "worker", "regex": r"(worker_([0-9]+)\.)"},
            {"tagName": "listener", "regex": r"((.+?)\.)rbac\."},
        ]},
    });
    if let Some(api) = &input.admin {
        document["admin"] = admin(api, &input.settings.admin_access_log_path);
    }
    if input.settings.hds {
        document["hdsConfig"] = discovery("GRPC");
    }
    document
}

/// What the proxy says of itself on every stream. Numbers are texts, that is how they have always been read.
fn metadata(input: &Input<'_>) -> Value {
    let request = input.request;
    let mut features = request.features.clone();
    features.sort_unstable();
    features.dedup();
    let (versions, dynamic): (Vec<_>, Vec<_>) =
        request.dynamic_metadata.iter().partition(|(key, _)| key.starts_with(DEPENDENCY));
    let mut version = json!(request.version);
    if !versions.is_empty() {
        let named = versions.into_iter().map(|(key, v)| (key[DEPENDENCY.len()..].to_owned(), json!(v)));
        version["dependencies"] = named.collect::<Map<_, _>>().into();
    }
    let mut metadata = json!({
        "dataplane.proxyType": DATAPLANE,
        "features": features,
        "ipv6Enabled": request.ipv6_enabled,
        "metricsCertPath": request.metrics_resources.cert_path,
        "metricsKeyPath": request.metrics_resources.key_path,
        "spireAgent.socketPath": request.spire_resources.socket_path,
        "systemCaPath": request.system_ca_path,
        "version": version,
        "workdir": request.workdir,
    });
    if !request.dataplane_resource.is_empty() {
        metadata["dataplane.resource"] = json!(request.dataplane_resource);
    }
    if let Some(admin) = &input.admin {
        metadata["dataplane.admin.address"] = json!(admin.address);
        metadata["dataplane.admin.port"] = json!(admin.port.to_string());
        if let Some(socket) = &admin.socket {
            metadata["dataplane.admin.socketPath"] = json!(socket);
        }
    }
    for (key, port) in
        [("dataplane.dns.port", request.dns_port), ("dataplane.readinessReporter.port", request.readiness_port)]
    {
        if port != 0 {
            metadata[key] = json!(port.to_string());
        }
    }
    if request.app_probe_proxy_enabled {
        metadata["dataplane.appProbeProxy.enabled"] = json!("true");
    }
    if !dynamic.is_empty() {
        metadata["dynamicMetadata"] =
            dynamic.into_iter().map(|(k, v)| (k.clone(), json!(v))).collect::<Map<_, _>>().into();
    }
    if let Some(config) = &request.dataplane_config {
        metadata["transparentProxy"] = json!(config);
    }
    if let Some(found) = &request.otel_env {
        let part = |name: &str| found.get(name).cloned().unwrap_or_default();
        metadata["otelEnvInventory"] = json!({
            "pipeEnabled": part("pipeEnabled").as_bool().unwrap_or_default(),
            "shared": part("shared"),
            "traces": part("traces"),
            "logs": part("logs"),
            "metrics": part("metrics"),
            "validationErrors": part("validationErrors"),
        });
    }
    metadata
}

fn admin(api: &Admin<'_>, log: &str) -> Value {
    let address = match &api.socket {
        Some(path) => json!({"pipe": {"path": path, "mode": OWNER_ONLY}}),
        None => json!({"socketAddress": {"address": api.address, "portValue": api.port}}),
    };
    json!({
        "accessLog": [{
            "name": "envoy.access_loggers.file",
            "typedConfig": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": log,
            },
        }],
        "address": address,
    })
}

/// What the control plane is verified with. Certificates for an address may name it as either kind.
fn secret(input: &Input<'_>) -> Value {
    let san = |kind: &str| json!({"matcher": {"exact": input.host}, "sanType": kind});
    json!({
        "name": VALIDATION,
        "validationContext": {
            "matchTypedSubjectAltNames": [san("DNS"), san("IP_ADDRESS")],
            "trustedCa": {"inlineBytes": base64(input.ca.as_bytes())},
        },
    })
}

/// The named pipe of kuma-dp that access logs go to.
fn access_log_sink(input: &Input<'_>) -> Value {
    let request = input.request;
    let path = sockets::access_log(&request.workdir, &request.name, &request.mesh);
    cluster(ACCESS_LOG_SINK, "STATIC", json!({"pipe": {"path": path}}), input)
}

/// The control plane.
fn ads(input: &Input<'_>) -> Value {
    let address = json!({"socketAddress": {"address": input.host, "portValue": input.settings.xds_port}});
    let is_ip = input.host.parse::<std::net::IpAddr>().is_ok();
    let mut cluster = cluster(ADS, if is_ip { "STATIC" } else { "STRICT_DNS" }, address, input);
    if input.ipv4_only && !is_ip && input.host != "localhost" {
        cluster["dnsLookupFamily"] = json!("V4_ONLY");
    }
    cluster["transportSocket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "commonTlsContext": {
                "tlsParams": {"tlsMinimumProtocolVersion": "TLSv1_2"},
                "validationContextSdsSecretConfig": {"name": VALIDATION},
            },
            "sni": input.host,
        },
    });
    cluster
}

/// A static cluster that is spoken to in HTTP/2.
fn cluster(name: &str, kind: &str, address: Value, input: &Input<'_>) -> Value {
    json!({
        "name": name,
        "type": kind,
        "connectTimeout": duration(input.settings.xds_connect_timeout),
        "loadAssignment": {
            "clusterName": name,
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}],
        },
        "typedExtensionProtocolOptions": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicitHttpConfig": {"http2ProtocolOptions": {}},
            },
        },
        "upstreamConnectionOptions": {
            "tcpKeepalive": {"keepaliveInterval": 10, "keepaliveProbes": 3, "keepaliveTime": 10},
        },
    })
}

/// How Envoy reaches the control plane. Only Google's client can read a token from a file again and again.
fn grpc_service(input: &Input<'_>) -> Value {
    let file = match input.credential {
        Credential::None => return json!({"envoyGrpc": {"clusterName": ADS}}),
        Credential::Token(token) => {
            return json!({
                "envoyGrpc": {"clusterName": ADS},
                "initialMetadata": [{"key": "authorization", "value": token}],
            });
        }
        Credential::File(path) => path,
    };
    let host = if input.host.contains(':') { format!("[{}]", input.host) } else { input.host.to_owned() };
    json!({"googleGrpc": {
        "targetUri": format!("{host}:{}", input.settings.xds_port),
        "statPrefix": "ads",
        "channelCredentials": {"sslCredentials": {"rootCerts": {"inlineBytes": base64(input.ca.as_bytes())}}},
        "callCredentials": [{"fromPlugin": {
            "name": FILE_METADATA,
            "typedConfig": {
                "@type": "type.googleapis.com/envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
                "secretData": {"filename": file},
            },
        }}],
        "credentialsFactoryName": FILE_METADATA,
        "channelArgs": {"args": {
            "grpc.keepalive_time_ms": {"intValue": "10000"},
            "grpc.keepalive_timeout_ms": {"intValue": "30000"},
            "grpc.http2.max_pings_without_data": {"intValue": "0"},
            "grpc.max_receive_message_length": {"intValue": input.settings.xds_max_receive_message_bytes.to_string()},
        }},
    }})
}

/// As protobuf JSON writes it: `1.500s`.
fn duration(value: GoDuration) -> String {
    const NANOS: i64 = 1_000_000_000;
    let (seconds, nanos) = (value.as_nanos() / NANOS, value.as_nanos() % NANOS);
    match nanos {
        0 => format!("{seconds}s"),
        n if n % 1_000_000 == 0 => format!("{seconds}.{:03}s", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{seconds}.{:06}s", n / 1_000),
        n => format!("{seconds}.{n:09}s"),
    }
}
