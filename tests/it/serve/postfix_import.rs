//! The log of Postfix by two ways: followed, and as a file.

use std::{collections::BTreeSet, fs, process::Stdio};

use relaywatch::model::Timestamp;

use super::postfix::{LOG, append, mail, rows};
use crate::support::{
    Engine,
    daemon::{Home, now, program},
};

async fn followed_and_imported(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    home.configure(LOG);
    let (log, base) = (home.path("mail.log"), Timestamp::from_seconds(now().as_seconds() - 3_600));
    (0..20).for_each(|number| append(&log, &mail(base, number)));
    let daemon = home.start();
    let store = home.store().await;
    rows(&store, 20).await;
    let import = |file: &str| -> serde_json::Value {
        let mut command = program(home.folder.path());
        let command = command.args(["import", "--format", "json", "--config"]).arg(home.path("relaywatch.toml"));
        let output = command.arg(home.path(file)).stdout(Stdio::piped()).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let told = import("mail.log");
    assert_eq!((&told["new"], &told["known"]), (&0.into(), &20.into()), "{told}");
    let again = import("mail.log");
    assert_eq!((&again["records"], &again["files_known"]), (&0.into(), &1.into()), "it has not changed: {again}");

    // A log that has grown is read whole again, since a mail's lines may lie on both sides of where it ended.
    let whole = mail(base, 20);
    let (first, rest) = whole.split_once('\n').expect("lines");
    fs::copy(&log, home.path("old.log")).expect("copied");
    append(&home.path("old.log"), &format!("{first}\n"));
    import("old.log");
    append(&home.path("old.log"), rest);
    let grown = import("old.log");
    assert_eq!((&grown["new"], &grown["known"]), (&1.into(), &20.into()), "{grown}");
    append(&log, &mail(base, 20));
    append(&log, &mail(base, 21));
    let events = rows(&store, 22).await;
    assert_eq!(events.len(), 22, "what was imported before is known where the log is followed");
    let streams: BTreeSet<i32> = events.iter().map(|event| event.stream).collect();
    assert_eq!(streams.len(), 1, "the sender of each is known");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_followed_and_imported_is_one_set_of_events_sqlite() {
    followed_and_imported(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_followed_and_imported_is_one_set_of_events_postgres() {
    followed_and_imported(Engine::Postgres).await;
}
