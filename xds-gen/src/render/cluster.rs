//! Clusters: those of outbounds, and what all kinds of clusters have in common.

use kuma_core::ir::{Cluster, ClusterTuning, HttpVersion, Limits, Outliers};

use super::{
    duration, endpoint,
    proto::{
        self,
        cluster::{
            CircuitBreakers, OutlierDetection,
            circuit_breakers::Thresholds,
            cluster::{
                ClusterDiscoveryType, CommonLbConfig, DiscoveryType, DnsLookupFamily, EdsClusterConfig, LbPolicy,
            },
        },
        core::{
            Address, AggregatedConfigSource, ApiVersion, ConfigSource, Http1ProtocolOptions, Http2ProtocolOptions,
            HttpProtocolOptions as CommonOptions, config_source::ConfigSourceSpecifier,
        },
        http::{
            HttpProtocolOptions,
            http_protocol_options::{
                ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
        pack,
        types::Percent,
    },
    tls,
};

/// Connect timeout of clusters that no policy speaks of.
const SYSTEM_CONNECT_SECONDS: i64 = 5;

/// The EDS cluster of an outbound.
pub fn render_cluster(unit: &Cluster) -> proto::cluster::Cluster {
    let mut cluster = proto::cluster::Cluster {
        alt_stat_name: alt_stat_name(&unit.name),
        eds_cluster_config: Some(EdsClusterConfig { eds_config: Some(ads()), ..Default::default() }),
        transport_socket: unit.tls.as_deref().map(tls::upstream),
        ..new(&unit.name, DiscoveryType::Eds)
    };
    speak(&mut cluster, unit.http, &unit.tuning);
    tune(&mut cluster, &unit.tuning);
    cluster
}

/// A cluster with one fixed address.
pub(super) fn fixed(name: &str, address: Address) -> proto::cluster::Cluster {
    proto::cluster::Cluster {
        load_assignment: Some(endpoint::single(name, address)),
        ..new(name, DiscoveryType::Static)
    }
}

/// A cluster with one fixed host name, of which the IPv4 addresses are used.
pub(super) fn resolved(name: &str, address: Address) -> proto::cluster::Cluster {
    proto::cluster::Cluster {
        dns_lookup_family: DnsLookupFamily::V4Only.into(),
        load_assignment: Some(endpoint::single(name, address)),
        ..new(name, DiscoveryType::StrictDns)
    }
}

/// A cluster that sends to the address that the connection was meant for.
pub(super) fn original_destination(name: &str) -> proto::cluster::Cluster {
    proto::cluster::Cluster {
        lb_policy: LbPolicy::ClusterProvided.into(),
        ..system(new(name, DiscoveryType::OriginalDst))
    }
}

/// A cluster that leads nowhere.
pub(super) fn nowhere(name: &str) -> proto::cluster::Cluster {
    proto::cluster::Cluster { alt_stat_name: name.to_owned(), ..system(new(name, DiscoveryType::Static)) }
}

/// With the connect timeout of clusters that no policy speaks of.
pub(super) fn system(mut cluster: proto::cluster::Cluster) -> proto::cluster::Cluster {
    cluster.connect_timeout = Some(prost_types::Duration { seconds: SYSTEM_CONNECT_SECONDS, nanos: 0 });
    cluster
}

/// Configuration that arrives on the stream that this was received on.
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..Default::default()
    }
}

/// Says which HTTP the endpoints are spoken to in, with the time limits that belong to HTTP.
pub(super) fn speak(cluster: &mut proto::cluster::Cluster, http: Option<HttpVersion>, tuning: &ClusterTuning) {
    let Some(version) = http else { return };
    let protocol_config = match version {
        HttpVersion::Http1 => ProtocolConfig::HttpProtocolOptions(Http1ProtocolOptions::default()),
        HttpVersion::Http2 => ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default()),
    };
    let common = CommonOptions {
        idle_timeout: tuning.idle.map(duration),
        max_connection_duration: tuning.max_connection.map(duration),
        max_stream_duration: tuning.max_stream.map(duration),
        ..Default::default()
    };
    let options = HttpProtocolOptions {
        common_http_protocol_options: (common != CommonOptions::default()).then_some(common),
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(protocol_config),
        })),
        ..Default::default()
    };
    const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster.typed_extension_protocol_options.insert(KEY.to_owned(), pack(&options));
}

/// What policies set on any cluster, apart from [`speak`].
pub(super) fn tune(cluster: &mut proto::cluster::Cluster, tuning: &ClusterTuning) {
    if let Some(connect) = tuning.connect {
        cluster.connect_timeout = Some(duration(connect));
    }
    cluster.circuit_breakers = tuning.limits.as_ref().map(limits);
    cluster.outlier_detection = tuning.outliers.as_deref().map(outliers);
    cluster.common_lb_config = tuning
        .panic_threshold
        .map(|value| CommonLbConfig { healthy_panic_threshold: Some(Percent { value }), ..Default::default() });
}

fn new(name: &str, discovery: DiscoveryType) -> proto::cluster::Cluster {
    proto::cluster::Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery.into())),
        ..Default::default()
    }
}

fn limits(limits: &Limits) -> CircuitBreakers {
    let threshold = Thresholds {
        max_connections: limits.connections,
        max_connection_pools: limits.connection_pools,
        max_pending_requests: limits.pending_requests,
        max_requests: limits.requests,
        max_retries: limits.retries,
        track_remaining: true,
        ..Default::default()
    };
    CircuitBreakers { thresholds: vec![threshold], ..Default::default() }
}

fn outliers(outliers: &Outliers) -> OutlierDetection {
    let percent = |enforced: bool| Some(if enforced { 100 } else { 0 });
    let mut detection = OutlierDetection {
        interval: outliers.interval.map(duration),
        base_ejection_time: outliers.base_ejection.map(duration),
        max_ejection_percent: outliers.max_ejection_percent,
        split_external_local_origin_errors: outliers.split_local.unwrap_or_default(),
        consecutive_5xx: outliers.total.consecutive,
        enforcing_consecutive_5xx: percent(outliers.total.enforced),
        consecutive_gateway_failure: outliers.gateway.consecutive,
        enforcing_consecutive_gateway_failure: percent(outliers.gateway.enforced),
        consecutive_local_origin_failure: outliers.local_origin.consecutive,
        enforcing_consecutive_local_origin_failure: percent(outliers.local_origin.enforced),
        ..Default::default()
    };
    if let Some(rate) = &outliers.success_rate {
        detection.enforcing_success_rate = percent(rate.enforced);
        detection.enforcing_local_origin_success_rate = percent(rate.enforced);
        detection.success_rate_minimum_hosts = rate.minimum_hosts;
        detection.success_rate_request_volume = rate.request_volume;
        detection.success_rate_stdev_factor = rate.stdev_factor;
    }
    if let Some(share) = &outliers.failure_percentage {
        detection.enforcing_failure_percentage = percent(share.enforced);
        detection.enforcing_failure_percentage_local_origin = percent(share.enforced);
        detection.failure_percentage_minimum_hosts = share.minimum_hosts;
        detection.failure_percentage_request_volume = share.request_volume;
        detection.failure_percentage_threshold = share.threshold;
    }
    detection
}

/// The name in statistics, where it has to differ from the name.
fn alt_stat_name(name: &str) -> String {
    let safe = super::listener::stat_name(name);
    if safe == name { String::new() } else { safe }
}
