use super::*;

#[test]
fn an_empty_first_subscription_means_all_clusters_and_listeners_only() {
    let mut rig = Rig::new([
        resource(Cluster, "c", "1"),
        resource(Endpoint, "c", "e"),
        listener("l", "1", &["c"]),
        resource(Secret, "s", "1"),
    ]);
    let cds = rig.open(Cluster, &[], &[]);
    assert_eq!(brief(&cds), want(&[(Cluster, "c=1")]));
    assert_eq!(brief(&rig.open(Endpoint, &[], &[])), []);
    assert_eq!(brief(&rig.open(Secret, &[], &[])), []);
    assert_eq!(brief(&rig.ack(&cds[0])), []);
    assert_eq!(brief(&rig.open(Listener, &[], &[])), want(&[(Listener, "l=1")]));
}

#[test]
fn a_star_subscribes_to_all_and_its_end_leaves_names() {
    let mut rig = Rig::new([resource(Cluster, "a", "1"), resource(Cluster, "b", "1")]);
    let cds = rig.open(Cluster, &["*", "b"], &[]);
    assert_eq!(brief(&cds), want(&[(Cluster, "a=1 b=1")]));
    rig.ack(&cds[0]);
    assert_eq!(brief(&rig.unsubscribe(Cluster, &["*"])), []);
    assert_eq!(brief(&rig.put([resource(Cluster, "a", "2")])), []);
    assert_eq!(brief(&rig.put([resource(Cluster, "b", "2")])), want(&[(Cluster, "b=2")]));
}

#[test]
fn clusters_by_name_are_those_names_only() {
    let mut rig = Rig::new([resource(Cluster, "a", "1"), resource(Cluster, "b", "1")]);
    let cds = rig.open(Cluster, &["b", "nope"], &[]);
    assert_eq!(brief(&cds), want(&[(Cluster, "b=1 -nope")]));
    rig.ack(&cds[0]);
    assert_eq!(brief(&rig.put([resource(Cluster, "a", "2")])), []);
}

#[test]
fn the_first_answer_comes_even_if_it_is_empty() {
    let mut rig = Rig::new([]);
    let cds = rig.open(Cluster, &[], &[]);
    assert_eq!(brief(&cds), want(&[(Cluster, "")]));
    assert_eq!(brief(&rig.open(Listener, &[], &[])), want(&[(Listener, "")]));
    assert_eq!((cds[0].nonce, rig.session.counts(Cluster).sent), (1, 1));
    assert_eq!(brief(&rig.step(Event::Tick)), []);
}

#[test]
fn every_subscribed_name_is_answered() {
    let mut rig = Rig::new([resource(Endpoint, "a", "1"), resource(Secret, "s", "1")]);
    let eds = rig.open(Endpoint, &["a", "nope"], &[]);
    assert_eq!(brief(&eds), want(&[(Endpoint, "a=1 -nope")]));
    rig.ack(&eds[0]);
    // Again, although the client should have it.
    let eds = rig.subscribe(Endpoint, &["a"]);
    assert_eq!(brief(&eds), want(&[(Endpoint, "a=1")]));
    rig.ack(&eds[0]);
    // What was missing comes when it is there.
    assert_eq!(brief(&rig.put([resource(Endpoint, "nope", "2")])), want(&[(Endpoint, "nope=2")]));
    assert_eq!(brief(&rig.open(Secret, &["s"], &[])), want(&[(Secret, "s=1")]));
}

#[test]
fn a_subscription_that_crosses_the_answer_needs_no_second_one() {
    let mut rig = Rig::new([resource(Endpoint, "a", "1")]);
    let eds = rig.open(Endpoint, &["a"], &[]);
    assert_eq!(brief(&rig.subscribe(Endpoint, &["a"])), []);
    assert_eq!(brief(&rig.ack(&eds[0])), []);
    // Given up and wanted again while an answer is under way: what the client does with that one is not known.
    let eds = rig.subscribe(Endpoint, &["a"]);
    rig.unsubscribe(Endpoint, &["a"]);
    assert_eq!(brief(&rig.subscribe(Endpoint, &["a"])), []);
    assert_eq!(brief(&rig.ack(&eds[0])), want(&[(Endpoint, "a=1")]));
}

#[test]
fn equal_versions_need_no_answer_after_a_reconnect() {
    let mut rig = Rig::new([
        resource(Cluster, "c", "1"),
        resource(Endpoint, "c", "e"),
        listener("l", "1", &["c"]),
        resource(Secret, "s", "1"),
    ]);
    let mut versions = BTreeMap::new();
    for t in [Cluster, Endpoint, Secret, Listener] {
        let names: &[&str] = match t {
            Endpoint => &["c"],
            Secret => &["s"],
            _ => &[],
        };
        let sent = rig.open(t, names, &[]);
        versions.insert(t, sent[0].versions.clone());
        rig.ack(&sent[0]);
    }
    // Envoy gives no order of types; endpoints may come before clusters.
    for order in [[Cluster, Endpoint, Secret, Listener], [Endpoint, Secret, Listener, Cluster]] {
        let mut again = Rig::with(Session::new(Memory::default(), false), rig.set.iter().map(|r| (**r).clone()));
        for t in order {
            let known: Vec<_> = versions[&t].iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let names: Vec<_> = if t.is_wildcard() { vec![] } else { known.iter().map(|(n, _)| *n).collect() };
            assert_eq!(brief(&again.open(t, &names, &known)), [], "{t} of {order:?}");
        }
        assert!(again.session.is_settled());
        // From then on as always.
        assert_eq!(brief(&again.put([resource(Endpoint, "c", "f")])), want(&[(Endpoint, "c=f")]));
    }
}

#[test]
fn a_reconnect_gets_the_difference() {
    let mut rig = Rig::new([resource(Cluster, "a", "1"), resource(Cluster, "b", "2"), listener("l", "1", &["a"])]);
    let known = [
        ("a", resource(Cluster, "a", "1").version),
        ("b", resource(Cluster, "b", "1").version),
        ("c", Version::UNKNOWN),
    ];
    assert_eq!(brief(&rig.open(Cluster, &[], &known)), want(&[(Cluster, "b=2")]));
    // c goes when the listeners are known not to use it.
    let lds = rig.open(Listener, &[], &[("l", Version::UNKNOWN)]);
    assert_eq!(brief(&lds), want(&[(Listener, "l=1")]));
    let all = rig.ack_all(lds);
    assert_eq!(brief(&all), want(&[(Listener, "l=1")]), "clusters still wait for the ack of b");
    assert_eq!(brief(&rig.wait(ACK_WAIT)), want(&[(Cluster, "-c")]));
}

#[test]
fn a_changed_cluster_is_followed_at_once_by_its_assignment() {
    let mut rig = Rig::new([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e")]);
    let cds = rig.open(Cluster, &[], &[]);
    let eds = rig.open(Endpoint, &["c"], &[]);
    rig.ack_all([cds, eds.clone()].concat());
    let sent = rig.put([resource(Cluster, "c", "2")]);
    assert_eq!(brief(&sent), want(&[(Cluster, "c=2"), (Endpoint, "c=e")]));
    assert_ne!(sent[1].versions, eds[0].versions);
    assert_eq!(brief(&rig.ack(&sent[1])), []);
    assert_eq!(brief(&rig.ack(&sent[0])), []);
    // With an assignment under way it follows that one's ack, not the cluster's.
    let first = rig.put([resource(Endpoint, "c", "f")]);
    let second = rig.put([resource(Cluster, "c", "3")]);
    assert_eq!(brief(&second), want(&[(Cluster, "c=3")]));
    assert_eq!(brief(&rig.ack(&first[0])), want(&[(Endpoint, "c=f")]));
}

#[test]
fn assignments_of_changed_clusters_come_before_others() {
    let names: Vec<String> = (0..40).map(|i| format!("c{i:02}")).collect();
    let big = "x".repeat(4000);
    let mut rig = Rig::new(names.iter().flat_map(|n| [resource(Cluster, n, "1"), resource(Endpoint, n, &big)]));
    let cds = rig.open(Cluster, &[], &[]);
    let subscribe: Vec<&str> = names.iter().map(String::as_str).collect();
    let eds = rig.open(Endpoint, &subscribe, &[]);
    rig.ack_all([cds, eds].concat());
    let other = "y".repeat(4000);
    let mut changed: Vec<_> = names.iter().map(|n| resource(Endpoint, n, &other)).collect();
    changed.push(resource(Cluster, "c39", "2"));
    let sent = rig.put(changed);
    assert_eq!((sent[0].type_url, sent[1].type_url), (Cluster, Endpoint));
    assert_eq!(sent[1].resources[0].0, "c39");
}

#[test]
fn one_response_is_under_way_per_type_and_the_newest_follows() {
    let mut rig = Rig::new([resource(Cluster, "c", "1")]);
    let cds = rig.open(Cluster, &[], &[]);
    assert_eq!(brief(&rig.put([resource(Cluster, "c", "2")])), []);
    assert_eq!(brief(&rig.put([resource(Cluster, "c", "3")])), []);
    let next = rig.ack(&cds[0]);
    assert_eq!(brief(&next), want(&[(Cluster, "c=3")]));
    // Back to what is under way: nothing to send.
    rig.put([resource(Cluster, "c", "4")]);
    rig.put([resource(Cluster, "c", "3")]);
    assert_eq!(brief(&rig.ack(&next[0])), []);
    assert!(rig.session.is_settled());
    assert_eq!(rig.session.counts(Cluster), Counts { sent: 2, acked: 2, rejected: 0 });
}

#[test]
fn two_seconds_without_an_ack_are_enough() {
    let mut rig = Rig::new([resource(Cluster, "c", "1")]);
    let first = rig.open(Cluster, &[], &[]);
    let sent_at = rig.now;
    rig.put([resource(Cluster, "c", "2")]);
    assert_eq!(rig.session.deadline(rig.now), Some(sent_at + ACK_WAIT));
    assert_eq!(brief(&rig.wait(ACK_WAIT / 2)), []);
    let second = rig.wait(ACK_WAIT / 2);
    assert_eq!(brief(&second), want(&[(Cluster, "c=2")]));
    // The acks come late, in order, and mean what they say.
    assert_eq!(brief(&rig.ack(&first[0])), []);
    assert_eq!(brief(&rig.ack(&second[0])), []);
    assert!(rig.session.is_settled());
    assert_eq!(rig.session.deadline(rig.now), None);
}

#[test]
fn responses_without_an_ack_are_bounded() {
    let mut rig = Rig::new([resource(Cluster, "c", "0")]);
    let mut sent = rig.open(Cluster, &[], &[]).len();
    for i in 1..50 {
        rig.put([resource(Cluster, "c", &i.to_string())]);
        sent += rig.wait(ACK_WAIT).len();
    }
    assert_eq!(sent, MAX_IN_FLIGHT);
}

#[test]
fn a_foreign_nonce_acknowledges_nothing() {
    let mut rig = Rig::new([resource(Cluster, "c", "1")]);
    rig.open(Cluster, &[], &[]);
    rig.put([resource(Cluster, "c", "2")]);
    for nonce in [Some(77), Some(0)] {
        let sent = rig.step(Event::Request(Request { nonce, ..request(Cluster, &[], &[]) }));
        assert_eq!(brief(&sent), []);
    }
}

#[test]
fn listeners_wait_for_new_clusters_that_they_use() {
    let mut rig = Rig::new([resource(Cluster, "a", "1"), listener("la", "1", &["a"])]);
    let cds = rig.open(Cluster, &[], &[]);
    rig.ack(&cds[0]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack(&lds[0]);
    let sent = rig.put([
        resource(Cluster, "b", "1"),
        listener("lb", "1", &["b"]),
        listener("la", "2", &["a"]),
        listener("lc", "1", &["system_ads"]),
    ]);
    // The others go at once, also one that uses a cluster of the bootstrap.
    assert_eq!(brief(&sent), want(&[(Cluster, "b=1"), (Listener, "la=2 lc=1")]));
    assert_eq!(brief(&rig.ack(&sent[1])), []);
    assert_eq!(brief(&rig.ack(&sent[0])), want(&[(Listener, "lb=1")]));
}

#[test]
fn a_listener_that_tells_of_others_comes_with_the_last_of_them() {
    let names = |content| listener("names", content, &[]).telling_of_others();
    let mut rig = Rig::new([resource(Cluster, "a", "1"), listener("la", "1", &["a"]), names("1")]);
    let cds = rig.open(Cluster, &[], &[]);
    rig.ack(&cds[0]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack(&lds[0]);
    let new = [resource(Cluster, "b", "1"), listener("lb", "1", &["b"]), listener("la", "2", &["a"]), names("2")];
    let sent = rig.put(new);
    assert_eq!(brief(&sent), want(&[(Cluster, "b=1"), (Listener, "la=2")]));
    assert_eq!(brief(&rig.ack(&sent[1])), []);
    let sent = rig.ack(&sent[0]);
    assert_eq!(brief(&sent), want(&[(Listener, "lb=1 names=2")]));
    rig.ack(&sent[0]);
    assert_eq!(brief(&rig.put([names("3")])), want(&[(Listener, "names=3")]), "nothing to wait for");
}

#[test]
fn listeners_wait_five_seconds_at_most() {
    let mut rig = Rig::new([]);
    let cds = rig.open(Cluster, &[], &[]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack_all([cds, lds].concat());
    let sent = rig.put([resource(Cluster, "b", "1"), listener("lb", "1", &["b"])]);
    assert_eq!(brief(&sent), want(&[(Cluster, "b=1")]));
    let since = rig.now;
    assert_eq!(brief(&rig.wait(WARM_WAIT / 2)), []);
    assert_eq!(rig.session.deadline(rig.now), Some(since + WARM_WAIT));
    assert_eq!(brief(&rig.wait(WARM_WAIT / 2)), want(&[(Listener, "lb=1")]));
}

#[test]
fn without_known_uses_all_new_clusters_are_waited_for() {
    let mut rig = Rig::new([resource(Listener, "l", "1")]);
    let cds = rig.open(Cluster, &[], &[]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack_all([cds, lds].concat());
    let sent = rig.put([resource(Cluster, "b", "1"), resource(Listener, "l", "2")]);
    assert_eq!(brief(&sent), want(&[(Cluster, "b=1")]));
    assert_eq!(brief(&rig.ack(&sent[0])), want(&[(Listener, "l=2")]));
}

#[test]
fn removed_clusters_follow_the_ack_of_the_listeners_that_let_go_of_them() {
    for known in [true, false] {
        let listener = |content: &str, uses: &[&str]| {
            if known { listener("l", content, uses) } else { resource(Listener, "l", content) }
        };
        let mut rig = Rig::new([
            resource(Cluster, "a", "1"),
            resource(Cluster, "b", "1"),
            resource(Endpoint, "a", "e"),
            listener("1", &["a"]),
        ]);
        let cds = rig.open(Cluster, &[], &[]);
        let eds = rig.open(Endpoint, &["a"], &[]);
        rig.ack_all([cds, eds].concat());
        let lds = rig.open(Listener, &[], &[]);
        rig.ack_all(lds);
        let lds = rig.put([listener("2", &["b"])]);
        let sent = rig.remove(&[(Cluster, "a"), (Endpoint, "a")]);
        assert_eq!(brief(&sent), [], "the listener is under way");
        assert!(!rig.session.is_settled());
        let gone = rig.ack(&lds[0]);
        assert_eq!(brief(&gone), want(&[(Cluster, "-a")]), "uses known: {known}");
        rig.ack(&gone[0]);
        assert!(rig.session.is_settled());
    }
}

#[test]
fn without_listeners_removed_clusters_wait_a_bounded_time() {
    let mut rig = Rig::new([]);
    let sent = rig.open(Cluster, &[], &[("old", Version::UNKNOWN)]);
    assert_eq!(brief(&sent), []);
    let deadline = rig.session.deadline(rig.now);
    assert!(deadline.is_some());
    assert_eq!(brief(&rig.wait(WARM_WAIT)), want(&[(Cluster, "-old")]));
}

#[test]
fn endpoints_and_secrets_of_the_living_are_never_removed() {
    let mut rig = Rig::new([resource(Endpoint, "c", "e"), resource(Secret, "s", "1")]);
    let eds = rig.open(Endpoint, &["c"], &[]);
    let sds = rig.open(Secret, &["s"], &[]);
    rig.ack_all([eds, sds].concat());
    assert_eq!(brief(&rig.remove(&[(Endpoint, "c"), (Secret, "s")])), []);
    assert!(rig.session.is_settled());
    // The same content again is nothing new; other content is.
    assert_eq!(brief(&rig.put([resource(Endpoint, "c", "e"), resource(Secret, "s", "2")])), want(&[(Secret, "s=2")]));
}

#[test]
fn a_cluster_removed_and_added_again_gets_its_endpoints_again() {
    let mut rig = Rig::new([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e")]);
    let cds = rig.open(Cluster, &[], &[]);
    let eds = rig.open(Endpoint, &["c"], &[]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack_all([cds, eds, lds].concat());
    let cds = rig.remove(&[(Cluster, "c"), (Endpoint, "c")]);
    assert_eq!(brief(&cds), want(&[(Cluster, "-c")]));
    rig.unsubscribe(Endpoint, &["c"]);
    rig.ack(&cds[0]);
    let cds = rig.put([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e")]);
    assert_eq!(brief(&cds), want(&[(Cluster, "c=1"), (Endpoint, "c=e")]));
}

/// A rig in which a cluster and its endpoints are known, and a new one comes with this name.
fn with_a_new_cluster(name: &str, resources: Vec<Rendered>) -> (Rig, Vec<Sent>) {
    let mut rig = Rig::new([resource(Cluster, "known", "1"), resource(Endpoint, "known", "e")]);
    let cds = rig.open(Cluster, &[], &[]);
    assert_eq!(brief(&cds), want(&[(Cluster, "known=1")]), "the first ones are asked for");
    let eds = rig.open(Endpoint, &["known"], &[]);
    rig.ack_all([cds, eds].concat());
    let sent = rig.put([vec![resource(Cluster, name, "1")], resources].concat());
    (rig, sent)
}

#[test]
fn endpoints_of_a_new_cluster_follow_it_before_they_are_asked_for() {
    let (mut rig, sent) = with_a_new_cluster("new", vec![resource(Endpoint, "new", "e")]);
    assert_eq!(brief(&sent), want(&[(Cluster, "new=1"), (Endpoint, "new=e")]));
    assert_eq!(brief(&rig.subscribe(Endpoint, &["new"])), [], "the question crosses the answer");
    assert_eq!(brief(&rig.ack_all(sent)), want(&[(Cluster, "new=1"), (Endpoint, "new=e")]));
    assert_eq!(brief(&rig.put([resource(Endpoint, "new", "f")])), want(&[(Endpoint, "new=f")]));
}

#[test]
fn who_asks_after_having_dropped_what_came_unasked_is_answered() {
    let (mut rig, sent) = with_a_new_cluster("new", vec![resource(Endpoint, "new", "e")]);
    rig.ack(&sent[1]);
    assert_eq!(brief(&rig.subscribe(Endpoint, &["new"])), want(&[(Endpoint, "new=e")]));
}

#[test]
fn a_cluster_that_changes_before_its_endpoints_are_asked_for_gets_them_again() {
    let (mut rig, _) = with_a_new_cluster("new", vec![resource(Endpoint, "new", "e")]);
    assert_eq!(brief(&rig.put([resource(Cluster, "new", "2")])), []);
    assert_eq!(brief(&rig.wait(ACK_WAIT)), want(&[(Cluster, "new=2")]));
    assert_eq!(brief(&rig.subscribe(Endpoint, &["new"])), want(&[(Endpoint, "new=e")]));
    // Without a question in between, the answer to what is under way is waited for.
    let (mut rig, sent) = with_a_new_cluster("new", vec![resource(Endpoint, "new", "e")]);
    rig.put([resource(Endpoint, "new", "f")]);
    assert_eq!(brief(&rig.subscribe(Endpoint, &["new"])), []);
    assert_eq!(brief(&rig.ack(&sent[1])), want(&[(Endpoint, "new=f")]));
}

#[test]
fn nothing_is_told_unasked_of_what_needs_no_endpoints_or_was_refused() {
    let (mut rig, sent) = with_a_new_cluster("static", vec![]);
    assert_eq!(brief(&sent), want(&[(Cluster, "static=1")]));
    // Endpoints of that name are nobody's, until somebody asks.
    assert_eq!(brief(&rig.put([resource(Endpoint, "static", "e")])), []);

    let (mut rig, sent) = with_a_new_cluster("bad", vec![resource(Endpoint, "bad", "e")]);
    assert_eq!(brief(&rig.nack(&sent[0], "bad: no")), []);
    rig.ack(&sent[1]);
    assert_eq!(brief(&rig.put([resource(Endpoint, "bad", "f")])), []);
    assert!(rig.session.is_settled());
}

#[test]
fn first_responses_are_whole_and_later_ones_small() {
    let content = "x".repeat(1000);
    let names: Vec<String> = (0..200).map(|i| format!("c{i:03}")).collect();
    let all = |c: &str| names.iter().map(|n| resource(Cluster, n, c)).collect::<Vec<_>>();
    let mut rig = Rig::new(all(&content));
    let cds = rig.open(Cluster, &[], &[]);
    assert_eq!(cds[0].resources.len(), 200);
    assert_eq!(rig.ack_all(cds).len(), 1);
    let sent = rig.put(all(&"y".repeat(1000)));
    let sent = rig.ack_all(sent);
    assert!(sent.len() >= 5, "{} responses", sent.len());
    let bytes = |s: &Sent| s.resources.iter().map(|(_, c)| c.len()).sum::<usize>();
    assert!(sent.iter().all(|s| bytes(s) <= LIMIT), "{:?}", sent.iter().map(bytes).collect::<Vec<_>>());
    assert_eq!(sent.iter().map(|s| s.resources.len()).sum::<usize>(), 200);
    assert!(rig.session.is_settled());
}

#[test]
fn a_huge_first_response_is_split() {
    let content = "x".repeat(500_000);
    let mut rig = Rig::new((0..10).map(|i| resource(Cluster, &format!("c{i}"), &content)));
    let cds = rig.open(Cluster, &[], &[]);
    let sent = rig.ack_all(cds);
    assert_eq!(sent.iter().map(|s| s.resources.len()).collect::<Vec<_>>(), [6, 4]);
    // Endpoints are never large, and one that is goes alone.
    let mut rig = Rig::new((0..3).map(|i| resource(Endpoint, &format!("c{i}"), &content)));
    let eds = rig.open(Endpoint, &["c0", "c1", "c2"], &[]);
    assert_eq!(rig.ack_all(eds).iter().map(|s| s.resources.len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn the_first_listeners_wait_as_a_whole() {
    let mut rig = Rig::new([resource(Cluster, "c", "1"), listener("a", "1", &["c"]), listener("b", "1", &[])]);
    let cds = rig.open(Cluster, &[], &[]);
    assert_eq!(brief(&rig.open(Listener, &[], &[])), []);
    assert_eq!(brief(&rig.ack(&cds[0])), want(&[(Listener, "a=1 b=1")]));
}

#[test]
fn nothing_is_sent_before_it_is_asked_for() {
    let mut rig = Rig::new([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e")]);
    let all: Vec<Change> = TypeUrl::ALL.into_iter().map(Change::All).collect();
    assert_eq!(brief(&rig.step(Event::Changed(&all))), []);
    assert!(!rig.session.is_subscribed(Cluster));
    assert!(rig.session.is_settled());
}

struct Echo;
impl Template for Echo {
    fn fill(&self, own: &Own) -> Bytes {
        Bytes::copy_from_slice(own.address.as_bytes())
    }
    fn size_hint(&self) -> usize {
        16
    }
}

#[test]
fn own_facts_are_part_of_the_version() {
    let own = |address: &str| Arc::new(Own::new(kuma_core::ir::Own { address: address.into(), ..Default::default() }));
    let template = Rendered::per_proxy(Listener, "in", Version::of(b"t"), Arc::new(Echo));
    let set = |address: &str| {
        let mut set = ResourceSet::new(own(address));
        set.insert(template.clone());
        set.insert(listener("out", "1", &[]));
        set
    };
    let mut rig = Rig::new([]);
    rig.set = set("10.0.0.1");
    let lds = rig.open(Listener, &[], &[]);
    assert_eq!(lds[0].resources.len(), 2);
    rig.ack(&lds[0]);
    assert_eq!(brief(&rig.step(Event::Changed(&[Change::All(Listener)]))), []);
    rig.set = set("10.0.0.2");
    let sent = rig.step(Event::Changed(&[Change::All(Listener)]));
    assert_eq!(sent[0].resources.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["in"]);
}

#[test]
fn wire_requests_become_facts() {
    use envoy_api::{envoy::service::discovery::v3::DeltaDiscoveryRequest, google::rpc::Status};
    let wire = DeltaDiscoveryRequest {
        type_url: Secret.to_string(),
        resource_names_subscribe: vec!["s".into()],
        initial_resource_versions: [("s".to_owned(), "foreign".to_owned())].into(),
        response_nonce: "12".into(),
        error_detail: Some(Status { message: "no".into(), ..Default::default() }),
        ..Default::default()
    };
    let facts = Request::from_proto(wire.clone()).unwrap();
    assert_eq!((facts.nonce, facts.error.as_deref()), (Some(12), Some("no")));
    assert_eq!(facts.initial_versions.values().collect::<Vec<_>>(), [&None]);
    let odd = DeltaDiscoveryRequest { response_nonce: "abc".into(), ..wire.clone() };
    assert_eq!(Request::from_proto(odd).unwrap().nonce, Some(0));
    assert_eq!(Request::from_proto(DeltaDiscoveryRequest { type_url: "x".into(), ..wire }), None);
}
