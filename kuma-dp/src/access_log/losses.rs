//! Counts records that did not arrive, by server, and tells of them now and then.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Servers that are told apart between two reports.
const MOST_SERVERS: usize = 64;
/// All further ones.
const OTHERS: &str = "(others)";

/// What was lost since the last report.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<Lost>);

#[derive(Debug, Default)]
struct Lost {
    malformed: u64,
    servers: BTreeMap<String, Loss>,
}

/// What one server did not get.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// How many.
    pub(super) records: u64,
    /// Why the last of them did not arrive.
    pub(super) reason: String,
}

impl Losses {
    /// Some that do not even say where they go.
    pub(super) fn malformed(&self) {
        self.lock().malformed += 1;
    }

    /// Some for `server`; the last reason counts.
    pub(super) fn add(&self, server: &str, records: u64, reason: impl Into<String>) {
        let mut lost = self.lock();
        let is_told_apart = lost.servers.contains_key(server) || lost.servers.len() < MOST_SERVERS;
        let server = if is_told_apart { server } else { OTHERS };
        let known = lost.servers.entry(server.to_owned()).or_insert_with(|| Loss { records: 0, reason: String::new() });
        known.records += records;
        known.reason = reason.into();
    }

    /// Warns of everything since the last report.
    pub(super) fn report(&self) {
        let Lost { malformed, servers } = std::mem::take(&mut *self.lock());
        if malformed > 0 {
            tracing::warn!(records = malformed, "access log records were lost: they are malformed or too long");
        }
        for (server, Loss { records, reason }) in servers {
            tracing::warn!(server, records, reason, "access log records were lost");
        }
    }

    /// What was lost for each server since the last report.
    #[cfg(test)]
    pub(super) fn servers(&self) -> Vec<(String, u64, String)> {
        let lost = self.lock();
        lost.servers.iter().map(|(server, loss)| (server.clone(), loss.records, loss.reason.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lost> {
        // Numbers are whole whenever somebody panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_its_number_and_its_last_reason() {
        let losses = Losses::default();
        losses.add("a:1", 1, "timeout");
        losses.add("b:1", 1, "refused");
        losses.add("a:1", 2, "refused");
        let expected = [("a:1", 3, "refused"), ("b:1", 1, "refused")];
        assert_eq!(losses.servers(), expected.map(|(server, n, reason)| (server.to_owned(), n, reason.to_owned())));
        losses.report();
        assert_eq!(losses.servers(), [], "told once");
    }

    #[test]
    fn endless_servers_do_not_fill_memory() {
        let losses = Losses::default();
        for number in 0..1000 {
            losses.add(&format!("server:{number}"), 1, "refused");
        }
        let servers = losses.servers();
        assert_eq!(servers.len(), MOST_SERVERS + 1);
        assert_eq!(servers.iter().map(|(_, records, _)| records).sum::<u64>(), 1000);
    }
}
