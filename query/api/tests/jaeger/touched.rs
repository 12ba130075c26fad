//! Which files a question opens. Who opens one that is gone from under the store has it set aside: its rows are known to be
//! lost then.

use std::path::{Path, PathBuf};

use super::*;

const HOUR: i64 = 3_600;

/// A span of a trace of its own, `hours` after [`T`], and its trace.
fn one_span(hours: i64) -> Json {
    let start = hours * HOUR * 1_000_000_000;
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", "shop")]},
        "scopeSpans": [{"spans": [{
            "traceId": id(hours), "spanId": "00000000000000a1", "name": "GET /", "kind": 2,
            "startTimeUnixNano": at(start), "endTimeUnixNano": at(start + 1_000_000),
        }]}],
    }]})
}

fn id(hours: i64) -> String {
    format!("{:032x}", hours + 1)
}

/// A file of each of three hours, six hours apart; those of the first and the last are then taken away.
async fn with_the_middle_only() -> Weir {
    let weir = Weir::empty().await;
    for (sequence, hours) in [(1, 0), (2, 6), (3, 12)] {
        weir.store_spans(sequence, otlp(&one_span(hours))).await;
        weir.store.seal().await.expect("seals");
    }
    let mut files = files(weir.store.dir());
    files.sort();
    assert_eq!(files.len(), 3, "{files:?}");
    for file in [&files[0], &files[2]] {
        std::fs::remove_file(file).expect("removes");
    }
    weir
}

/// Takes all files away.
fn remove_files(weir: &Weir) {
    for file in files(weir.store.dir()) {
        std::fs::remove_file(file).expect("removes");
    }
}

/// How many files were found to be gone.
fn touched(weir: &Weir) -> usize {
    weir.store.lost_rows().len()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_search_opens_no_file_outside_of_its_time() {
    let weir = with_the_middle_only().await;
    let range = |hours: i64| {
        let seconds = T + hours * HOUR;
        format!("start={}&end={}", (seconds - 60) * 1_000_000, (seconds + 60) * 1_000_000)
    };
    let found = weir.get(&format!("/api/traces?service=shop&{}", range(6))).await;
    assert_eq!(found["data"][0]["spans"][0]["traceID"], json!("0000000000000007"));
    let summaries = format!(
        "/api/v3/trace-summaries?query.serviceName=shop&query.startTimeMin={}&query.startTimeMax={}",
        rfc3339(T + 6 * HOUR - 60),
        rfc3339(T + 6 * HOUR + 60),
    );
    assert_eq!(weir.get(&summaries).await["summaries"][0]["traceId"], json!(id(6)));
    let dependencies = format!("/api/dependencies?endTs={}&lookback=60000", (T + 6 * HOUR + 60) * 1_000);
    assert_eq!(weir.get(&dependencies).await["data"], json!([]));
    assert_eq!(touched(&weir), 0);
    // It would have been noticed.
    weir.ask("GET", &format!("/api/traces?service=shop&{}", range(12)), "").await;
    assert_eq!(touched(&weir), 1);
}

#[tokio::test]
async fn a_trace_whose_time_is_told_is_looked_for_there_first() {
    let weir = with_the_middle_only().await;
    let seconds = T + 6 * HOUR;
    let hint = format!("start={}&end={}", seconds * 1_000_000, (seconds + 1) * 1_000_000);
    let trace = weir.get(&format!("/api/traces/{}?{hint}", id(6))).await;
    assert_eq!(trace["data"][0]["spans"].as_array().map(Vec::len), Some(1));
    assert_eq!(touched(&weir), 0);
    // Without its time, every file could have it.
    weir.ask("GET", &format!("/api/traces/{}", id(6)), "").await;
    assert_eq!(touched(&weir), 2);
}

/// Many spans a minute: the newest of them are enough for most searches.
#[tokio::test]
async fn a_search_that_has_found_enough_looks_no_further_back() {
    const SPANS: i64 = 150_000;
    let weir = Weir::empty().await;
    weir.store_spans(1, otlp(&one_span(0))).await;
    weir.store.seal().await.expect("seals");
    remove_files(&weir);
    let row = |number: i64| SpanRow {
        time: (T + 12 * HOUR) * 1_000_000_000 + number * 1_000_000,
        trace_id: Some(format!("{:032x}", 1_000 + number / 2).into()),
        span_id: Some(format!("{:016x}", number + 1).into()),
        parent_span_id: (number % 2 == 1).then(|| format!("{number:016x}").into()),
        service: Some(if number == SPANS - 2 { "rare" } else { "shop" }.into()),
        ..SpanRow::default()
    };
    weir.store_spans(2, (0..SPANS).map(row).collect()).await;
    weir.store.seal().await.expect("seals");
    let range = format!("start={}&end={}", T * 1_000_000, (T + 24 * HOUR) * 1_000_000);
    let found = weir.get(&format!("/api/traces?service=shop&limit=3&{range}")).await;
    let ids: Vec<_> =
        found["data"].as_array().expect("traces").iter().map(|trace| &trace["traceID"]).collect();
    let newest = |number: i64| format!("{:016x}", 1_000 + (SPANS - 1) / 2 - number);
    assert_eq!(ids, [&newest(0), &newest(1), &newest(2)]);
    let one = weir.get(&format!("/api/traces?service=rare&limit=1&{range}")).await;
    assert_eq!(one["data"][0]["traceID"], json!(newest(0)));
    assert_eq!(touched(&weir), 0);
    // There is only one of these, so the older file is looked into.
    weir.ask("GET", &format!("/api/traces?service=rare&limit=3&{range}"), "").await;
    assert_eq!(touched(&weir), 1);
}

/// The page asks for them each time that it is opened, over however many spans.
#[tokio::test]
async fn names_are_read_from_a_file_once() {
    let weir = Weir::empty().await;
    weir.store_spans(1, otlp(&shop_trace())).await;
    weir.store.seal().await.expect("seals");
    weir.store_spans(2, otlp(&one_span(0))).await;
    let services = json!(["back o'house", "front", "shop"]);
    assert_eq!(weir.get("/api/v3/services").await["services"], services);
    remove_files(&weir);
    assert_eq!(weir.get("/api/v3/services").await["services"], services);
    assert_eq!(weir.get("/api/services/front/operations").await["data"], json!(["GET /cart", "call"]));
    // What comes later is there, from memory and from its file.
    weir.store_spans(3, otlp(&old_trace())).await;
    let more = json!(["a/b c+d%e", "back o'house", "front", "missing-service-name", "shop"]);
    assert_eq!(weir.get("/api/v3/services").await["services"], more);
    weir.store.seal().await.expect("seals");
    assert_eq!(weir.get("/api/v3/services").await["services"], more);
}
