//! The Dataplane resource that is given on the command line: read, filled in, checked, and turned into JSON for the control plane.

pub mod template;

use std::{collections::BTreeMap, net::IpAddr};

use kuma_core::{
    document::{self, Fault, Limits},
    registry::Kind,
    schema::unknown,
};
use serde_json::Value;

use self::template::TemplateError;

/// A Dataplane resource that cannot be used. `from` is a path, "standard input" or "--dataplane".
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// The file is not there or not readable.
    #[error("cannot read the Dataplane resource from {from}: {source}")]
    Unreadable {
        /// Where it was looked for.
        from: String,
        /// Why.
        source: std::io::Error,
    },
    /// A placeholder is malformed.
    #[error("the template of the Dataplane resource in {from} is not valid: {source}")]
    Template {
        /// Where it was read.
        from: String,
        /// Which placeholder.
        source: TemplateError,
    },
    /// It is neither YAML nor JSON, or costs too much to read.
    #[error("the Dataplane resource in {from} cannot be read: {fault}")]
    Syntax {
        /// Where it was read.
        from: String,
        /// What, with line and column.
        fault: Fault,
    },
    /// It is YAML or JSON, and something else than one resource.
    #[error("the Dataplane resource in {from} cannot be used: {reason}")]
    Shape {
        /// Where it was read.
        from: String,
        /// What it is.
        reason: String,
    },
    /// Another kind.
    #[error("invalid proxy resource type {found:?}, expected Dataplane")]
    Kind {
        /// What `type` says.
        found: String,
    },
    /// Name or mesh is missing or malformed.
    #[error("the Dataplane resource in {from} is not valid: {violations}")]
    Meta {
        /// Where it was read.
        from: String,
        /// All violations, `field: message`.
        violations: String,
    },
}

/// A Dataplane resource as the user wrote it, with the few facts that kuma-dp needs from it.
#[derive(Clone, Debug, PartialEq)]
pub struct DataplaneResource {
    /// `mesh`, or `default`.
    pub mesh: String,
    /// `name`.
    pub name: String,
    /// What was odd about the text, for its author's eyes.
    pub warnings: Vec<String>,
    body: Value,
}

impl DataplaneResource {
    /// Renders the template and reads the result. `from` says where the text comes from, for messages.
    pub fn parse(text: &str, variables: &BTreeMap<String, String>, from: &str) -> Result<Self, ResourceError> {
        let text = template::render(text, variables)
            .map_err(|source| ResourceError::Template { from: from.into(), source })?;
        let shape = |reason: String| ResourceError::Shape { from: from.into(), reason };
        let parts = document::split(&text);
        let [part] = parts[..] else {
            let holds = if parts.is_empty() { "nothing".to_owned() } else { format!("{} documents", parts.len()) };
            return Err(shape(format!("it holds {holds}, and has to be one Dataplane")));
        };
        let parsed = part.parse(Limits::REQUEST).map_err(|fault| ResourceError::Syntax { from: from.into(), fault })?;
        let mut warnings: Vec<String> = parsed.warning.into_iter().collect();
        let mut body = parsed.value;
        let Value::Object(map) = &mut body else {
            return Err(shape("a resource is a map with type, mesh, name and networking".into()));
        };
        let text_of = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, name, mut mesh) = (text_of("type"), text_of("name"), text_of("mesh"));
        if kind != "Dataplane" {
            return Err(ResourceError::Kind { found: kind });
        }
        warnings.extend(unknown::fields(Kind::Dataplane, map).iter().map(ToString::to_string));
        if !map.contains_key("mesh") {
            "default".clone_into(&mut mesh);
            map.insert("mesh".into(), Value::from("default"));
        }
        let violations: Vec<String> = [("mesh", mesh_violation(&mesh)), ("name", name_violation(&name))]
            .into_iter()
            .filter_map(|(field, violation)| Some(format!("{field}: {}", violation?)))
            .collect();
        if !violations.is_empty() {
            return Err(ResourceError::Meta { from: from.into(), violations: violations.join("; ") });
        }
        Ok(Self { mesh, name, warnings, body })
    }

    /// JSON text for the bootstrap request.
    pub fn to_json(&self) -> String {
        self.body.to_string()
    }

    /// `networking.address`, if it is an address rather than a host name.
    pub fn address(&self) -> Option<IpAddr> {
        self.body.pointer("/networking/address")?.as_str()?.parse().ok()
    }

    /// Whether the resource itself says that traffic is redirected to Envoy.
    pub fn is_transparent(&self) -> bool {
        self.body.pointer("/networking/transparentProxying").is_some_and(Value::is_object)
    }

    /// `networking.admin.port`, if given.
    pub fn admin_port(&self) -> Option<u64> {
        self.body.pointer("/networking/admin/port")?.as_u64()
    }

    /// Sections of the inbounds, name or port of each; `None` if the resource has listeners of other kinds as well.
    pub fn inbound_sections(&self) -> Option<Vec<String>> {
        let networking = self.body.pointer("/networking")?.as_object()?;
        if ["listeners", "gateway"].iter().any(|key| networking.contains_key(*key)) {
            return None;
        }
        let section = |inbound: &Value| {
            let name = inbound.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
            name.map(str::to_owned).or_else(|| Some(inbound.get("port")?.as_u64()?.to_string()))
        };
        networking.get("inbound")?.as_array()?.iter().map(section).collect()
    }

    /// Sets `networking.admin.port`.
    pub fn set_admin_port(&mut self, port: u16) {
        if let Some(Value::Object(networking)) = self.body.pointer_mut("/networking") {
            networking.insert("admin".into(), serde_json::json!({ "port": port }));
        }
    }
}

const LONGEST: usize = 253;

fn mesh_violation(mesh: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase() || "-_.".contains(c);
    if mesh.is_empty() {
        Some("cannot be empty")
    } else if mesh.len() > LONGEST {
        Some("value length must less or equal 253")
    } else if !mesh.chars().all(allowed) {
        Some("invalid characters. Valid characters are numbers, lowercase latin letters and '-', '_', '.' symbols.")
    } else {
        None
    }
}

fn name_violation(name: &str) -> Option<&'static str> {
    let alphanumeric = |c: char| c.is_ascii_digit() || c.is_ascii_lowercase();
    let label = |label: &str| {
        label.starts_with(alphanumeric)
            && label.ends_with(alphanumeric)
            && label.chars().all(|c| alphanumeric(c) || c == '-')
    };
    if name.is_empty() {
        Some("cannot be empty")
    } else if name.len() > LONGEST {
        Some("value length must less or equal 253")
    } else if !name.split('.').all(label) {
        Some(
            "invalid characters. A lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DataplaneResource, ResourceError> {
        let variables = BTreeMap::from([("name".to_owned(), "web-1".to_owned())]);
        DataplaneResource::parse(text, &variables, "dp.yaml")
    }

    const WEB: &str = "type: Dataplane\nmesh: shop\nname: {{ name }}\nnetworking:\n  address: 10.0.0.1\n";

    #[test]
    fn a_template_becomes_json() {
        let dp = parse(WEB).unwrap();
        assert_eq!((dp.mesh.as_str(), dp.name.as_str()), ("shop", "web-1"));
        assert_eq!(dp.address(), Some(IpAddr::from([10, 0, 0, 1])));
        assert!(!dp.is_transparent());
        let expected = r#"{"type":"Dataplane","mesh":"shop","name":"web-1","networking":{"address":"10.0.0.1"}}"#;
        assert_eq!(dp.to_json(), expected);
    }

    #[test]
    fn inbounds_are_known_by_name_or_port() {
        let sections = |networking: &str| {
            parse(&format!("{{type: Dataplane, name: a, networking: {networking}}}")).unwrap().inbound_sections()
        };
        let two = sections("{address: 10.0.0.1, inbound: [{port: 80}, {port: 81, name: web}, {port: 82, name: ''}]}");
        assert_eq!(two, Some(vec!["80".to_owned(), "web".to_owned(), "82".to_owned()]));
        assert_eq!(sections("{inbound: [{name: ''}]}"), None);
        assert_eq!(sections("{inbound: [{port: 80}], listeners: []}"), None);
        assert_eq!(sections("{address: 10.0.0.1}"), None);
    }

    #[test]
    fn the_admin_port_can_be_chosen() {
        let mut dp = parse(WEB).unwrap();
        assert_eq!(dp.admin_port(), None);
        dp.set_admin_port(9955);
        assert_eq!(dp.admin_port(), Some(9955));
    }

    #[test]
    fn mesh_may_be_left_out_but_not_empty() {
        assert_eq!(parse("{type: Dataplane, name: a}").unwrap().mesh, "default");
        let text = parse("{type: Dataplane, mesh: '', name: A_b}").unwrap_err().to_string();
        assert!(text.contains("mesh: cannot be empty; name: invalid characters. A lowercase"), "{text}");
    }

    #[test]
    fn mistakes_say_where_and_what() {
        let kind = parse("{type: Mesh, name: default}").unwrap_err().to_string();
        assert_eq!(kind, "invalid proxy resource type \"Mesh\", expected Dataplane");
        let syntax = parse("type: Dataplane\n  name: [").unwrap_err().to_string();
        assert!(syntax.starts_with("the Dataplane resource in dp.yaml cannot be read: line 2, column "), "{syntax}");
        assert!(parse("just text").unwrap_err().to_string().contains("a resource is a map"));
        let two = parse(&format!("{WEB}---\n{WEB}")).unwrap_err().to_string();
        assert_eq!(
            two,
            "the Dataplane resource in dp.yaml cannot be used: it holds 2 documents, and has to be one Dataplane"
        );
        assert!(parse("---\n# only a comment\n").unwrap_err().to_string().contains("it holds nothing"));
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        let costs = parse(bomb).unwrap_err().to_string();
        assert!(costs.contains("its aliases repeat more than"), "{costs}");
        let deep = parse(&"[".repeat(10_000)).unwrap_err().to_string();
        assert!(deep.contains("nested more than"), "{deep}");
    }

    #[test]
    fn what_is_odd_is_told() {
        assert_eq!(parse(WEB).unwrap().warnings, [""; 0]);
        let twice = parse(&format!("{WEB}mesh: other\n")).unwrap();
        assert_eq!(twice.mesh, "other");
        let warning = &twice.warnings[0];
        assert!(warning.contains("line 6, column 1") && warning.ends_with("the last one counts"), "{warning}");
        let unknown = parse(&format!("{WEB}  inbounds: []\n")).unwrap().warnings;
        assert_eq!(unknown, ["networking.inbounds: there is no such field, it is ignored; did you mean \"inbound\"?"]);
    }
}
