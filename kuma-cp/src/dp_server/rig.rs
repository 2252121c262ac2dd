//! Streams over a store in memory, without sockets.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use envoy_api::envoy::config::core::v3::Node;
use futures::StreamExt;
use jiff::Timestamp;
use kuma_core::{
    admit, json,
    labels::Site,
    registry::Kind,
    resource::{AnyResource, Key},
    store::{MemoryStore, Store, Write},
};
use prost::Message;
use prost_types::{Struct, value};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, Streaming, codec::Codec};
use tonic_prost::ProstCodec;

use super::{connect::Connector, grpc, handover::Handover};
use crate::{
    auth::ProxyAuthenticator,
    state::{Feed, StateHandle},
};

/// Longest wait for something that has to come.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// A store with the Mesh `default`, and what follows it.
pub(super) struct Rig {
    pub(super) store: Arc<dyn Store>,
    pub(super) state: StateHandle,
    pub(super) connector: Arc<Connector>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Rig {
    pub(super) async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Timestamp::now));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (feed, state) = Feed::new(store.clone());
        tasks.spawn(feed.run(stop.clone()));
        let connector = Arc::new(Connector {
            state: state.clone(),
            store: store.clone(),
            auth: ProxyAuthenticator::None,
            prepare: Arc::new(|dataplane, stored| {
                admit::write(&Site::zone("default"), &dataplane, stored).map_err(|e| e.to_string())
            }),
            instance: "cp".into(),
            deregistration_delay: Duration::from_secs(10),
            handover: Handover::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
            brought: Arc::new(Mutex::new(HashSet::new())),
        });
        let rig = Self { store, state, connector, stop, tasks };
        rig.put(&json!({"type": "Mesh", "name": "default"})).await;
        rig
    }

    /// Stores a resource, new or not, as the API would; the state shows it afterwards.
    pub(super) async fn put(&self, document: &Value) {
        let kind = Kind::by_name(document["type"].as_str().unwrap()).unwrap();
        let resource = json::from_rest(kind, document).unwrap().resource;
        let stored = self.store.get(&resource.key()).await.unwrap();
        let resource = admit::write(&Site::zone("default"), &resource, stored.as_ref()).unwrap();
        let write = match stored {
            None => Write::Create { resource, owner: None },
            Some(stored) => {
                let meta = kuma_core::meta::Meta { labels: resource.meta.labels.clone(), ..stored.meta };
                Write::Update { expected: meta.version, resource: resource.with_meta(meta) }
            }
        };
        let committed = self.store.write(vec![write]).await.unwrap();
        self.state.at_least(committed.revision).await;
    }

    pub(super) async fn delete(&self, kind: Kind, mesh: &str, name: &str) {
        let key = Key::new(kind, mesh, name);
        let committed = self.store.write(vec![Write::Delete { key, expected: None }]).await.unwrap();
        self.state.at_least(committed.revision).await;
    }

    pub(super) async fn stored(&self, kind: Kind, mesh: &str, name: &str) -> Option<AnyResource> {
        self.store.get(&Key::new(kind, mesh, name)).await.unwrap()
    }
}

/// A Dataplane of the mesh `default`.
pub(super) fn dataplane(name: &str, inbounds: &Value) -> Value {
    json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "networking": {"address": "127.0.0.1", "inbound": inbounds},
    })
}

/// A node with these texts as metadata.
pub(super) fn node(id: &str, metadata: &[(&str, &str)]) -> Node {
    let fields = metadata.iter().map(|(key, text)| {
        ((*key).to_owned(), prost_types::Value { kind: Some(value::Kind::StringValue((*text).to_owned())) })
    });
    Node { id: id.to_owned(), metadata: Some(Struct { fields: fields.collect() }), ..Node::default() }
}

/// The client's side of a stream.
pub(super) struct Call<A> {
    requests: mpsc::Sender<Bytes>,
    answers: Streaming<A>,
}

impl<A: Message + Default + 'static> Call<A> {
    /// Calls what serves a stream.
    pub(super) fn to(serve: impl FnOnce(http::Request<Body>) -> http::Response<Body>) -> Self {
        let (requests, body) = mpsc::channel(16);
        let body = Body::from_stream(ReceiverStream::new(body).map(Ok::<Bytes, std::convert::Infallible>));
        let response = serve(http::Request::post("/").body(body).unwrap());
        let decoder = ProstCodec::<A, A>::default().decoder();
        let answers = Streaming::new_response(decoder, response.into_body(), http::StatusCode::OK, None, None);
        Self { requests, answers }
    }

    pub(super) async fn say(&self, message: &impl Message) {
        self.requests.send(grpc::frame(message)).await.unwrap();
    }

    /// The next answer, or the status that the stream ended with.
    pub(super) async fn hear(&mut self) -> Result<A, Status> {
        let answer = tokio::time::timeout(SOON, self.answers.message()).await.expect("an answer within seconds");
        answer?.ok_or_else(|| Status::ok("the stream ended"))
    }

    /// Nothing comes for a while.
    pub(super) async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(200), self.answers.message()).await.is_err()
    }
}
