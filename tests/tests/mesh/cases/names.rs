//! Dataplanes with a DNS name where others have an address.

use std::net::Ipv4Addr;

use tests::harness::{
    app::App,
    mesh::{self, Mesh},
    ports::free_port,
    until,
};

/// A backend at `localhost` is reached at its address, and a name that nobody knows keeps nobody else from working.
pub(crate) fn a_name_for_an_address() {
    let mesh = Mesh::start_with(&[("KUMA_GENERAL_DNS_CACHE_TTL", "1s")]);
    let (port, service_port, outbound) = (free_port(), free_port(), free_port());
    let _app = App::start("backend", (Ipv4Addr::LOCALHOST, service_port).into());
    let named = |name: &str, host: &str| {
        mesh::dataplane(name, "backend", Ipv4Addr::LOCALHOST, port, service_port)
            .replace("address: 127.0.0.1", &format!("address: {host}"))
    };
    let backend = mesh.proxy("backend-1", &named("backend-1", "localhost"), &[]);
    mesh.apply(&named("backend-2", "nobody.invalid"));
    let frontend = mesh::dataplane("frontend-1", "frontend", Ipv4Addr::LOCALHOST, free_port(), free_port());
    let frontend = frontend + &mesh::outbounds(&[(outbound, "backend", port)]);
    let frontend = mesh.proxy("frontend-1", &frontend, &[]);
    let call = (Ipv4Addr::LOCALHOST, outbound).into();
    until("an answer of the backend", || mesh::ask(call, "/", &[]) == (200, "backend".to_owned()));
    assert_eq!(frontend.admin.endpoints("backend"), Some(vec![format!("127.0.0.1:{port}")]));
    let preview = mesh.rest("GET", "/meshes/default/dataplanes/backend-1/_config", b"").unwrap();
    assert_eq!(preview.status, 200, "{}", preview.body);
    let inbound = format!("\"portValue\": {port}");
    assert!(preview.body.contains("127.0.0.1") && preview.body.contains(&inbound), "{}", preview.body);
    assert!(!preview.body.contains("localhost"), "{}", preview.body);
    drop(backend);
}
