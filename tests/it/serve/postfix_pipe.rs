//! The log of Postfix through a pipe that stays open, as `journalctl --follow` writes it.

use std::{
    io::Write as _,
    process::{Child, ChildStdin, Command, Stdio},
};

use relaywatch::model::Timestamp;
use serde_json::Value;

use super::postfix::{mail, rows};
use crate::support::{
    Engine,
    daemon::{Home, now, program},
};

/// Starts an import that reads the pipe.
fn follow(home: &Home) -> (Child, ChildStdin) {
    let mut command = program(home.folder.path());
    command.args(["import", "--from", "postfix", "--format", "json", "--config"]).arg(home.path("relaywatch.toml"));
    command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it runs");
    let pipe = child.stdin.take().expect("a pipe");
    (child, pipe)
}

/// What it said at its end.
fn told(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn lines_are_taken_as_they_come(engine: Engine) {
    let Some(home) = Home::new(engine).await else { return };
    home.configure("");
    let daemon = home.start();
    let store = home.store().await;
    let base = Timestamp::from_seconds(now().as_seconds() - 3_600);
    let (mut child, mut pipe) = follow(&home);
    for (number, known) in [(0, 1), (1, 2), (2, 3)] {
        pipe.write_all(mail(base, number).as_bytes()).expect("written");
        // The pipe is open, and nothing else comes: what came is committed all the same.
        assert_eq!(rows(&store, known).await.len(), known);
    }
    pipe.write_all(b"no log\n\0\xff\xfe\0\n{\"__CURSOR\":\n").expect("written");
    pipe.write_all("x".repeat(3 * 1024 * 1024).as_bytes()).expect("written");
    pipe.write_all(format!("\n{}", mail(base, 3)).as_bytes()).expect("written");
    assert_eq!(rows(&store, 4).await.len(), 4, "no other line is worth less for these");
    child.kill().expect("killed");
    child.wait().expect("ended");

    // Started again some lines before where it was, and ended in the middle of a line.
    let (child, mut pipe) = follow(&home);
    for number in 2..6 {
        pipe.write_all(mail(base, number).as_bytes()).expect("written");
    }
    assert_eq!(rows(&store, 6).await.len(), 6);
    let whole = mail(base, 6);
    let (half, _) = whole.split_once(" not exist").expect("a reply");
    pipe.write_all(half.as_bytes()).expect("written");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let said = told(child);
    assert_eq!((&said["new"], &said["known"], &said["broken"]), (&2.into(), &2.into(), &0.into()), "{said}");
    drop(pipe);

    // At the end of the pipe it ends.
    let (child, mut pipe) = follow(&home);
    for number in 0..8 {
        pipe.write_all(mail(base, number).as_bytes()).expect("written");
    }
    drop(pipe);
    let said = told(child);
    assert_eq!((&said["new"], &said["known"]), (&2.into(), &6.into()), "{said}");
    assert_eq!(rows(&store, 8).await.len(), 8, "each once");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_pipe_are_taken_as_they_come_sqlite() {
    lines_are_taken_as_they_come(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_pipe_are_taken_as_they_come_postgres() {
    lines_are_taken_as_they_come(Engine::Postgres).await;
}

/// Between its commits a pipe locks nobody out, and it outlives the daemon beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipe_goes_on_while_daemons_come_and_go() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite");
    home.configure("");
    home.start().stop();
    let store = home.store().await;
    let base = Timestamp::from_seconds(now().as_seconds() - 3_600);
    let (child, mut pipe) = follow(&home);
    let mut number = 0;
    let mut bring = |pipe: &mut ChildStdin| {
        pipe.write_all(mail(base, number).as_bytes()).expect("written");
        number += 1;
    };
    for known in [1, 3] {
        bring(&mut pipe);
        assert_eq!(rows(&store, known).await.len(), known, "without a daemon");
        let daemon = home.start();
        bring(&mut pipe);
        assert_eq!(rows(&store, known + 1).await.len(), known + 1, "beside one");
        daemon.stop();
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let said = told(child);
    assert_eq!((&said["new"], &said["known"]), (&4.into(), &0.into()), "{said}");
}

/// What is no log is no pipe to follow.
#[tokio::test]
async fn a_pipe_that_holds_no_log_is_refused() {
    let home = Home::new(Engine::Sqlite).await.expect("SQLite");
    home.configure("");
    home.start().stop();
    let (child, mut pipe) = follow(&home);
    pipe.write_all(b"From a@example.com Mon Nov 23 09:00:00 2026\nSubject: x\n\nx\n").expect("written");
    let output = child.wait_with_output().expect("it ends by itself");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    drop(pipe);
}
