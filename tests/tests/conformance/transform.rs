//! Metadata transforms of the policy suites: what a resource looks like after it was applied or synchronised somewhere.

use std::collections::BTreeMap;

/// Name and labels of a resource, before and after transforms.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetaFacts {
    pub(crate) name: String,
    pub(crate) mesh: String,
    pub(crate) labels: BTreeMap<String, String>,
}

const DISPLAY_NAME: &str = "kuma.io/display-name";
const NAMESPACE: &str = "k8s.kuma.io/namespace";

/// Applies the named transforms from left to right.
pub(crate) fn apply(meta: &mut MetaFacts, transforms: &[String]) {
    for transform in transforms {
        one(meta, transform);
    }
}

fn one(meta: &mut MetaFacts, transform: &str) {
    let (name, mesh) = (meta.name.clone(), meta.mesh.clone());
    let mut base = |labels: &[(&str, &str)], suffix: &str| {
        for (k, v) in labels {
            meta.labels.entry((*k).into()).or_insert_with(|| (*v).into());
        }
        meta.name = format!("{name}{suffix}");
    };
    match transform {
        "global-uni" => base(&[("kuma.io/origin", "global"), (DISPLAY_NAME, &name)], ""),
        "global-k8s" => base(
            &[("kuma.io/origin", "global"), (DISPLAY_NAME, &name), (NAMESPACE, "ns-k8s"), ("kuma.io/mesh", &mesh)],
            ".ns-k8s",
        ),
        "zone-uni" => {
            base(&[("kuma.io/origin", "zone"), ("kuma.io/zone", "zone-uni"), (DISPLAY_NAME, &name)], "");
        }
        "zone-k8s" => base(
            &[
                ("kuma.io/origin", "zone"),
                ("kuma.io/zone", "zone-k8s"),
                (NAMESPACE, "ns-k8s"),
                ("kuma.io/mesh", &mesh),
                (DISPLAY_NAME, &name),
            ],
            ".ns-k8s",
        ),
        "sync-to-uni" => meta.name = hashed(meta),
        "sync-to-k8s" => meta.name = format!("{}.kuma-system", hashed(meta)),
        "system-policy" => {
            meta.labels.insert("kuma.io/policy-role".into(), "system".into());
            meta.labels.insert(NAMESPACE.into(), "kuma-system".into());
        }
        "producer-policy" => {
            meta.labels.insert("kuma.io/policy-role".into(), "producer".into());
        }
        other => panic!("unknown transform {other}"),
    }
}

/// Name of the synchronised copy.
fn hashed(meta: &MetaFacts) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let display = meta.labels.get(DISPLAY_NAME).unwrap_or(&meta.name);
    let parts = [Some(&meta.mesh), Some(display), meta.labels.get("kuma.io/zone"), meta.labels.get(NAMESPACE)];
    let hash = parts
        .into_iter()
        .flatten()
        .flat_map(|p| p.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let suffix: String =
        format!("{hash:016x}").bytes().map(|c| char::from(ALPHABET[usize::from(c) % ALPHABET.len()])).collect();
    let short: String = display.chars().take(236).collect();
    format!("{short}-{suffix}")
}
