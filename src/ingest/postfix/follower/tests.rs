//! Real files, rotated as logrotate does it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Write as _,
};

use proptest::prelude::*;

use super::{files::is_rotated, *};

const NOW: Timestamp = Timestamp::from_seconds(1_754_805_600);

/// A folder with a log.
struct Logs(tempfile::TempDir);

impl Logs {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path("mail.log")
    }

    /// Adds to the log.
    fn write(&self, text: &str) {
        self.write_to("mail.log", text);
    }

    fn write_to(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    /// Says when a file was changed last, in seconds from now.
    fn change(&self, name: &str, seconds: i64) {
        let by = std::time::Duration::from_secs(seconds.unsigned_abs());
        let file = OpenOptions::new().append(true).open(self.path(name)).expect("opened");
        // What is written now is dated now.
        file.set_len(file.metadata().expect("its size").len()).expect("touched");
        let now = file.metadata().and_then(|metadata| metadata.modified()).expect("a time");
        file.set_modified(if seconds < 0 { now - by } else { now + by }).expect("set");
    }

    fn rename(&self, to: &str) {
        fs::rename(self.log(), self.path(to)).expect("renamed");
    }

    fn copy_and_truncate(&self, to: &str) {
        fs::copy(self.log(), self.path(to)).expect("copied");
        fs::write(self.log(), "").expect("cut");
    }

    /// Packs a file as gzip does it, which keeps its time.
    fn pack(&self, name: &str) {
        let (plain, packed) = (self.path(name), self.path(&format!("{name}.gz")));
        let changed = fs::metadata(&plain).and_then(|metadata| metadata.modified()).expect("a time");
        let mut encoder =
            flate2::write::GzEncoder::new(File::create(packed).expect("made"), flate2::Compression::fast());
        encoder.write_all(&fs::read(&plain).expect("read")).expect("packed");
        encoder.finish().expect("packed").set_modified(changed).expect("set");
        fs::remove_file(plain).expect("removed");
    }

    /// Lets the clock go on by which files are dated.
    fn tick(&self) {
        let date = || {
            let file = File::create(self.path("tick")).expect("made");
            file.set_len(1).expect("changed");
            file.metadata().and_then(|metadata| metadata.modified()).expect("a time")
        };
        let now = date();
        while date() == now {
            std::thread::yield_now();
        }
    }

    fn follower(&self, from: Option<Vec<Place>>) -> Follower {
        Follower::new(self.log(), from)
    }
}

/// What there is to read: what was known, and what is new.
fn all(follower: &mut Follower, now: Timestamp) -> (String, String) {
    let (mut known, mut fresh) = (Vec::new(), Vec::new());
    while let Some(lines) = follower.next(now).expect("readable") {
        known.extend(lines.known);
        fresh.extend(lines.fresh);
    }
    (String::from_utf8(known).expect("text"), String::from_utf8(fresh).expect("text"))
}

fn fresh(follower: &mut Follower) -> String {
    all(follower, NOW).1
}

#[test]
fn a_file_that_is_not_there_is_waited_for() {
    let logs = Logs::new();
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "");
    assert!(!follower.is_missing(), "it may be on its way");
    assert_eq!(fresh(&mut follower), "");
    assert!(follower.is_missing());
    logs.write("one\ntwo\nthr");
    assert_eq!(fresh(&mut follower), "one\ntwo\n", "half a line is none yet");
    assert_eq!((follower.news(), follower.is_missing()), (vec![News::Opened], false));
    logs.write("ee\n");
    assert_eq!(fresh(&mut follower), "three\n");
}

#[test]
fn a_renamed_file_is_read_on_beside_the_new_one() {
    let logs = Logs::new();
    let mut follower = logs.follower(None);
    logs.write("one\n");
    assert_eq!(fresh(&mut follower), "one\n");
    logs.write("two\n");
    logs.rename("mail.log.1");
    assert_eq!(fresh(&mut follower), "two\n", "the log is away; its file is not");
    logs.write("four\n");
    logs.write_to("mail.log.1", "three\n");
    assert_eq!(fresh(&mut follower), "three\nfour\n");
    logs.write_to("mail.log.1", "late\nhalf");
    assert_eq!(fresh(&mut follower), "late\n");
    let later = NOW.plus_millis(GRACE_MILLIS);
    assert_eq!(all(&mut follower, later).1, "half\n", "it grows no more");
    logs.write_to("mail.log.1", "too late\n");
    assert_eq!(all(&mut follower, later).1, "");
    assert_eq!(follower.places().len(), 1);
}

#[test]
fn what_was_copied_away_is_read_from_the_copy() {
    let logs = Logs::new();
    let mut follower = logs.follower(None);
    logs.write("the first line\n");
    assert_eq!(fresh(&mut follower), "the first line\n");
    logs.write("written just before\n");
    logs.copy_and_truncate("mail.log.1");
    logs.write("new\n");
    assert_eq!(fresh(&mut follower), "written just before\nnew\n");
    assert_eq!(follower.news(), [News::Opened]);
    // It has grown beyond where it was before anybody looked.
    logs.copy_and_truncate("mail.log.2");
    logs.write("another beginning, longer than all that was there before\n");
    assert_eq!(fresh(&mut follower), "another beginning, longer than all that was there before\n");
    fs::write(logs.log(), "").expect("cut");
    fs::remove_file(logs.path("mail.log.2")).expect("removed");
    logs.write("after a cut without a copy\n");
    assert_eq!(fresh(&mut follower), "after a cut without a copy\n");
    assert_eq!(follower.news(), [News::RestLost], "it may be");
}

#[test]
fn a_removed_file_is_read_to_its_end_and_its_successor_from_the_beginning() {
    let logs = Logs::new();
    let mut follower = logs.follower(None);
    logs.write("one\n");
    assert_eq!(fresh(&mut follower), "one\n");
    let mut writer = OpenOptions::new().append(true).open(logs.log()).expect("opened");
    fs::remove_file(logs.log()).expect("removed");
    writer.write_all(b"two\n").expect("written");
    assert_eq!(fresh(&mut follower), "two\n");
    logs.write("three\n");
    assert_eq!(fresh(&mut follower), "three\n");
    assert_eq!(follower.news(), [News::Opened, News::Opened]);
}

#[test]
fn after_a_restart_it_goes_on_where_it_was() {
    let logs = Logs::new();
    logs.write("one\ntwo\nha");
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "one\ntwo\n");
    let places = follower.places();
    logs.write("lf\nthree\n");
    let (known, new) = all(&mut logs.follower(Some(places.clone())), NOW);
    assert_eq!((known.as_str(), new.as_str()), ("one\ntwo\n", "half\nthree\n"));
    // Rotated twice while it was down.
    logs.rename("mail.log.2");
    logs.write_to("mail.log.1", "four\n");
    logs.write("five\n");
    for (name, seconds) in [("mail.log.3", -9), ("mail.log.2", 1_000), ("mail.log.1", 2_000)] {
        logs.write_to(name, "");
        logs.change(name, seconds);
    }
    logs.write_to("mail.log.old.gz", "no log\n");
    logs.write_to("mail.log.1.gz", "no log\n");
    let mut follower = logs.follower(Some(places.clone()));
    assert_eq!(fresh(&mut follower), "half\nthree\nfour\nfive\n");
    assert_eq!(follower.news(), [News::Opened]);
    // What is left of it was removed: that rest is lost, and nothing of what came after it.
    fs::remove_file(logs.path("mail.log.2")).expect("removed");
    logs.write_to("mail.log.3", "old\n");
    logs.change("mail.log.3", -9);
    let mut follower = logs.follower(Some(places.clone()));
    assert_eq!(fresh(&mut follower), "four\nfive\n");
    assert_eq!(follower.news(), [News::RestLost, News::Opened]);
    // A position of an earlier version has no time.
    let places = places.into_iter().map(|place| Place { changed: None, ..place }).collect();
    assert_eq!(fresh(&mut logs.follower(Some(places))), "five\n");
}

#[test]
fn what_was_rotated_away_twice_between_two_looks_is_read() {
    let logs = Logs::new();
    logs.write_to("mail.log.9", "old\n");
    logs.change("mail.log.9", -9);
    let mut follower = logs.follower(None);
    logs.write("one\n");
    assert_eq!(fresh(&mut follower), "one\n");
    logs.write("two\n");
    logs.rename("mail.log.2");
    logs.write_to("mail.log.1", "three\n");
    logs.change("mail.log.1", 1_000);
    logs.write("four\n");
    assert_eq!(fresh(&mut follower), "two\nthree\nfour\n");
    assert_eq!(follower.news(), [News::Opened, News::Opened]);
}

#[test]
fn after_a_restart_a_copy_is_known_as_the_file_that_it_was() {
    let logs = Logs::new();
    logs.write("one\n");
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "one\n");
    let places = follower.places();
    logs.write("two\n");
    logs.copy_and_truncate("mail.log-20250809");
    logs.write("three, and longer than before\n");
    assert_eq!(fresh(&mut logs.follower(Some(places))), "two\nthree, and longer than before\n");
}

/// A link that leads to itself stands for what can't be opened, whoever tries.
#[test]
fn a_log_that_can_not_be_opened_is_not_one_that_is_gone() {
    let logs = Logs::new();
    logs.write("one\n");
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "one\n");
    let mut follower = logs.follower(Some(follower.places()));
    let away = logs.path("away");
    fs::rename(logs.log(), &away).expect("moved");
    std::os::unix::fs::symlink(logs.log(), logs.log()).expect("a link");
    assert!(follower.next(NOW).is_err());
    fs::rename(&away, logs.log()).expect("moved");
    logs.write("two\n");
    assert_eq!((fresh(&mut follower).as_str(), follower.news()), ("two\n", vec![News::Opened]));
}

#[test]
fn a_file_beside_the_log_that_can_not_be_opened_is_told_after_what_is_open() {
    let logs = Logs::new();
    let mut follower = logs.follower(None);
    logs.write("one\n");
    assert_eq!(fresh(&mut follower), "one\n");
    logs.write("two\n");
    logs.rename("mail.log.2");
    let hidden = logs.path("mail.log.1");
    std::os::unix::fs::symlink(&hidden, &hidden).expect("a link");
    logs.write("four\n");
    let read = follower.next(NOW).expect("what is open").expect("lines");
    assert_eq!(read.fresh, b"two\n");
    assert!(follower.next(NOW).is_err(), "what came between is not known");
    fs::remove_file(&hidden).expect("removed");
    logs.write_to("mail.log.1", "three\n");
    assert_eq!(fresh(&mut follower), "three\nfour\n");
}

#[test]
fn a_folder_that_is_away_costs_no_position() {
    let logs = Logs::new();
    logs.write("one\n");
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "one\n");
    let places = follower.places();
    let (folder, away) = (logs.0.path().to_owned(), logs.0.path().with_extension("away"));
    fs::rename(&folder, &away).expect("moved");
    let mut follower = logs.follower(Some(places));
    assert!(follower.next(NOW).is_err());
    fs::rename(&away, &folder).expect("moved");
    logs.write("two\n");
    assert_eq!(fresh(&mut follower), "two\n");
}

#[test]
fn what_is_no_file_is_not_waited_for_in_a_read() {
    let logs = Logs::new();
    fs::create_dir(logs.log()).expect("made");
    assert!(logs.follower(None).next(NOW).is_err());
}

#[test]
fn a_log_of_any_size_is_read_in_pieces() {
    let logs = Logs::new();
    let line = format!("{}\n", "x".repeat(99));
    logs.write(&line.repeat(200_000));
    let mut follower = logs.follower(None);
    let mut bytes = 0;
    while let Some(lines) = follower.next(NOW).expect("readable") {
        assert!(lines.fresh.len() <= CHUNK + line.len());
        bytes += lines.fresh.len();
    }
    assert_eq!(bytes, 20_000_000);
    let (known, fresh) = all(&mut logs.follower(Some(follower.places())), NOW);
    assert_eq!(fresh, "");
    let again = usize::try_from(AGAIN_BYTES).expect("small");
    assert!((again - 100..=again).contains(&known.len()), "whole lines only: {}", known.len());
}

#[test]
fn names_of_rotated_files() {
    let rotated = |log: &str, name: &str| is_rotated(OsStr::new(log), OsStr::new(name));
    for name in [
        "mail.log.1",
        "mail.log-20250809",
        "mail.log-2025-08-09",
        "mail.log.20250809-060000",
        "mail.log.1.gz",
        "mail.log-20250809.gz",
    ] {
        assert!(rotated("mail.log", name), "{name}");
    }
    for name in [
        "mail.log",
        "mail.log.gz",
        "mail.log.1.xz",
        "mail.log.gz.1",
        "mail.logs",
        "mail.log.",
        "xmail.log.1",
        "mail.err",
    ] {
        assert!(!rotated("mail.log", name), "{name}");
    }
    assert!(!rotated("mail", "mail.err") && rotated("mail", "mail-20250809"));
}

#[test]
fn a_file_that_is_cut_while_its_first_lines_are_committed_is_read_on_in_its_copy() {
    for restart in [false, true] {
        let logs = Logs::new();
        let mut follower = logs.follower(None);
        logs.write(&"the first line of all\n".repeat(20));
        assert!(follower.next(NOW).expect("readable").is_some());
        logs.write("written meanwhile\n");
        logs.copy_and_truncate("mail.log.1");
        logs.write(&"another file begins here\n".repeat(40));
        // The lines are committed, and the position kept.
        let places = follower.places();
        if restart {
            follower = logs.follower(Some(places));
        }
        assert_eq!(fresh(&mut follower), format!("written meanwhile\n{}", "another file begins here\n".repeat(40)));
        assert!(!follower.news().contains(&News::RestLost), "{restart}");
    }
}

#[test]
fn what_was_rotated_before_the_first_position_was_kept_is_read_from_where_reading_began() {
    let logs = Logs::new();
    logs.write("one\n");
    let mut follower = logs.follower(None);
    assert!(follower.beginnings().is_empty());
    assert!(follower.next(NOW).expect("readable").is_some());
    let begun = follower.beginnings();
    // Killed while the lines are committed.
    drop(follower);
    logs.write("two\n");
    logs.rename("mail.log.1");
    logs.write("three\n");
    assert_eq!(fresh(&mut logs.follower(Some(begun))), "one\ntwo\nthree\n");
}

#[test]
fn what_was_cut_twice_between_two_looks_is_in_two_copies() {
    let logs = Logs::new();
    let mut follower = logs.follower(None);
    logs.write("");
    assert_eq!(fresh(&mut follower), "");
    for round in 0..3 {
        for copy in 1..=2 {
            logs.write(&format!("{round} {copy} to be copied\n"));
            logs.copy_and_truncate(&format!("mail.log.{round}{copy}"));
        }
        logs.write(&format!("{round} now\n"));
        let expected = ["1 to be copied", "2 to be copied", "now"].map(|text| format!("{round} {text}\n")).concat();
        assert_eq!(fresh(&mut follower), expected);
    }
    assert_eq!(follower.news(), [News::Opened]);
}

#[test]
fn what_was_packed_before_it_was_read_is_unpacked() {
    let logs = Logs::new();
    logs.write("one\n");
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "one\n");
    let places = follower.places();
    logs.write("two\n");
    logs.rename("mail.log.2");
    logs.pack("mail.log.2");
    logs.write_to("mail.log.1", "three\n");
    logs.write("four\n");
    for number in 0..2 {
        let mut follower = logs.follower(Some(places.clone()));
        assert_eq!(all(&mut follower, NOW), ("one\n".to_owned(), "two\nthree\nfour\n".to_owned()), "{number}");
        // While it's packed, both are there, and the packed one is not whole.
        if number == 0 {
            let packed = fs::read(logs.path("mail.log.2.gz")).expect("read");
            fs::write(logs.path("mail.log.3.gz"), &packed[..packed.len() / 2]).expect("written");
            logs.write_to("mail.log.3", "");
            logs.change("mail.log.3", -9);
        }
    }
    // One that does not unpack to its end is told, and does not stop the others.
    let packed = fs::read(logs.path("mail.log.2.gz")).expect("read");
    fs::write(logs.path("mail.log.2.gz"), &packed[..packed.len() - 5]).expect("cut");
    logs.change("mail.log.2.gz", -9);
    let mut follower = logs.follower(Some(places));
    assert_eq!(fresh(&mut follower), "two\nthree\nfour\n");
    assert_eq!(follower.news(), [News::Opened, News::RestLost]);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let logs = Logs::new();
    logs.write("one\n");
    let mut follower = logs.follower(None);
    assert_eq!(fresh(&mut follower), "one\n");
    let places = follower.places();
    drop(follower);
    logs.write("two\n");
    fs::copy(logs.log(), logs.path("mail.log.1")).expect("copied");
    // The number stays, as after a removal; the file does not.
    fs::write(logs.log(), "a new file under the old number\n").expect("written");
    assert_eq!(fresh(&mut logs.follower(Some(places))), "two\na new file under the old number\n");
}

#[test]
fn after_a_restart_what_was_read_before_the_rotation_is_known() {
    let logs = Logs::new();
    for (name, text) in [("mail.log.9", "far back\n"), ("mail.log.1", "sender\n"), ("mail.log", "one\n")] {
        logs.write_to(name, text);
    }
    logs.change("mail.log.9", -90);
    logs.change("mail.log.1", -9);
    let mut follower = logs.follower(None);
    assert_eq!(all(&mut follower, NOW), (String::new(), "one\n".to_owned()));
    logs.write("two\n");
    let (known, fresh) = all(&mut logs.follower(Some(follower.places())), NOW);
    assert_eq!((known.as_str(), fresh.as_str()), ("far back\nsender\none\n", "two\n"));
}

/// What happens to a log.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write(usize),
    Rename,
    CopyTruncate,
    Pack,
    Read,
    Restart,
    /// A minute passes, so that what was rotated away is let go.
    Minute,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// No line is lost, and none comes twice within one run, whatever happens to the file.
    #[test]
    fn every_line_is_read_once(steps in prop::collection::vec(prop_oneof![
        4 => (1usize..400).prop_map(Step::Write), 1 => Just(Step::Rename), 1 => Just(Step::CopyTruncate), 3 => Just(Step::Read),
        1 => Just(Step::Restart),
    ], 1..40)) {
        let logs = Logs::new();
        let (mut follower, mut written, mut read, mut rotations, mut number) = (logs.follower(None), String::new(), String::new(), 0, 0);
        for step in steps {
            match step {
                Step::Write(length) => {
                    number += 1;
                    let line = format!("{number} {}\n", "x".repeat(length));
                    logs.write(&line);
                    written.push_str(&line);
                }
                Step::Rename | Step::CopyTruncate if !logs.log().exists() => {}
                Step::Rename | Step::CopyTruncate => {
                    rotations += 1;
                    // Reading keeps up with rotating: what is cut twice between two looks may be in no copy that can be told apart.
                    read.push_str(&fresh(&mut follower));
                    let name = format!("mail.log.{rotations}");
                    if matches!(step, Step::Rename) { logs.rename(&name) } else { logs.copy_and_truncate(&name) }
                }
                // A copy that was let go can be read again, which changes nothing.
                Step::Pack | Step::Minute => {}
                Step::Read => read.push_str(&fresh(&mut follower)),
                Step::Restart => {
                    read.push_str(&fresh(&mut follower));
                    follower = logs.follower(Some(follower.places()));
                }
            }
        }
        read.push_str(&fresh(&mut follower));
        prop_assert_eq!(read, written);
    }

    /// Nothing is lost where reading does not keep up, is killed before it keeps its position, and files are packed behind its back.
    /// What comes twice is the same event.
    #[test]
    fn no_line_is_lost(steps in prop::collection::vec(prop_oneof![
        4 => (1usize..400).prop_map(Step::Write), 1 => Just(Step::Rename), 1 => Just(Step::CopyTruncate), 3 => Just(Step::Read),
        1 => Just(Step::Restart), 1 => Just(Step::Pack), 1 => Just(Step::Minute),
    ], 1..40)) {
        let logs = Logs::new();
        let (mut follower, mut written, mut read, mut rotations, mut number) = (logs.follower(None), BTreeSet::new(), Vec::new(), 0, 0);
        let (mut packed, mut now) = (0, NOW);
        logs.write("the first line\n");
        written.insert("the first line\n".to_owned());
        // As the loop does it before its first commit.
        let first = follower.next(now).expect("readable").unwrap_or_default().fresh;
        let mut places = follower.beginnings();
        read.extend(first);
        for step in steps {
            match step {
                Step::Write(length) => {
                    number += 1;
                    let line = format!("{number} {}\n", "x".repeat(length));
                    logs.write(&line);
                    written.insert(line);
                }
                Step::Rename | Step::CopyTruncate if !logs.log().exists() => {}
                Step::Rename | Step::CopyTruncate => {
                    rotations += 1;
                    let name = format!("mail.log.{rotations}");
                    if matches!(step, Step::Rename) { logs.rename(&name) } else { logs.copy_and_truncate(&name) }
                    logs.tick();
                }
                // All but the last one, as logrotate does it by `delaycompress`.
                Step::Pack => while packed + 1 < rotations {
                    packed += 1;
                    logs.pack(&format!("mail.log.{packed}"));
                },
                Step::Read => if let Some(lines) = follower.next(now).expect("readable") {
                    read.extend(lines.fresh);
                    places = Some(follower.places()).filter(|places| !places.is_empty()).unwrap_or(places);
                },
                Step::Minute => now = now.plus_millis(GRACE_MILLIS),
                Step::Restart => {
                    // What it reads is committed, and its position is not kept any more.
                    read.extend(follower.next(now).expect("readable").unwrap_or_default().fresh);
                    follower = logs.follower(Some(places.clone()));
                }
            }
        }
        // While the log is away, what came between is not looked for.
        logs.write("the last line\n");
        written.insert("the last line\n".to_owned());
        read.extend(all(&mut follower, now).1.into_bytes());
        let read: BTreeSet<String> = String::from_utf8(read).expect("text").split_inclusive('\n').map(str::to_owned).collect();
        prop_assert_eq!(read, written);
    }
}
