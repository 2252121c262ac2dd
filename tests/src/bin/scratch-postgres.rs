//! A PostgreSQL server for scripts and for trying things by hand, with an empty database that is migrated:
//! `cargo run -p tests --bin scratch-postgres`.
//!
//! Prints the environment of a kuma-cp that keeps its resources there, one `NAME=VALUE` per line and an empty line at
//! the end. Server and data are gone when its standard input is closed, or it is ended.

#![expect(clippy::unwrap_used, reason = "without a server there is nothing to do")]

use std::io::Read;

use tests::harness::postgres::Postgres;

fn main() {
    let server = Postgres::start();
    let database = server.fresh_database().migrated();
    for (name, value) in database.environment() {
        println!("{name}={value}");
    }
    println!();
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).unwrap();
}
