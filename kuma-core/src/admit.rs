//! The gate for writes: what a request may say, and what is stored for it. Every door (REST, proxies that register
//! themselves, imports) asks here.
//!
//! REST calls [`request`] on what it read, then asks whether the caller may write, then calls [`write()`]; other doors call
//! [`write()`] alone. Each step answers alone, with everything that it found.

use crate::{
    json::Received,
    labels::{self, Site},
    meta::label,
    names,
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, InboundHealth, InboundState},
    validate::{Path, Violations},
};

/// Longest name of a Mesh: it is part of DNS names.
const MAX_MESH_NAME: usize = 63;

/// Why something is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It breaks rules.
    #[error("{title}: {violations}")]
    Invalid {
        /// Which step found them, in the words of the REST interface.
        title: &'static str,
        /// Everything that the step found.
        violations: Violations,
    },
    /// The request makes no sense here.
    #[error("{0}")]
    BadRequest(String),
}

/// Title of faults of a request.
pub const PROCESS: &str = "Could not process a resource";
/// Title of faults that storing something new finds.
pub const CREATE: &str = "Failed to create a resource";
/// Title of faults that storing something again finds.
pub const UPDATE: &str = "Failed to update a resource";
/// Title of changes to what cannot change.
const IMMUTABLE: &str = "Could not update a resource";
/// Title of faults of deletions.
pub const DELETE: &str = "Could not delete a resource";

fn step(title: &'static str, violations: Violations) -> Result<(), Rejection> {
    violations.into_result().map_err(|violations| Rejection::Invalid { title, violations })
}

/// Checks what a request says about itself: the document agrees with the address that it was sent to, labels and names
/// have the right form.
///
/// # Errors
/// Everything that does not fit.
pub fn request(site: &Site, key: &Key, received: &Received) -> Result<(), Rejection> {
    let meta = &received.resource.meta;
    let mut out = Violations::new();
    let disagree = |out: &mut Violations, field: &str| {
        out.add(&Path::root(field), format!("{field} from the URL has to be the same as in body"));
    };
    if meta.name != key.name {
        disagree(&mut out, "name");
    }
    // Above, the object will have the name of the zone in front.
    if site.federated
        && let Some(zone) = &site.zone
        && zone.len() + 1 + key.name.len() >= names::MAX_NAME
    {
        out.add(&Path::root("name"), "the length of the name must be shorter");
    }
    if received.type_name != key.kind.name() {
        disagree(&mut out, "type");
    }
    if meta.mesh != key.mesh {
        disagree(&mut out, "mesh");
    }
    labels::check(site, key.kind, &meta.mesh, &meta.labels, &mut out);
    names::request_meta(key.kind.descriptor().scope, &meta.mesh, &meta.name, &mut out);
    step(PROCESS, out)
}

/// The workload of a proxy that a user makes has to be a name that a Workload can have. Asked on creation alone.
///
/// # Errors
/// [`Rejection::BadRequest`].
pub fn workload(site: &Site, resource: &AnyResource) -> Result<(), Rejection> {
    let applies = resource.kind() == Kind::Dataplane && !site.environment.namespaced;
    let Some(workload) = resource.meta.label(label::WORKLOAD).filter(|_| applies) else { return Ok(()) };
    let at = Path::root("labels").key(label::WORKLOAD);
    if site.zone.is_none() {
        return Err(Rejection::BadRequest(format!("{at}: not allowed on Global control plane")));
    }
    match names::dns1035_label(workload) {
        faults if faults.is_empty() => Ok(()),
        faults => {
            let faults = faults.join(", ");
            Err(Rejection::BadRequest(format!("{at}: must be a valid DNS-1035 label ({faults})")))
        }
    }
}

/// The object as it is stored: labels computed, changes of its kind made, the status of the stored one kept.
///
/// # Errors
/// Rules that need the whole object: labels that cannot change, names of the kind.
pub fn write(site: &Site, resource: &AnyResource, stored: Option<&AnyResource>) -> Result<AnyResource, Rejection> {
    let mut resource = changed(resource, site, stored.is_none()).with_status_of(stored);
    let computed = labels::compute(site, &resource);
    if let Some(stored) = stored {
        let mut out = Violations::new();
        labels::check_unchanged(&stored.meta.labels, &computed, &mut out);
        step(IMMUTABLE, out)?;
    }
    resource.meta.labels = computed.into();
    let mut out = Violations::new();
    if resource.kind() == Kind::Mesh && stored.is_none() && resource.meta.name.len() > MAX_MESH_NAME {
        out.add(&Path::root("name"), format!("cannot be longer than {MAX_MESH_NAME} characters"));
    }
    names::stored_name(resource.kind(), resource.meta.display_name(), &mut out);
    step(if stored.is_some() { UPDATE } else { CREATE }, out)?;
    Ok(resource)
}

/// What the control plane changes in a spec on its own: a gateway knows its zone, and of an application that is probed
/// nothing is known before the first answer.
fn changed(resource: &AnyResource, site: &Site, new: bool) -> AnyResource {
    let Some(mut spec) = resource.spec::<Dataplane>().cloned() else { return resource.clone() };
    let Some(networking) = &mut spec.networking else { return resource.clone() };
    if let (Some(gateway), Some(zone)) = (&mut networking.gateway, &site.zone) {
        gateway.tags.insert(label::ZONE.into(), zone.to_string());
    }
    if new {
        for inbound in networking.inbound.iter_mut().filter(|i| i.service_probe.is_some()) {
            inbound.state = InboundState::NotReady;
            inbound.health = Some(InboundHealth { ready: false });
        }
    }
    AnyResource::new(resource.meta.clone(), spec, NoStatus {})
}

/// What stands in the way of a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// The mesh still has Dataplanes.
    pub dataplanes: bool,
    /// The control plane of the zone is connected.
    pub zone_online: bool,
}

/// Whether this object may be deleted here.
///
/// # Errors
/// It belongs to another control plane, or it is in use.
pub fn delete(site: &Site, stored: &AnyResource, in_use: InUse) -> Result<(), Rejection> {
    let mut out = Violations::new();
    labels::check_origin(site, stored.kind(), &stored.meta.labels, &mut out);
    step(DELETE, out)?;
    let mut out = Violations::new();
    match stored.kind() {
        Kind::Mesh if in_use.dataplanes => {
            out.add(&Path::root("mesh"), "unable to delete mesh, there are still some dataplanes attached");
        }
        Kind::Zone if in_use.zone_online => {
            let text = "unable to delete Zone, Zone CP is still connected, please shut it down first";
            out.add(&Path::root("zone"), text);
        }
        _ => {}
    }
    step(DELETE, out)
}

#[cfg(test)]
mod tests;
