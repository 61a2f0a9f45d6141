//! Damaged files of the engine: every flipped bit and every cut is found, without the engine.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, too"
)]

use dqlite_node::damage::{
    examine, half_snapshot, metadata, of_open_segments, open_segment, report, segment, snapshot,
    snapshot_meta,
};

/// The first segment of a new cluster: one entry, the configuration with one voter.
const SEGMENT: &str = "\
    01000000000000002d99f986bb61896f01000000000000000100000000000000030000002800000001010000\
    0000000000be5531 8c8571c12d3132372e302e302e313a31383433320001000000000000";

fn golden() -> Vec<u8> {
    let digits: Vec<u8> = SEGMENT.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_segment_is_found() {
    let good = golden();
    assert_eq!(good.len(), 80);
    assert_eq!(segment(&good, 1), Ok(()));
    assert_eq!(segment(&good, 2), Err("1 of 2 entries".to_owned()));
    for at in 0..good.len() {
        assert!(segment(&good[..at], 1).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            assert!(segment(&bad, 1).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "a file that is there, as metadata() takes it"
)]
fn meta(format: u64, version: u64) -> Option<Vec<u8>> {
    let words = [format, version, 1, 0];
    Some(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

#[test]
fn metadata_is_judged_as_a_pair() {
    let cut = || Some(vec![1, 0, 0]);
    let told = |one, other, has_log| {
        let found = metadata(&[one, other], has_log);
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    assert_eq!(told(None, None, false), none);
    assert_eq!(told(meta(1, 1), None, true), none);
    assert_eq!(told(meta(1, 3), meta(1, 2), true), none);
    assert_eq!(told(meta(1, 3), cut(), true), none);
    assert_eq!(
        told(None, None, true),
        ["metadata1 and metadata2: missing, although there is a log"]
    );
    assert_eq!(
        told(cut(), cut(), true),
        ["metadata1 and metadata2: cut off, although there is a log"]
    );
    assert_eq!(
        told(meta(1, 2), meta(1, 2), true),
        ["metadata2: both are version 2"]
    );
    assert_eq!(told(meta(9, 1), None, true), ["metadata1: format 9, not 1"]);
}

#[test]
fn snapshots_are_told_from_rubbish() {
    assert!(snapshot(&1_u64.to_le_bytes()).is_ok());
    assert!(
        snapshot(&[
            0x04, 0x22, 0x4d, 0x18, 0x64, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4
        ])
        .is_ok()
    );
    for rubbish in [
        &[][..],
        &[1, 0, 0],
        &[7; 64],
        &[0x04, 0x22, 0x4d, 0x18, 0x64, 1, 2, 3, 4],
    ] {
        assert!(snapshot(rubbish).is_err(), "{rubbish:?}");
    }
    assert!(snapshot_meta(&[0; 32]).is_err());
    assert!(snapshot_meta(&1_u64.to_le_bytes()).is_err());
}

#[test]
fn a_directory_is_examined_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let told = || {
        let found = examine(folder.path()).unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    assert_eq!(told(), Vec::<String>::new());
    write("metadata1", &meta(1, 1).unwrap());
    write("0000000000000001-0000000000000001", &golden());
    assert_eq!(told(), Vec::<String>::new());
    write("0000000000000003-0000000000000003", &golden());
    let gap =
        "0000000000000003-0000000000000003: begins with entry 3, the one before ends before 2";
    assert_eq!(told(), [gap]);
}

#[test]
fn what_the_engine_put_aside_is_reported() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(report(&names(&[])), None);
    let text = report(&names(&[
        "corrupt-17-0000000000000002-0000000000000007",
        "corrupt-18-open-1",
    ]));
    let text = text.unwrap();
    assert!(
        text.contains("0000000000000007 (up to 6 entries)"),
        "{text}"
    );
    assert!(text.contains("open-1 (the latest entries)"), "{text}");
}

/// An open segment of three batches behind one another, with room for more.
fn open() -> Vec<u8> {
    let good = golden();
    let batches = [&good[..], &good[8..], &good[8..], &[0; 4096]];
    batches.concat()
}

#[test]
fn an_open_segment_may_end_anywhere_but_not_go_on() {
    let good = open();
    assert_eq!(open_segment(&good), Ok(None));
    assert_eq!(open_segment(&[0; 4096]), Ok(None));
    assert_eq!(open_segment(&[]), Ok(None));
    let last = good.len() - 4096 - 72;
    for at in 8..good.len() - 4096 {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let said = open_segment(&bad);
            if at < last {
                let said = said.unwrap_err();
                assert!(
                    said.contains("whole entries follow at byte"),
                    "{at}: {said}"
                );
            } else {
                assert!(matches!(said, Ok(Some(_))), "{at}: {said:?}");
            }
        }
    }
    // As after a power cut: the rest of a batch never came.
    for at in 8..good.len() - 4096 {
        let mut cut = good.clone();
        cut[at..].fill(0);
        assert!(open_segment(&cut).is_ok(), "{at}");
    }
    let mut without = good;
    without[..8].fill(0);
    assert!(open_segment(&without).is_err());
}

#[test]
fn a_log_that_goes_on_in_the_next_open_segment_is_not_at_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let told = || of_open_segments(folder.path()).unwrap();
    let mut bad = open();
    let last = bad.len() - 4096 - 1;
    bad[last] ^= 1;
    write("open-9", &open());
    write("open-10", &bad);
    assert_eq!(told(), []);
    write("open-11", &[0; 4096]);
    assert_eq!(told(), []);
    write("open-12", &open());
    let found = told();
    assert_eq!((found.len(), found[0].file.as_str()), (1, "open-10"));
    assert!(found[0].what.ends_with("open-12 goes on"), "{found:?}");
}

#[test]
fn half_a_snapshot_counts_if_the_log_needs_it() {
    let judge = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        half_snapshot(&names).map(|found| found.file)
    };
    let (old, new) = ("snapshot-1-32-7", "snapshot-1-40-9");
    let (old_meta, new_meta) = ("snapshot-1-32-7.meta", "snapshot-1-40-9.meta");
    let from = |first: u64| format!("{first:016}-0000000000000050");
    assert_eq!(judge(&[]), None);
    assert_eq!(judge(&[new, new_meta, old, &from(33)]), None);
    assert_eq!(judge(&[new, old, old_meta, &from(33)]), None);
    assert_eq!(
        judge(&[new, old, old_meta, &from(34)]),
        Some(new.to_owned())
    );
    assert_eq!(
        judge(&[new_meta, old_meta, &from(34)]),
        Some(new_meta.to_owned())
    );
    assert_eq!(judge(&[new, old, &from(1)]), None);
    assert_eq!(judge(&[new, "open-1"]), Some(new.to_owned()));
    assert_eq!(judge(&[new_meta, "open-1"]), None);
}
