//! Tables of our own beside those of Kuma 3.0, which never looks at them. Their steps are counted in a table of their own.

use tokio_postgres::Client;

use super::revisions;

/// Brings our tables up to date. Several may try at once: one does it, the others wait and find it done.
///
/// # Errors
/// What the database said; then nothing was done.
pub(super) async fn ensure(client: &Client) -> Result<(), tokio_postgres::Error> {
    let there = client.query_one("SELECT to_regclass('kuma_schema') IS NOT NULL", &[]).await?.get::<_, bool>(0);
    let done: i32 =
        if there { client.query_one("SELECT coalesce(max(step), 0) FROM kuma_schema", &[]).await?.get(0) } else { 0 };
    if done as usize >= STEPS.len() {
        return Ok(());
    }
    // The lock ends with the transaction.
    let mut whole = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({LOCK}); CREATE TABLE IF NOT EXISTS kuma_schema (step integer PRIMARY KEY);"
    );
    for (index, sql) in STEPS.iter().enumerate() {
        let step = index + 1;
        whole.push_str(&format!(
            "DO $do$ BEGIN IF NOT EXISTS (SELECT 1 FROM kuma_schema WHERE step = {step}) THEN
                {sql}; INSERT INTO kuma_schema VALUES ({step});
            END IF; END $do$;"
        ));
    }
    whole.push_str("COMMIT");
    let outcome = client.batch_execute(&whole).await;
    if outcome.is_err() {
        let _ = client.batch_execute("ROLLBACK").await;
    }
    outcome
}

/// Any number that nobody else on the database uses.
const LOCK: i64 = 0x6b75_6d61_2d63_7000;

/// Steps, oldest first.
const STEPS: &[&str] = &[
    // Control planes, and when the database last heard from each.
    "CREATE TABLE kuma_instances (id text PRIMARY KEY, seen timestamptz NOT NULL)",
    // What became of objects.
    revisions::SCHEMA,
];
