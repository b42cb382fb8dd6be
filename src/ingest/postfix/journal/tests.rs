//! A stand-in for journalctl that prints what a file holds, from the entry on that it is asked for.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;

/// An entry of the journal, a minute after the one before it.
fn line(number: i64) -> String {
    let micros = 1_754_719_200_000_000 + number * 60_000_000;
    format!(r#"{{"__CURSOR":"c{number:04}","__REALTIME_TIMESTAMP":"{micros}","MESSAGE":"m"}}"#) + "\n"
}

fn lines(numbers: std::ops::Range<i64>) -> String {
    numbers.map(line).collect()
}

/// A program that prints the entries and ends.
fn program(folder: &Path, numbers: std::ops::Range<i64>) -> PathBuf {
    fs::write(folder.join("entries"), lines(numbers)).expect("written");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" >'{0}/arguments'\ncursor=c0000\nfor a; do case $a in \
         --cursor=*) cursor=${{a#--cursor=}};; esac; done\nsed -n \"/$cursor/,\\$p\" '{0}/entries'\nexit 3\n",
        folder.display()
    );
    let path = folder.join("journalctl");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    path
}

/// Everything until the program ends, and how that is told.
async fn all(journal: &mut Journal) -> (String, String, String) {
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    loop {
        match journal.next().await {
            Ok(None) => {}
            Ok(Some(lines)) => {
                known.extend(lines.known);
                fresh.extend(lines.fresh);
            }
            Err(error) => {
                let text = |bytes| String::from_utf8(bytes).expect("text");
                return (text(known), text(fresh), error.to_string());
            }
        }
    }
}

#[tokio::test]
async fn it_goes_on_after_the_last_entry_and_reads_what_came_shortly_before_it_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::new(program(folder.path(), 0..200), None);
    let (known, fresh, ended) = all(&mut journal).await;
    assert_eq!((known.as_str(), fresh), ("", lines(0..200)));
    assert!(ended.contains('3'), "{ended}");
    let arguments = fs::read_to_string(folder.path().join("arguments")).expect("arguments");
    assert_eq!(arguments, "--follow\n--no-tail\n--quiet\n--all\n--output=json\nSYSLOG_FACILITY=2\n");
    let position = journal.position();
    let Some(Position::Journal { last, earlier }) = &position else { panic!("a position") };
    assert_eq!((last.cursor.as_str(), earlier.cursor.as_str()), ("c0199", "c0120"), "75 minutes before, and some more");
    let mut journal = Journal::new(program(folder.path(), 0..205), position);
    let (known, fresh, _) = all(&mut journal).await;
    assert_eq!((known, fresh), (lines(120..200), lines(200..205)));
    // Started anew, and the last entry is not there any more: what comes after its time is new.
    journal.known = journal.last.clone();
    let left = lines(202..204) + &lines(205..208);
    let Lines { known, fresh } = journal.sort(left.as_bytes());
    assert_eq!((known, fresh), (lines(202..204).into_bytes(), lines(205..208).into_bytes()));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::new(folder.path().join("journalctl"), None);
    let error = journal.next().await.expect_err("not there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(journal.position(), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_runs_and_is_silent_is_told_from_one_that_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journalctl");
    fs::write(&path, "#!/bin/sh\nexec sleep 600\n").expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
    let mut journal = Journal::new(path, None);
    assert_eq!(journal.next().await.expect("it runs"), None);
    journal.stop().await.expect("stopped");
}
