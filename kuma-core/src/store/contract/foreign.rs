//! The laws of fields that this version does not know.

use serde_json::{Value, json};

use super::{Tested, create, found, stored};
use crate::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::AnyResource,
    resources::{MeshService, MeshServiceStatus, ServiceState},
    store::Write,
};

fn service() -> AnyResource {
    let spec =
        json!({"state": "Unavailable", "selector": {}, "ports": [{"port": 80, "weight": 3}], "future": {"a": 1}});
    let status = json!({"vips": [{"ip": "240.0.0.1", "pool": "p"}], "tls": {"cause": "none"}, "since": "now"});
    Kind::MeshService.decode_stored(Meta::new("m", "web", Labels::new()), spec, Some(status)).unwrap()
}

/// The same object as a part of the control plane makes it that knows nothing else.
fn derived(from: &AnyResource, state: ServiceState, connected: i32) -> AnyResource {
    let mut spec = from.spec::<MeshService>().cloned().unwrap();
    spec.state = state;
    let mut status: MeshServiceStatus = from.status::<MeshService>().cloned().unwrap();
    status.dataplane_proxies.connected = connected;
    AnyResource::new(from.meta.clone(), spec, status)
}

/// An update keeps them, in what is answered and in what is read; a replacement keeps those of the status.
pub async fn unknown_fields_stay_until_they_are_replaced(store: Tested) {
    let mut last = stored(&store, create(&service())).await;
    for (round, state) in [ServiceState::Available, ServiceState::Unavailable].into_iter().enumerate() {
        let resource = derived(&last, state, i32::try_from(round).unwrap());
        last = stored(&store, Write::Update { resource: resource.clone(), expected: last.meta.version }).await;
        for seen in [&last, &found(&store, &last).await.unwrap()] {
            assert!(seen.same_content(&resource));
            let (spec, status) = (seen.stored_spec(), seen.stored_status().unwrap());
            assert_eq!((&spec["future"], &spec["ports"][0]["weight"]), (&json!({"a": 1}), &json!(3)), "{spec}");
            assert_eq!((&status["since"], &status["tls"]["cause"]), (&json!("now"), &json!("none")), "{status}");
            assert_eq!(status["vips"][0]["pool"], "p", "{status}");
        }
    }
    let replacement = derived(&last, ServiceState::Available, 0).with_status_of(Some(&last));
    last = stored(&store, Write::Replace { resource: replacement, expected: last.meta.version }).await;
    assert_eq!(last.stored_spec()["future"], Value::Null);
    assert_eq!(last.stored_status().unwrap()["since"], "now", "a status is not what is replaced");
}

/// Who goes back to a revision gets what was unknown in it as well.
pub async fn unknown_fields_are_in_revisions(store: Tested) {
    let first = stored(&store, create(&service())).await;
    let resource = derived(&first, ServiceState::Available, 0);
    let plain = stored(&store, Write::Replace { resource, expected: first.meta.version }).await;
    let history = store.history(&first.key()).await.unwrap();
    let former = history[0].content.as_ref().unwrap().resource(&first.key()).unwrap();
    assert_eq!(former.stored_spec(), first.stored_spec());
    let again = derived(&former, ServiceState::Unavailable, 0).carrying(&former);
    let again = stored(&store, Write::Replace { resource: again, expected: plain.meta.version }).await;
    assert_eq!(again.stored_spec(), first.stored_spec());
    assert_eq!(store.history(&first.key()).await.unwrap().len(), 3);
}
