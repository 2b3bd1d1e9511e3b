//! Tests of the faulty storage: it fails as it was told, and crashes as badly as a file system may.

use super::*;
use std::collections::BTreeSet;

use crate::spool::fs::{create_dirs, read_start};

const FILE: &str = "/d/file";

/// A storage with a file in it, of which `synced` is durable and `written` is not.
fn with_file(seed: u64, synced: &[u8], written: &[u8]) -> (Faulty, Box<dyn File>) {
    let storage = Faulty::new(seed);
    create_dirs(&storage, Path::new("/d")).unwrap();
    let mut file = storage.create_new(Path::new(FILE)).unwrap();
    file.append(synced).unwrap();
    file.sync_data().unwrap();
    storage.sync_dir(Path::new("/d")).unwrap();
    file.append(written).unwrap();
    (storage, file)
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_what_was_not() {
    let (mut lengths, mut has_holes) = (BTreeSet::new(), false);
    for seed in 0..200 {
        let (storage, mut file) = with_file(seed, b"synced", &[1; 10_000]);
        let after = storage.crash();
        assert_eq!(file.append(b"more").unwrap_err().kind(), ErrorKind::BrokenPipe);
        let found = after.contents(Path::new(FILE)).unwrap();
        assert!(found.starts_with(b"synced"));
        lengths.insert(found.len());
        has_holes |= found[6..].contains(&0);
    }
    assert!(lengths.contains(&6) && lengths.contains(&10_006) && lengths.len() > 20);
    assert!(has_holes);
}

#[test]
fn what_a_failed_sync_was_to_cover_stays_uncertain_whatever_later_ones_say() {
    let mut is_lost = false;
    for seed in 0..50 {
        let (storage, mut file) = with_file(seed, b"synced", &[1; 100]);
        storage.fail_nth(Call::SyncData, 1, ErrorKind::Other);
        assert!(file.sync_data().is_err());
        file.append(&[2; 100]).unwrap();
        file.sync_data().unwrap();
        let found = storage.crash().contents(Path::new(FILE)).unwrap();
        assert_eq!((found.len(), &found[106..]), (206, &[2; 100][..]));
        is_lost |= found[6] == 0;
    }
    assert!(is_lost);
}

#[test]
fn names_are_certain_only_when_their_folder_was_synced() {
    let (from, to) = (Path::new(FILE), Path::new("/q/file"));
    let mut outcomes = BTreeSet::new();
    for seed in 0..100 {
        let (storage, _file) = with_file(seed, b"synced", b"");
        create_dirs(&storage, Path::new("/q")).unwrap();
        storage.create_new(Path::new("/d/new")).unwrap();
        storage.rename(from, to).unwrap();
        let arrives = seed % 2 == 0;
        if arrives {
            storage.sync_dir(Path::new("/q")).unwrap();
        }
        let after = storage.crash();
        let is_there = |path| after.contents(Path::new(path)).is_some();
        let outcome = (is_there(FILE), is_there("/q/file"), is_there("/d/new"));
        assert!(if arrives { outcome.1 } else { outcome.0 || outcome.1 });
        outcomes.insert(outcome);
    }
    assert!(outcomes.len() == 6, "all that can be found: {outcomes:?}");
    let (storage, _file) = with_file(0, b"synced", b"");
    storage.remove(Path::new(FILE)).unwrap();
    storage.sync_dir(Path::new("/d")).unwrap();
    assert!(storage.crash().paths().is_empty());
}

#[test]
fn the_call_that_is_told_to_fail_fails_and_no_other() {
    let (storage, mut file) = with_file(0, b"", b"");
    storage.fail_nth(Call::Append, 2, ErrorKind::StorageFull);
    file.append(b"one").unwrap();
    assert_eq!(file.append(b"two").unwrap_err().kind(), ErrorKind::StorageFull);
    file.append(b"three").unwrap();
    storage.short_write_nth(1, ErrorKind::Other);
    assert!(file.append(&[b'x'; 50]).is_err());
    let found = read_start(file.as_ref(), 100).unwrap();
    assert!(found.starts_with(b"onethree") && found.len() < 58);
    storage.fail_all(Call::SyncDir, ErrorKind::Other);
    assert!(storage.sync_dir(Path::new("/d")).is_err());
    assert!(storage.sync_dir(Path::new("/d")).is_err());
    storage.heal();
    storage.sync_dir(Path::new("/d")).unwrap();
    assert_eq!((storage.calls(Call::Append), storage.calls(Call::CreateDir)), (6, 1));
}

#[test]
fn a_full_disk_takes_a_part_and_says_so() {
    let (storage, mut file) = with_file(0, b"12345", b"");
    storage.fill_up_at(8);
    assert_eq!(storage.free_bytes(Path::new("/d")).unwrap(), 3);
    assert_eq!(file.append(b"6789").unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(storage.contents(Path::new(FILE)).unwrap(), b"12345678");
    storage.damage(Path::new(FILE), |bytes| bytes[0] = b'x');
    assert_eq!(read_start(file.as_ref(), 8).unwrap(), b"x2345678");
    let refused = storage.preallocate(Path::new("/d/reserve"), 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    storage.remove(Path::new(FILE)).unwrap();
    storage.preallocate(Path::new("/d/reserve"), 8).unwrap();
}

#[test]
fn a_lock_is_held_once_and_not_beyond_a_crash() {
    let storage = Faulty::new(0);
    let held = storage.lock(Path::new("/lock")).unwrap();
    assert!(matches!(storage.lock(Path::new("/lock")), Err(LockError::InUse)));
    let after = storage.crash();
    after.lock(Path::new("/lock")).unwrap();
    drop(held);
    storage.set_volatile(true);
    assert!(after.is_volatile(Path::new("/")).is_ok_and(|is_volatile| !is_volatile));
}
