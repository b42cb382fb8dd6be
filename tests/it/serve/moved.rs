//! A PostgreSQL that was restored or failed over under a running process.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{
    Engine,
    daemon::{Daemon, Home},
};

/// Transaction ids begin anew in another cluster: a process that goes on would read the journal wrongly, so it ends.
///
/// The cluster's identity comes from functions of the test's own, which stand before PostgreSQL's on the search path.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_ends_when_its_cluster_has_changed() {
    ends_with_its_cluster("all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_only_takes_reports_in_ends_too() {
    ends_with_its_cluster("ingest").await;
}

async fn ends_with_its_cluster(role: &str) {
    let Some(mut home) = Home::new(Engine::Postgres).await else { return };
    let mut admin = PgConnection::connect(&home.url).await.expect("the database");
    for statement in [
        "CREATE TABLE identity (system_identifier BIGINT NOT NULL, timeline_id INTEGER NOT NULL)",
        "INSERT INTO identity VALUES (7001, 1)",
        "CREATE FUNCTION public.pg_control_system() RETURNS TABLE (system_identifier BIGINT) LANGUAGE sql \
         AS 'SELECT system_identifier FROM public.identity'",
        "CREATE FUNCTION public.pg_control_checkpoint() RETURNS TABLE (timeline_id INTEGER) LANGUAGE sql \
         AS 'SELECT timeline_id FROM public.identity'",
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await.expect(statement);
    }
    home.url = format!("{}?options=-c%20search_path%3Dpublic,pg_catalog", home.url);
    home.configure(&Home::feeds());
    let start = || {
        let mut command = home.command();
        command.args(["--role", role]);
        Daemon::start(command)
    };
    let mut daemon = start();
    assert_eq!(daemon.get("/readyz").status, 200);

    // A failover: the next timeline, and every connection breaks.
    sqlx::query("UPDATE identity SET timeline_id = 2").execute(&mut admin).await.expect("promoted");
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .execute(&mut admin)
        .await
        .expect("connections broken");
    assert_eq!(daemon.ended().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("the database cluster has changed under this process (restored or failed over)"), "{log}");

    // Started again, it knows the cluster for another one and goes on.
    let daemon = start();
    let generation: String = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'generation'")
        .fetch_one(&mut admin)
        .await
        .expect("meta");
    assert_eq!(generation, "2");
    daemon.stop();
}
