//! What happens before a stream is served: who is it, may it be that, and is its Dataplane stored. And what happens
//! after the last stream of a proxy is gone.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use envoy_api::envoy::config::core::v3::Node;
use jiff::Timestamp;
use kuma_core::{
    document::{self, Limits, Part},
    json,
    plan::NodeFacts,
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, Inbound, InboundState},
    store::{Author, Store, StoreError, Write},
};
use prost_types::{Struct, value};
use serde_json::{Map, Value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use super::{
    handover::Handover,
    leases::{Leases, Leave, Proxy},
    returning::{self, RETRY, Removal, note_of_registration, note_registered, was_registered},
};
use crate::{
    auth::{ProxyAuthError, ProxyAuthenticator, ProxyFacts},
    state::StateHandle,
    tokens::TokenError,
};

/// Tries to store a Dataplane that somebody else writes at the same time.
const TRIES: usize = 5;
/// A store that does not answer in this time counts as away.
const STATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Checks a Dataplane that a proxy brings and completes its labels; what is wrong comes back as text.
pub type Prepare = Arc<dyn Fn(AnyResource, Option<&AnyResource>) -> Result<AnyResource, String> + Send + Sync>;

/// Authenticates and registers proxies.
pub struct Connector {
    /// Where resources are read.
    pub state: StateHandle,
    /// Where Dataplanes are written.
    pub store: Arc<dyn Store>,
    /// Who may be whom.
    pub auth: ProxyAuthenticator,
    /// Admission of Dataplanes that proxies bring.
    pub prepare: Prepare,
    /// Id of this control plane instance.
    pub instance: Arc<str>,
    /// How long a Dataplane stays after its proxy has gone.
    pub deregistration_delay: Duration,
    /// When proxies have to go to another instance.
    pub handover: Handover,
    /// No Dataplane is deleted once this is cancelled.
    pub stop: CancellationToken,
    /// Waited for at shutdown.
    pub tasks: TaskTracker,
    /// Dataplanes that exist because a proxy brought them.
    pub brought: Arc<Mutex<HashSet<Proxy>>>,
}

/// What a proxy says of itself in the first message of a stream; nothing of it is proven.
pub struct Introduction {
    /// Mesh and name of its Dataplane.
    pub proxy: Proxy,
    /// Node metadata as JSON.
    pub metadata: Value,
}

impl Introduction {
    /// Reads the node of a first message.
    ///
    /// # Errors
    /// A status that says what is missing, or that proxies of this type are not served.
    pub fn of(node: Option<&Node>) -> Result<Self, Status> {
        let node = node.ok_or_else(|| invalid_id("Envoy ID must not be nil"))?;
        let (mesh, name) = proxy_id(&node.id)?;
        let metadata = node.metadata.as_ref().map(struct_json).unwrap_or_default();
        let kind = metadata["dataplane.proxyType"].as_str().unwrap_or_default();
        if !matches!(kind, "" | "dataplane") {
            return Err(Status::unknown(format!("unsupported proxy type {kind:?}, only \"dataplane\" is supported")));
        }
        Ok(Self { proxy: (mesh.into(), name.into()), metadata })
    }
}

/// A proxy that was let in.
pub struct Connected {
    /// Mesh and name of its Dataplane.
    pub proxy: Proxy,
    /// What it said of itself.
    pub node: Arc<NodeFacts>,
    /// Versions of kuma-dp and Envoy, for the insight.
    pub version: Option<Value>,
    /// Node metadata, for the insight.
    pub metadata: Option<Value>,
    /// It brought its Dataplane with it.
    pub brought: bool,
}

impl Connector {
    /// Lets a proxy in, or says why not.
    ///
    /// # Errors
    /// A status with the reason, as the proxy's log will show it.
    pub async fn connect(&self, credential: &str, node: Option<&Node>) -> Result<Connected, Status> {
        let Introduction { proxy, metadata } = Introduction::of(node)?;
        let state = tokio::time::timeout(STATE_TIMEOUT, self.state.ready())
            .await
            .map_err(|_| Status::unavailable("the control plane is still reading its store, connect again"))?;
        let key = Key::new(Kind::Dataplane, proxy.0.clone(), proxy.1.clone());
        let stored = state.get(&key).cloned();
        let text = metadata["dataplane.resource"].as_str();
        let brought = self.prove(credential, &proxy, text, stored.as_ref())?;
        let registered = brought.is_some();
        if registered && stored.is_some() && was_registered(&state, &proxy) {
            self.brought.lock().unwrap_or_else(PoisonError::into_inner).insert(proxy.clone());
        }
        match brought {
            Some(dataplane) => self.register(dataplane, &proxy).await?,
            None if stored.is_none() => {
                return Err(Status::unknown(format!(
                    "resource \"{}.{}\" not found; create a Dataplane in Kuma CP first or pass it as an argument to \
                     kuma-dp",
                    proxy.0, proxy.1
                )));
            }
            None => {}
        }
        let node = Arc::new(NodeFacts::from_metadata(&metadata));
        let mut metadata = metadata;
        if registered && self.brought.lock().unwrap_or_else(PoisonError::into_inner).contains(&proxy) {
            note_registered(&mut metadata);
        }
        Ok(Connected {
            proxy,
            node,
            version: Some(metadata["version"].clone()).filter(Value::is_object),
            metadata: Some(metadata),
            brought: registered,
        })
    }

    /// Checks the credential of a proxy against the Dataplane that it brings, if it brings one, and against the stored
    /// one. Returns the former as it is to be stored.
    ///
    /// # Errors
    /// A status with the reason.
    pub fn prove(
        &self,
        credential: &str,
        proxy: &Proxy,
        text: Option<&str>,
        stored: Option<&AnyResource>,
    ) -> Result<Option<AnyResource>, Status> {
        let brought = text.map(|text| self.read(text, proxy)).transpose()?;
        for dataplane in brought.iter().chain(stored) {
            self.authenticate(credential, dataplane)?;
        }
        Ok(brought)
    }

    /// Checks the credential against a Dataplane.
    ///
    /// # Errors
    /// A status with the reason.
    pub fn authenticate(&self, credential: &str, dataplane: &AnyResource) -> Result<(), Status> {
        let facts = ProxyFacts {
            mesh: &dataplane.meta.mesh,
            name: &dataplane.meta.name,
            labels: &dataplane.meta.labels,
            identity_from_workload: false,
        };
        let state = self.state.current();
        self.auth.check(credential, facts, &*state, Timestamp::now()).map_err(|error| match error {
            // It may still come: keys are made and read while proxies connect already.
            ProxyAuthError::Token(TokenError::KeyNotFound(_)) => Status::unavailable(error.to_string()),
            _ => Status::unauthenticated(error.to_string()),
        })
    }

    fn read(&self, text: &str, proxy: &Proxy) -> Result<AnyResource, Status> {
        let refuse =
            |reason: String| Status::invalid_argument(format!("the Dataplane of kuma-dp cannot be used: {reason}"));
        let text = document::text(text.as_bytes(), Limits::REQUEST).map_err(|fault| refuse(fault.to_string()))?;
        let parsed = Part::whole(text).parse(Limits::REQUEST).map_err(|fault| refuse(fault.to_string()))?;
        let received = json::from_rest(Kind::Dataplane, &parsed.value).map_err(|fault| refuse(fault.to_string()))?;
        let resource = received.resource;
        if (&resource.meta.mesh, &resource.meta.name) != (&proxy.0, &proxy.1) {
            return Err(Status::invalid_argument(format!(
                "proxyId {}.{} does not match proxy resource {}.{}",
                proxy.0, proxy.1, resource.meta.mesh, resource.meta.name
            )));
        }
        let state = self.state.current();
        if state.get(&Key::new(Kind::Mesh, "", proxy.0.clone())).is_none() {
            return Err(refuse(format!("mesh: mesh {:?} does not exist", &*proxy.0)));
        }
        let key = resource.key();
        let stored = state.get(&key);
        let prepared = (self.prepare)(resource, stored).map_err(refuse)?;
        Ok(stored.map_or_else(|| prepared.clone(), |stored| keep_states(&prepared, stored)))
    }

    /// Stores the Dataplane that a proxy brought, and waits until plans see it.
    async fn register(&self, dataplane: AnyResource, proxy: &Proxy) -> Result<(), Status> {
        let failed =
            |error: StoreError| Status::unavailable(format!("could not register proxy passed in kuma-dp run: {error}"));
        let key = dataplane.key();
        for attempt in 1.. {
            let stored = self.store.get(&key).await.map_err(failed)?;
            let batch = match &stored {
                Some(stored) if stored.same_content(&dataplane) => return Ok(()),
                Some(stored) => {
                    let meta = kuma_core::meta::Meta { labels: dataplane.meta.labels.clone(), ..stored.meta.clone() };
                    let resource = AnyResource::of(meta, dataplane.body.clone());
                    vec![Write::Update { resource, expected: stored.meta.version }]
                }
                None => {
                    let mut batch = vec![Write::Create { resource: dataplane.clone(), owner: None }];
                    // With it, so that it goes with its proxy even if this process ends before it can tell of the stream.
                    let insight = Key::new(Kind::DataplaneInsight, proxy.0.clone(), proxy.1.clone());
                    if self.store.get(&insight).await.map_err(failed)?.is_none() {
                        batch.push(Write::Create { resource: note_of_registration(proxy), owner: Some(key.clone()) });
                    }
                    batch
                }
            };
            match self.store.write_as(Author::Proxy(proxy.1.clone()), batch).await {
                Ok(committed) => {
                    if stored.is_none() {
                        self.brought.lock().unwrap_or_else(PoisonError::into_inner).insert(proxy.clone());
                    }
                    let seen = self.state.at_least(committed.revision);
                    return match tokio::time::timeout(STATE_TIMEOUT, seen).await {
                        Ok(_) => Ok(()),
                        Err(_) => Err(Status::unavailable("the store does not tell of its changes, connect again")),
                    };
                }
                Err(error @ StoreError::Unavailable(_)) => return Err(failed(error)),
                Err(error) if attempt >= TRIES => return Err(failed(error)),
                // Somebody else wrote it in between: read again.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// After the last stream of a proxy ended: its Dataplane goes after a while, if a proxy brought it and none has
    /// come back.
    pub fn forget_later(&self, connected: Connected, leases: Arc<Leases>) {
        if self.stop.is_cancelled() {
            return;
        }
        let proxy = connected.proxy;
        let ours = connected.brought && self.brought.lock().unwrap_or_else(PoisonError::into_inner).contains(&proxy);
        if !ours {
            return;
        }
        let (store, brought, stop, delay) =
            (self.store.clone(), self.brought.clone(), self.stop.clone(), self.deregistration_delay);
        let instance = self.instance.clone();
        self.tasks.spawn(stop.run_until_cancelled_owned(async move {
            tokio::time::sleep(delay).await;
            loop {
                let removal = match leases.leave(&proxy) {
                    Leave::Held => return,
                    Leave::Undecided => Ok(Removal::Changed),
                    Leave::Begun(_departure) => returning::remove(&*store, &proxy, &instance).await,
                };
                match removal {
                    // It is on its way back, or somebody wrote its Dataplane: look again in a moment.
                    Ok(Removal::Changed) => tokio::time::sleep(RETRY).await,
                    Ok(removal) => {
                        brought.lock().unwrap_or_else(PoisonError::into_inner).remove(&proxy);
                        if removal == Removal::Done {
                            tracing::info!(mesh = %proxy.0, proxy = %proxy.1, "the proxy has gone, its Dataplane is removed");
                        }
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%error, mesh = %proxy.0, proxy = %proxy.1, "a Dataplane whose proxy has gone is not removed yet");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        }));
    }
}

/// A proxy that connects again says nothing new of its applications: what was probed of an inbound stays, until the next
/// report.
fn keep_states(brought: &AnyResource, stored: &AnyResource) -> AnyResource {
    let (Some(spec), Some(known)) = (brought.spec::<Dataplane>(), stored.spec::<Dataplane>()) else {
        return brought.clone();
    };
    let mut spec = spec.clone();
    let probed = |inbound: &&Inbound| inbound.service_probe.is_some() && inbound.state != InboundState::Ignored;
    let known: Vec<&Inbound> = known.networking.iter().flat_map(|n| &n.inbound).filter(probed).collect();
    for inbound in spec.networking.iter_mut().flat_map(|n| &mut n.inbound) {
        let same = |other: &&&Inbound| (&other.address, other.port) == (&inbound.address, inbound.port);
        if let Some(known) = known.iter().find(same).filter(|_| probed(&&*inbound)) {
            (inbound.state, inbound.health) = (known.state, known.health);
        }
    }
    AnyResource::new(brought.meta.clone(), spec, NoStatus {})
}

fn invalid_id(reason: &str) -> Status {
    Status::unknown(format!("request must have a valid Proxy ID: {reason}"))
}

/// Mesh and name of a node id: the mesh ends at the first dot.
///
/// # Errors
/// A status that says what is missing.
pub fn proxy_id(id: &str) -> Result<(&str, &str), Status> {
    if id.is_empty() {
        return Err(invalid_id("Envoy ID must not be nil"));
    }
    match id.split_once('.') {
        Some((_, "")) | None => Err(invalid_id("the name should be provided after the dot")),
        Some(("", _)) => Err(invalid_id("mesh must not be empty")),
        Some((mesh, name)) => Ok((mesh, name)),
    }
}

/// A protobuf Struct as JSON; whole numbers come out as such.
pub fn struct_json(value: &Struct) -> Value {
    Value::Object(value.fields.iter().map(|(k, v)| (k.clone(), value_json(v))).collect::<Map<_, _>>())
}

fn value_json(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(value::Kind::NullValue(_)) => Value::Null,
        Some(value::Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() < 9e15 => Value::from(*n as i64),
        Some(value::Kind::NumberValue(n)) => Value::from(*n),
        Some(value::Kind::StringValue(s)) => Value::from(s.as_str()),
        Some(value::Kind::BoolValue(b)) => Value::from(*b),
        Some(value::Kind::StructValue(s)) => struct_json(s),
        Some(value::Kind::ListValue(list)) => Value::Array(list.values.iter().map(value_json).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dp_server::rig::{self, Rig};

    #[test]
    fn an_id_is_split_at_its_first_dot() {
        assert_eq!(proxy_id("default.web-1.ns").expect("an id"), ("default", "web-1.ns"));
        for id in ["", "default", "default.", ".web"] {
            assert!(proxy_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn what_was_probed_stays_when_a_proxy_connects_again() {
        let inbound = |port: u32, probed: bool, state: InboundState| Inbound {
            port,
            state,
            service_probe: probed.then(Default::default),
            ..Inbound::default()
        };
        let dataplane = |inbound: Vec<Inbound>| {
            let networking = kuma_core::resources::Networking { inbound, ..Default::default() };
            let meta = kuma_core::meta::Meta::new("default", "web", kuma_core::meta::Labels::new());
            AnyResource::new(meta, Dataplane { networking: Some(networking) }, NoStatus {})
        };
        let (ready, not_ready, ignored) = (InboundState::Ready, InboundState::NotReady, InboundState::Ignored);
        let stored = dataplane(vec![
            inbound(80, true, not_ready),
            inbound(81, false, not_ready),
            inbound(82, true, not_ready),
            inbound(83, true, ignored),
        ]);
        let brought = dataplane(vec![
            inbound(83, true, ready),
            inbound(82, true, ignored),
            inbound(81, false, ready),
            inbound(80, true, ready),
            inbound(84, true, ready),
        ]);
        let kept = keep_states(&brought, &stored);
        let networking = kept.spec::<Dataplane>().and_then(|d| d.networking.clone()).expect("it has one");
        let states: Vec<InboundState> = networking.inbound.iter().map(|i| i.state).collect();
        assert_eq!(states, [ready, ignored, ready, not_ready, ready]);
    }

    #[tokio::test]
    async fn what_a_proxy_brings_is_recorded_as_its_own() {
        let rig = Rig::new().await;
        let brought = rig::dataplane("web", &serde_json::json!([{"port": 80}])).to_string();
        let node = rig::node("default.web", &[("dataplane.resource", &brought)]);
        for _ in 0..2 {
            assert!(rig.connector.connect("", Some(&node)).await.is_ok_and(|connected| connected.brought));
        }
        let history = rig.store.history(&Key::new(Kind::Dataplane, "default", "web")).await.expect("a history");
        let told: Vec<_> = history.into_iter().map(|past| (past.number, past.author)).collect();
        assert_eq!(told, [(1, Author::Proxy("web".into()))], "a proxy that connects again changes nothing");
    }
}
