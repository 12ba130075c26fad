use std::path::PathBuf;

use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use tempfile::TempDir;
use weir_model::tables::{DROPS, DropRow, FLOWS, TLS_HANDSHAKES};
use weir_model::{FlowRow, Row, TlsHandshakeRow, time};

use super::*;
use crate::segment::files;

/// 2023-11-14, 20:00 UTC.
const START_NS: i64 = 1_699_992_000 * time::SECOND_NS;

/// Files on disk, sealed from these rows.
struct Sealed {
    dir: TempDir,
    paths: Vec<PathBuf>,
}

impl Sealed {
    fn of<R: Row>(table: &'static Table, files_of: &[Vec<R>]) -> Sealed {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for rows in files_of.iter().filter(|rows| !rows.is_empty()) {
            let file = files(table, &[R::to_batch(rows)]).unwrap().remove(0);
            let path = dir.path().join(format!("{}.parquet", paths.len()));
            std::fs::write(&path, &file.bytes).unwrap();
            paths.push(path);
        }
        Sealed { dir, paths }
    }

    fn merged(&self, table: &'static Table) -> Result<(Bytes, Merged), MergeError> {
        let mut merge = Merge::open(table, &self.paths, 64 << 20)?;
        let mut bytes = Vec::new();
        while let Some(group) = merge.group()? {
            bytes.extend_from_slice(&group);
        }
        let merged = merge.finish().unwrap();
        bytes.extend_from_slice(&merged.rest);
        Ok((bytes.into(), merged))
    }
}

fn read<R: Row>(bytes: Bytes) -> Vec<R> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    reader.flat_map(|batch| R::from_batch(&batch.unwrap()).unwrap()).collect()
}

fn any_flow() -> impl Strategy<Value = (i64, Option<u8>, u8)> {
    (0_i64..3 * 3600 * time::SECOND_NS, proptest::option::of(0_u8..3), 0_u8..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Merged from however many files, rows lie as if they had been sealed together.
    #[test]
    fn files_merge_into_what_sealing_all_rows_would_have_made(
        rows in proptest::collection::vec(proptest::collection::vec(any_flow(), 0..40), 1..6),
    ) {
        let mut nth = 0;
        let rows: Vec<Vec<FlowRow>> = rows.iter().map(|rows| rows.iter().map(|(after, namespace, client)| {
            nth += 1;
            FlowRow {
                time: START_NS + after,
                connection_id: Some(format!("{nth:016x}").into()),
                client_namespace: namespace.map(|number| format!("ns-{number}").into()),
                client_ip: Some(format!("10.0.0.{client}").into()),
                client_port: Some(40_000 + nth as u16),
                client_bytes: nth,
                ..FlowRow::default()
            }
        }).collect()).collect();
        let all: Vec<FlowRow> = rows.iter().flatten().cloned().collect();
        let (bytes, merged) = Sealed::of(&FLOWS, &rows).merged(&FLOWS).unwrap();
        let found: Vec<FlowRow> = read(bytes);
        prop_assert_eq!(merged.rows, all.len() as u64);
        prop_assert_eq!(Some(merged.min_time).filter(|_| !all.is_empty()), all.iter().map(|row| row.time).min());
        prop_assert_eq!(Some(merged.max_time).filter(|_| !all.is_empty()), all.iter().map(|row| row.time).max());
        let together: Vec<FlowRow> = files(&FLOWS, &[FlowRow::to_batch(&all)])
            .unwrap()
            .into_iter()
            .flat_map(|file| read::<FlowRow>(file.bytes))
            .collect();
        prop_assert_eq!(found, together);
    }
}

/// A file of many row groups takes its rows from the middle of others.
#[test]
fn many_rows_are_whole_row_groups_in_order() {
    let rows_of = |file: i64| -> Vec<DropRow> {
        (0..130_000)
            .map(|nth| DropRow {
                time: START_NS + (nth * 3 + file) * 20_000_000,
                node: Some(format!("node-{}", (nth * 7 + file) % 10).into()),
                packets: nth * 3 + file,
                ..DropRow::default()
            })
            .collect()
    };
    let sealed = Sealed::of(&DROPS, &[rows_of(0), rows_of(1), rows_of(2)]);
    let (bytes, merged) = sealed.merged(&DROPS).unwrap();
    assert_eq!(merged.rows, 390_000);
    let reader = SerializedFileReader::new(bytes.clone()).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    assert_eq!(groups, [131_072, 131_072, 390_000 - 2 * 131_072]);
    let found: Vec<DropRow> = read(bytes);
    assert!(found.is_sorted_by_key(|row| (bucket(row.time), row.node.clone())));
    let mut numbers: Vec<i64> = found.iter().map(|row| row.packets).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..390_000).collect::<Vec<_>>());
    drop(sealed.dir);
}

/// Lists, truth values, and columns in which no row says anything.
#[test]
fn every_kind_of_column_is_merged() {
    let row = |nth: i64| TlsHandshakeRow {
        time: START_NS + nth,
        tls_alpn_offered: (0..nth).map(|number| format!("h{number}").into()).collect(),
        tls_resumed: (nth > 1).then_some(nth == 2),
        client_port: Some(65_535),
        ..TlsHandshakeRow::default()
    };
    let sealed = Sealed::of(&TLS_HANDSHAKES, &[vec![row(0), row(2)], vec![row(1), row(3)]]);
    let (bytes, _) = sealed.merged(&TLS_HANDSHAKES).unwrap();
    let mut found: Vec<TlsHandshakeRow> = read(bytes);
    found.sort_by_key(|row| row.time);
    assert_eq!(found, (0..4).map(row).collect::<Vec<_>>());
}

#[test]
fn a_damaged_file_is_named_and_one_of_a_newer_version_is_left_alone() {
    let drop_at = |nth: i64| DropRow { time: START_NS + nth, packets: nth, ..DropRow::default() };
    let sealed = Sealed::of(&DROPS, &[vec![drop_at(1)], vec![drop_at(2)]]);
    std::fs::write(&sealed.paths[1], "not parquet").unwrap();
    assert!(matches!(sealed.merged(&DROPS), Err(MergeError::Damaged { input: 1, .. })));
    let sealed = Sealed::of(&DROPS, &[vec![drop_at(1)], vec![drop_at(2)]]);
    let err = sealed.merged(&TLS_HANDSHAKES).unwrap_err();
    let MergeError::LeftAlone { input: 0, why } = err else { panic!("{err}") };
    assert!(why.contains("which this version doesn't know"), "{why}");
}

/// What an older version wrote lacks columns: its rows say nothing there.
#[test]
fn an_older_file_that_lacks_columns_is_merged_with_newer_ones() {
    let drop_at = |nth: i64| DropRow { time: START_NS + nth, packets: nth, ..DropRow::default() };
    let sealed = Sealed::of(&DROPS, &[vec![drop_at(1)], vec![drop_at(2)]]);
    // As it would have been before any other column was there.
    let whole = DropRow::to_batch(&[drop_at(0)]);
    let packets = whole.schema().index_of("packets").unwrap();
    let older = whole.project(&[0, packets]).unwrap();
    let file = std::fs::File::create(&sealed.paths[0]).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, older.schema(), None).unwrap();
    writer.write(&older).unwrap();
    writer.close().unwrap();
    let (bytes, _) = sealed.merged(&DROPS).unwrap();
    let found: Vec<DropRow> = read(bytes);
    assert_eq!(found, [drop_at(0), drop_at(2)]);
}

/// With little memory row groups are smaller, and a wide column makes them smaller still.
#[test]
fn row_groups_fit_into_the_memory_that_there_is() {
    let drop_at = |nth: i64| DropRow {
        time: START_NS + nth * 1_000,
        packets: nth,
        connection_id: Some(format!("{nth:0>1000}").into()),
        ..DropRow::default()
    };
    let rows_of = |first: i64| (first..first + 10_000).map(drop_at).collect::<Vec<_>>();
    let sealed = Sealed::of(&DROPS, &[rows_of(0), rows_of(10_000)]);
    let groups = |most_bytes| {
        let mut merge = Merge::open(&DROPS, &sealed.paths, most_bytes).unwrap();
        let mut groups = 0;
        while merge.group().unwrap().is_some() {
            groups += 1;
        }
        assert_eq!(merge.finish().unwrap().rows, 20_000);
        groups
    };
    assert_eq!(groups(1 << 30), 1);
    assert_eq!(groups(30 << 20), 2);
    assert_eq!(groups(1), 3, "the least is 8,192 rows");
}
