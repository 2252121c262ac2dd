//! Hostnames of services, by the templates of HostnameGenerators.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use super::{Settings, Work};
use crate::{
    hostname::Hostnames,
    meta::{Meta, label},
    registry::Kind,
    resource::{Key, Resource},
    resources::{Condition, DestinationAddress, HostnameGenerator, HostnameGeneratorRef, HostnameGeneratorStatus},
};

/// Brings hostnames and the conditions about them up to date. Earlier generators win a name, then earlier services.
pub(super) fn generate(work: &mut Work, settings: &Settings) {
    let mut generators: Vec<&Resource<HostnameGenerator>> = work.generators.iter().collect();
    generators
        .sort_by_key(|g| (Reverse(g.meta.label(label::ORIGIN) == Some("zone")), g.meta.created, g.meta.name.clone()));
    let mut services: Vec<Key> = work.services.keys().cloned().collect();
    services.sort_by_key(|key| {
        let created = work.stored_services.get(key).map(|r| r.meta.created);
        (created.is_none(), created, key.name.clone())
    });
    let mut owners: BTreeMap<(Arc<str>, String), Key> = BTreeMap::new();
    let mut found: BTreeMap<Key, (Vec<DestinationAddress>, Vec<HostnameGeneratorStatus>)> = BTreeMap::new();
    for generator in generators {
        let Some(selector) = &generator.spec().selector.mesh_service else { continue };
        let hostnames = Hostnames::new(&generator.spec().template);
        let reference = HostnameGeneratorRef { core_name: generator.meta.name.to_string() };
        for key in &services {
            let Some(service) = work.services.get(key).filter(|s| selector.matches(&s.meta.labels)) else { continue };
            let (addresses, statuses) = found.entry(key.clone()).or_default();
            let condition = match hostnames.of(&service.meta, &service.meta.name, &settings.zone) {
                Err(error) => condition("False", "TemplateError", error.to_string()),
                Ok(hostname) => {
                    let owner = owners.entry((key.mesh.clone(), hostname.clone())).or_insert_with(|| key.clone());
                    if owner == key {
                        addresses.push(DestinationAddress {
                            hostname,
                            origin: Kind::HostnameGenerator.name().into(),
                            hostname_generator_ref: reference.clone(),
                        });
                        condition("True", "Generated", String::new())
                    } else {
                        condition("False", "Collision", collision(&service.meta))
                    }
                }
            };
            statuses.push(HostnameGeneratorStatus {
                hostname_generator_ref: reference.clone(),
                conditions: vec![condition],
            });
        }
    }
    for (key, service) in &mut work.services {
        let (mut addresses, mut statuses) = found.remove(key).unwrap_or_default();
        addresses.sort_by(|a, b| a.hostname_generator_ref.cmp(&b.hostname_generator_ref));
        statuses.sort_by(|a, b| a.hostname_generator_ref.cmp(&b.hostname_generator_ref));
        service.status.addresses = addresses;
        service.status.hostname_generators = statuses;
    }
}

fn condition(status: &str, reason: &str, message: String) -> Condition {
    Condition { kind: "Generated".into(), status: status.into(), reason: reason.into(), message }
}

/// The text names the service that loses, as clients have come to expect.
fn collision(loser: &Meta) -> String {
    format!("Hostname collision with {}: {}", Kind::MeshService, loser.name)
}
