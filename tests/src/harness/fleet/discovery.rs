//! What an Envoy keeps and asks on a stream of delta discovery: clusters first, then their endpoints, then listeners; on
//! every stream after the first it says what it has.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use envoy_api::envoy::{
    config::cluster::v3::{
        Cluster,
        cluster::{ClusterDiscoveryType, DiscoveryType},
    },
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use prost::Message;
use xds_gen::set::TypeUrl;

/// A response that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// Number of the stream, from 0.
    pub stream: usize,
    /// Of what it is.
    pub type_url: TypeUrl,
    /// Resources that the proxy did not have, or not in this version.
    pub fresh: Vec<String>,
    /// Resources that the proxy had in this version already.
    pub repeated: Vec<String>,
    /// Resources that the proxy had and is to drop.
    pub removed: Vec<String>,
}

/// What a proxy has, over all its streams.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Versions by name.
    held: BTreeMap<TypeUrl, BTreeMap<String, String>>,
    /// Clusters whose endpoints are subscribed to.
    subscribed: BTreeSet<String>,
    /// Clusters that wait for their endpoints.
    warming: BTreeSet<String>,
    /// Acks of clusters, until none is warming.
    withheld: Vec<DeltaDiscoveryRequest>,
    /// Listeners are subscribed to.
    listens: bool,
}

impl Discovery {
    /// The first requests of a stream.
    pub(super) fn open(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.withheld.clear();
        let assigned = self.held.entry(TypeUrl::Endpoint).or_default();
        self.warming = self.subscribed.iter().filter(|name| !assigned.contains_key(*name)).cloned().collect();
        let mut requests = vec![self.first(TypeUrl::Cluster)];
        if !self.subscribed.is_empty() {
            let subscribe = self.subscribed.iter().cloned().collect();
            requests
                .push(DeltaDiscoveryRequest { resource_names_subscribe: subscribe, ..self.first(TypeUrl::Endpoint) });
        }
        if self.listens {
            requests.push(self.first(TypeUrl::Listener));
        } else if self.held.contains_key(&TypeUrl::Cluster) {
            requests.append(&mut self.warmed());
        }
        requests
    }

    /// Takes a response in; what is to be said then, and what came.
    pub(super) fn take(
        &mut self,
        response: &DeltaDiscoveryResponse,
        stream: usize,
    ) -> (Vec<DeltaDiscoveryRequest>, Received) {
        let type_url = TypeUrl::parse(&response.type_url).expect("a type that was asked for");
        let mut received =
            Received { at: Instant::now(), stream, type_url, fresh: vec![], repeated: vec![], removed: vec![] };
        let held = self.held.entry(type_url).or_default();
        let mut found = Vec::new();
        for resource in &response.resources {
            let before = held.insert(resource.name.clone(), resource.version.clone());
            let is_known = before.is_some_and(|before| before == resource.version);
            let list = if is_known { &mut received.repeated } else { &mut received.fresh };
            list.push(resource.name.clone());
            if type_url == TypeUrl::Cluster && !is_known && is_assigned(resource) {
                found.push(resource.name.clone());
            }
            self.warming.remove(&resource.name);
        }
        for name in &response.removed_resources {
            if held.remove(name).is_some() {
                received.removed.push(name.clone());
            }
            self.warming.remove(name);
        }
        let ack = DeltaDiscoveryRequest { response_nonce: response.nonce.clone(), ..of(type_url) };
        let mut requests = Vec::new();
        if type_url == TypeUrl::Cluster {
            self.warming.extend(found.iter().cloned());
            let subscribe: Vec<String> =
                found.into_iter().filter(|name| self.subscribed.insert(name.clone())).collect();
            let unsubscribe: Vec<String> =
                response.removed_resources.iter().filter(|name| self.subscribed.remove(*name)).cloned().collect();
            if !(subscribe.is_empty() && unsubscribe.is_empty()) {
                requests.push(DeltaDiscoveryRequest {
                    resource_names_subscribe: subscribe,
                    resource_names_unsubscribe: unsubscribe,
                    ..of(TypeUrl::Endpoint)
                });
            }
            self.withheld.push(ack);
        } else {
            requests.push(ack);
        }
        requests.append(&mut self.warmed());
        (requests, received)
    }

    /// It has everything that it needs to serve.
    pub(super) fn is_complete(&self) -> bool {
        self.warming.is_empty() && self.held.get(&TypeUrl::Listener).is_some_and(|listeners| !listeners.is_empty())
    }

    /// What is to be said once no cluster waits for its endpoints.
    fn warmed(&mut self) -> Vec<DeltaDiscoveryRequest> {
        if !self.warming.is_empty() {
            return Vec::new();
        }
        let mut requests = std::mem::take(&mut self.withheld);
        if !std::mem::replace(&mut self.listens, true) {
            requests.push(self.first(TypeUrl::Listener));
        }
        requests
    }

    /// The first request about a type.
    fn first(&self, type_url: TypeUrl) -> DeltaDiscoveryRequest {
        let held = self.held.get(&type_url).into_iter().flatten();
        let initial_resource_versions = held.map(|(name, version)| (name.clone(), version.clone())).collect();
        DeltaDiscoveryRequest { initial_resource_versions, ..of(type_url) }
    }
}

fn of(type_url: TypeUrl) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: type_url.as_str().to_owned(), ..DeltaDiscoveryRequest::default() }
}

/// The endpoints of this cluster are discovered as well.
fn is_assigned(resource: &envoy_api::envoy::service::discovery::v3::Resource) -> bool {
    let cluster = resource.resource.as_ref().map(|any| Cluster::decode(&*any.value).unwrap());
    cluster.is_some_and(|cluster| {
        cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()))
    })
}
