//! A server whose clients have to use TLS.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tests::harness::postgres::{Postgres, Settings, Tls};

/// What the server says first to a client who is welcome: which proof of the password it wants.
const AUTHENTICATION: u8 = b'R';

/// Asks for TLS, trusts `ca`, shows the certificate if there is one, logs in; the first byte of the answer.
fn log_in(server: &Postgres, name: &str, ca: &Path, certificate: Option<(&Path, &Path)>) -> io::Result<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match certificate {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
    };
    let mut socket = TcpStream::connect(server.address())?;
    socket.set_read_timeout(Some(Duration::from_secs(20)))?;
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    assert_eq!(answer, *b"S", "TLS is offered");
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
    let hello = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    stream.write_all(&(hello.len() as u32 + 4).to_be_bytes())?;
    stream.write_all(hello)?;
    stream.read_exact(&mut answer)?;
    Ok(answer[0])
}

fn refusal(outcome: io::Result<u8>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn only_clients_with_a_certificate_get_through() {
    let server = Postgres::start_with(Settings::default().tls(Tls::default()));
    let files = server.certificates();
    let own = Some((files.client.as_path(), files.client_key.as_path()));
    assert_eq!(log_in(&server, "localhost", &files.ca, own).unwrap(), AUTHENTICATION);

    let none = refusal(log_in(&server, "localhost", &files.ca, None));
    assert!(none.contains("CertificateRequired"), "{none}");
    let foreign = Some((files.foreign_client.as_path(), files.foreign_client_key.as_path()));
    let foreign = refusal(log_in(&server, "localhost", &files.ca, foreign));
    assert!(foreign.contains("alert"), "{foreign}");
    let untrusted = refusal(log_in(&server, "localhost", &files.foreign_ca, own));
    assert!(untrusted.contains("UnknownIssuer"), "{untrusted}");
    let misnamed = refusal(log_in(&server, "db.example", &files.ca, own));
    assert!(misnamed.contains("not valid for name"), "{misnamed}");

    let plain = server.fresh_database().try_sql_as_owner("SELECT 1").unwrap_err();
    assert!(plain.contains("no pg_hba.conf entry") && plain.contains("no encryption"), "{plain}");

    // The port is held all the time, and leads to the server again after each start.
    server.kill();
    log_in(&server, "localhost", &files.ca, own).unwrap_err();
    server.start_again();
    assert_eq!(log_in(&server, "localhost", &files.ca, own).unwrap(), AUTHENTICATION);
}

#[test]
fn a_server_may_do_without_certificates_of_clients_and_have_another_name() {
    let tls = Tls { names: vec!["db.example".to_owned()], client_certificate: false };
    let server = Postgres::start_with(Settings::default().tls(tls));
    let files = server.certificates();
    assert_eq!(log_in(&server, "db.example", &files.ca, None).unwrap(), AUTHENTICATION);
    assert!(refusal(log_in(&server, "localhost", &files.ca, None)).contains("not valid for name"));
}
