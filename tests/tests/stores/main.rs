//! The PostgreSQL store against real servers: the contract of all stores, several writers on one database, faults of the
//! database and of the network, the schema, and the lock of the leader.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a step that fails fails the test")]

mod faults;
mod gone;
mod histories;
mod kill;
mod leader;
mod moved;
mod scene;
mod schema;
mod shared;
mod slow;
mod tls;
mod unknown;
mod unreadable;

mod contract {
    use std::sync::Arc;

    use kuma_core::store_contract;

    use crate::scene;

    store_contract!(tokio::test, Arc::new(scene::open(&scene::database()).await));
}
