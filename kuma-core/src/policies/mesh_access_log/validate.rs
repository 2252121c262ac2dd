//! Rules of MeshAccessLog.

use super::{AccessLogs, LogBackend, LogField, LogFormat, MeshAccessLog};
use crate::{
    names,
    policies::{
        observability,
        target::{Match, validate as target},
    },
    validate::{Path, Violations, text},
};

pub(super) fn spec(spec: &MeshAccessLog, at: &Path, out: &mut Violations) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    let to = spec.to.as_deref().unwrap_or_default();
    target::top(spec.target_ref.as_ref(), at, !rules.is_empty(), out);
    if !rules.is_empty() && !to.is_empty() {
        out.add(at, "'to' must be empty when 'rules' is defined");
    }
    if rules.is_empty() && to.is_empty() {
        out.add(at, text::TO_OR_RULES);
    }
    for (i, item) in to.iter().enumerate() {
        let at = at.field("to").index(i);
        target::destination(&item.target_ref, &at, target::DESTINATIONS_AND_ROUTES, out);
        conf(&item.conf, &at.field("default"), out);
    }
    for (i, item) in rules.iter().enumerate() {
        let at = at.field("rules").index(i);
        matches(item.matches.as_deref().unwrap_or_default(), &at, out);
        conf(&item.conf, &at.field("default"), out);
    }
}

fn matches(matches: &[Match], at: &Path, out: &mut Violations) {
    for (i, condition) in matches.iter().enumerate() {
        target::lenient_match(condition, &at.field("matches").index(i), out);
    }
}

fn conf(conf: &AccessLogs, at: &Path, out: &mut Violations) {
    let at = at.field("backends");
    let Some(backends) = &conf.backends else { return out.add(&at, text::DEFINED) };
    for (i, item) in backends.iter().enumerate() {
        backend(item, &at.index(i), out);
    }
}

fn backend(backend: &LogBackend, at: &Path, out: &mut Violations) {
    match backend.kind.as_str() {
        "File" => {
            let at = at.field("file");
            let Some(file) = &backend.file else { return out.add(&at, text::DEFINED) };
            format(file.format.as_ref(), &at.field("format"), out);
            if !names::is_file_path(&file.path) {
                out.add(&at.field("path"), "file backend requires a valid path");
            }
        }
        "Tcp" => {
            let at = at.field("tcp");
            let Some(tcp) = &backend.tcp else { return out.add(&at, text::DEFINED) };
            format(tcp.format.as_ref(), &at.field("format"), out);
            if !names::is_url_like(&tcp.address) {
                out.add(&at.field("address"), "tcp backend requires valid address");
            }
        }
        "OpenTelemetry" => {
            let at = at.field("openTelemetry");
            let Some(otel) = &backend.open_telemetry else { return out.add(&at, text::DEFINED) };
            observability::backend_ref(otel.backend_ref.as_ref(), &at.field("backendRef"), out);
            for (i, attribute) in otel.attributes.iter().flatten().enumerate() {
                if let Some(fault) = attribute_fault(&attribute.key) {
                    out.add(&at.field("attributes").index(i).field("key"), fault);
                }
            }
        }
        // The schema knows no other.
        _ => {}
    }
}

fn format(format: Option<&LogFormat>, at: &Path, out: &mut Violations) {
    let Some(format) = format else { return };
    match format.kind.as_str() {
        "Plain" => match format.plain.as_deref() {
            None => out.add(&at.field("plain"), text::DEFINED),
            Some("") => out.add(&at.field("plain"), text::NOT_EMPTY),
            Some(_) => {}
        },
        "Json" => match format.json.as_deref() {
            None => out.add(&at.field("json"), text::DEFINED),
            Some([]) => out.add(&at.field("json"), text::NOT_EMPTY),
            Some(fields) => {
                for (i, item) in fields.iter().enumerate() {
                    field(item, &at.field("json").index(i), out);
                }
            }
        },
        // The schema knows no other.
        _ => {}
    }
}

fn field(field: &LogField, at: &Path, out: &mut Violations) {
    let LogField { key, value } = field;
    if key.is_empty() {
        out.add(&at.field("key"), "key cannot be empty");
    }
    if value.is_empty() {
        out.add(&at.field("value"), "value cannot be empty");
    }
    // Quotes and control characters are to be written as JSON writes them.
    if serde_json::from_str::<serde::de::IgnoredAny>(&format!(r#"{{"{key}": "{value}"}}"#)).is_err() {
        out.add(at, "is not a valid JSON object");
    }
}

/// Why a text is no name of an attribute, if it is none.
fn attribute_fault(key: &str) -> Option<&'static str> {
    if key.is_empty() {
        return Some(text::DEFINED);
    }
    if key.contains('%') {
        return Some("must be a static OpenTelemetry attribute name; placeholders are only supported in values");
    }
    if key.starts_with("otel.") {
        return Some("must not use the reserved OpenTelemetry prefix 'otel.'");
    }
    // Delimiters stand between letters or digits, never at an end or beside each other.
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = key.starts_with(|c: char| c.is_ascii_lowercase()) && key.split(['.', '_']).all(word);
    (!fits).then_some(
        "must start with a lowercase letter, use only lowercase letters, digits, '.' or '_', avoid consecutive \
         delimiters, and end with a letter or digit",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_dotted_lower_case_names() {
        for good in ["a", "service.version", "a_1.b2", "kuma.mesh"] {
            assert_eq!(attribute_fault(good), None, "{good}");
        }
        for bad in ["", "%KUMA_ZONE%", "otel.x", "Upper", "1a", "a..b", "a._b", "a.", ".a", "a-b"] {
            assert!(attribute_fault(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn a_field_must_stand_in_json_as_it_is() {
        let faults = |key: &str, value: &str| {
            let mut out = Violations::new();
            field(&LogField { key: key.to_owned(), value: value.to_owned() }, &Path::root("f"), &mut out);
            out.0.into_iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>()
        };
        assert_eq!(faults("start", "%START_TIME%"), [""; 0]);
        assert_eq!(faults("a", r#"say \"hello\""#), [""; 0]);
        assert_eq!(faults("", ""), ["f.key: key cannot be empty", "f.value: value cannot be empty"]);
        assert_eq!(faults("a", r#"say "hello""#), ["f: is not a valid JSON object"]);
        assert_eq!(faults("a", "two\nlines"), ["f: is not a valid JSON object"]);
    }
}
