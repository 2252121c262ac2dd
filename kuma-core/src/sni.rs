//! Server names of destinations: `sni.<short>.<mesh>[.<zone>[.<namespace>]].<name>.<section>`.

use crate::{kri::Kri, names, resource::AnyResource, resources::MeshService};

/// Why a KRI has no valid server name; all reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SniError {
    /// Only services have server names.
    #[error("resources with the short name {0:?} have no SNI")]
    NotADestination(String),
    /// Parts that DNS does not take.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
}

/// A port of a destination with the server name that clients send for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSni {
    /// Number of the port.
    pub port: i64,
    /// Server name, also when it is not valid.
    pub sni: String,
}

/// True for short names of kinds that have server names.
pub fn is_destination(short: &str) -> bool {
    matches!(short, "msvc" | "extsvc" | "mzsvc")
}

/// The server name, valid or not. The namespace counts only together with a zone.
pub fn render(kri: &Kri) -> String {
    let mut parts = vec!["sni", &*kri.short, &*kri.mesh];
    if !kri.zone.is_empty() {
        parts.push(&kri.zone);
        if !kri.namespace.is_empty() {
            parts.push(&kri.namespace);
        }
    }
    parts.extend([&*kri.name, &*kri.section]);
    parts.join(".")
}

/// Everything that makes the server name of this KRI invalid; empty if it is valid.
pub fn faults(kri: &Kri) -> Vec<String> {
    if kri.mesh.is_empty() || kri.name.is_empty() || kri.section.is_empty() {
        return vec!["mesh, name and sectionName must be non-empty".to_owned()];
    }
    let mut faults = Vec::new();
    let namespace = if kri.zone.is_empty() { "" } else { &kri.namespace };
    for (field, value) in [("mesh", &*kri.mesh), ("name", &kri.name), ("zone", &kri.zone), ("namespace", namespace)] {
        if !value.is_empty() {
            let texts = names::dns1123_label(value);
            if !texts.is_empty() {
                faults.push(format!("{field} {value:?} does not conform to RFC 1123: {}", texts.join("; ")));
            }
        }
    }
    let texts = names::dns1123_label(&kri.section);
    if !texts.is_empty() {
        faults.push(texts.join("; "));
    }
    let length = render(kri).len();
    if length > names::MAX_NAME {
        faults.push(format!("computed SNI is {length} characters which exceeds the DNS hostname limit (253)"));
    }
    faults
}

/// The server name of a section of a destination.
///
/// # Errors
/// All reasons why there is none.
pub fn sni(kri: &Kri) -> Result<String, SniError> {
    if !is_destination(&kri.short) {
        return Err(SniError::NotADestination(kri.short.to_string()));
    }
    let faults = faults(kri);
    if faults.is_empty() { Ok(render(kri)) } else { Err(SniError::Invalid(faults)) }
}

/// Sections of a destination as (port number, KRI of the section), in the order of the spec; empty for other kinds.
pub fn sections(resource: &AnyResource) -> Vec<(i64, Kri)> {
    let (Some(kri), Some(service)) = (resource.kri(), resource.spec::<MeshService>()) else { return Vec::new() };
    service.ports.iter().map(|p| (i64::from(p.port), kri.section(p.section()))).collect()
}

/// Server names of all ports, sorted by port.
pub fn of(resource: &AnyResource) -> Vec<PortSni> {
    let mut all: Vec<PortSni> =
        sections(resource).iter().map(|(port, kri)| PortSni { port: *port, sni: render(kri) }).collect();
    all.sort_by_key(|p| p.port);
    all
}

/// A warning for each reason why a port of this destination has no valid server name.
pub fn warnings(resource: &AnyResource) -> Vec<String> {
    let kind = resource.kind();
    let section_warnings = |kri: &Kri| {
        let port = kri.section.clone();
        faults(kri)
            .into_iter()
            .map(move |reason| format!("Invalid {kind} SNI (port {port:?}): {reason}. This is deprecated."))
    };
    sections(resource).iter().flat_map(|(_, kri)| section_warnings(kri)).collect()
}
