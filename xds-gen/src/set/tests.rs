use envoy_api::envoy::config::cluster::v3::Cluster;
use kuma_core::ir;

use super::*;

fn cluster(name: &str) -> Rendered {
    Rendered::of(TypeUrl::Cluster, name, &Cluster { name: name.into(), ..Default::default() })
}

#[test]
fn versions_are_of_bytes_and_print_as_hex() {
    let (a, again, b) = (cluster("a"), cluster("a"), cluster("b"));
    assert_eq!(a.version, again.version);
    assert_ne!(a.version, b.version);
    // Fixed, because versions outlive a process: the same bytes mean the same version after an upgrade as well.
    assert_eq!(Version::of(b"").to_string(), "99aa06d3014798d86001c324468d497f");
    assert_eq!(a.version.to_text(), *a.version.to_string().as_bytes());
    assert_eq!(Version::parse(&a.version.to_string()), Some(a.version));
    for foreign in ["", "v1", "99AA06D3014798D86001C324468D497F", "+9aa06d3014798d86001c324468d497f", &"0".repeat(64)] {
        assert_eq!(Version::parse(foreign), None, "{foreign}");
    }
    assert_ne!(Version::mix(&[a.version, b.version]), Version::mix(&[b.version, a.version]));
}

#[test]
fn type_urls_are_those_of_the_messages() {
    assert_eq!(TypeUrl::Cluster.as_str(), Cluster::type_url());
    for t in TypeUrl::ALL {
        assert_eq!(TypeUrl::parse(t.as_str()), Some(t));
        let name = t.as_str().rsplit('/').next().unwrap();
        assert!(envoy_api::pool().get_message_by_name(name).is_some(), "{name}");
    }
    assert_eq!(TypeUrl::parse("type.googleapis.com/envoy.api.v2.Cluster"), None);
}

#[test]
fn a_set_is_sorted_and_the_later_of_one_name_wins() {
    let mut set = ResourceSet::default();
    for name in ["b", "a", "c", "b"] {
        set.insert(cluster(name));
    }
    let names: Vec<_> = set.listed(TypeUrl::Cluster).iter().map(|r| &*r.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(set.named(TypeUrl::Cluster, "c").is_some());
    assert!(set.named(TypeUrl::Listener, "c").is_none());
    assert!(set.remove(TypeUrl::Cluster, "a").is_some() && set.remove(TypeUrl::Cluster, "a").is_none());
    assert_eq!(set.iter().count(), 2);
}

struct Greeting;
impl Template for Greeting {
    fn fill(&self, own: &Own) -> Bytes {
        own.address.as_bytes().to_vec().into()
    }
    fn size_hint(&self) -> usize {
        10
    }
}

#[test]
fn a_template_has_one_version_per_proxy() {
    let rendered = Rendered::per_proxy(TypeUrl::Listener, "in", Version::of(b"t1"), Arc::new(Greeting));
    let own = |address: &str| Own::new(ir::Own { address: address.into(), ..Default::default() });
    assert_eq!(rendered.value(&own("10.0.0.1")), "10.0.0.1");
    assert_ne!(rendered.version_for(&own("10.0.0.1")), rendered.version_for(&own("10.0.0.2")));
    assert_eq!(rendered.version_for(&own("10.0.0.1")), rendered.version_for(&own("10.0.0.1")));
    let shared = cluster("a");
    assert_eq!(shared.version_for(&own("10.0.0.1")), shared.version);
}
