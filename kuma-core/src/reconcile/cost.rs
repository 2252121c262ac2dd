//! What a change costs, counted: it follows what changed, whatever the size of the mesh.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::*;
use crate::{
    meta::{Labels, label},
    resource::NoStatus,
    resources::{
        Dataplane, DataplaneInsight, HostnameGenerator, HostnameSelector, Inbound, LabelSelector, Mesh,
        MeshServicePort, MeshServiceSelector, Networking, Subscription,
    },
    state::MeshState,
    store::{Change, Revision, WatchEvent},
};

/// A settled mesh of Dataplanes that are spread over workloads.
struct Settled {
    reconciler: Reconciler,
    state: MeshState,
}

impl Settled {
    fn new(dataplanes: usize, workloads: usize) -> Self {
        let mut this = Self { reconciler: Reconciler::new(Settings::in_zone("east")), state: MeshState::new() };
        let mut resources = vec![AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {})];
        resources.extend(crate::defaults::zone_hostname_generators());
        resources.extend((0..dataplanes).map(|n| dataplane(n, workloads, "http")));
        this.change(resources);
        assert_eq!(this.state.list(Kind::MeshService).count(), workloads);
        this
    }

    /// Stores these and whatever they ask for; returns the cost.
    fn change(&mut self, resources: Vec<AnyResource>) -> Counters {
        let before = self.reconciler.counters();
        let mut changes: Vec<Change> = resources.into_iter().map(|r| Change { key: r.key(), now: Some(r) }).collect();
        while !changes.is_empty() {
            let event = WatchEvent::Changes { revision: Revision(1), changes: changes.clone().into() };
            self.state.apply(&event);
            let outcome = self.reconciler.step(&self.state, &changes, Timestamp::UNIX_EPOCH);
            changes = outcome.writes.iter().map(stored).collect();
        }
        self.reconciler.counters() - before
    }
}

fn stored(write: &Write) -> Change {
    let now = match write {
        Write::Create { resource, .. } | Write::Update { resource, .. } | Write::Replace { resource, .. } => {
            Some(resource.clone())
        }
        Write::Delete { .. } => None,
    };
    Change { key: write.key(), now }
}

fn dataplane(n: usize, workloads: usize, protocol: &str) -> AnyResource {
    let inbound = Inbound { port: 80, protocol: protocol.into(), name: "web".into(), ..Inbound::default() };
    let networking = Networking { address: "10.0.0.1".into(), inbound: vec![inbound], ..Networking::default() };
    let labels = Labels::from([(label::WORKLOAD.to_owned(), format!("w{}", n % workloads))]);
    let meta = Meta::new("m", format!("d-{n}"), labels);
    AnyResource::new(meta, Dataplane { networking: Some(networking) }, NoStatus {})
}

fn not_ready(dataplane: &AnyResource) -> AnyResource {
    let mut spec = dataplane.spec::<Dataplane>().expect("a Dataplane").clone();
    spec.networking.iter_mut().flat_map(|n| &mut n.inbound).for_each(|i| i.set_ready(false));
    AnyResource::new(dataplane.meta.clone(), spec, NoStatus {})
}

fn online(dataplane: &AnyResource, acknowledged: u64) -> AnyResource {
    let mut subscription = Subscription { connect_time: Some("now".into()), ..Subscription::default() };
    subscription.status.total.responses_acknowledged = acknowledged;
    let insight = DataplaneInsight { subscriptions: vec![subscription], ..DataplaneInsight::default() };
    AnyResource::new(dataplane.meta.clone(), insight, NoStatus {})
}

/// Small and large meshes, and one in which all belong to one service.
const SIZES: [(usize, usize); 3] = [(50, 10), (500, 100), (500, 1)];

#[test]
fn health_of_a_dataplane_costs_its_service_and_its_workload() {
    for (dataplanes, workloads) in SIZES {
        let mut mesh = Settled::new(dataplanes, workloads);
        let cost = mesh.change(vec![not_ready(&dataplane(7, workloads, "http"))]);
        // The Dataplane and its insight, then service and Workload, once to write them and once as they come back.
        let expected = Counters { read: 2 + 2 * 2, memberships: 1, services: 2, workloads: 2, compared: 0 };
        assert_eq!(cost, expected, "{dataplanes} Dataplanes in {workloads} workloads");
    }
}

#[test]
fn acknowledgements_of_a_proxy_derive_nothing() {
    for (dataplanes, workloads) in SIZES {
        let mut mesh = Settled::new(dataplanes, workloads);
        let one = dataplane(7, workloads, "http");
        mesh.change(vec![online(&one, 1)]);
        let cost = mesh.change(vec![online(&one, 2)]);
        assert_eq!(cost, Counters { read: 2, memberships: 1, ..Counters::default() });
    }
}

#[test]
fn one_more_replica_costs_no_look_at_the_others() {
    for (dataplanes, workloads) in SIZES {
        let mut mesh = Settled::new(dataplanes, workloads);
        let cost = mesh.change(vec![dataplane(dataplanes, workloads, "http")]);
        let expected = Counters { read: 2 + 2 * 2, memberships: 1, services: 2, workloads: 2, compared: 0 };
        assert_eq!(cost, expected, "{dataplanes} Dataplanes in {workloads} workloads");
    }
}

#[test]
fn differing_ports_of_one_replica_do_not_touch_the_others() {
    for (dataplanes, workloads) in SIZES {
        let mut mesh = Settled::new(dataplanes, workloads);
        let cost = mesh.change(vec![dataplane(7, workloads, "tcp")]);
        // The service is looked at, and stays as it is.
        let expected = Counters { read: 2 + 1, memberships: 1, services: 1, workloads: 0, compared: 0 };
        assert_eq!(cost, expected, "{dataplanes} Dataplanes in {workloads} workloads");
    }
}

#[test]
fn a_new_service_costs_the_dataplanes_that_it_selects() {
    let mut mesh = Settled::new(500, 100);
    let selector = LabelSelector::of([(label::WORKLOAD.to_owned(), "w7".to_owned())].into());
    let spec = MeshService {
        selector: MeshServiceSelector { dataplane_labels: Some(selector), dataplane_ref: None },
        ports: vec![MeshServicePort { port: 80, ..MeshServicePort::default() }],
        ..MeshService::default()
    };
    let meta = Meta::new("m", "mine", Labels::new());
    let cost = mesh.change(vec![AnyResource::new(meta, spec, MeshServiceStatus::default())]);
    // Five Dataplanes with their insights, and the service, which comes back once with what was derived.
    assert_eq!(cost, Counters { read: 5 * 2 + 2, memberships: 5, services: 2, workloads: 0, compared: 0 });
}

#[test]
fn a_generator_costs_the_services_that_it_selects() {
    let mut mesh = Settled::new(500, 100);
    let selector = LabelSelector::of([(label::DISPLAY_NAME.to_owned(), "w7".to_owned())].into());
    let spec = HostnameGenerator {
        selector: HostnameSelector { mesh_service: Some(selector), ..HostnameSelector::default() },
        template: "{{ .Name }}.internal".into(),
        extension: None,
    };
    let cost = mesh.change(vec![AnyResource::new(Meta::new("", "by-name", Labels::new()), spec, NoStatus {})]);
    assert_eq!(cost, Counters { read: 2, memberships: 0, services: 2, workloads: 0, compared: 100 });
    let service: BTreeMap<_, _> = mesh.state.list(Kind::MeshService).map(|r| (r.meta.name.clone(), r)).collect();
    let status = service["w7"].status::<MeshService>().expect("a status");
    let names: Vec<_> = status.addresses.iter().map(|a| a.hostname.as_str()).collect();
    assert_eq!(names, ["w7.internal", "w7.svc.mesh.local"]);
}

#[test]
fn what_no_service_reads_costs_nothing() {
    let mut mesh = Settled::new(50, 10);
    let again = AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {});
    assert_eq!(mesh.change(vec![again]), Counters::default());
}
