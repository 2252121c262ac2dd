use super::*;

const LDS_ERROR: &str = "Error adding/updating listener(s) b: cannot bind '127.0.0.1:80': Address already in use\n";

/// Listeners a and b in version 1, all taken.
fn two_listeners() -> Rig {
    let mut rig = Rig::new([listener("a", "1", &[]), listener("b", "1", &[])]);
    let cds = rig.open(Cluster, &[], &[]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack_all([cds, lds].concat());
    rig
}

#[test]
fn the_named_one_is_to_blame_and_not_sent_again() {
    let mut rig = two_listeners();
    let lds = rig.put([listener("a", "2", &[]), listener("b", "2", &[])]);
    assert_eq!(brief(&rig.nack(&lds[0], LDS_ERROR)), []);
    assert!(rig.session.is_settled());
    let rejected: Vec<_> = rig.session.rejected().collect();
    assert_eq!(rejected.len(), 1);
    assert_eq!((rejected[0].type_url, rejected[0].name), (Listener, "b"));
    assert_eq!(rejected[0].text, "cannot bind '127.0.0.1:80': Address already in use");
    assert!(rejected[0].has_last_good);
    assert_eq!(rig.session.counts(Listener), Counts { sent: 2, acked: 1, rejected: 1 });
    // The same bytes stay out, other changes go on.
    assert_eq!(brief(&rig.put([listener("b", "2", &[])])), []);
    assert_eq!(brief(&rig.step(Event::Changed(&[Change::All(Listener)]))), []);
    let lds = rig.put([listener("a", "3", &[])]);
    assert_eq!(brief(&lds), want(&[(Listener, "a=3")]));
    rig.ack(&lds[0]);
    // Other bytes are tried, and their ack ends it.
    let lds = rig.put([listener("b", "3", &[])]);
    assert_eq!(brief(&lds), want(&[(Listener, "b=3")]));
    assert_eq!(rig.session.rejected().count(), 1);
    rig.ack(&lds[0]);
    assert_eq!(rig.session.rejected().count(), 0);
}

#[test]
fn another_try_is_made_on_request() {
    let mut rig = two_listeners();
    let lds = rig.put([listener("b", "2", &[]), listener("c", "1", &[])]);
    let next = rig.nack(&lds[0], "Error adding/updating listener(s) b: no port\nc: no port\n");
    assert_eq!(brief(&next), []);
    let lds = rig.step(Event::Retry);
    assert_eq!(brief(&lds), want(&[(Listener, "b=2 c=1")]));
    assert_eq!(rig.session.rejected().count(), 2, "nothing is known yet");
    assert_eq!(brief(&rig.nack(&lds[0], "Error adding/updating listener(s) c: still no port\n")), []);
    assert_eq!(rig.session.rejected().map(|r| (r.name, r.text)).collect::<Vec<_>>(), [("c", "still no port")]);
    assert!(rig.session.is_settled());
    let lds = rig.step(Event::Retry);
    assert_eq!(brief(&lds), want(&[(Listener, "c=1")]));
    rig.ack(&lds[0]);
    assert_eq!(rig.session.rejected().count(), 0);
    assert_eq!(brief(&rig.step(Event::Retry)), []);
}

#[test]
fn back_to_the_last_good_is_nothing_to_send() {
    let mut rig = two_listeners();
    let lds = rig.put([listener("b", "2", &[])]);
    rig.nack(&lds[0], LDS_ERROR);
    assert_eq!(brief(&rig.put([listener("b", "1", &[])])), []);
    assert!(rig.session.is_settled());
}

#[test]
fn a_rejected_new_listener_can_be_removed() {
    let mut rig = two_listeners();
    let lds = rig.put([listener("c", "1", &[])]);
    rig.nack(&lds[0], "Error adding/updating listener(s) c: no\n");
    assert!(!rig.session.rejected().next().unwrap().has_last_good);
    assert_eq!(brief(&rig.remove(&[(Listener, "c")])), [], "the client never had it");
    assert_eq!(rig.session.rejected().count(), 0);
    let mut rig = two_listeners();
    let lds = rig.put([listener("b", "2", &[])]);
    rig.nack(&lds[0], LDS_ERROR);
    assert_eq!(brief(&rig.remove(&[(Listener, "b")])), want(&[(Listener, "-b")]), "it has the last good one");
}

#[test]
fn a_single_resource_is_to_blame_whatever_the_text() {
    let mut rig = two_listeners();
    let lds = rig.put([listener("b", "2", &[])]);
    assert_eq!(brief(&rig.nack(&lds[0], "something is wrong")), []);
    assert_eq!(rig.session.rejected().map(|r| r.text).collect::<Vec<_>>(), ["something is wrong"]);
}

#[test]
fn without_names_halves_are_sent_until_one_is_left() {
    let mut rig = two_listeners();
    let names = ["a", "b", "c", "d", "e"];
    let mut queue = rig.put(names.map(|n| listener(n, if n == "d" { "bad" } else { "2" }, &[])));
    let mut log = Vec::new();
    while let Some(sent) = queue.pop() {
        let bad = sent.resources.iter().any(|(_, c)| c == "bad");
        log.push((sent.resources.iter().map(|(n, _)| n.as_str()).collect::<String>(), bad));
        queue.extend(if bad { rig.nack(&sent, "malformed") } else { rig.ack(&sent) });
    }
    let want = [("abcde", true), ("abc", false), ("de", true), ("d", true), ("e", false)];
    assert_eq!(log, want.map(|(names, bad)| (names.to_owned(), bad)));
    assert_eq!(rig.session.rejected().map(|r| r.name).collect::<Vec<_>>(), ["d"]);
    assert!(rig.session.is_settled());
}

#[test]
fn a_rejected_cluster_holds_no_listener_up() {
    let mut rig = Rig::new([]);
    let cds = rig.open(Cluster, &[], &[]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack_all([cds, lds].concat());
    let sent = rig.put([resource(Cluster, "c", "bad"), listener("l", "1", &["c"])]);
    assert_eq!(brief(&sent), want(&[(Cluster, "c=bad")]));
    let text = "Error adding/updating cluster(s) c: unknown type";
    assert_eq!(brief(&rig.nack(&sent[0], text)), want(&[(Listener, "l=1")]));
}

#[test]
fn clusters_of_a_last_good_listener_stay() {
    let mut rig = Rig::new([resource(Cluster, "a", "1"), listener("l", "1", &["a"])]);
    let cds = rig.open(Cluster, &[], &[]);
    rig.ack(&cds[0]);
    let lds = rig.open(Listener, &[], &[]);
    rig.ack(&lds[0]);
    let cds = rig.put([resource(Cluster, "b", "1")]);
    rig.ack(&cds[0]);
    let lds = rig.put([listener("l", "2", &["b"])]);
    rig.nack(&lds[0], "Error adding/updating listener(s) l: no\n");
    assert_eq!(brief(&rig.remove(&[(Cluster, "a")])), [], "the proxy still runs the old listener");
    let lds = rig.put([listener("l", "3", &["b"])]);
    assert_eq!(brief(&lds), want(&[(Listener, "l=3")]));
    assert_eq!(brief(&rig.ack(&lds[0])), want(&[(Cluster, "-a")]));
}

#[test]
fn a_rejected_assignment_stays_rejected_under_a_changed_cluster() {
    let mut rig = Rig::new([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e")]);
    let cds = rig.open(Cluster, &[], &[]);
    let eds = rig.open(Endpoint, &["c"], &[]);
    rig.ack_all([cds, eds].concat());
    let eds = rig.put([resource(Endpoint, "c", "bad")]);
    assert_eq!(brief(&rig.nack(&eds[0], "no")), []);
    // The cluster warms with the last good endpoints.
    let sent = rig.put([resource(Cluster, "c", "2")]);
    assert_eq!(brief(&sent), want(&[(Cluster, "c=2"), (Endpoint, "c=e")]));
    rig.ack_all(sent);
    assert_eq!(rig.session.rejected().count(), 1);
}

#[test]
fn a_rejected_secret_is_answered_as_missing_to_a_new_subscription() {
    let mut rig = Rig::new([resource(Secret, "s", "bad")]);
    let sds = rig.open(Secret, &["s"], &[]);
    rig.nack(&sds[0], "no");
    rig.unsubscribe(Secret, &["s"]);
    // Given up means forgotten: whoever asks anew gets one try.
    let sds = rig.subscribe(Secret, &["s"]);
    assert_eq!(brief(&sds), want(&[(Secret, "s=bad")]));
    rig.nack(&sds[0], "no");
    assert_eq!(brief(&rig.subscribe(Secret, &["s"])), want(&[(Secret, "-s")]));
}

#[test]
fn the_next_stream_remembers() {
    let mut rig = two_listeners();
    let lds = rig.put([listener("b", "2", &[])]);
    rig.nack(&lds[0], LDS_ERROR);
    let remembered = rig.session.into_memory();
    assert_eq!(remembered.rejected().count(), 1);
    // The same process comes back with what it has.
    let known = [("a", listener("a", "1", &[]).version), ("b", listener("b", "1", &[]).version)];
    let set = || [listener("a", "1", &[]), listener("b", "2", &[])];
    let mut again = Rig::with(Session::new(remembered.clone(), false), set());
    assert_eq!(brief(&again.open(Listener, &[], &known)), []);
    assert_eq!(again.session.rejected().count(), 1);
    // A response with a rejected resource records no versions: an unknown one is completed from memory.
    let mut again = Rig::with(Session::new(remembered.clone(), false), set());
    assert_eq!(brief(&again.open(Listener, &[], &known[..1])), want(&[(Listener, "b=1")]));
    // A new process gets one new try, and then the last good one.
    let mut fresh = Rig::with(Session::new(remembered, false), set());
    let lds = fresh.open(Listener, &[], &[]);
    assert_eq!(brief(&lds), want(&[(Listener, "a=1 b=2")]));
    assert_eq!(fresh.session.rejected().count(), 0);
    let next = fresh.nack(&lds[0], LDS_ERROR);
    assert_eq!(brief(&next), want(&[(Listener, "b=1")]));
    fresh.ack(&next[0]);
    assert_eq!(fresh.session.rejected().count(), 1, "the ack of the last good one is not an ack of the new");
}

#[test]
fn a_rejected_removal_is_over() {
    let mut rig = two_listeners();
    let lds = rig.remove(&[(Listener, "b")]);
    assert_eq!(brief(&rig.nack(&lds[0], "cannot remove")), []);
    assert!(rig.session.is_settled());
}

#[test]
fn a_late_nack_does_not_undo_what_was_sent_after_it() {
    let mut rig = two_listeners();
    let first = rig.put([listener("b", "2", &[])]);
    rig.put([listener("b", "3", &[])]);
    let second = rig.wait(ACK_WAIT);
    assert_eq!(brief(&second), want(&[(Listener, "b=3")]));
    assert_eq!(brief(&rig.nack(&first[0], LDS_ERROR)), []);
    assert_eq!(brief(&rig.nack(&second[0], LDS_ERROR)), []);
    // Both are gone: the client has version 1.
    assert_eq!(brief(&rig.put([listener("b", "1", &[])])), []);
    assert!(rig.session.is_settled());
}
