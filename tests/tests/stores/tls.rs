//! TLS towards the database, in all its modes.

use kuma_cp::{
    config::{Postgres as Database, PostgresTls},
    stores::postgres::{PostgresStore, Target},
};
use tests::harness::postgres::{Postgres, Settings, Tls};

use crate::scene::{create, settings, stored, workload};

#[tokio::test]
async fn modes() {
    kuma_cp::tls::install_provider();
    let tls = Tls { names: vec!["localhost".into()], client_certificate: true };
    let server = Postgres::start_with(Settings::default().tls(tls));
    let database = server.fresh_database();
    let files = server.certificates();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let with = |mode: &str, host: &str, ca: &std::path::Path, client: bool| {
        let mut tls = PostgresTls { mode: mode.into(), ca_path: text(ca), ..PostgresTls::default() };
        if client {
            (tls.cert_path, tls.key_path) = (text(&files.client), text(&files.client_key));
        }
        Database { host: host.into(), tls, ..settings(&database) }
    };
    kuma_cp::stores::postgres::migrate(&with("verifyFull", "localhost", &files.ca, true)).await.unwrap();
    let open = async |settings: Database| {
        PostgresStore::open(Target::new(&settings), jiff::Timestamp::now)
            .await
            .map(|(store, _)| store)
            .map_err(|error| format!("{error:#}"))
    };
    for (mode, host, ca) in [
        ("verifyFull", "localhost", &files.ca),
        ("verifyCa", "127.0.0.1", &files.ca),
        ("verifyNone", "127.0.0.1", &files.foreign_ca),
    ] {
        let store = open(with(mode, host, ca, true)).await.unwrap_or_else(|error| panic!("{mode}: {error}"));
        stored(&store, create(&workload(&mode.to_lowercase(), "1"))).await;
    }
    for (mode, host, ca, client, reason) in [
        ("verifyFull", "127.0.0.1", &files.ca, true, "not valid for name"),
        ("verifyFull", "localhost", &files.foreign_ca, true, "UnknownIssuer"),
        ("verifyCa", "localhost", &files.foreign_ca, true, "UnknownIssuer"),
        ("verifyFull", "localhost", &files.ca, false, "ertificate"),
        ("disable", "localhost", &files.ca, false, "could not connect to postgres"),
    ] {
        let error = open(with(mode, host, ca, client)).await.err().unwrap_or_else(|| panic!("{mode} {host} got in"));
        assert!(error.contains(reason), "{mode} {host} {client}: {error}");
    }
}
