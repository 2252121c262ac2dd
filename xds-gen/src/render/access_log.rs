//! Access loggers: what Envoy writes about connections and requests.

use std::{net::IpAddr, sync::Arc};

use kuma_core::{
    ir::{AccessLog, IdTest, LogCondition, LogContent, LogLine, LogPart, LogSink, Own, OwnPart},
    kri::Kri,
    meta::{Labels, Meta, label},
    sockets,
};
use prost_types::{Struct, Value, value::Kind};

use super::{
    matcher, metadata,
    proto::{
        access_log::{
            AccessLog as Message, AccessLogFilter, ExtensionFilter, MetadataFilter, access_log,
            access_log_filter::FilterSpecifier, extension_filter,
        },
        cel::ExpressionFilter,
        core::{
            DataSource, Metadata, SubstitutionFormatString, data_source::Specifier, substitution_format_string::Format,
        },
        file_log::{FileAccessLog, file_access_log::AccessLogFormat},
        lua::Lua,
        matcher::{
            MetadataMatcher, ValueMatcher,
            metadata_matcher::{PathSegment, path_segment::Segment},
            value_matcher::{MatchPattern, NullMatch},
        },
        pack,
    },
};

const FILE: &str = "envoy.access_loggers.file";
const EXPRESSION: &str = "envoy.access_loggers.extension_filters.cel";
const LUA: &str = "envoy.filters.http.lua";
/// Where the mark of a route is kept during a request, and under which key.
const ROUTES: &str = "kuma.routes";
const MARK: &str = "route_kri";

/// Runs for each request: what a route carries for Lua is out of reach for loggers, what a request carries is not.
const COPY_MARK: &str = r#"function envoy_on_request(handle)
  local meta = handle:metadata():get("route_kri")
  if meta ~= nil then
    handle:streamInfo():dynamicMetadata():set("kuma.routes", "route_kri", meta)
  end
end
"#;

/// The loggers of a listener.
pub(super) fn loggers(logs: &[Arc<AccessLog>], listener: &str, own: &Own) -> Vec<Message> {
    logs.iter().map(|log| logger(log, listener, own)).collect()
}

/// Whether facts of the replica are filled into the loggers.
pub(super) fn use_own(logs: &[Arc<AccessLog>]) -> bool {
    let own = |part: &LogPart| matches!(part, LogPart::Own(_));
    logs.iter().any(|log| {
        let open = match &log.line.content {
            LogContent::Text(text) => text.iter().any(own),
            LogContent::Fields(fields) => fields.iter().any(|(_, text)| text.iter().any(own)),
        };
        open || matches!(log.to, LogSink::Tcp(_))
    })
}

/// Whether some logger asks for the server name, which the listener then has to read.
pub(super) fn need_server_name(logs: &[Arc<AccessLog>]) -> bool {
    logs.iter().any(|log| matches!(&log.condition, Some(LogCondition::Client { server_name: Some(_), .. })))
}

/// Metadata of a route with this mark.
pub(super) fn mark(mark: &str) -> Metadata {
    metadata::by_filter([(LUA, metadata::texts([(MARK, mark)]))])
}

/// The filter by which loggers know the mark of the route that was taken.
pub(super) fn copy_mark() -> Lua {
    Lua { default_source_code: Some(inline(COPY_MARK.to_owned())), ..Default::default() }
}

fn logger(log: &AccessLog, listener: &str, own: &Own) -> Message {
    let text = |parts: &[LogPart]| filled(parts, listener, own);
    let (path, format) = match &log.to {
        LogSink::File(path) => {
            let format = match &log.line.content {
                LogContent::Text(parts) => Format::TextFormatSource(inline(text(parts) + "\n")),
                LogContent::Fields(_) => Format::JsonFormat(fields(&log.line, text)),
            };
            (path.as_ref().to_owned(), format)
        }
        LogSink::Tcp(address) => {
            let message = match &log.line.content {
                LogContent::Text(parts) => Kind::StringValue(text(parts) + "\n"),
                LogContent::Fields(_) => Kind::StructValue(fields(&log.line, text)),
            };
            let record = [("address", Kind::StringValue(address.as_ref().to_owned())), ("message", message)];
            let path = sockets::access_log(&own.work_dir, &own.name, &own.mesh);
            (path, Format::JsonFormat(object(record.map(|(key, kind)| (key.to_owned(), kind)))))
        }
    };
    let format =
        SubstitutionFormatString { omit_empty_values: log.line.omit_empty, format: Some(format), ..Default::default() };
    let config = FileAccessLog { path, access_log_format: Some(AccessLogFormat::LogFormat(format)) };
    Message {
        name: FILE.to_owned(),
        filter: log.condition.as_ref().map(filter),
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&config))),
    }
}

fn fields(line: &LogLine, text: impl Fn(&[LogPart]) -> String) -> Struct {
    let LogContent::Fields(fields) = &line.content else { return Struct::default() };
    object(fields.iter().map(|(key, parts)| (key.as_ref().to_owned(), Kind::StringValue(text(parts)))))
}

fn object(fields: impl IntoIterator<Item = (String, Kind)>) -> Struct {
    Struct { fields: fields.into_iter().map(|(key, kind)| (key, Value { kind: Some(kind) })).collect() }
}

fn inline(text: String) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text)), ..Default::default() }
}

/// A text with everything filled in that Envoy does not know.
fn filled(parts: &[LogPart], listener: &str, own: &Own) -> String {
    let mut out = String::new();
    for part in parts {
        match part {
            LogPart::Text(text) => out.push_str(text),
            LogPart::Listener => out.push_str(listener),
            LogPart::Own(part) => out.push_str(&of_own(part, own)),
        }
    }
    out
}

fn of_own(part: &OwnPart, own: &Own) -> String {
    let label = |key: &str| own.labels.get(key).map_or("", String::as_str);
    // What KRIs are made of.
    let meta = || Meta { labels: own.labels.clone(), ..Meta::new(own.mesh.clone(), own.name.clone(), Labels::new()) };
    match part {
        OwnPart::Address => own.address.as_ref().to_owned(),
        OwnPart::Socket if matches!(own.address.parse(), Ok(IpAddr::V6(_))) => format!("[{}]:0", own.address),
        OwnPart::Socket => format!("{}:0", own.address),
        OwnPart::Mesh => own.mesh.as_ref().to_owned(),
        OwnPart::Zone => label(label::ZONE).to_owned(),
        OwnPart::Service => match label(label::WORKLOAD) {
            "" => "unknown".to_owned(),
            workload => workload.to_owned(),
        },
        OwnPart::Workload => match label(label::WORKLOAD) {
            "" => String::new(),
            workload => Kri { name: workload.into(), ..Kri::with_short("wl", &meta()) }.to_string(),
        },
        OwnPart::Inbound(section) => Kri::with_short("dp", &meta()).section(section.clone()).to_string(),
    }
}

fn filter(condition: &LogCondition) -> AccessLogFilter {
    let specifier = match condition {
        LogCondition::Client { id, server_name } => {
            let expression =
                ExpressionFilter { expression: expression(id.as_ref(), server_name.as_deref()), ..Default::default() };
            FilterSpecifier::ExtensionFilter(ExtensionFilter {
                name: EXPRESSION.to_owned(),
                config_type: Some(extension_filter::ConfigType::TypedConfig(pack(&expression))),
            })
        }
        LogCondition::Unmarked => of_mark(MatchPattern::NullMatch(NullMatch {}), true),
        LogCondition::Marked(mark) => of_mark(MatchPattern::StringMatch(matcher::exact(mark)), false),
    };
    AccessLogFilter { filter_specifier: Some(specifier) }
}

fn of_mark(pattern: MatchPattern, or_none: bool) -> FilterSpecifier {
    let matcher = MetadataMatcher {
        filter: ROUTES.to_owned(),
        path: vec![PathSegment { segment: Some(Segment::Key(MARK.to_owned())) }],
        value: Some(ValueMatcher { match_pattern: Some(pattern) }),
        ..Default::default()
    };
    FilterSpecifier::MetadataFilter(MetadataFilter { matcher: Some(matcher), match_if_key_not_found: Some(or_none) })
}

/// A condition on the client in the Common Expression Language.
fn expression(id: Option<&IdTest>, server_name: Option<&str>) -> String {
    let id = id.map(|id| match id {
        IdTest::Exact(text) => format!("connection.uri_san_peer_certificate == {}", quoted(text)),
        IdTest::Prefix(text) => format!("connection.uri_san_peer_certificate.startsWith({})", quoted(text)),
    });
    let name = server_name.map(|name| format!("connection.requested_server_name == {}", quoted(name)));
    id.into_iter().chain(name).collect::<Vec<_>>().join(" && ")
}

/// A literal: the escapes of JSON are among those of the language.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(labels: &[(&str, &str)]) -> Own {
        Own {
            mesh: "m".into(),
            name: "web-1".into(),
            address: "10.0.0.1".into(),
            labels: Arc::new(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            work_dir: "/w".into(),
            ..Own::default()
        }
    }

    fn parts() -> Vec<LogPart> {
        use OwnPart::{Address, Inbound, Mesh, Service, Socket, Workload, Zone};
        [Address, Socket, Mesh, Zone, Service, Workload, Inbound("http".into())]
            .into_iter()
            .flat_map(|part| [LogPart::Own(part), LogPart::Text(" ".into())])
            .chain([LogPart::Listener])
            .collect()
    }

    #[test]
    fn a_replica_is_described_by_its_labels_where_it_has_them() {
        let bare = "10.0.0.1 10.0.0.1:0 m  unknown  kri_dp_m___web-1_http l";
        assert_eq!(filled(&parts(), "l", &own(&[])), bare);
        let labels =
            [(label::ZONE, "east"), (label::NAMESPACE, "shop"), (label::WORKLOAD, "web"), (label::DISPLAY_NAME, "w1")];
        let whole = "10.0.0.1 10.0.0.1:0 m east web kri_wl_m_east_shop_web_ kri_dp_m_east_shop_w1_http l";
        assert_eq!(filled(&parts(), "l", &own(&labels)), whole);
        let v6 = Own { address: "fd00::1".into(), ..own(&[]) };
        assert_eq!(filled(&[LogPart::Own(OwnPart::Socket)], "l", &v6), "[fd00::1]:0");
    }

    #[test]
    fn conditions_on_clients_are_joined() {
        let id = "spiffe://m/web";
        assert_eq!(
            expression(Some(&IdTest::Exact(id.into())), Some("api.example")),
            r#"connection.uri_san_peer_certificate == "spiffe://m/web" && connection.requested_server_name == "api.example""#
        );
        assert_eq!(
            expression(Some(&IdTest::Prefix(id.into())), None),
            r#"connection.uri_san_peer_certificate.startsWith("spiffe://m/web")"#
        );
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }

    #[test]
    fn only_what_a_replica_knows_makes_a_listener_its_own() {
        let log = |to: LogSink, part: LogPart| {
            let line = LogLine { content: LogContent::Text(vec![part]), omit_empty: false };
            use_own(&[Arc::new(AccessLog { condition: None, to, line })])
        };
        let file = || LogSink::File("/f".into());
        assert!(!log(file(), LogPart::Text("%START_TIME%".into())));
        assert!(!log(file(), LogPart::Listener));
        assert!(log(file(), LogPart::Own(OwnPart::Zone)));
        assert!(log(LogSink::Tcp("a:1".into()), LogPart::Text("t".into())));
    }
}
