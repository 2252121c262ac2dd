//! From the format of a policy to a line: placeholders of the mesh are filled in, those of Envoy stay, and what only
//! a replica knows is left open.

use crate::{
    ir::{LogContent, LogLine, LogPart, LogText, OwnPart, Protocol},
    policies::LogFormat,
};

/// Line about a connection, where a policy does not say another.
const OF_CONNECTION: &str = "[%START_TIME%] %RESPONSE_FLAGS% %KUMA_MESH% \
    %KUMA_SOURCE_ADDRESS_WITHOUT_PORT%(%KUMA_SOURCE_SERVICE%)->%UPSTREAM_HOST%(%KUMA_DESTINATION_SERVICE%) \
    took %DURATION%ms, sent %BYTES_SENT% bytes, received: %BYTES_RECEIVED% bytes";

/// Line about a request, where a policy does not say another.
const OF_REQUEST: &str = "[%START_TIME%] %KUMA_MESH% \
    \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% \
    %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
    \"%REQ(USER-AGENT)%\" \"%REQ(X-B3-TRACEID?X-DATADOG-TRACEID)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \
    \"%KUMA_SOURCE_SERVICE%\" \"%KUMA_DESTINATION_SERVICE%\" \"%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%\" \
    \"%UPSTREAM_HOST%\"";

/// What placeholders stand for on one listener.
pub(super) struct Scene {
    /// Protocol of the port; it decides about the default.
    pub(super) protocol: Protocol,
    /// Way of the traffic.
    pub(super) direction: &'static str,
    /// Mesh.
    pub(super) mesh: LogPart,
    /// Who calls.
    pub(super) source: LogPart,
    /// Who is called.
    pub(super) destination: LogPart,
}

impl Scene {
    /// The line of this format.
    pub(super) fn line(&self, format: Option<&LogFormat>) -> LogLine {
        let default = if self.protocol.is_http() { OF_REQUEST } else { OF_CONNECTION };
        let Some(format) = format else {
            return LogLine { content: LogContent::Text(self.text(default)), omit_empty: false };
        };
        let content = match &format.json {
            Some(fields) if format.kind == "Json" => {
                LogContent::Fields(fields.iter().map(|f| (f.key.as_str().into(), self.text(&f.value))).collect())
            }
            _ => LogContent::Text(self.text(format.plain.as_deref().unwrap_or(default))),
        };
        LogLine { content, omit_empty: format.omit_empty_values.unwrap_or_default() }
    }

    /// A text in parts.
    fn text(&self, text: &str) -> LogText {
        let mut parts = LogText::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, here) = rest.split_at(at);
            plain.push_str(before);
            let found = PLACEHOLDERS.iter().find_map(|(name, part)| Some((part, here.strip_prefix(name)?)));
            let Some((part, after)) = found else {
                plain.push('%');
                rest = &here[1..];
                continue;
            };
            match part(self) {
                LogPart::Text(text) => plain.push_str(&text),
                open => {
                    push_text(&mut parts, &mut plain);
                    parts.push(open);
                }
            }
            rest = after;
        }
        plain.push_str(rest);
        push_text(&mut parts, &mut plain);
        parts
    }
}

fn push_text(parts: &mut LogText, plain: &mut String) {
    if !plain.is_empty() {
        parts.push(LogPart::Text(std::mem::take(plain).into()));
    }
}

/// What each placeholder of the mesh stands for.
const PLACEHOLDERS: [(&str, fn(&Scene) -> LogPart); 8] = [
    ("%KUMA_SOURCE_ADDRESS%", |_| LogPart::Own(OwnPart::Socket)),
    ("%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%", |_| LogPart::Own(OwnPart::Address)),
    ("%KUMA_SOURCE_SERVICE%", |scene| scene.source.clone()),
    ("%KUMA_DESTINATION_SERVICE%", |scene| scene.destination.clone()),
    ("%KUMA_MESH%", |scene| scene.mesh.clone()),
    ("%KUMA_TRAFFIC_DIRECTION%", |scene| LogPart::Text(scene.direction.into())),
    ("%KUMA_ZONE%", |_| LogPart::Own(OwnPart::Zone)),
    ("%KUMA_WORKLOAD%", |_| LogPart::Own(OwnPart::Workload)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::LogField;

    fn scene(protocol: Protocol) -> Scene {
        Scene {
            protocol,
            direction: "OUTBOUND",
            mesh: LogPart::Text("m".into()),
            source: LogPart::Own(OwnPart::Service),
            destination: LogPart::Text("db".into()),
        }
    }

    fn text(text: &str) -> LogPart {
        LogPart::Text(text.into())
    }

    #[test]
    fn what_is_known_is_filled_in_and_what_a_replica_knows_is_left_open() {
        let parts =
            scene(Protocol::Tcp).text("%KUMA_MESH%/%KUMA_DESTINATION_SERVICE% %START_TIME% %KUMA_ZONE%%KUMA_ZONE%");
        let zone = LogPart::Own(OwnPart::Zone);
        assert_eq!(parts, [text("m/db %START_TIME% "), zone.clone(), zone]);
        assert_eq!(scene(Protocol::Tcp).text("%KUMA_TRAFFIC_DIRECTION%"), [text("OUTBOUND")]);
        assert_eq!(scene(Protocol::Tcp).text(""), []);
    }

    #[test]
    fn what_is_no_placeholder_of_the_mesh_stays() {
        for same in ["100%", "%%REQ(X)%%", "%KUMA_NOTHING%", "%KUMA_MESH", "é%é"] {
            assert_eq!(scene(Protocol::Tcp).text(same), [text(same)]);
        }
        // Doubled signs do not hide a placeholder.
        assert_eq!(scene(Protocol::Tcp).text("%%KUMA_MESH%%"), [text("%m%")]);
        // One that begins like another is not taken for it.
        let address = LogPart::Own(OwnPart::Address);
        assert_eq!(scene(Protocol::Tcp).text("%KUMA_SOURCE_ADDRESS_WITHOUT_PORT%"), [address]);
    }

    #[test]
    fn the_default_follows_the_protocol() {
        let begins = |protocol| {
            let LogContent::Text(parts) = scene(protocol).line(None).content else { panic!("no text") };
            let LogPart::Text(first) = &parts[0] else { panic!("no text") };
            first.to_string()
        };
        assert!(begins(Protocol::Grpc).starts_with("[%START_TIME%] m \"%REQ(:METHOD)%"));
        assert_eq!(begins(Protocol::Unknown), "[%START_TIME%] %RESPONSE_FLAGS% m ");
    }

    #[test]
    fn fields_and_texts() {
        let field = LogField { key: "to".to_owned(), value: "%KUMA_DESTINATION_SERVICE%".to_owned() };
        let format = LogFormat {
            kind: "Json".to_owned(),
            json: Some(vec![field]),
            omit_empty_values: Some(true),
            ..LogFormat::default()
        };
        let line = scene(Protocol::Tcp).line(Some(&format));
        assert_eq!(line.content, LogContent::Fields(vec![("to".into(), vec![text("db")])]));
        assert!(line.omit_empty);
        let format = LogFormat { kind: "Plain".to_owned(), plain: Some("x".to_owned()), ..LogFormat::default() };
        let line = scene(Protocol::Tcp).line(Some(&format));
        assert_eq!(line, LogLine { content: LogContent::Text(vec![text("x")]), omit_empty: false });
    }
}
