//! What a mesh is for: requests arrive, and go where routes and policies say.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tests::harness::{PATIENCE, app::SLOW, until};

use super::shop::Shop;

/// With nothing applied but the default policies. At the end a proxy says goodbye, and its Dataplane goes.
pub(crate) fn two_services_talk() {
    let mut shop = Shop::open(1, 1, &["--drain-time", "1s"]);
    for _ in 0..20 {
        assert_eq!(shop.ask("/", &[]), (200, "backend-1".to_owned()));
    }
    assert!(shop.backends[0].app.requests() >= 20);
    let table = shop.mesh.kumactl(&["inspect", "dataplanes"]);
    for name in ["frontend-1", "backend-1"] {
        let line = table.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name}: {table}"));
        assert!(line.contains("Online"), "{line}");
    }
    let mut frontend = shop.frontends.remove(0);
    frontend.terminate();
    frontend.ends_well(PATIENCE);
    until("the Dataplane gone", || !shop.mesh.kumactl(&["get", "dataplanes"]).contains("frontend-1"));
}

/// A route by header: version 2 for those who ask for it, version 1 for everybody else.
pub(crate) fn header_splits_versions() {
    let shop = Shop::open(1, 2, &[]);
    let port = shop.port;
    let version = |nth: u8| {
        format!(
            "type: MeshService\nmesh: default\nname: backend-v{nth}\nspec:\n  selector: {{dataplaneLabels: {{matchLabels: \
             {{instance: backend-{nth}}}}}}}\n  ports: [{{name: http, port: {port}, targetPort: http, appProtocol: http}}]\n"
        )
    };
    shop.mesh.apply(&format!("{}---\n{}", version(1), version(2)));
    let to = |nth: u8| {
        format!(
            "default: {{backendRefs: [{{kind: MeshService, labels: {{kuma.io/display-name: backend-v{nth}}}, port: {port}}}]}}"
        )
    };
    shop.mesh.apply(&format!(
        "type: MeshHTTPRoute\nmesh: default\nname: by-version\nspec:\n  to:\n    - targetRef: {{kind: MeshService, labels: \
         {{kuma.io/display-name: backend}}}}\n      rules:\n        - matches: [{{path: {{type: PathPrefix, value: /}}, \
         headers: [{{name: x-version, value: v2}}]}}]\n          {}\n        - matches: [{{path: {{type: PathPrefix, value: \
         /}}}}]\n          {}\n",
        to(2),
        to(1)
    ));
    let took = until("the split", || {
        let plain: BTreeSet<_> = (0..4).map(|_| shop.ask("/", &[])).collect();
        let v2: BTreeSet<_> = (0..4).map(|_| shop.ask("/", &[("x-version", "v2")])).collect();
        let only = |body: &str| BTreeSet::from([(200, body.to_owned())]);
        plain == only("backend-1") && v2 == only("backend-2")
    });
    println!("  the split was seen {took:.0?} after kumactl returned");
    for _ in 0..30 {
        assert_eq!(shop.ask("/", &[("x-version", "v1")]), (200, "backend-1".to_owned()));
        assert_eq!(shop.ask("/", &[("x-version", "v2")]), (200, "backend-2".to_owned()));
    }
    // Without the route both serve everybody again.
    shop.mesh.kumactl(&["delete", "meshhttproute", "by-version"]);
    let both = |shop: &Shop| (0..20).map(|_| shop.ask("/", &[]).1).collect::<BTreeSet<_>>().len() == 2;
    until("both versions without the route", || both(&shop));
}

/// A timeout shorter than the backend takes: 504, and it goes with the policy.
pub(crate) fn timeout_takes_effect() {
    let shop = Shop::open(1, 1, &[]);
    assert_eq!(shop.ask("/slow", &[]), (200, "backend-1".to_owned()));
    shop.mesh.apply(
        "type: MeshTimeout\nmesh: default\nname: soon\nspec:\n  to:\n    - targetRef: {kind: MeshService, labels: \
         {kuma.io/display-name: backend}}\n      default: {http: {requestTimeout: 200ms}}\n",
    );
    let mut took = Duration::ZERO;
    until("504", || {
        let since = Instant::now();
        let (status, _) = shop.ask("/slow", &[]);
        took = since.elapsed();
        status == 504
    });
    assert!(took < SLOW, "504 only after {took:?}");
    assert_eq!(shop.ask("/", &[]), (200, "backend-1".to_owned()));
    shop.mesh.kumactl(&["delete", "meshtimeout", "soon"]);
    until("no timeout any more", || shop.ask("/slow", &[]).0 == 200);
}
