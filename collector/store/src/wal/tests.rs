use std::fs;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::tempdir;
use weir_model::BatchMeta;

use super::*;

fn meta(sequence: u64) -> BatchMeta {
    BatchMeta { schema_version: 1, table: "flows".into(), node: "n".into(), boot_id: "b".into(), sequence }
}

/// Appends each record (the sizes of its parts) in a group of its own.
fn write(dir: &Path, records: &[Vec<usize>], max_bytes: u64) -> Vec<Vec<RecordPart>> {
    let mut log = Log::begin(dir, 1, max_bytes).unwrap();
    let mut written = Vec::new();
    for (number, sizes) in records.iter().enumerate() {
        let parts: Vec<_> = sizes
            .iter()
            .map(|size| RecordPart { meta: meta(number as u64), ipc: Bytes::from(vec![number as u8; *size]) })
            .collect();
        let mut group = Vec::new();
        frame(parts.iter().map(|part| (&part.meta, &part.ipc)), &mut group);
        log.append(&group).unwrap();
        log.rotate_if_full().unwrap();
        written.push(parts);
    }
    written
}

fn read(dir: &Path) -> (Vec<Vec<RecordPart>>, Replayed) {
    let mut records = Vec::new();
    let found = replay(dir, 1, |_, payload| {
        records.push(decode_parts(&payload).unwrap());
        Ok::<(), std::io::Error>(())
    });
    (records, found.unwrap())
}

fn same(left: &[Vec<RecordPart>], right: &[Vec<RecordPart>]) -> bool {
    let plain = |records: &[Vec<RecordPart>]| -> Vec<Vec<(BatchMeta, Bytes)>> {
        records
            .iter()
            .map(|parts| parts.iter().map(|part| (part.meta.clone(), part.ipc.clone())).collect())
            .collect()
    };
    plain(left) == plain(right)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_appended_is_replayed_in_order_across_files(
        records in proptest::collection::vec(proptest::collection::vec(0_usize..300, 1..4), 0..20),
        max_bytes in 1_u64..2000,
    ) {
        let dir = tempdir().unwrap();
        let written = write(dir.path(), &records, max_bytes);
        let (found, log) = read(dir.path());
        prop_assert!(same(&found, &written));
        prop_assert_eq!((log.torn_bytes, log.damaged_records), (0, 0));
    }

    /// A crash while writing leaves any beginning of the last write. No whole record is lost, nothing is made up,
    /// and what is appended after the cut is found.
    #[test]
    fn a_tail_torn_at_any_byte_costs_only_the_record_it_tears(
        records in proptest::collection::vec(proptest::collection::vec(0_usize..60, 1..3), 1..6),
        cut in 0.0_f64..1.0,
    ) {
        let dir = tempdir().unwrap();
        let written = write(dir.path(), &records, u64::MAX);
        let path = path_of(dir.path(), 1);
        let bytes = fs::read(&path).unwrap();
        let keep = (bytes.len() as f64 * cut) as usize;
        fs::write(&path, &bytes[..keep]).unwrap();

        let (found, log) = read(dir.path());
        prop_assert!(same(&found, &written[..found.len()]));
        prop_assert_eq!(log.damaged_records, 0);
        let (again, log_again) = read(dir.path());
        prop_assert!(same(&again, &found), "a second replay finds the same");
        prop_assert_eq!(log_again.torn_bytes, 0);
    }
}

/// The exhaustive form of the property above, for one small log.
#[test]
fn every_single_cut_is_survived() {
    let dir = tempdir().unwrap();
    let written = write(dir.path(), &[vec![10], vec![0, 5], vec![20]], u64::MAX);
    let path = path_of(dir.path(), 1);
    let bytes = fs::read(&path).unwrap();
    let mut found_at_most = 0;
    for keep in 0..=bytes.len() {
        fs::write(&path, &bytes[..keep]).unwrap();
        let (found, log) = read(dir.path());
        assert!(same(&found, &written[..found.len()]), "cut at {keep}");
        assert!(found.len() >= found_at_most, "more bytes never mean fewer records");
        assert_eq!(log.damaged_records, 0, "cut at {keep}");
        found_at_most = found.len();
    }
    assert_eq!(found_at_most, written.len());
}

/// A bit that flipped on disk costs its own record, and is not taken for a torn tail.
#[test]
fn damage_in_the_middle_is_counted_and_what_follows_is_read() {
    let dir = tempdir().unwrap();
    let written = write(dir.path(), &[vec![100], vec![100], vec![100]], u64::MAX);
    let path = path_of(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (found, log) = read(dir.path());
    assert!(same(&found, &[written[0].clone(), written[2].clone()]));
    assert_eq!((log.damaged_records, log.torn_bytes), (1, 0));
    assert_eq!(log.damaged_files, vec![path]);
}

/// A file that grew before its bytes reached the disk ends in zeros.
#[test]
fn a_tail_of_zeros_is_torn() {
    let dir = tempdir().unwrap();
    let written = write(dir.path(), &[vec![10]], u64::MAX);
    let path = path_of(dir.path(), 1);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 100]);
    fs::write(&path, &bytes).unwrap();
    let (found, log) = read(dir.path());
    assert!(same(&found, &written));
    assert_eq!(log.torn_bytes, 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// A disk that changes one bit of one byte, anywhere: whatever else the log has is read as it was written, and the log
    /// says what is damaged. (One of the last record is told from a write that was never finished by nothing.)
    #[test]
    fn a_flipped_byte_costs_its_own_record_and_is_told_of(
        records in proptest::collection::vec(proptest::collection::vec(0_usize..60, 1..3), 1..8),
        at in any::<prop::sample::Index>(),
        bit in 0_u32..8,
    ) {
        let dir = tempdir().unwrap();
        let written = write(dir.path(), &records, u64::MAX);
        let path = path_of(dir.path(), 1);
        let mut bytes = fs::read(&path).unwrap();
        let at = MAGIC.len() + at.index(bytes.len() - MAGIC.len());
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let (found, log) = read(dir.path());
        let hit = {
            let mut end = MAGIC.len();
            written.iter().position(|parts| {
                let mut framed = Vec::new();
                frame(parts.iter().map(|part| (&part.meta, &part.ipc)), &mut framed);
                end += framed.len();
                at < end
            }).unwrap()
        };
        let mut left = written.clone();
        left.remove(hit);
        prop_assert!(same(&found, &left), "record {} of {} was hit at byte {}", hit, written.len(), at);
        prop_assert!(log.damaged_records + log.torn_bytes > 0);
        if hit + 1 < written.len() {
            prop_assert!(log.damaged_records == 1 && log.torn_bytes == 0, "{:?}", log);
        }
    }
}
