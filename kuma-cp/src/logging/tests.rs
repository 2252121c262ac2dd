//! The form of lines, names of components, and files that are rotated. What is logged at all is tested in
//! `tests/logging.rs`, since what a place in the code may log is remembered for the whole process.

use std::{
    fs,
    io::Write,
    sync::atomic::{AtomicI64, Ordering},
};

use jiff::{Timestamp, Zoned};
use serde_json::{Map, json};
use tracing::Level;

use super::{
    levels::check_name,
    line::{component, format},
    rotate::RotatingFile,
    *,
};

#[test]
fn a_line_has_the_published_form() {
    let time = |text: &str| text.parse::<Zoned>().unwrap();
    let fields = json!({"mesh": "m", "n": 1}).as_object().cloned().unwrap();
    assert_eq!(
        format(&time("2026-01-05T10:00:00.123456[UTC]"), Level::INFO, "xds.server", "started", &fields),
        "2026-01-05T10:00:00.123Z\tINFO\txds.server\tstarted\t{\"mesh\":\"m\",\"n\":1}\n"
    );
    assert_eq!(
        format(&time("2026-01-05T19:00:00+09:00[Asia/Tokyo]"), Level::ERROR, "a", "b\nc\t\u{1b}d ü", &Map::new()),
        "2026-01-05T19:00:00.000+0900\tERROR\ta\tb\\nc\\t\\u{1b}d ü\n"
    );
}

#[test]
fn components_are_named_after_their_modules() {
    for (target, name) in [
        ("kuma_cp::tls::served", "tls.served"),
        ("kuma_cp::run", "run"),
        ("kuma_cp", "kuma-cp"),
        ("kuma_core::engine", "kuma_core.engine"),
        ("xds.server", "xds.server"),
    ] {
        assert_eq!(component(target), name);
    }
}

#[test]
fn names_and_numbers_of_overrides_are_limited() {
    let control = LogControl::new(LogLevel::Info);
    assert_eq!(check_name("").unwrap_err().to_string(), "component name must not be empty");
    assert_eq!(check_name(&"a".repeat(257)).unwrap_err().to_string(), "component name exceeds 256 characters");
    for bad in ["-a", ".a", "a b", "a/b", "ä"] {
        assert_eq!(
            check_name(bad).unwrap_err().to_string(),
            format!("component name {bad:?} contains invalid characters")
        );
    }
    check_name("0a.B-c_d").unwrap();
    for i in 0..200 {
        control.set(&format!("c{i}"), LogLevel::Off).unwrap();
    }
    let error = control.set("more", LogLevel::Off).unwrap_err().to_string();
    assert_eq!(error, "maximum number of component overrides (200) reached");
    control.set("c7", LogLevel::Debug).unwrap();
    assert_eq!("x".parse::<LogLevel>().unwrap_err().to_string(), r#"unknown log level "x""#);
}

#[test]
fn a_full_file_is_put_aside_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs/kuma.log");
    // Every look at the clock is a second later; opening looks at it, and so does each deletion.
    fn now() -> Timestamp {
        static SECONDS: AtomicI64 = AtomicI64::new(1_772_323_200);
        Timestamp::from_second(SECONDS.fetch_add(1, Ordering::Relaxed)).unwrap()
    }
    let options = LogOptions { max_retained_files: 2, max_age: 30, ..LogOptions::default() };
    let mut file = RotatingFile::open_at(&path, 10, &options, now).unwrap();
    for other in ["kuma-2025-01-01T00-00-00.000.log", "kuma-other.log", "other-2025-01-01T00-00-00.000.log"] {
        fs::write(path.with_file_name(other), "").unwrap();
    }
    for line in ["first\n", "second\n", "third\n", "a line that is longer\n", "x\n"] {
        file.write_all(line.as_bytes()).unwrap();
    }
    let mut names: Vec<_> =
        fs::read_dir(path.parent().unwrap()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "kuma-2026-03-01T00-00-05.000.log",
            "kuma-2026-03-01T00-00-07.000.log",
            "kuma-other.log",
            "kuma.log",
            "other-2025-01-01T00-00-00.000.log"
        ]
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    assert_eq!(
        fs::read_to_string(path.with_file_name("kuma-2026-03-01T00-00-07.000.log")).unwrap(),
        "a line that is longer\n"
    );
    drop(file);
    let mut file = RotatingFile::open_at(&path, 10, &options, now).unwrap();
    file.write_all(b"y\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "x\ny\n", "a restart goes on with the same file");
}
