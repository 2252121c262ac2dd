use super::*;

fn render(template: &str) -> Result<String, String> {
    let labels = Labels::from([("team".into(), "core".into())]);
    let data = Data {
        name: "web.ns",
        display_name: "web",
        namespace: "ns",
        mesh: "default",
        zone: "east",
        labels: LabelSource::Labels(&labels),
        type_name: "hostname.meshedName",
    };
    let template = Template::parse(template).map_err(|e| e.to_string())?;
    template.render(&data).map_err(|e| e.to_string())
}

#[test]
fn renders() {
    for (template, text) in [
        ("plain", "plain"),
        ("", ""),
        ("{{ .DisplayName }}.{{.Namespace}}.svc.{{ .Zone }}.mesh.local", "web.ns.svc.east.mesh.local"),
        ("{{ label \"team\" }}.{{ label `team` }}", "core.core"),
        ("{{ \"team\" | label }}", "core"),
        ("{{ if .Zone }}{{ .Zone }}{{ else }}none{{ end }}", "east"),
        ("{{ if eq .Zone \"west\" }}w{{ else if eq .Zone \"a\" \"east\" }}e{{ else }}x{{ end }}", "e"),
        ("{{ with .Mesh }}{{ . }}-{{ $.Zone }}{{ end }}", "default-east"),
        ("{{ $x := .Name }}{{ $x }}", "web.ns"),
        ("{{ printf \"%s-%s\" .Zone .Mesh }}", "east-default"),
        ("{{ .Zone | printf \"%s-%s\" .Mesh }}", "default-east"),
        ("a {{- \" b \" -}} c", "a b c"),
        ("{{/* nothing */}}x{{- /* y */ -}} z", "xz"),
        ("{{ and .Zone (not .Name) }}", "false"),
        ("{{ len .Zone }}", "4"),
        ("{{ slice .Zone 0 2 }}", "ea"),
        ("{{ .Zone\n}}", "east"),
        ("{{ or \"\" .Zone }}", "east"),
        ("{{ (print .Zone) }}", "east"),
        ("{{ . }}", "{web.ns web ns default east}"),
    ] {
        assert_eq!(render(template).as_deref(), Ok(text), "{template}");
    }
}

#[test]
fn parser_texts() {
    for (template, reason) in [
        ("{{ .Name", "unclosed action"),
        ("{{ .Name }", "unexpected \"}\" in operand"),
        ("{{/* x", "unclosed comment"),
        ("{{ if .Name }}x", "unexpected EOF"),
        ("{{ nope }}", "function \"nope\" not defined"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ }}", "missing value for command"),
        ("{{ if }}{{ end }}", "missing value for if"),
        ("{{ range }}{{ end }}", "missing value for range"),
        ("{{ with }}{{ end }}", "missing value for with"),
        ("{{ \"x }}", "unterminated quoted string"),
        ("{{ `x }}", "unterminated raw quoted string"),
        ("{{ .Name[0 }}", "bad character U+005B '['"),
        ("{{ label[ }}", "bad character U+005B '['"),
        ("{{ [ }}", "unexpected \"[\" in command"),
        ("{{ .Name. }}", "unexpected <.> in operand"),
        ("{{ $x }}", "undefined variable \"$x\""),
        ("{{ .Name | 1 }}", "non executable command in pipeline stage 2"),
        ("{{ 'ab' }}", "malformed character constant: 'ab'"),
        ("{{ 1x }}", "bad number syntax: \"1x\""),
        ("{{ (.Name }}", "unclosed left paren"),
        ("{{ .Name) }}", "unexpected right paren"),
        ("{{ if .Name }}a{{ else }}b{{ else }}c{{ end }}", "expected end; found {{else}}"),
        ("{{ \"a\".Name }}", "unexpected . after term \"\\\"a\\\"\""),
    ] {
        assert_eq!(render(template), Err(format!("template: :1: {reason}")), "{template}");
    }
    assert_eq!(render("a\n{{ nope }}"), Err("template: :2: function \"nope\" not defined".into()));
}

#[test]
fn execution_texts() {
    for (template, fault) in [
        ("{{ .Nope }}", "1:3: executing \"\" at <.Nope>: can't evaluate field Nope in type hostname.meshedName"),
        ("a\n {{ .Nope }}", "2:4: executing \"\" at <.Nope>: can't evaluate field Nope in type hostname.meshedName"),
        ("{{ label }}", "1:3: executing \"\" at <label>: wrong number of args for label: want 1 got 0"),
        ("{{ label \"x\" }}", "1:3: executing \"\" at <label \"x\">: error calling label: label x not found"),
        ("{{ label 1 }}", "1:9: executing \"\" at <1>: expected string; found 1"),
        ("{{ .Name.X }}", "1:3: executing \"\" at <.Name.X>: can't evaluate field X in type string"),
    ] {
        assert_eq!(render(template), Err(format!("template: :{fault}")), "{template}");
    }
}

#[test]
fn hostile_templates_end() {
    assert!(render(&"{{if .Zone}}".repeat(10_000)).is_err());
    assert!(render(&format!("{{{{ {} }}}}", "(".repeat(10_000))).is_err());
    for text in [
        "{{",
        "}}",
        "{{-",
        "{{- }}",
        "{{ -}}",
        "{{ - }}",
        "{{ $ }}",
        "{{ . . }}",
        "{{é}}",
        "{{ 'é }}",
        "{{ \"\\x4\" }}",
    ] {
        let _ = render(text);
    }
}
