use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

#[test]
fn the_key_file_is_private_and_reads_back() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("keys.json");
    let (made, new) = Keyring::load_or_create(&path).expect("made");
    assert!(new);
    assert_eq!(fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
    let (read, new) = Keyring::load_or_create(&path).expect("read");
    assert!(!new);
    assert_eq!(made.fingerprint(), read.fingerprint());
    assert_eq!(made.hash(Purpose::Address, &[b"x"]), read.hash(Purpose::Address, &[b"x"]));
    let sealed = made.seal(Purpose::Address, b"owner", b"a@b.example").expect("sealed");
    assert_eq!(read.open(Purpose::Address, b"owner", &sealed).expect("opened"), b"a@b.example");
    assert!(!format!("{made:?}").contains(&BASE64.encode(&*made.raw_hash_key)));
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "nothing is left beside the key file");
}

#[test]
fn rotation_keeps_old_values_readable_until_old_keys_are_forgotten() {
    let keyring = Keyring::generate().expect("keys");
    let before = keyring.seal(Purpose::Address, b"o", b"value").expect("sealed");
    assert_eq!(keyring.rotate().expect("rotated"), 2);
    let after = keyring.seal(Purpose::Address, b"o", b"value").expect("sealed");
    assert_eq!((Keyring::key_of(&before), Keyring::key_of(&after)), (Some(1), Some(2)));
    assert_eq!(keyring.open(Purpose::Address, b"o", &before).expect("old key"), b"value");
    assert_eq!(keyring.forget_old_keys().expect("forgotten"), 1);
    assert!(matches!(keyring.open(Purpose::Address, b"o", &before), Err(PrivacyError::UnknownKey { key: 1, .. })));
    assert_eq!(keyring.open(Purpose::Address, b"o", &after).expect("current key"), b"value");
}

#[test]
fn rotation_is_in_the_file_before_anything_is_sealed_and_reaches_other_processes() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("keys.json");
    let (one, _) = Keyring::load_or_create(&path).expect("made");
    let other = Keyring::load(&path).expect("another process");
    assert_eq!(one.rotate().expect("rotated"), 2);
    assert_eq!(Keyring::load(&path).expect("file").current_key(), 2);
    let sealed = one.seal(Purpose::Address, b"o", b"value").expect("sealed");
    assert_eq!(other.current_key(), 1);
    assert_eq!(other.open(Purpose::Address, b"o", &sealed).expect("the file tells the key"), b"value");
    assert_eq!((other.current_key(), other.key_ids()), (2, vec![1, 2]));
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "nothing is left beside the key file");

    // A third one that was started before rotates too: no key is lost, no id is given twice.
    assert_eq!(other.rotate().expect("rotated"), 3);
    assert_eq!(one.rotate().expect("rotated"), 4);
    assert_eq!(one.key_ids(), [1, 2, 3, 4]);
    assert_eq!(one.forget_old_keys().expect("forgotten"), 3);
    assert_eq!(Keyring::load(&path).expect("file").key_ids(), [4]);
}

#[test]
fn a_rotation_that_cannot_be_written_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("keys.json");
    let (keyring, _) = Keyring::load_or_create(&path).expect("made");
    Keyring::generate().expect("keys").write(&path, false).expect("exchanged");
    let error = keyring.rotate().expect_err("another key file").to_string();
    assert!(error.contains("exchanged"), "{error}");
    assert_eq!((keyring.current_key(), keyring.key_ids()), (1, vec![1]));
}

#[test]
fn purposes_owners_and_parts_do_not_mix() {
    let keyring = Keyring::generate().expect("keys");
    assert_ne!(keyring.hash(Purpose::Address, &[b"x"]), keyring.hash(Purpose::Subject, &[b"x"]));
    assert_ne!(keyring.hash(Purpose::Message, &[b"ab", b"c"]), keyring.hash(Purpose::Message, &[b"a", b"bc"]));
    let sealed = keyring.seal(Purpose::Address, b"owner", b"x").expect("sealed");
    assert!(matches!(keyring.open(Purpose::Body, b"owner", &sealed), Err(PrivacyError::Broken)));
    assert!(matches!(keyring.open(Purpose::Address, b"other", &sealed), Err(PrivacyError::Broken)));
    assert!(matches!(keyring.open(Purpose::Address, b"owner", b"\x01\x00short"), Err(PrivacyError::Broken)));
}

#[test]
fn a_broken_key_file_is_named_without_its_content() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("keys.json");
    fs::write(&path, "{\"version\":1,\"hash_key\":\"c2VjcmV0\",\"current\":1,\"sealing_keys\":{}}").expect("write");
    let error = Keyring::load_or_create(&path).expect_err("too short").to_string();
    assert!(error.contains("keys.json") && !error.contains("c2VjcmV0"), "{error}");
}

proptest! {
    #[test]
    fn sealing_round_trips(value in proptest::collection::vec(any::<u8>(), 0..200), owner in any::<[u8; 16]>()) {
        let keyring = Keyring::generate().expect("keys");
        let sealed = keyring.seal(Purpose::Sample, &owner, &value).expect("sealed");
        prop_assert_eq!(keyring.open(Purpose::Sample, &owner, &sealed).expect("opened"), value);
    }
}
