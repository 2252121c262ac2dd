//! A server that follows another one.

use tests::harness::postgres::Postgres;

#[test]
fn a_replica_gets_the_rows_refuses_its_own_and_takes_over() {
    let primary = Postgres::start();
    let database = primary.create_database("shared_rows");
    database.try_sql_as_owner("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    let replica = primary.replica();
    let copy = database.at(replica.address());
    database.sql("INSERT INTO t VALUES (2)");
    replica.catches_up_with(&primary);
    assert_eq!(copy.try_sql_as_owner("SELECT n FROM t ORDER BY n").unwrap(), "1\n2");
    let refused = copy.try_sql_as_owner("INSERT INTO t VALUES (3)").unwrap_err();
    assert!(refused.contains("read-only transaction"), "{refused}");
    assert_eq!(primary.sql("SELECT application_name, state FROM pg_stat_replication"), "replica|streaming");

    primary.kill();
    replica.promote();
    copy.try_sql_as_owner("INSERT INTO t VALUES (3)").unwrap();
    assert_eq!(copy.try_sql_as_owner("SELECT count(*) FROM t").unwrap(), "3");
}
