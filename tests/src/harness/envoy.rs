//! What an Envoy says of itself on its admin socket.

use std::path::PathBuf;

use serde_json::Value;

use super::http::{self, Peer};

/// The admin interface of one Envoy.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub socket: PathBuf,
}

impl Admin {
    fn get(&self, path: &str) -> Option<String> {
        let answer = http::get(Peer::Unix(self.socket.clone()), path, &[]).ok()?;
        (answer.status == 200).then_some(answer.body)
    }

    /// A counter or gauge; nothing if Envoy does not answer or does not have it.
    pub fn stat(&self, name: &str) -> Option<u64> {
        let text = self.get(&format!("/stats?filter=^{}$", name.replace('.', "\\.")))?;
        text.trim().strip_prefix(name)?.strip_prefix(": ")?.parse().ok()
    }

    /// The sum of all counters whose names end like this; nothing if Envoy does not answer.
    pub fn sum(&self, end: &str) -> Option<u64> {
        let text = self.get(&format!("/stats?filter={end}$"))?;
        Some(text.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok()).sum())
    }

    /// Whether it is connected to the control plane.
    pub fn connected(&self) -> bool {
        self.stat("control_plane.connected_state") == Some(1)
    }

    /// Addresses of all endpoints of the clusters with this word in their names.
    pub fn endpoints(&self, word: &str) -> Option<Vec<String>> {
        let text = self.get("/clusters?format=json")?;
        let clusters: Value = serde_json::from_str(&text).ok()?;
        let mut found: Vec<String> = clusters["cluster_statuses"]
            .as_array()?
            .iter()
            .filter(|cluster| cluster["name"].as_str().is_some_and(|name| name.contains(word)))
            .flat_map(|cluster| cluster["host_statuses"].as_array().cloned().unwrap_or_default())
            .filter_map(|host| {
                let address = &host["address"]["socket_address"];
                Some(format!("{}:{}", address["address"].as_str()?, address["port_value"]))
            })
            .collect();
        found.sort();
        found.dedup();
        Some(found)
    }
}
