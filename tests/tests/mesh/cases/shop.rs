//! The scene of most cases: frontends that call backends, each application with its proxy beside it.

use std::net::{Ipv4Addr, SocketAddr};

use tests::harness::{
    app::App,
    mesh::{self, Mesh, Proxy},
    ports::free_port,
    until,
};

/// Frontends call port `outbound` of their own machine; backends serve on one port of an address each.
pub(crate) struct Shop {
    pub(crate) frontends: Vec<Proxy>,
    pub(crate) backends: Vec<Backend>,
    /// Where the frontends' applications call the backend.
    pub(crate) calls: Vec<SocketAddr>,
    /// The port of backends in the mesh.
    pub(crate) port: u16,
    // Dropped after the proxies: it shows their logs.
    pub(crate) mesh: Mesh,
}

/// A backend: application and proxy.
pub(crate) struct Backend {
    pub(crate) app: App,
    pub(crate) proxy: Proxy,
    /// Where the mesh reaches it.
    pub(crate) endpoint: String,
}

impl Shop {
    /// So many frontends and backends, all online, and the first request of each frontend answered.
    pub(crate) fn open(frontends: u8, backends: u8, arguments: &[&str]) -> Self {
        Self::open_in(Mesh::start(), frontends, backends, arguments)
    }

    /// The same in a mesh that is there.
    pub(crate) fn open_in(mesh: Mesh, frontends: u8, backends: u8, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut shop = Self { frontends: Vec::new(), backends: Vec::new(), calls: Vec::new(), port, mesh };
        let backends = (1..=backends).map(|nth| shop.backend(nth, arguments)).collect();
        shop.backends = backends;
        for nth in 1..=frontends {
            let outbound = free_port();
            let name = format!("frontend-{nth}");
            // Their own inbounds are never called: nothing serves behind them.
            let inbound = mesh::dataplane(&name, "frontend", Ipv4Addr::LOCALHOST, free_port(), free_port());
            let dataplane = inbound + &mesh::outbounds(&[(outbound, "backend", port)]);
            shop.frontends.push(shop.mesh.proxy(&name, &dataplane, arguments));
            shop.calls.push((Ipv4Addr::LOCALHOST, outbound).into());
        }
        let all = shop.backends.iter().map(|backend| backend.endpoint.clone()).collect::<Vec<_>>();
        until("all backends known to all frontends", || {
            shop.frontends.iter().all(|frontend| frontend.admin.endpoints("backend").as_ref() == Some(&all))
        });
        for call in &shop.calls {
            until("a first answer", || mesh::ask(*call, "/", &[]).0 == 200);
        }
        shop
    }

    fn backend(&self, nth: u8, arguments: &[&str]) -> Backend {
        let name = format!("backend-{nth}");
        let address = Ipv4Addr::new(127, 0, 0, 10 + nth);
        let service_port = free_port();
        let app = App::start(&name, (address, service_port).into());
        let dataplane = mesh::dataplane(&name, "backend", address, self.port, service_port);
        let proxy = self.mesh.proxy(&name, &dataplane, arguments);
        Backend { app, proxy, endpoint: format!("{address}:{}", self.port) }
    }

    /// Asks for the backend as the first frontend's application does.
    pub(crate) fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        mesh::ask(self.calls[0], path, headers)
    }
}
