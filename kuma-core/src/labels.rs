//! Labels that the control plane computes, and which labels a user may write.
//!
//! Where this control plane stands (its origin, zone, environment) comes in as a [`Site`]: nothing here asks for modes.

use std::sync::Arc;

use crate::{
    meta::{Labels, label},
    names,
    registry::{Kind, Scope, Shape},
    resource::AnyResource,
    resources::{Dataplane, ZoneListenerType},
    validate::{Path, Violations},
};

/// What the objects of a control plane are part of, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Value of the label `kuma.io/env`.
    pub name: &'static str,
    /// Objects have namespaces, by which policies have roles, and names that somebody else has checked.
    pub namespaced: bool,
}

impl Environment {
    /// Linux, virtual machines, bare metal.
    pub const UNIVERSAL: Self = Self { name: "universal", namespaced: false };
    /// Custom resources of a Kubernetes cluster.
    pub const KUBERNETES: Self = Self { name: "kubernetes", namespaced: true };
}

/// Where a control plane stands, as far as labels depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What its own objects say of their origin: `global` or `zone`.
    pub origin: &'static str,
    /// Name of the zone; `None` above zones.
    pub zone: Option<Arc<str>>,
    /// What its objects are part of.
    pub environment: Environment,
    /// The zone belongs to something above it.
    pub federated: bool,
    /// The origin that users write is not checked.
    pub any_origin: bool,
}

impl Site {
    /// A zone of its own, outside of Kubernetes.
    pub fn zone(name: impl Into<Arc<str>>) -> Self {
        Self {
            origin: "zone",
            zone: Some(name.into()),
            environment: Environment::UNIVERSAL,
            federated: false,
            any_origin: false,
        }
    }
}

/// The labels of a resource that is written here: what its author wrote, and what is computed.
pub fn compute(site: &Site, resource: &AnyResource) -> Labels {
    let kind = resource.kind();
    let descriptor = kind.descriptor();
    let mut labels = (*resource.meta.labels).clone();
    labels.insert(label::DISPLAY_NAME.into(), resource.meta.name.to_string());
    let absent = |labels: &mut Labels, key: &str, value: &str| {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    };
    if descriptor.scope == Scope::Mesh {
        let mesh = if resource.meta.mesh.is_empty() { "default" } else { &*resource.meta.mesh };
        absent(&mut labels, label::MESH, mesh);
    }
    labels.insert(label::ORIGIN.into(), site.origin.into());
    if let Some(zone) = &site.zone
        && descriptor.provided_by_zone()
    {
        absent(&mut labels, label::ZONE, zone);
        absent(&mut labels, label::ENV, site.environment.name);
    }
    if let Some(dataplane) = resource.spec::<Dataplane>() {
        labels.remove(label::PROXY_TYPE);
        let listeners = dataplane.networking.iter().flat_map(|n| &n.listeners);
        let kinds: Vec<ZoneListenerType> = listeners.map(|l| l.kind).collect();
        for (key, wanted) in [
            (label::LISTENER_ZONE_INGRESS, ZoneListenerType::ZoneIngress),
            (label::LISTENER_ZONE_EGRESS, ZoneListenerType::ZoneEgress),
        ] {
            if kinds.contains(&wanted) {
                labels.insert(key.into(), "enabled".into());
            } else {
                labels.remove(key);
            }
        }
    }
    labels
}

/// What is wrong with the labels of a write, in the documented order: origin, zone, mesh, role, then keys and values.
pub fn check(site: &Site, kind: Kind, mesh: &str, labels: &Labels, out: &mut Violations) {
    check_origin(site, kind, labels, out);
    let at = |key: &str| Path::root("labels").key(key);
    let origin = labels.get(label::ORIGIN).map(String::as_str);
    if let Some(zone) = &site.zone
        && origin != Some("global")
    {
        if let Some(found) = labels.get(label::ZONE)
            && found != &**zone
        {
            out.add(&at(label::ZONE), format!("{} label should have {zone} value", label::ZONE));
        }
        // The label of a global kind means nothing.
        if let Some(found) = labels.get(label::MESH)
            && kind.descriptor().mesh_scoped()
            && found != mesh
        {
            out.add(&at(label::MESH), format!("{} label must not differ from mesh set on resource", label::MESH));
        }
    }
    if kind.descriptor().is_policy()
        && !site.environment.namespaced
        && let Some(role) = labels.get(label::POLICY_ROLE)
        && role != "system"
    {
        out.add(&at(label::POLICY_ROLE), format!("{} label should have system value, got {role}", label::POLICY_ROLE));
    }
    for (key, value) in labels {
        for fault in names::label_key(key) {
            out.add(&at(key), fault);
        }
        for fault in names::label_value(value) {
            out.add(&at(key), fault);
        }
    }
}

/// The part of [`check`] that deletions are held to as well.
pub fn check_origin(site: &Site, kind: Kind, labels: &Labels, out: &mut Violations) {
    let at = Path::root("labels").key(label::ORIGIN);
    let origin = labels.get(label::ORIGIN).map(String::as_str);
    if let Some(other) = origin.filter(|o| !matches!(*o, "global" | "zone")) {
        out.add(&at, format!("unknown resource origin {other:?}"));
    }
    if site.any_origin {
        return;
    }
    if site.origin == "global" && origin.is_some_and(|o| o != "global") {
        out.add(&at, "the origin label must be set to 'global'");
    }
    if site.federated && kind.descriptor().shape == Shape::SpecStatus && origin != Some("zone") {
        out.add(&at, "the origin label must be set to 'zone'");
    }
}

/// A computed zone stays what it was.
pub fn check_unchanged(old: &Labels, new: &Labels, out: &mut Violations) {
    let Some(was) = old.get(label::ZONE) else { return };
    let at = Path::root("labels").key(label::ZONE);
    match new.get(label::ZONE) {
        Some(is) if is == was => {}
        Some(is) => out.add(&at, format!("is immutable, cannot be changed from {was:?} to {is:?}")),
        None => out.add(&at, format!("is immutable, cannot be removed (was {was:?})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        meta::Meta,
        policies::MeshTimeout,
        resource::NoStatus,
        resources::{Mesh, Networking, ZoneListener},
    };

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn what_a_zone_may_provide_says_which_zone() {
        let meta = Meta::new("m", "mt", labels(&[("team", "a"), (label::ORIGIN, "global")]));
        let computed = compute(&Site::zone("east"), &AnyResource::new(meta, MeshTimeout::default(), NoStatus {}));
        let expected = labels(&[
            (label::DISPLAY_NAME, "mt"),
            (label::ENV, "universal"),
            (label::MESH, "m"),
            (label::ORIGIN, "zone"),
            (label::ZONE, "east"),
            ("team", "a"),
        ]);
        assert_eq!(computed, expected);
        let mesh = AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {});
        let computed = compute(&Site::zone("east"), &mesh);
        assert_eq!(computed, labels(&[(label::DISPLAY_NAME, "m"), (label::ORIGIN, "zone")]));
    }

    #[test]
    fn zone_proxy_listeners_show_in_labels() {
        let listener = ZoneListener { kind: ZoneListenerType::ZoneIngress, ..ZoneListener::default() };
        let networking = Networking { listeners: vec![listener], ..Networking::default() };
        let old = labels(&[(label::LISTENER_ZONE_EGRESS, "enabled"), (label::PROXY_TYPE, "x")]);
        let resource =
            AnyResource::new(Meta::new("m", "zp", old), Dataplane { networking: Some(networking) }, NoStatus {});
        let computed = compute(&Site::zone("east"), &resource);
        assert_eq!(computed.get(label::LISTENER_ZONE_INGRESS).map(String::as_str), Some("enabled"));
        assert!(!computed.contains_key(label::LISTENER_ZONE_EGRESS) && !computed.contains_key(label::PROXY_TYPE));
    }

    #[test]
    fn foreign_zone_mesh_role_and_bad_keys_are_all_reported() {
        let given =
            labels(&[(label::MESH, "other"), (label::POLICY_ROLE, "producer"), (label::ZONE, "west"), ("a/b/c", "x")]);
        let mut out = Violations::new();
        check(&Site::zone("east"), Kind::MeshTimeout, "m", &given, &mut out);
        let fields: Vec<&str> = out.0.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "labels[\"kuma.io/zone\"]",
                "labels[\"kuma.io/mesh\"]",
                "labels[\"kuma.io/policy-role\"]",
                "labels[\"a/b/c\"]"
            ]
        );
        let mut out = Violations::new();
        check(&Site::zone("east"), Kind::MeshTimeout, "m", &labels(&[(label::ORIGIN, "mars")]), &mut out);
        assert_eq!(out.0[0].message, "unknown resource origin \"mars\"");
    }
}
