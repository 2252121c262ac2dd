//! Configuration of the control plane that plans depend on, handed in once.

use std::{net::Ipv6Addr, sync::Arc};

use crate::ir::CidrText;

/// Values that are the same for every proxy of this control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSettings {
    /// Name of the own zone.
    pub zone: Arc<str>,
    all: Arc<[CidrText]>,
    without_ipv6: Arc<[CidrText]>,
}

impl PlanSettings {
    /// Settings of a zone. `internal` are the address blocks whose clients count as internal, in configured order.
    pub fn new(zone: impl Into<Arc<str>>, internal: impl IntoIterator<Item = CidrText>) -> Self {
        let all: Arc<[CidrText]> = internal.into_iter().collect();
        // A text that is no address (a whole block, say) is passed on as it is, whatever the proxy's families.
        let without_ipv6 = all.iter().filter(|c| c.address.parse::<Ipv6Addr>().is_err()).cloned().collect();
        Self { zone: zone.into(), all, without_ipv6 }
    }

    /// Address blocks whose clients count as internal, for a proxy with or without IPv6.
    pub fn internal(&self, ipv6: bool) -> Arc<[CidrText]> {
        if ipv6 { self.all.clone() } else { self.without_ipv6.clone() }
    }
}

impl Default for PlanSettings {
    /// Zone `default` and the private blocks of both families.
    fn default() -> Self {
        let blocks = [
            ("10.0.0.0", 8),
            ("192.168.0.0", 16),
            ("172.16.0.0", 12),
            ("fc00::", 7),
            ("fd00::", 8),
            ("127.0.0.1", 32),
            ("::1", 128),
        ];
        Self::new("default", blocks.map(|(address, length)| CidrText { address: address.into(), length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_parses_as_ipv6_is_left_out_without_ipv6() {
        let settings = PlanSettings::new(
            "z",
            [("100.64.0.0", 16), ("fc00::/7", 128), ("::1", 128)]
                .map(|(address, length)| CidrText { address: address.into(), length }),
        );
        let kept: Vec<String> = settings.internal(false).iter().map(|c| c.address.to_string()).collect();
        assert_eq!(kept, ["100.64.0.0", "fc00::/7"]);
        assert_eq!(settings.internal(true).len(), 3);
    }
}
