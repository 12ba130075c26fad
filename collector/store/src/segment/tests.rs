use std::fs;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use proptest::prelude::*;
use weir_model::tables::{DROPS, DropRow, FLOWS, SPANS, TLS_HANDSHAKES};
use weir_model::{FlowRow, Row, SpanRow, TlsHandshakeRow};

use super::*;
use crate::quarantine::first_sight;

const MINUTE_NS: i64 = 60 * time::SECOND_NS;
const BUCKET_NS: i64 = 10 * MINUTE_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
/// 2023-11-14, 22:00 UTC.
const START_NS: i64 = 1_699_999_200 * time::SECOND_NS;

/// A flow of someone at some time; `nth` tells it from all others.
fn flow(nth: i64, time: i64, namespace: Option<&str>, client: &str) -> FlowRow {
    FlowRow {
        time,
        connection_id: Some(format!("{nth:016x}").into()),
        client_namespace: namespace.map(Into::into),
        client_ip: Some(client.into()),
        client_port: Some(40_000 + nth as u16 % 1000),
        client_bytes: nth,
        ..FlowRow::default()
    }
}

fn read<R: Row>(file: &Encoded) -> Vec<R> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap().build().unwrap();
    let rows: Vec<R> = reader.flat_map(|batch| R::from_batch(&batch.unwrap()).unwrap()).collect();
    assert_eq!(rows.len() as u64, file.rows);
    rows
}

fn numbers(rows: &[FlowRow]) -> Vec<i64> {
    rows.iter().map(|row| row.client_bytes).collect()
}

#[test]
fn rows_lie_by_ten_minutes_then_by_who_then_as_they_came() {
    let (first, second) = (START_NS + BUCKET_NS - time::SECOND_NS, START_NS + BUCKET_NS);
    let rows = [
        flow(0, second, Some("a"), "10.0.0.1"),
        flow(1, first, Some("b"), "10.0.0.1"),
        flow(2, first, Some("a"), "10.0.0.2"),
        flow(3, START_NS, Some("a"), "10.0.0.2"),
        flow(4, first, None, "10.0.0.9"),
        flow(5, first, Some("a"), "10.0.0.1"),
    ];
    // Dictionaries of different batches number their texts differently.
    let batches = [FlowRow::to_batch(&rows[..2]), FlowRow::to_batch(&rows[2..])];
    let files = files(&FLOWS, &batches).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].partition, "date=2023-11-14");
    assert_eq!((files[0].min_time, files[0].max_time), (START_NS, second));
    assert_eq!(numbers(&read(&files[0])), [4, 5, 2, 3, 1, 0], "unknown first; equals in their order");
}

/// What is fetched together lies together.
#[test]
fn spans_of_one_trace_lie_together() {
    let span = |nth: i64, trace: Option<&str>| SpanRow {
        time: START_NS + nth * time::SECOND_NS,
        trace_id: trace.map(Into::into),
        duration_ns: nth,
        ..SpanRow::default()
    };
    let traces =
        [Some("ffff000000000001"), Some("0000000100000001"), None, Some("ffff000000000001"), Some("no hex")];
    let rows: Vec<SpanRow> = (0..).zip(traces).map(|(nth, trace)| span(nth, trace)).collect();
    let files = files(&SPANS, &[SpanRow::to_batch(&rows[..2]), SpanRow::to_batch(&rows[2..])]).unwrap();
    let order: Vec<i64> = read::<SpanRow>(&files[0]).iter().map(|span| span.duration_ns).collect();
    assert_eq!(order, [2, 4, 1, 0, 3], "those without an id first, then as they came");
}

#[test]
fn each_day_is_a_file_in_its_own_folder() {
    let times = [START_NS + 2 * HOUR_NS, START_NS, START_NS + 2 * HOUR_NS - 1, -1];
    let rows: Vec<FlowRow> = (0..).zip(times).map(|(nth, time)| flow(nth, time, None, "10.0.0.1")).collect();
    let files = files(&FLOWS, &[FlowRow::to_batch(&rows)]).unwrap();
    let found: Vec<_> = files.iter().map(|file| (file.partition.as_str(), numbers(&read(file)))).collect();
    assert_eq!(
        found,
        [("date=1969-12-31", vec![3]), ("date=2023-11-14", vec![1, 2]), ("date=2023-11-15", vec![0]),]
    );
}

#[test]
fn no_rows_are_no_files() {
    assert!(files(&FLOWS, &[FlowRow::to_batch(&[])]).unwrap().is_empty());
}

/// All kinds of columns: lists, maps, truth values, real numbers, absent ones.
#[test]
fn every_kind_of_column_comes_back_as_it_was() {
    let span = SpanRow {
        time: START_NS,
        trace_id: Some("00ff".into()),
        service: Some("front".into()),
        duration_ns: 12,
        attributes: vec![("http.request.method".into(), "GET".into()), ("empty".into(), "".into())],
        confidence: Some(0.5),
        ..SpanRow::default()
    };
    let handshake = TlsHandshakeRow {
        time: START_NS,
        tls_alpn_offered: vec!["h2".into(), "http/1.1".into()],
        tls_resumed: Some(false),
        client_port: Some(65_535),
        ..TlsHandshakeRow::default()
    };
    let bare = TlsHandshakeRow { time: START_NS, ..TlsHandshakeRow::default() };
    let spans = files(&SPANS, &[SpanRow::to_batch(std::slice::from_ref(&span))]).unwrap();
    assert_eq!(read::<SpanRow>(&spans[0]), [span]);
    let rows = [bare, handshake];
    let handshakes = files(&TLS_HANDSHAKES, &[TlsHandshakeRow::to_batch(&rows)]).unwrap();
    assert_eq!(read::<TlsHandshakeRow>(&handshakes[0]), rows);
}

/// A core reads one at a time, so no group may be larger; and none much smaller, or statistics outweigh rows.
#[test]
fn many_rows_are_several_row_groups() {
    let rows: Vec<DropRow> = (0..10_000)
        .map(|nth| DropRow {
            time: START_NS + nth * 1000,
            node: Some(format!("node-{}", nth % 10).into()),
            packets: nth,
            ..DropRow::default()
        })
        .collect();
    let batch = DropRow::to_batch(&rows);
    let files = files(&DROPS, &vec![batch; 28]).unwrap();
    let reader = SerializedFileReader::new(files[0].bytes.clone()).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    assert_eq!(groups, [131_072, 131_072, 280_000 - 2 * 131_072]);
    let read: Vec<DropRow> = read(&files[0]);
    assert_eq!(
        read.iter().map(|row| row.packets).sum::<i64>(),
        28 * rows.iter().map(|row| row.packets).sum::<i64>()
    );
}

/// What a query for one connection skips the rest by.
#[test]
fn files_carry_what_queries_skip_by() {
    let rows: Vec<FlowRow> = (0..100).map(|nth| flow(nth, START_NS + nth, Some("a"), "10.0.0.1")).collect();
    let file = files(&FLOWS, &[FlowRow::to_batch(&rows)]).unwrap().remove(0);
    let reader = SerializedFileReader::new(file.bytes).unwrap();
    let group = reader.metadata().row_group(0);
    let column = |name: &str| {
        let found = group.columns().iter().find(|column| column.column_path().string() == name);
        found.unwrap_or_else(|| panic!("no column {name}"))
    };
    for id in ["connection_id", "trace_id"] {
        assert!(column(id).bloom_filter_offset().is_some(), "{id} has a bloom filter");
    }
    for name in ["time", "client_ip", "client_namespace"] {
        assert!(column(name).statistics().is_some(), "{name} has statistics");
        assert!(column(name).column_index_offset().is_some(), "{name} has a page index");
    }
}

/// Disks lose ends of files and change bits; a query must say so and not make up rows.
#[test]
fn a_damaged_file_is_known_at_first_sight() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.parquet");
    let rows: Vec<FlowRow> = (0..50).map(|nth| flow(nth, START_NS + nth, None, "10.0.0.1")).collect();
    let file = files(&FLOWS, &[FlowRow::to_batch(&rows)]).unwrap().remove(0);
    let size = file.bytes.len() as u64;
    assert_eq!(first_sight(&path, size).as_deref(), Some("the file is gone"));
    fs::write(&path, &file.bytes).unwrap();
    assert_eq!(first_sight(&path, size), None);
    for keep in [0, 3, 11, 12, file.bytes.len() / 2, file.bytes.len() - 1] {
        fs::write(&path, &file.bytes[..keep]).unwrap();
        let expected = format!("{keep} bytes, the catalog says {size}");
        assert_eq!(first_sight(&path, size), Some(expected));
        let read = ParquetRecordBatchReaderBuilder::try_new(file.bytes.slice(..keep));
        assert!(read.is_err(), "{keep} of {size} bytes");
    }
    for at in [0, file.bytes.len() - 1] {
        let mut damaged = file.bytes.to_vec();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(first_sight(&path, size).as_deref(), Some("it does not begin and end as Parquet"));
    }
}

fn any_flow() -> impl Strategy<Value = (i64, Option<u8>, u8)> {
    (0_i64..3 * HOUR_NS, proptest::option::of(0_u8..3), 0_u8..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However rows are cut into batches, each comes back once, in the file of its day, in order.
    #[test]
    fn rows_are_sorted_and_none_is_lost(
        rows in proptest::collection::vec(any_flow(), 0..120),
        sizes in proptest::collection::vec(0_usize..40, 0..6),
    ) {
        let rows: Vec<FlowRow> = (0..)
            .zip(&rows)
            .map(|(nth, (after, namespace, client))| {
                let namespace = namespace.map(|number| format!("ns-{number}"));
                flow(nth, START_NS + after, namespace.as_deref(), &format!("10.0.0.{client}"))
            })
            .collect();
        let mut batches = Vec::new();
        let mut rest = &rows[..];
        for size in sizes.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            batches.push(FlowRow::to_batch(now));
            rest = later;
        }
        let mut found = Vec::new();
        for file in files(&FLOWS, &batches).unwrap() {
            let in_file: Vec<FlowRow> = read(&file);
            let day = time::day(in_file[0].time);
            prop_assert_eq!(&file.partition, &format!("date={}", time::date_text(day)));
            prop_assert!(in_file.iter().all(|row| time::day(row.time) == day));
            let times: Vec<i64> = in_file.iter().map(|row| row.time).collect();
            prop_assert_eq!(Some(&file.min_time), times.iter().min());
            prop_assert_eq!(Some(&file.max_time), times.iter().max());
            let key = |row: &FlowRow| {
                (row.time.div_euclid(BUCKET_NS), row.client_namespace.clone(), row.client_ip.clone(), row.client_bytes)
            };
            prop_assert!(in_file.is_sorted_by_key(key));
            found.extend(in_file);
        }
        found.sort_by_key(|row| row.client_bytes);
        prop_assert_eq!(found, rows);
    }
}
