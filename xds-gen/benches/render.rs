//! What one unit costs to render, as bytes: `cargo bench -p xds-gen --bench render`.

use std::sync::Arc;

use divan::{Bencher, counter::BytesCount};
use kuma_core::{
    duration::GoDuration,
    ir::{
        Application, Cluster, ClusterTuning, Endpoint, Endpoints, Forward, HttpInbound, HttpOutbound, HttpVersion,
        Inbound, InboundFilter, Limits, Listen, Locality, Outbound, OutboundFilter, Own, PathCondition, Protocol,
        RetryBackOff, RetryPolicy, Route, RouteAction, RouteMatch, Split,
    },
    meta::Labels,
};
use xds_gen::{render::units, set};

fn main() {
    divan::main();
}

const NAME: &str = "kri_msvc_default_default__backend_80";

fn outbound(routes: usize) -> Arc<Outbound> {
    let retry = Arc::new(RetryPolicy {
        retry_on: "gateway-error,connect-failure,refused-stream".to_owned(),
        num_retries: Some(5),
        per_try_timeout: Some(GoDuration::from_secs(16)),
        back_off: Some(RetryBackOff {
            base: Some(GoDuration::from_millis(25)),
            max: Some(GoDuration::from_millis(250)),
        }),
        ..Default::default()
    });
    let route = |n: usize| Route {
        name: Some("9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo=".into()),
        matches: RouteMatch { path: PathCondition::Prefix(format!("/{n}").into()), ..Default::default() },
        action: RouteAction::Forward(Box::new(Forward {
            splits: vec![Split { cluster: NAME.into(), weight: 100, auto_host_rewrite: false }],
            timeout: Some(GoDuration::from_secs(15)),
            idle: Some(GoDuration::from_mins(30)),
            retry: Some(retry.clone()),
            ..Default::default()
        })),
        request_headers: Default::default(),
        response_headers: Default::default(),
    };
    Arc::new(Outbound {
        name: NAME.into(),
        listen: Listen { address: "241.0.0.1".into(), port: 80, bind: Some(false) },
        filter: OutboundFilter::Http(HttpOutbound {
            protocol: Protocol::Http,
            routes: (0..routes).map(route).collect(),
            ..Default::default()
        }),
        logs: Vec::new(),
        spare: Vec::new(),
    })
}

#[divan::bench(args = [1, 10])]
fn outbound_with_routes(bencher: Bencher, routes: usize) {
    let unit = outbound(routes);
    bencher.counter(size(&units::outbound(&unit))).bench(|| units::outbound(&unit));
}

#[divan::bench]
fn cluster(bencher: Bencher) {
    let unit = Cluster {
        name: NAME.into(),
        http: Some(HttpVersion::Http2),
        tuning: ClusterTuning {
            connect: Some(GoDuration::from_secs(5)),
            idle: Some(GoDuration::from_hours(1)),
            limits: Some(Limits { connections: Some(1024), ..Default::default() }),
            ..Default::default()
        },
        tls: None,
    };
    bencher.counter(size(&units::cluster(&unit))).bench(|| units::cluster(&unit));
}

#[divan::bench(args = [1, 10, 100])]
fn endpoints(bencher: Bencher, count: u8) {
    let tags = |n: u8| -> Labels {
        [("app", "backend"), ("kuma.io/zone", "default"), ("kuma.io/protocol", "http"), ("version", "v1")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .chain([("kuma.io/display-name".to_owned(), format!("backend-{n}"))])
            .collect()
    };
    let endpoint =
        |n: u8| Endpoint { address: format!("10.0.0.{n}").into(), port: 8080, weight: 1, tags: Arc::new(tags(n)) };
    let endpoints = (0..count).map(endpoint).collect();
    let unit =
        Endpoints { localities: vec![Locality { zone: Some("default".into()), endpoints, ..Default::default() }] };
    let name = NAME.into();
    bencher.counter(size(&units::endpoints(&name, &unit))).bench(|| units::endpoints(&name, &unit));
}

/// The template is shared; filling it is what each stream pays.
#[divan::bench]
fn inbound_listener_filled(bencher: Bencher) {
    let unit = Arc::new(Inbound {
        name: "self_inbound_dp_http".into(),
        address: None,
        port: 8080,
        bind: Some(false),
        reuse_port: true,
        protocol: Protocol::Http,
        application: Application { address: None, port: 8080, bind_source: true },
        filter: InboundFilter::Http(HttpInbound::default()),
        logs: Vec::new(),
        tuning: ClusterTuning::default(),
    });
    let labels = (0..8).map(|n| (format!("label-{n}"), "value".to_owned())).collect();
    let own = set::Own::new(Own { address: "10.0.0.1".into(), labels: Arc::new(labels), ..Default::default() });
    let [_, listener] = units::inbound(&unit);
    bencher.bench(|| listener.value(&own));
}

fn size(rendered: &set::Rendered) -> BytesCount {
    BytesCount::new(rendered.size_hint())
}
