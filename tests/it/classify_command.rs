//! `relaywatch classify` as a process: it streams.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

const REPLY: &str = "{\"id\":\"a-17\",\"text\":\"550 5.1.1 <x7kq2m9abc@privaterelay.appleid.com>: user not found\"}\n";

/// The command with its three streams.
fn classify(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_relaywatch"))
        .arg("classify")
        .args(arguments)
        .env("STATE_DIRECTORY", folder)
        .env_remove("RELAYWATCH_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("classify")
}

#[test]
fn classify_answers_before_more_comes_and_ends_quietly_with_its_reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = classify(folder.path(), &["--format", "json"]);
    let mut pen = child.stdin.take().expect("its input");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    for number in 1..=2 {
        pen.write_all(REPLY.as_bytes()).expect("written");
        line.clear();
        // Its input stays open: it does not wait for more.
        out.read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&said["line"], &said["id"]), (&json!(number), &json!("a-17")), "{said}");
        assert_eq!(said["rule"], "apple-relay/user-not-found");
    }
    drop(out);
    // As `| head` does: the reader is gone, and the writer learns of it.
    while pen.write_all(REPLY.as_bytes()).is_ok() {}
    let mut err = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut err).expect("text");
    assert!(child.wait().expect("it ends").success() && err.is_empty(), "{err}");
}

#[test]
fn what_classify_can_not_use_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path");
    let said = |arguments: &[&str], input: &str| {
        let mut child = classify(folder.path(), arguments);
        // It may have ended already.
        _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, err) = said(&[path], "");
    assert!(code == Some(1) && err.contains("is a folder: name a file") && !err.contains("os error"), "{err}");
    let (code, err) = said(&["--score", "-"], "");
    assert!(code == Some(1) && err.contains("not standard input"), "{err}");
    let (code, err) = said(&["--rules", path], "550 5.1.1 bad mailbox name\n");
    assert!(code == Some(0) && err.contains("holds no rule file (*.toml): only the built-in rules are asked"), "{err}");
    let (code, err) = said(&["--rules", &format!("{path}/missing"), "--lint"], "");
    assert!(code == Some(1) && err.contains("there is no folder"), "{err}");
    let (code, err) = said(&[], "{\"text\":\"550 x\",\"recipent\":\"jo@example.com\"}\n");
    assert!(code == Some(1) && err.contains("line 1: no key of a reply is called \"recipent\""), "{err}");
    assert!(!err.contains("jo@"), "{err}");
    let (code, err) = said(&["550 5.1.1 user unknown"], "");
    assert!(code == Some(1) && err.contains("echo '550 5.1.1 user unknown' | relaywatch classify"), "{err}");
    let (code, err) = said(&["missing.log"], "");
    assert!(code == Some(1) && err.contains("cannot read missing.log") && !err.contains("echo"), "{err}");
    let (code, err) = said(&[], "");
    assert!(code == Some(0) && err.contains("the input is empty"), "{err}");
    let (_, err) = said(&["--lint", "replies.txt"], "");
    assert!(err.contains("relaywatch classify --lint [--rules <FOLDER>] [--format <FORMAT>]\n"), "{err}");
}

#[test]
fn classify_takes_any_amount_in_constant_memory_and_names_broken_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = classify(folder.path(), &["--format", "json"]);
    let mut pen = child.stdin.take().expect("its input");
    let mut out = BufReader::new(child.stdout.take().expect("its output"));
    let reader = std::thread::spawn(move || {
        let (mut line, mut last, mut lines) = (String::new(), String::new(), 0_usize);
        while out.read_line(&mut line).expect("text") > 0 {
            std::mem::swap(&mut line, &mut last);
            line.clear();
            lines += 1;
        }
        (lines, last)
    });
    let chunk = vec![b'x'; 1 << 20];
    // One line that is longer than the memory that is granted, then short ones.
    for _ in 0..96 {
        pen.write_all(&chunk).expect("written");
    }
    pen.write_all(b"\n{\"text\":\n").expect("written");
    let sent = 10_000;
    pen.write_all(REPLY.repeat(sent).as_bytes()).expect("written");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let kib: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    assert!(kib < 64 * 1_024, "{kib} KiB at the peak of 96 MiB");
    drop(pen);
    let (lines, last) = reader.join().expect("the reader");
    assert_eq!(lines, sent + 1, "all but the broken one are judged");
    let last: Value = serde_json::from_str(&last).expect("JSON");
    assert_eq!(last["line"], json!(sent + 2));
    let mut err = String::new();
    child.stderr.take().expect("stderr").read_to_string(&mut err).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(err.starts_with("line 2: the JSON object is cut off"), "{err}");
    assert!(err.contains("the first is line 2"), "{err}");
}
