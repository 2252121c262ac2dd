use super::*;

/// What the client has from the time before the restart, where everything is in version 1.
fn v1(type_url: TypeUrl, name: &str) -> Version {
    resource(type_url, name, "1").version
}

/// The version of an assignment under a cluster in version 1.
fn assignment(content: &str) -> Version {
    Version::mix(&[resource(Endpoint, "c", content).version, v1(Cluster, "c")])
}

fn after_restart(resources: impl IntoIterator<Item = Rendered>) -> Rig {
    Rig::with(Session::new(Memory::default(), true), resources)
}

fn reconnect(rig: &mut Rig) -> Vec<(TypeUrl, String)> {
    let mut sent = rig.open(Cluster, &[], &[("c", v1(Cluster, "c")), ("d", v1(Cluster, "d"))]);
    sent.extend(rig.open(Endpoint, &["c"], &[("c", assignment("e1 e2"))]));
    sent.extend(rig.open(Secret, &["s"], &[("s", v1(Secret, "s"))]));
    sent.extend(rig.open(Listener, &[], &[("l", v1(Listener, "l"))]));
    brief(&sent)
}

#[test]
fn nothing_that_the_client_brought_is_removed() {
    let mut rig = after_restart([]);
    assert_eq!(reconnect(&mut rig), []);
    assert_eq!(brief(&rig.wait(WARM_WAIT * 2)), []);
    // When it is over, what has not come back goes: listeners first.
    let sent = rig.step(Event::Grace(false));
    assert_eq!(brief(&sent), want(&[(Endpoint, "-c"), (Listener, "-l")]));
    assert_eq!(brief(&rig.ack(&sent[1])), want(&[(Cluster, "-c -d")]));
}

#[test]
fn what_came_back_and_went_again_stays_as_well() {
    let mut rig = after_restart([resource(Cluster, "c", "1"), listener("l", "1", &["c"])]);
    assert_eq!(reconnect(&mut rig), []);
    assert_eq!(brief(&rig.remove(&[(Listener, "l"), (Cluster, "c")])), []);
    // What is new in grace and goes again does go.
    let sent = rig.put([listener("new", "1", &[])]);
    rig.ack_all(sent);
    assert_eq!(brief(&rig.remove(&[(Listener, "new")])), want(&[(Listener, "-new")]));
}

#[test]
fn additions_and_changes_go_at_once() {
    let mut rig = after_restart([
        resource(Cluster, "c", "1"),
        resource(Cluster, "d", "2"),
        resource(Cluster, "n", "1"),
        resource(Endpoint, "c", "e1 e2"),
        resource(Endpoint, "n", "e"),
        resource(Secret, "s", "2"),
        listener("l", "2", &["c"]),
    ]);
    let sent = rig.open(Endpoint, &["c"], &[("c", assignment("e1 e2"))]);
    assert_eq!(brief(&sent), []);
    let cds = rig.open(Cluster, &[], &[("c", v1(Cluster, "c")), ("d", v1(Cluster, "d"))]);
    assert_eq!(brief(&cds), want(&[(Cluster, "d=2 n=1"), (Endpoint, "n=e")]));
    assert_eq!(brief(&rig.subscribe(Endpoint, &["n"])), []);
    assert_eq!(brief(&rig.open(Secret, &["s"], &[("s", v1(Secret, "s"))])), want(&[(Secret, "s=2")]));
    assert_eq!(brief(&rig.open(Listener, &[], &[("l", v1(Listener, "l"))])), want(&[(Listener, "l=2")]));
}

#[test]
fn an_endpoint_list_that_the_client_brought_is_not_replaced() {
    let mut rig = after_restart([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e1")]);
    assert_eq!(reconnect(&mut rig), []);
    // The second backend returns: that is what the client has.
    assert_eq!(brief(&rig.put([resource(Endpoint, "c", "e1 e2")])), []);
    // From here on the list is known, and goes on as always.
    assert_eq!(brief(&rig.put([resource(Endpoint, "c", "e1 e2 e3")])), want(&[(Endpoint, "c=e1 e2 e3")]));
    // One that never becomes the same again is replaced when grace is over.
    let mut rig = after_restart([resource(Cluster, "c", "1"), resource(Endpoint, "c", "e1")]);
    assert_eq!(reconnect(&mut rig), []);
    let sent = rig.step(Event::Grace(false));
    assert!(brief(&sent).contains(&(Endpoint, "c=e1".into())), "{sent:?}");
}

#[test]
fn a_changed_cluster_waits_until_its_endpoints_are_back() {
    for clusters_first in [true, false] {
        let mut rig = after_restart([resource(Cluster, "c", "2"), resource(Endpoint, "c", "e1")]);
        let known = [("c", assignment("e1 e2"))];
        if !clusters_first {
            assert_eq!(brief(&rig.open(Endpoint, &["c"], &known)), []);
        }
        assert_eq!(brief(&rig.open(Cluster, &[], &[("c", v1(Cluster, "c"))])), []);
        if clusters_first {
            assert_eq!(brief(&rig.open(Endpoint, &["c"], &known)), []);
        }
        assert_eq!(brief(&rig.wait(ACK_WAIT)), []);
        let sent = rig.put([resource(Endpoint, "c", "e1 e2")]);
        assert_eq!(brief(&sent), want(&[(Cluster, "c=2"), (Endpoint, "c=e1 e2")]));
    }
}

#[test]
fn without_endpoints_a_changed_cluster_waits_for_the_question_only() {
    let mut rig = after_restart([resource(Cluster, "c", "2")]);
    assert_eq!(brief(&rig.open(Cluster, &[], &[("c", v1(Cluster, "c"))])), []);
    assert!(rig.session.deadline(rig.now).is_some());
    assert_eq!(brief(&rig.wait(ACK_WAIT)), want(&[(Cluster, "c=2")]));
}
