use std::time::Instant;

use serde_json::json;

use super::*;

fn texts(text: &str) -> Vec<&str> {
    split(text).into_iter().map(|part| part.text).collect()
}

fn parse(text: &str) -> Result<Parsed, Fault> {
    Part::whole(text).parse(Limits::REQUEST)
}

#[test]
fn documents_are_split_at_dashes() {
    let text = "# first\n---\ntype: Mesh\n--- # second\nname: a\n---type: Zone\n---\n\n---\n# a\n# b\n";
    assert_eq!(texts(text), ["type: Mesh", "# second\nname: a", "type: Zone"]);
    assert_eq!(texts("a: |\n  ---\n"), ["a: |\n  ---"]);
    assert_eq!(texts("k: -----BEGIN\n-----END"), ["k: -----BEGIN\n-----END"]);
    assert!(texts(" \n# only\n").is_empty());
    assert_eq!(texts("\u{feff}a: 1\r\n---\r\nb: 2\r\n"), ["a: 1", "b: 2"]);
}

#[test]
fn faults_tell_their_place_in_the_whole_text() {
    let faults: Vec<String> = split("a: 1\n---\n\n\nb: [1\nc: 2\n---  x: *no\n")
        .into_iter()
        .filter_map(|part| part.parse(Limits::FILE).err())
        .map(|fault| fault.to_string())
        .collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("line 6, column "), "{faults:?}");
    assert!(faults[1].starts_with("line 7, column 9: "), "{faults:?}");
}

#[test]
fn scalars_are_those_of_yaml_1_1() {
    let value = parse("{a: yes, b: 010, c: '010', d: off, e: ~, f: 1.5}").unwrap().value;
    assert_eq!(value, json!({"a": true, "b": 8, "c": "010", "d": false, "e": null, "f": 1.5}));
    let labels: std::collections::BTreeMap<String, String> =
        Part::whole("a: yes\nb: 0755").decode(Limits::REQUEST).unwrap();
    assert_eq!(labels, [("a".into(), "yes".into()), ("b".into(), "0755".into())].into());
}

#[test]
fn json_may_be_indented_with_tabs() {
    assert_eq!(parse("{\n\t\"a\": [\n\t\t1\n\t]\n}").unwrap().value, json!({"a": [1]}));
}

#[test]
fn anchors_and_merge_keys_are_applied() {
    let value = parse("x: &x {a: 1, b: 2}\ny: *x\nz:\n  <<: *x\n  b: 3\n").unwrap().value;
    assert_eq!(value["y"], json!({"a": 1, "b": 2}));
    assert_eq!(value["z"], json!({"a": 1, "b": 3}));
}

#[test]
fn the_last_of_duplicate_keys_wins_with_a_word() {
    let parsed = parse("name: a\nx: 1\nname: b\n").unwrap();
    assert_eq!(parsed.value, json!({"name": "b", "x": 1}));
    let warning = parsed.warning.unwrap();
    assert!(warning.starts_with("line 3, column 1: ") && warning.contains("name"), "{warning}");
    assert_eq!(parse("name: a").unwrap().warning, None);
}

#[test]
fn bytes_are_checked() {
    assert_eq!(text(b"a: b", Limits::REQUEST), Ok("a: b"));
    let fault = text(b"a: \xc3\xa4\nb: \xff", Limits::REQUEST).unwrap_err();
    assert_eq!(fault.to_string(), "line 2, column 4: the text is not UTF-8; save it as UTF-8");
    let small = Limits { bytes: 3, ..Limits::REQUEST };
    assert_eq!(text(b"abcd", small).unwrap_err().to_string(), "the text has 4 bytes, at most 3 are read");
}

/// Nine levels of ten aliases each.
fn bomb() -> String {
    let mut text = "l0: &l0 [x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*l{}", level - 1); 10].join(", ");
        text += &format!("l{level}: &l{level} [{aliases}]\n");
    }
    text
}

#[test]
fn what_costs_too_much_is_refused_soon() {
    let nested = |open: &str, close: &str| format!("a: {}{}", open.repeat(100_000), close.repeat(100_000));
    let many = format!("[{}]", "1,".repeat(300_000));
    let deep = "maps and lists are nested more than 50 levels deep";
    let cases = [
        (bomb(), "its aliases repeat more than 20000 values"),
        (nested("[", "]"), deep),
        (nested("{a: ", "}"), deep),
        (format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000)), deep),
        ((0..200).fold(String::new(), |text, level| text + &" ".repeat(level) + "a:\n"), deep),
        (many, "it has more than 250000 values"),
    ];
    for (text, reason) in cases {
        let start = Instant::now();
        let fault = parse(&text).unwrap_err();
        // Generous, for machines with much else to do.
        assert!(start.elapsed().as_secs() < 10, "{reason} took {:?}", start.elapsed());
        assert!(matches!(&fault, Fault::Cost { place: Some(_), reason: r } if r == reason), "{fault}");
    }
}
