//! Virtual addresses of services.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;

use super::Work;
use crate::{resource::Key, resources::Vip};

/// Hands out addresses of a range, one after the other. An address is not handed out again while the allocator lives:
/// a client may still know it by its old service.
#[derive(Clone, Debug)]
pub struct Vips {
    range: Ipv4Net,
    next: u32,
    taken: BTreeSet<Ipv4Addr>,
}

impl Vips {
    /// An allocator that has handed out nothing yet.
    pub fn new(range: Ipv4Net) -> Self {
        Self { range, next: u32::from(range.network()), taken: BTreeSet::new() }
    }

    /// Gives every service without an address the next one, older services first.
    pub(super) fn assign(&mut self, work: &mut Work) {
        let known = work.services.values().flat_map(|s| &s.status.vips).filter_map(|v| v.ip.parse::<Ipv4Addr>().ok());
        self.taken.extend(known);
        let mut waiting: Vec<Key> =
            work.services.iter().filter(|(_, s)| s.status.vips.is_empty()).map(|(k, _)| k.clone()).collect();
        // What is about to be stored has no time yet and comes last.
        waiting.sort_by_key(|key| {
            let created = work.stored_services.get(key).map(|r| r.meta.created);
            (created.is_none(), created, key.clone())
        });
        for key in waiting {
            let Some(service) = work.services.get_mut(&key) else { continue };
            let Some(address) = self.allocate() else { return };
            service.status.vips = vec![Vip { ip: address.to_string() }];
        }
    }

    /// The next free address; `None` when the range is used up.
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
