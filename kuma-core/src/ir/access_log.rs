//! Access logs: what is written about connections and requests, and where to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Name;

/// One line for each connection or request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLog {
    /// What is written about; `None` is everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<LogCondition>,
    /// Where to.
    pub to: LogSink,
    /// What a line looks like.
    pub line: LogLine,
}

/// What is written about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogCondition {
    /// Connections of some clients. What is given must hold.
    Client {
        /// The client's SPIFFE ID.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<IdTest>,
        /// The server name that it asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        server_name: Option<Arc<str>>,
    },
    /// Requests that no marked route takes.
    Unmarked,
    /// Requests that a route with this mark takes; see [`super::HttpOutbound::log_marks`].
    Marked(Name),
}

/// What a client's SPIFFE ID must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdTest {
    /// Equals.
    Exact(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
}

/// Where a line is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogSink {
    /// A file on the host of the proxy.
    File(Arc<str>),
    /// A TCP server at this address, through kuma-dp.
    Tcp(Arc<str>),
}

/// What a line looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLine {
    /// Text, or fields.
    pub content: LogContent,
    /// What has no value is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub omit_empty: bool,
}

/// Content of a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogContent {
    /// A text.
    Text(LogText),
    /// A JSON object. Of several fields with one key the last counts.
    Fields(Vec<(Arc<str>, LogText)>),
}

/// A text in the format language of Envoy, in parts: what differs between replicas is left open.
pub type LogText = Vec<LogPart>;

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogPart {
    /// As it stands.
    Text(Arc<str>),
    /// Name of the listener.
    Listener,
    /// Something of the replica; see [`super::Own`].
    Own(OwnPart),
}

/// What a text says of the replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnPart {
    /// Its address.
    Address,
    /// Its address with the port 0.
    Socket,
    /// Its mesh.
    Mesh,
    /// Its zone; may be empty.
    Zone,
    /// KRI of its workload; empty if it has none.
    Workload,
    /// Its workload as the name of a service; `unknown` if it has none.
    Service,
    /// KRI of one of its inbounds.
    Inbound(Arc<str>),
}
