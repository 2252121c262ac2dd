//! Virtual addresses of services.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use crate::{resource::Key, resources::Vip};

/// Hands out addresses of a range, one after the other. An address is not handed out again while the allocator lives:
/// a client may still know it by its old service.
#[derive(Clone, Debug)]
pub struct Vips {
    range: Ipv4Net,
    next: u32,
    taken: BTreeSet<Ipv4Addr>,
    /// Handed out and not yet seen in the store: a write that fails does not cost an address.
    promised: BTreeMap<Key, Ipv4Addr>,
}

impl Vips {
    /// An allocator that has handed out nothing yet.
    pub fn new(range: Ipv4Net) -> Self {
        Self { range, next: u32::from(range.network()), taken: BTreeSet::new(), promised: BTreeMap::new() }
    }

    /// Notes what a stored service has.
    pub(super) fn seen(&mut self, service: &Key, vips: &[Vip]) {
        if !vips.is_empty() {
            self.promised.remove(service);
        }
        self.taken.extend(vips.iter().filter_map(|v| v.ip.parse::<Ipv4Addr>().ok()));
    }

    /// An address for a service that has none: the one that it was given before, or the next; `None` when the range is
    /// used up.
    pub(super) fn give(&mut self, service: &Key) -> Option<Vip> {
        let address = match self.promised.get(service) {
            Some(promised) => *promised,
            None => {
                let address = self.allocate()?;
                self.promised.insert(service.clone(), address);
                address
            }
        };
        Some(Vip { ip: address.to_string() })
    }

    /// The next free address.
    fn allocate(&mut self) -> Option<Ipv4Addr> {
        loop {
            let address = Ipv4Addr::from(self.next);
            if !self.range.contains(&address) {
                return None;
            }
            self.next = self.next.checked_add(1)?;
            if self.taken.insert(address) {
                return Some(address);
            }
        }
    }
}
