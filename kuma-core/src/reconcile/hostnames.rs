//! Hostnames of services, by the templates of HostnameGenerators. Earlier generators win a name, then earlier services.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{Service, Settings};
use crate::{
    hostname::Hostnames,
    meta::{Meta, label},
    registry::Kind,
    resource::{Key, Resource},
    resources::{
        Condition, DestinationAddress, HostnameGenerator, HostnameGeneratorRef, HostnameGeneratorStatus, LabelSelector,
    },
};

/// Place of a generator among all: those of the zone come first, then the older ones.
pub(super) type GeneratorRank = (Reverse<bool>, Timestamp, Arc<str>);

/// Place of a service among all of its mesh: the older ones come first. What is about to be stored has no time yet and
/// comes last.
pub(super) type ServiceRank = (bool, Option<Timestamp>, Arc<str>);

/// A generator, ready for use.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    pub(super) rank: GeneratorRank,
    selector: Option<LabelSelector>,
    hostnames: Hostnames,
}

impl Generator {
    pub(super) fn of(generator: &Resource<HostnameGenerator>) -> Self {
        let (meta, spec) = (&generator.meta, generator.spec());
        Self {
            rank: (Reverse(meta.label(label::ORIGIN) == Some("zone")), meta.created, meta.name.clone()),
            selector: spec.selector.mesh_service.clone(),
            hostnames: Hostnames::new(&spec.template),
        }
    }

    pub(super) fn selects(&self, service: &Meta) -> bool {
        self.selector.as_ref().is_some_and(|s| s.matches(&service.labels))
    }

    /// What this generator says of a service; `None` if it does not select it.
    pub(super) fn claim(&self, service: &Meta, settings: &Settings) -> Option<Claim> {
        let hostname = || self.hostnames.of(service, &service.name, &settings.zone).map_err(|e| e.to_string());
        self.selects(service).then(|| Claim { generator: self.rank.clone(), hostname: hostname() })
    }
}

/// What a generator says of a service: its hostname, or what is wrong with the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) generator: GeneratorRank,
    pub(super) hostname: Result<String, String>,
}

/// Place of a service, by its metadata and what is stored of it.
pub(super) fn rank(service: &Meta, stored: Option<&Meta>) -> ServiceRank {
    let created = stored.map(|m| m.created);
    (created.is_none(), created, service.name.clone())
}

/// Who claims which hostname, in every mesh.
#[derive(Debug, Default)]
pub(super) struct Claims {
    by_hostname: BTreeMap<(Arc<str>, String), BTreeSet<(GeneratorRank, ServiceRank)>>,
    by_service: BTreeMap<Key, (ServiceRank, Vec<Claim>)>,
}

impl Claims {
    /// Replaces the claims of a service. Returns services that won or lost a hostname by that, itself apart.
    pub(super) fn set(&mut self, service: &Key, rank: ServiceRank, claims: Vec<Claim>) -> BTreeSet<Key> {
        let mut hostnames: BTreeMap<String, Option<Arc<str>>> = BTreeMap::new();
        let old = self.by_service.remove(service);
        if old.as_ref().is_some_and(|(r, c)| *r == rank && *c == claims) {
            self.by_service.insert(service.clone(), (rank, claims));
            return BTreeSet::new();
        }
        let claimed = old.iter().flat_map(|(_, c)| c).chain(&claims).filter_map(|c| c.hostname.as_ref().ok());
        for hostname in claimed {
            hostnames.insert(hostname.clone(), self.owner(&service.mesh, hostname).cloned());
        }
        if let Some((rank, claims)) = old {
            for (hostname, entry) in entries(&rank, &claims) {
                let place = (service.mesh.clone(), hostname.clone());
                if let Some(all) = self.by_hostname.get_mut(&place) {
                    all.remove(&entry);
                    if all.is_empty() {
                        self.by_hostname.remove(&place);
                    }
                }
            }
        }
        for (hostname, entry) in entries(&rank, &claims) {
            self.by_hostname.entry((service.mesh.clone(), hostname.clone())).or_default().insert(entry);
        }
        if !claims.is_empty() {
            self.by_service.insert(service.clone(), (rank, claims));
        }
        let mut affected = BTreeSet::new();
        for (hostname, before) in hostnames {
            let now = self.owner(&service.mesh, &hostname);
            if before.as_ref() != now {
                let others = before.iter().chain(now).filter(|name| **name != service.name);
                affected.extend(others.map(|name| Key::new(Kind::MeshService, service.mesh.clone(), name.clone())));
            }
        }
        affected
    }

    /// Puts addresses and conditions into a service, by its claims.
    pub(super) fn settle(&self, key: &Key, service: &mut Service) {
        let claims = self.by_service.get(key).map_or(&[][..], |(_, claims)| claims);
        settle(claims, service, |hostname| self.owner(&key.mesh, hostname) == Some(&key.name));
    }

    /// Who has a hostname.
    fn owner(&self, mesh: &Arc<str>, hostname: &str) -> Option<&Arc<str>> {
        let all = self.by_hostname.get(&(mesh.clone(), hostname.to_owned()))?;
        all.first().map(|(_, (.., service))| service)
    }
}

fn entries<'a>(
    rank: &'a ServiceRank,
    claims: &'a [Claim],
) -> impl Iterator<Item = (&'a String, (GeneratorRank, ServiceRank))> {
    claims.iter().filter_map(|c| Some((c.hostname.as_ref().ok()?, (c.generator.clone(), rank.clone()))))
}

/// Puts addresses and conditions into a service. `owns` tells whether it is the owner of a hostname.
pub(super) fn settle(claims: &[Claim], service: &mut Service, owns: impl Fn(&str) -> bool) {
    service.status.addresses.clear();
    service.status.hostname_generators.clear();
    let mut claims: Vec<&Claim> = claims.iter().collect();
    claims.sort_by(|a, b| a.generator.2.cmp(&b.generator.2));
    for Claim { generator: (.., name), hostname } in claims {
        let reference = HostnameGeneratorRef { core_name: name.to_string() };
        let condition = match hostname {
            Err(error) => condition("False", "TemplateError", error.clone()),
            Ok(hostname) if owns(hostname) => {
                service.status.addresses.push(DestinationAddress {
                    hostname: hostname.clone(),
                    origin: Kind::HostnameGenerator.name().into(),
                    hostname_generator_ref: reference.clone(),
                });
                condition("True", "Generated", String::new())
            }
            Ok(_) => condition("False", "Collision", collision(&service.meta)),
        };
        let status = HostnameGeneratorStatus { hostname_generator_ref: reference, conditions: vec![condition] };
        service.status.hostname_generators.push(status);
    }
}

fn condition(status: &str, reason: &str, message: String) -> Condition {
    Condition { kind: "Generated".into(), status: status.into(), reason: reason.into(), message }
}

/// The text names the service that loses, as clients have come to expect.
fn collision(loser: &Meta) -> String {
    format!("Hostname collision with {}: {}", Kind::MeshService, loser.name)
}
