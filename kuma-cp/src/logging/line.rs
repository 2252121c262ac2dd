//! The layer that turns events into lines.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    sync::PoisonError,
};

use jiff::Zoned;
use prometheus_client::encoding::EncodeLabelSet;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, Scope},
};

use super::{LogControl, Sink};

/// Labels of the count of lines.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LineLabels {
    /// The component that logged.
    pub logger: String,
    /// The level of the lines.
    pub level: String,
}

/// The layer: writes one line per event.
pub struct Lines {
    sink: Sink,
    control: LogControl,
}

impl Lines {
    /// Writes to this sink what the levels allow.
    pub fn new(sink: Sink, control: LogControl) -> Self {
        Self { sink, control }
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        self.control.allows(&component(metadata.target()), *metadata.level())
    }
}

/// The name of a component: the path of the module with dots, without the name of this crate in front.
pub(super) fn component(target: &str) -> Cow<'_, str> {
    match target.strip_prefix("kuma_cp::") {
        Some(path) if path.contains("::") => path.replace("::", ".").into(),
        Some(path) => path.into(),
        None if target == "kuma_cp" => "kuma-cp".into(),
        None if target.contains("::") => target.replace("::", ".").into(),
        None => target.into(),
    }
}

/// Fields of an event or a span.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }
}

/// One line with its end. Control characters of the message are escaped: an event is one line, whatever it says.
pub(super) fn format(
    time: &Zoned,
    level: Level,
    component: &str,
    message: &str,
    fields: &Map<String, Value>,
) -> String {
    let mut line = String::with_capacity(128);
    let zone = if time.offset().seconds() == 0 { "Z" } else { "%z" };
    let format = format!("%Y-%m-%dT%H:%M:%S%.3f{zone}");
    // Writing to a text cannot fail.
    let _ = write!(line, "{}\t{level}\t{component}\t", time.strftime(&format));
    for c in message.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if !fields.is_empty() {
        line.push('\t');
        // A map of values always has a text.
        line.push_str(&serde_json::to_string(fields).unwrap_or_default());
    }
    line.push('\n');
    line
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Asked again whenever levels change.
        if self.allows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.allows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.control.most())
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut all = Map::new();
        // Fields of the spans around come first, and the nearest one counts.
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Fields>() {
                all.extend(fields.others.clone());
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        all.extend(fields.others);
        let (level, component) = (*event.metadata().level(), component(event.metadata().target()));
        let line = format(&Zoned::now(), level, &component, &fields.message, &all);
        let labels = LineLabels { logger: component.into_owned(), level: level.as_str().to_ascii_lowercase() };
        self.control.lines().get_or_create(&labels).inc();
        // A full disk must not stop the control plane, and there is nowhere else to complain.
        let _ = self.sink.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}
