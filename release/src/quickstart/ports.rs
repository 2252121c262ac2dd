//! Where everything listens: the usual ports where they are free, others where they are not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};

/// The addresses of one run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// REST API of the control plane.
    pub(super) api: SocketAddr,
    /// Where data planes connect to.
    pub(super) dp_server: SocketAddr,
    https: u16,
    diagnostics: u16,
    /// The frontend itself, for people.
    pub(super) frontend_app: SocketAddr,
    /// The frontend's proxy, from outside.
    frontend_inbound: u16,
    /// The frontend's proxy, for the frontend.
    pub(super) frontend_outbound: SocketAddr,
    /// The port of the backends' proxies, on an address each.
    backend_inbound: u16,
    /// The port of the backends, on the same addresses.
    backend_app: u16,
}

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The whole of 127.0.0.0/8 is this machine: each backend gets an address as if it had a machine of its own.
const BACKENDS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(127, 0, 0, 12)];

impl Ports {
    pub(super) fn pick() -> Result<Self> {
        let mut picker = Picker::default();
        // All usual or none, since a control plane on half of the usual ports would only confuse.
        let usual = [5681, 5682, 5678, 5680];
        let all_free = usual.iter().all(|port| picker.try_take(&[Ipv4Addr::UNSPECIFIED], *port).is_some());
        let [api, https, dp_server, diagnostics] = if all_free {
            usual
        } else {
            let mut other = || picker.take(&[Ipv4Addr::UNSPECIFIED], None);
            [other()?, other()?, other()?, other()?]
        };
        let at = |port| SocketAddr::new(IpAddr::V4(LOOPBACK), port);
        Ok(Self {
            api: at(api),
            dp_server: at(dp_server),
            https,
            diagnostics,
            frontend_app: at(picker.take(&[LOOPBACK], Some(8080))?),
            frontend_inbound: picker.take(&[LOOPBACK], Some(8081))?,
            frontend_outbound: at(picker.take(&[LOOPBACK], Some(8082))?),
            backend_inbound: picker.take(&BACKENDS, Some(8080))?,
            backend_app: picker.take(&BACKENDS, Some(9080))?,
        })
    }

    /// What tells the control plane its ports; nothing where they are the usual ones.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("KUMA_API_SERVER_HTTP_PORT", self.api.port(), 5681),
            ("KUMA_API_SERVER_HTTPS_PORT", self.https, 5682),
            ("KUMA_DP_SERVER_PORT", self.dp_server.port(), 5678),
            ("KUMA_DIAGNOSTICS_SERVER_PORT", self.diagnostics, 5680),
        ];
        let unusual = all.into_iter().filter(|(_, port, usual)| port != usual);
        unusual.map(|(name, port, _)| (name, port.to_string())).collect()
    }

    /// Where the backends listen, without their proxies.
    pub(super) fn backend_apps(&self) -> [SocketAddr; 2] {
        BACKENDS.map(|address| SocketAddr::new(IpAddr::V4(address), self.backend_app))
    }

    /// Puts the addresses of this run into a resource.
    pub(super) fn fill(&self, template: &str) -> String {
        let values = [
            ("{frontend_app}", self.frontend_app.port().to_string()),
            ("{frontend_inbound}", self.frontend_inbound.to_string()),
            ("{frontend_outbound}", self.frontend_outbound.port().to_string()),
            ("{backend_inbound}", self.backend_inbound.to_string()),
            ("{backend_app}", self.backend_app.to_string()),
            ("{backend_v1}", BACKENDS[0].to_string()),
            ("{backend_v2}", BACKENDS[1].to_string()),
        ];
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

/// Holds what it gave out, so that nothing is given twice; lets go of all when dropped.
#[derive(Default)]
struct Picker {
    held: Vec<TcpListener>,
}

impl Picker {
    /// A port that is free on all addresses: the wished one, else any.
    fn take(&mut self, addresses: &[Ipv4Addr], wish: Option<u16>) -> Result<u16> {
        if let Some(port) = wish.and_then(|port| self.try_take(addresses, port)) {
            return Ok(port);
        }
        let first = *addresses.first().context("no address given")?;
        for _ in 0..100 {
            let any = TcpListener::bind((first, 0)).context("cannot listen on loopback")?;
            let port = any.local_addr()?.port();
            drop(any);
            if let Some(port) = self.try_take(addresses, port) {
                return Ok(port);
            }
        }
        bail!("no port is free on {addresses:?}")
    }

    fn try_take(&mut self, addresses: &[Ipv4Addr], port: u16) -> Option<u16> {
        let listeners: Result<Vec<_>, _> =
            addresses.iter().map(|address| TcpListener::bind((*address, port))).collect();
        self.held.extend(listeners.ok()?);
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced() {
        let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut picker = Picker::default();
        let other = picker.take(&[LOOPBACK], Some(port)).unwrap();
        assert_ne!(other, port);
        drop(taken);
        assert_eq!(picker.take(&[LOOPBACK], Some(port)).unwrap(), port);
    }

    #[test]
    fn resources_have_no_hole_left() {
        let ports = Ports::pick().unwrap();
        for name in
            ["frontend.yaml", "backend-v1.yaml", "backend-v2.yaml", "versions.yaml", "route.yaml", "timeout.yaml"]
        {
            let text = ports.fill(super::super::template(name).unwrap());
            for document in text.split("\n---\n") {
                let value: serde_json::Value = serde_saphyr::from_str(document).unwrap();
                assert_eq!(value["mesh"], "default", "{name}");
            }
            assert!(!text.contains("{frontend") && !text.contains("{backend"), "{name}: {text}");
        }
    }
}
