//! Generates the Rust types from the committed descriptor set, without `protoc`, and unpacks the set itself for
//! reflection.

use std::{collections::BTreeSet, env, error::Error, fs, io::Read as _, path::PathBuf};

use flate2::read::GzDecoder;
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Beginnings of the names of the files whose messages are written by hand; what they import comes along.
const ROOTS: &[&str] = &[
    "envoy/admin/v3/config_dump",
    "envoy/config/bootstrap/v3/",
    "envoy/config/cluster/v3/",
    "envoy/config/endpoint/v3/",
    "envoy/config/listener/v3/",
    "envoy/config/rbac/v3/",
    "envoy/config/route/v3/",
    "envoy/config/trace/v3/",
    "envoy/extensions/access_loggers/file/",
    "envoy/extensions/access_loggers/filters/cel/",
    "envoy/extensions/access_loggers/grpc/",
    "envoy/extensions/access_loggers/open_telemetry/",
    "envoy/extensions/clusters/aggregate/",
    "envoy/extensions/clusters/dynamic_forward_proxy/",
    "envoy/extensions/common/matching/",
    "envoy/extensions/filters/common/",
    "envoy/extensions/filters/http/dynamic_forward_proxy/",
    "envoy/extensions/filters/http/fault/",
    "envoy/extensions/filters/http/grpc_http1_bridge/",
    "envoy/extensions/filters/http/grpc_stats/",
    "envoy/extensions/filters/http/local_ratelimit/",
    "envoy/extensions/filters/http/lua/",
    "envoy/extensions/filters/http/rbac/",
    "envoy/extensions/filters/http/router/",
    "envoy/extensions/filters/http/set_filter_state/",
    "envoy/extensions/filters/listener/http_inspector/",
    "envoy/extensions/filters/listener/original_dst/",
    "envoy/extensions/filters/listener/proxy_protocol/",
    "envoy/extensions/filters/listener/tls_inspector/",
    "envoy/extensions/filters/network/connection_limit/",
    "envoy/extensions/filters/network/http_connection_manager/",
    "envoy/extensions/filters/network/kafka_broker/",
    "envoy/extensions/filters/network/local_ratelimit/",
    "envoy/extensions/filters/network/rbac/",
    "envoy/extensions/filters/network/set_filter_state/",
    "envoy/extensions/filters/network/sni_dynamic_forward_proxy/",
    "envoy/extensions/filters/network/tcp_proxy/",
    "envoy/extensions/formatter/",
    "envoy/extensions/health_check/event_sinks/file/",
    "envoy/extensions/load_balancing_policies/",
    "envoy/extensions/matching/",
    "envoy/extensions/rbac/",
    "envoy/extensions/regex_engines/",
    "envoy/extensions/resource_monitors/",
    "envoy/extensions/retry/",
    "envoy/extensions/transport_sockets/raw_buffer/",
    "envoy/extensions/transport_sockets/tls/v3/",
    "envoy/extensions/upstreams/http/v3/",
    "envoy/service/accesslog/v3/",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/health/v3/",
    "envoy/service/secret/v3/",
    "contrib/",
    "udpa/type/v1/",
    "xds/type/",
];

/// Imported for their options only; generating them would be dead code.
const OPTIONS_ONLY: &[&str] = &["udpa/annotations/", "validate/", "envoy/annotations/", "xds/annotations/"];

const DESCRIPTORS: &str = "descriptors.binpb.gz";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DESCRIPTORS}");
    println!("cargo:rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(DESCRIPTORS)?).read_to_end(&mut bytes)?;
    fs::write(out.join("descriptors.binpb"), &bytes)?;

    let set = FileDescriptorSet::decode(&bytes[..])?;
    let keep = with_imports(&set);
    let file = set.file.into_iter().filter(|f| keep.contains(f.name())).collect();

    let mut config = prost_build::Config::new();
    config
        .out_dir(&out)
        .include_file("mod.rs")
        .enable_type_names()
        // Without the domain, type URLs come out as "/envoy...", and Envoy silently gets nothing.
        .type_name_domain(["."], "type.googleapis.com")
        // Ordered maps: equal messages are equal bytes, and resource versions are hashes of bytes.
        .btree_map(["."])
        .disable_comments(["."])
        .boxed(".envoy.config.route.v3.Route.action.route");
    tonic_prost_build::configure()
        .build_transport(false)
        .out_dir(&out)
        .compile_fds_with_config(FileDescriptorSet { file }, config)?;
    Ok(())
}

/// Names of the files under [`ROOTS`] and of all that they import.
fn with_imports(set: &FileDescriptorSet) -> BTreeSet<String> {
    let mut keep: BTreeSet<String> =
        set.file.iter().map(|f| f.name().to_owned()).filter(|n| ROOTS.iter().any(|r| n.starts_with(r))).collect();
    loop {
        let more: Vec<String> = set
            .file
            .iter()
            .filter(|f| keep.contains(f.name()))
            .flat_map(|f| f.dependency.iter())
            .filter(|d| !keep.contains(*d))
            .cloned()
            .collect();
        if more.is_empty() {
            break;
        }
        keep.extend(more);
    }
    keep.retain(|n| !OPTIONS_ONLY.iter().any(|o| n.starts_with(o)));
    keep
}
