//! What is logged, and how levels that change while events are logged take effect.
//!
//! A process of its own: what a place in the code may log is remembered for the whole process, so these tests also
//! take turns.

#![expect(clippy::unwrap_used, reason = "a test fails where it panics")]

use std::sync::{Arc, Mutex, PoisonError};

use kuma_cp::logging::{LineLabels, Lines, LogControl, LogLevel, Sink};
use tracing_subscriber::layer::SubscriberExt;

static TURN: Mutex<()> = Mutex::new(());

/// Runs with a subscriber of its own, and returns what was logged, without the times.
fn logged(level: LogLevel, run: impl FnOnce(&LogControl)) -> Vec<String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
    let control = LogControl::new(level);
    let sink: Sink = lines.clone();
    let subscriber = tracing_subscriber::registry().with(Lines::new(sink, control.clone()));
    tracing::subscriber::with_default(subscriber, || run(&control));
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    text.lines().map(|l| l.split_once('\t').unwrap().1.to_owned()).collect()
}

fn speak() {
    tracing::info!(target: "xds.server", port = 1, "up");
    tracing::debug!(target: "xds.server.stream", "detail");
    tracing::debug!(target: "api", "detail");
    tracing::info!(target: "h2::codec", "frame");
    tracing::warn!(target: "h2::codec", "broken");
}

#[test]
fn levels_are_those_of_the_nearest_override() {
    let names = |lines: Vec<String>| lines.iter().map(|l| l.split('\t').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(logged(LogLevel::Info, |_| speak())), ["xds.server", "h2.codec"]);
    assert_eq!(names(logged(LogLevel::Debug, |_| speak())), ["xds.server", "xds.server.stream", "api", "h2.codec"]);
    assert_eq!(logged(LogLevel::Off, |_| speak()), [""; 0]);
    let lines = logged(LogLevel::Off, |control| {
        control.set("xds", LogLevel::Debug).unwrap();
        control.set("xds.server", LogLevel::Info).unwrap();
        control.set("h2", LogLevel::Debug).unwrap();
        control.set("ap", LogLevel::Debug).unwrap();
        speak();
    });
    assert_eq!(names(lines), ["xds.server", "h2.codec", "h2.codec"]);
}

#[test]
fn overrides_work_on_what_has_been_logged_before() {
    let lines = logged(LogLevel::Info, |control| {
        let event = || tracing::debug!(target: "component", "here");
        event();
        control.set("component", LogLevel::Debug).unwrap();
        event();
        assert_eq!(control.overrides(), [("component".to_owned(), LogLevel::Debug)].into());
        control.clear("component").unwrap();
        control.clear("component").unwrap();
        event();
        control.set("component", LogLevel::Debug).unwrap();
        assert_eq!(control.clear_all().len(), 1);
        assert!(control.overrides().is_empty());
        event();
    });
    assert_eq!(lines, ["DEBUG\tcomponent\there"]);
}

#[test]
fn fields_of_spans_are_those_of_their_events() {
    let lines = logged(LogLevel::Info, |control| {
        let span = tracing::info_span!("request", mesh = "m", proxy = tracing::field::Empty, kind = "a");
        let _entered = span.enter();
        span.record("proxy", "dp-1");
        let error = std::io::Error::other("no");
        tracing::error!(target: "t", kind = "b", %error, ok = false, "failed: {}", 7);
        let labels = LineLabels { logger: "t".into(), level: "error".into() };
        assert_eq!(control.lines().get_or_create(&labels).get(), 1);
    });
    assert_eq!(lines, [r#"ERROR	t	failed: 7	{"mesh":"m","kind":"b","proxy":"dp-1","error":"no","ok":false}"#]);
}
