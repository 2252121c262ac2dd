//! Laws of revisions: every change of labels or spec leaves one, with its author, in the transaction of the write.

use super::{Tested, create, delete, done, labelled, mesh, owned, refused, stored, update, workload};
use crate::{
    meta::{Labels, Meta},
    resource::{AnyResource, NoStatus},
    resources::{DataplaneInsight, MeshService, MeshServiceStatus, Secret, SecretBytes, Vip},
    store::{
        Author,
        history::{Action, KEPT, Past},
    },
};

async fn history(store: &Tested, object: &AnyResource) -> Vec<Past> {
    store.history(&object.key()).await.unwrap()
}

fn user(name: &str) -> Author {
    Author::User(name.into())
}

/// Number, what was done, by whom, and the label that the object had.
fn told(history: &[Past], object: &AnyResource) -> Vec<(u64, Action, Author, Option<String>)> {
    let team = |past: &Past| {
        let resource = past.content.as_ref()?.resource(&object.key()).unwrap();
        resource.meta.label("team").map(str::to_owned)
    };
    history.iter().map(|past| (past.number, past.action, past.author.clone(), team(past))).collect()
}

/// Each write of an object, its deletion included, is there with author, time and content; what came of a deleted object
/// goes on where it ended.
pub async fn writes_leave_revisions(store: Tested) {
    let object = labelled("m", "a", "1");
    assert_eq!(history(&store, &object).await, []);
    store.write_as(user("u"), vec![create(&object)]).await.unwrap();
    let first = super::found(&store, &object).await.unwrap();
    let change = update(&labelled("m", "a", "2"), first.meta.version);
    store.write_as(Author::Proxy("p".into()), vec![change]).await.unwrap();
    store.write_as(Author::part("part"), vec![delete(&object)]).await.unwrap();
    let last = stored(&store, create(&labelled("m", "a", "3"))).await;
    let history = history(&store, &object).await;
    assert_eq!(
        told(&history, &object),
        [
            (1, Action::Created, user("u"), Some("1".to_owned())),
            (2, Action::Updated, Author::Proxy("p".into()), Some("2".to_owned())),
            (3, Action::Deleted, Author::part("part"), None),
            (4, Action::Created, Author::default(), Some("3".to_owned())),
        ]
    );
    assert!(history.is_sorted_by_key(|past| past.at));
    assert_eq!(history[0].at.as_microsecond(), first.meta.created.as_microsecond());
    assert_eq!(history[3].at.as_microsecond(), last.meta.modified.as_microsecond());
    let content = history[3].content.as_ref().unwrap().resource(&object.key()).unwrap();
    assert!(content.same_content(&last), "labels and spec are those that were written");
    let namesake = labelled("n", "a", "");
    assert_eq!(store.history(&namesake.key()).await.unwrap(), [], "an object of the same name in another mesh");
}

/// What control planes find out about objects is no change of them.
pub async fn statuses_and_insights_leave_no_revisions(store: Tested) {
    let meta = || Meta::new("m", "a", Labels::new());
    let plain = AnyResource::new(meta(), MeshService::default(), MeshServiceStatus::default());
    let mut last = stored(&store, create(&plain)).await;
    for round in 0..3 {
        let status = MeshServiceStatus { vips: vec![Vip { ip: format!("240.0.0.{round}") }], ..Default::default() };
        let known = AnyResource::new(meta(), MeshService::default(), status);
        last = stored(&store, update(&known, last.meta.version)).await;
    }
    assert_eq!(history(&store, &plain).await.len(), 1);
    let insight = AnyResource::new(meta(), DataplaneInsight::default(), NoStatus {});
    done(&store, vec![create(&insight), delete(&plain)]).await;
    assert_eq!(history(&store, &insight).await, []);
    let actions: Vec<Action> = history(&store, &plain).await.iter().map(|past| past.action).collect();
    assert_eq!(actions, [Action::Created, Action::Deleted], "a deletion is a change whatever the status was");
}

/// Who wrote a secret is kept, what was in it is not.
pub async fn secrets_leave_revisions_without_content(store: Tested) {
    let secret = |data: &str| {
        let data = SecretBytes::new(data.as_bytes().to_vec());
        AnyResource::new(Meta::new("m", "s", Labels::new()), Secret { data }, NoStatus {})
    };
    let first = stored(&store, create(&secret("old"))).await;
    store.write_as(user("u"), vec![update(&secret("new"), first.meta.version)]).await.unwrap();
    done(&store, vec![delete(&first)]).await;
    let history = history(&store, &first).await;
    assert!(history.iter().all(|past| past.content.is_none()));
    let told = told(&history, &first);
    assert_eq!(told.iter().map(|t| t.1).collect::<Vec<_>>(), [Action::Created, Action::Updated, Action::Deleted]);
    assert_eq!(told[1].2, user("u"));
}

/// What was not written leaves nothing.
pub async fn refused_batches_leave_no_revisions(store: Tested) {
    let (old, new) = (labelled("m", "old", "1"), workload("new"));
    done(&store, vec![create(&old)]).await;
    refused(&store, vec![create(&new), create(&old)]).await;
    done(&store, vec![create(&new), delete(&new)]).await;
    assert_eq!(history(&store, &new).await, [], "it was never there");
    assert_eq!(history(&store, &old).await.len(), 1);
}

/// What goes with its owner was deleted by whoever deleted the owner.
pub async fn cascades_leave_revisions(store: Tested) {
    let (top, object) = (mesh("m"), labelled("m", "a", "x"));
    done(&store, vec![create(&top), owned(&object, &top)]).await;
    store.write_as(user("u"), vec![delete(&top)]).await.unwrap();
    for gone in [&top, &object] {
        let last = history(&store, gone).await.pop().unwrap();
        assert_eq!((last.number, last.action, last.author), (2, Action::Deleted, user("u")), "{:?}", gone.key());
    }
}

/// The last revisions of an object are kept, and their numbers go on.
pub async fn histories_are_bounded(store: Tested) {
    let rounds = u64::try_from(KEPT).unwrap() + 5;
    let mut last = stored(&store, create(&labelled("m", "a", "0"))).await;
    for round in 1..rounds {
        last = stored(&store, update(&labelled("m", "a", &round.to_string()), last.meta.version)).await;
    }
    let history = history(&store, &last).await;
    let numbers: Vec<u64> = history.iter().map(|past| past.number).collect();
    assert_eq!(numbers, (rounds - KEPT as u64 + 1..=rounds).collect::<Vec<_>>());
    assert_eq!(told(&history, &last).pop().unwrap().3, Some((rounds - 1).to_string()));
}

/// Whoever shares a transaction with others is told apart.
pub async fn each_of_many_writers_leaves_a_revision(store: Tested) {
    let names: Vec<String> = (0..100).map(|n| format!("w{n}")).collect();
    let writes = names.iter().map(|name| {
        let store = store.clone();
        async move {
            let first = store.write_as(user(name), vec![create(&labelled("m", name, "1"))]).await.unwrap();
            let version = first.resources[0].as_ref().unwrap().meta.version;
            store.write_as(user(name), vec![update(&labelled("m", name, "2"), version)]).await.unwrap();
        }
    });
    futures::future::join_all(writes).await;
    for name in &names {
        let object = workload(name);
        assert_eq!(
            told(&history(&store, &object).await, &object),
            [
                (1, Action::Created, user(name), Some("1".to_owned())),
                (2, Action::Updated, user(name), Some("2".to_owned())),
            ]
        );
    }
}
