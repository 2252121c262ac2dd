//! Projection of everything that traffic can be sent to: what plans read of it, and the look-ups over a mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    ir::Protocol,
    kri::Kri,
    meta::{Labels, label},
    policies::target::TargetKind,
    resource::Resource,
    resources::{MeshService, TlsReadiness},
};

/// Kinds of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationKind {
    /// A service of the mesh.
    MeshService,
    /// A service outside.
    MeshExternalService,
    /// Services of several zones as one.
    MeshMultiZoneService,
}

impl DestinationKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::MeshService, Self::MeshExternalService, Self::MeshMultiZoneService];

    /// Short name in KRIs.
    pub fn short(self) -> &'static str {
        match self {
            Self::MeshService => "msvc",
            Self::MeshExternalService => "extsvc",
            Self::MeshMultiZoneService => "mzsvc",
        }
    }

    /// Type name.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeshService => "MeshService",
            Self::MeshExternalService => "MeshExternalService",
            Self::MeshMultiZoneService => "MeshMultiZoneService",
        }
    }

    /// Kind with this type name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// Kind that a reference names, if it names destinations.
    pub fn of_target(kind: TargetKind) -> Option<Self> {
        match kind {
            TargetKind::MeshService => Some(Self::MeshService),
            TargetKind::MeshExternalService => Some(Self::MeshExternalService),
            TargetKind::MeshMultiZoneService => Some(Self::MeshMultiZoneService),
            _ => None,
        }
    }
}

/// A port of a destination, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DestinationPort {
    /// Name, or the number as text.
    pub section: Arc<str>,
    /// What clients dial.
    pub number: u16,
    /// Protocol; TCP if nothing was said.
    pub protocol: Protocol,
}

/// What plans read of a destination. Equal values mean that no plan changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Kind.
    pub kind: DestinationKind,
    /// KRI of the whole resource.
    pub kri: Kri,
    /// Storage name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Arc<Labels>,
    /// When it was created: of several that a reference matches, the oldest counts.
    pub created: Timestamp,
    /// Ports in declared order.
    pub ports: Arc<[DestinationPort]>,
    /// Virtual addresses; hostnames lead to the first.
    pub vips: Arc<[Arc<str>]>,
    /// Hostnames, sorted, each once.
    pub hostnames: Arc<[Arc<str>]>,
    /// Every proxy of it terminates mutual TLS.
    pub tls_ready: bool,
    /// SPIFFE IDs of its proxies, sorted.
    pub identities: Arc<[Arc<str>]>,
}

impl Destination {
    /// Projection of a MeshService.
    pub fn of_service(service: &Resource<MeshService>) -> Self {
        let (spec, status) = (service.spec(), service.status());
        let mut hostnames: Vec<Arc<str>> =
            status.addresses.iter().filter(|a| !a.hostname.is_empty()).map(|a| a.hostname.as_str().into()).collect();
        hostnames.sort();
        hostnames.dedup();
        let mut identities: Vec<Arc<str>> =
            spec.identities.iter().filter(|i| i.kind == "SpiffeID").map(|i| i.value.as_str().into()).collect();
        identities.sort();
        Self {
            kind: DestinationKind::MeshService,
            kri: Kri::with_short(DestinationKind::MeshService.short(), &service.meta),
            name: service.meta.name.clone(),
            labels: service.meta.labels.clone(),
            created: service.meta.created,
            ports: spec
                .ports
                .iter()
                .map(|p| DestinationPort {
                    section: p.section().into(),
                    number: u16::try_from(p.port).unwrap_or(0),
                    protocol: service_protocol(&p.app_protocol),
                })
                .collect(),
            vips: status.vips.iter().filter(|v| !v.ip.is_empty()).map(|v| v.ip.as_str().into()).collect(),
            hostnames: hostnames.into(),
            tls_ready: status.tls.status == Some(TlsReadiness::Ready),
            identities: identities.into(),
        }
    }

    /// Name as the author wrote it: label `kuma.io/display-name`, else the storage name.
    pub fn display_name(&self) -> &str {
        self.labels.get(label::DISPLAY_NAME).map_or(&*self.name, String::as_str)
    }

    /// Port with this section name (its name, or its number where it has none), as policies address it.
    pub fn port_named(&self, section: &str) -> Option<&DestinationPort> {
        self.ports.iter().find(|p| &*p.section == section)
    }

    /// Port that the section of a reference means: by name, then by number. Without a section the only port.
    pub fn port(&self, section: &str) -> Option<&DestinationPort> {
        if section.is_empty() {
            return match &*self.ports {
                [only] => Some(only),
                _ => None,
            };
        }
        let by_number = || section.parse::<u16>().ok().and_then(|n| self.ports.iter().find(|p| p.number == n));
        self.port_named(section).or_else(by_number)
    }
}

/// Protocol of a service's port: TCP if nothing was said.
pub fn service_protocol(text: &str) -> Protocol {
    if text.is_empty() { Protocol::Tcp } else { Protocol::parse(text) }
}

/// How a selector reads the display name of what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The stored label alone counts.
    StoredLabel,
    /// The storage name counts where the label is missing.
    OrStorageName,
}

/// Whether labels satisfy a selector: every label equal, a missing one equal to an empty value.
pub fn labels_match(selector: &Labels, labels: &Labels, name: &str, rule: NameRule) -> bool {
    selector.iter().all(|(key, wanted)| {
        let found = labels.get(key).map(String::as_str);
        let found = match rule {
            NameRule::OrStorageName if key == label::DISPLAY_NAME => found.or(Some(name)),
            _ => found,
        };
        found.unwrap_or_default() == wanted
    })
}

/// All destinations of one mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destinations {
    stored: BTreeMap<(DestinationKind, Arc<str>), Arc<Destination>>,
    by_kri: BTreeMap<Kri, Arc<Destination>>,
    /// Storage names by display name: most selectors name one.
    named: BTreeMap<(DestinationKind, Arc<str>), BTreeSet<Arc<str>>>,
    /// Kinds and storage names by virtual address.
    addressed: BTreeMap<Arc<str>, BTreeSet<(DestinationKind, Arc<str>)>>,
}

impl Destinations {
    /// Adds or replaces one.
    pub fn insert(&mut self, destination: Arc<Destination>) {
        self.remove(destination.kind, &destination.name);
        for vip in destination.vips.iter() {
            let key = (destination.kind, destination.name.clone());
            self.addressed.entry(vip.clone()).or_default().insert(key);
        }
        // Whatever the order in which they come.
        if self.by_kri.get(&destination.kri).is_none_or(|other| other.name < destination.name) {
            self.by_kri.insert(destination.kri.clone(), destination.clone());
        }
        let named = (destination.kind, destination.display_name().into());
        self.named.entry(named).or_default().insert(destination.name.clone());
        self.stored.insert((destination.kind, destination.name.clone()), destination);
    }

    /// Removes one by kind and storage name.
    pub fn remove(&mut self, kind: DestinationKind, name: &str) -> Option<Arc<Destination>> {
        let gone = self.stored.remove(&(kind, Arc::from(name)))?;
        let named = (kind, gone.display_name().into());
        if let Some(names) = self.named.get_mut(&named) {
            names.remove(name);
            if names.is_empty() {
                self.named.remove(&named);
            }
        }
        for vip in gone.vips.iter() {
            if let Some(keys) = self.addressed.get_mut(vip) {
                keys.remove(&(kind, gone.name.clone()));
                if keys.is_empty() {
                    self.addressed.remove(vip);
                }
            }
        }
        if self.by_kri.get(&gone.kri).is_some_and(|d| d.name == gone.name) {
            self.by_kri.remove(&gone.kri);
            // Two stored objects may claim one KRI: the other takes over.
            if let Some(other) = self.stored.values().rfind(|d| d.kri == gone.kri) {
                self.by_kri.insert(other.kri.clone(), other.clone());
            }
        }
        Some(gone)
    }

    /// By KRI, whatever its section. Of two with one KRI, the later by name.
    pub fn get(&self, kri: &Kri) -> Option<&Arc<Destination>> {
        if kri.section.is_empty() { self.by_kri.get(kri) } else { self.by_kri.get(&kri.whole()) }
    }

    /// By kind and storage name.
    pub fn stored(&self, kind: DestinationKind, name: &str) -> Option<&Arc<Destination>> {
        self.stored.get(&(kind, Arc::from(name)))
    }

    /// Those with this virtual address, by kind and storage name.
    pub fn at(&self, address: &str) -> impl Iterator<Item = &Arc<Destination>> {
        self.addressed.get(address).into_iter().flatten().filter_map(|key| self.stored.get(key))
    }

    /// All, by kind and storage name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Destination>> {
        self.stored.values()
    }

    /// All of a kind whose labels satisfy the selector, by storage name.
    pub fn matching(
        &self,
        kind: DestinationKind,
        selector: &Labels,
        rule: NameRule,
    ) -> impl Iterator<Item = &Arc<Destination>> {
        let (of_name, all) = match selector.get(label::DISPLAY_NAME).filter(|n| !n.is_empty()) {
            Some(name) => (self.named.get(&(kind, Arc::from(name.as_str()))), None),
            None => (None, Some(self.iter())),
        };
        let of_name = of_name.into_iter().flatten().filter_map(move |name| self.stored(kind, name));
        of_name
            .chain(all.into_iter().flatten())
            .filter(move |d| d.kind == kind && labels_match(selector, &d.labels, &d.name, rule))
    }

    /// The oldest of a kind that the selector finds; of equally old ones, the first by name.
    pub fn oldest(&self, kind: DestinationKind, selector: &Labels) -> Option<&Arc<Destination>> {
        self.matching(kind, selector, NameRule::OrStorageName).min_by_key(|d| d.created)
    }
}

impl FromIterator<Arc<Destination>> for Destinations {
    fn from_iter<I: IntoIterator<Item = Arc<Destination>>>(iter: I) -> Self {
        let mut all = Self::default();
        for destination in iter {
            all.insert(destination);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::service;

    fn found(all: &Destinations, selector: &[(&str, &str)], rule: NameRule) -> Vec<String> {
        let selector = selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        all.matching(DestinationKind::MeshService, &selector, rule).map(|d| d.name.to_string()).collect()
    }

    #[test]
    fn a_missing_display_name_is_the_storage_name_where_that_counts() {
        let all: Destinations = [
            service("a", 0, &[(label::DISPLAY_NAME, "")]),
            service("b", 0, &[(label::DISPLAY_NAME, "a")]),
            service("c", 0, &[("tier", "x")]),
        ]
        .into_iter()
        .collect();
        let named = [(label::DISPLAY_NAME, "a")];
        assert_eq!(found(&all, &named, NameRule::OrStorageName), ["a", "b"]);
        assert_eq!(found(&all, &named, NameRule::StoredLabel), ["b"]);
        assert_eq!(found(&all, &[(label::DISPLAY_NAME, "")], NameRule::StoredLabel), ["a"]);
        assert_eq!(found(&all, &[("tier", "x")], NameRule::StoredLabel), ["c"]);
        assert_eq!(found(&all, &[("tier", "x"), named[0]], NameRule::OrStorageName), [""; 0]);
    }

    #[test]
    fn addresses_lead_to_their_holders() {
        let with = |name: &str, vips: &[&str]| {
            let vips = vips.iter().map(|v| Arc::from(*v)).collect();
            Arc::new(Destination { vips, ..(*service(name, 0, &[])).clone() })
        };
        let mut all = Destinations::default();
        all.insert(with("a", &["241.0.0.1", "241.0.0.2"]));
        all.insert(with("b", &["241.0.0.2"]));
        let at = |all: &Destinations, vip: &str| all.at(vip).map(|d| d.name.to_string()).collect::<Vec<_>>();
        assert_eq!(at(&all, "241.0.0.2"), ["a", "b"]);
        all.insert(with("a", &["241.0.0.3"]));
        assert_eq!((at(&all, "241.0.0.1"), at(&all, "241.0.0.2")), (vec![], vec!["b".to_owned()]));
        all.remove(DestinationKind::MeshService, "a");
        assert!(at(&all, "241.0.0.3").is_empty());
    }

    #[test]
    fn one_kri_of_two_goes_to_the_later_by_name_and_back() {
        let mut all = Destinations::default();
        let same = [(label::DISPLAY_NAME, "s")];
        for name in ["y", "x"] {
            all.insert(service(name, 0, &same));
        }
        let kri = service("x", 0, &same).kri.clone();
        let holder = |all: &Destinations| all.get(&kri).map(|d| d.name.to_string());
        assert_eq!(holder(&all).as_deref(), Some("y"));
        all.remove(DestinationKind::MeshService, "y");
        assert_eq!(holder(&all).as_deref(), Some("x"));
        all.remove(DestinationKind::MeshService, "x");
        assert_eq!((holder(&all), all.iter().count()), (None, 0));
        assert_eq!(all, Destinations::default());
    }
}
