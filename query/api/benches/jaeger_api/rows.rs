//! Spans as a busy cluster has them: a thousand a second, ten a trace, over five of forty services; one trace has a hundred
//! thousand.

use weir_model::{SmolStr, SpanRow, format_smolstr};

/// Start of the first trace, UTC nanoseconds.
const START: i64 = 1_794_999_600_000_000_000;
/// Spans of a trace.
pub(crate) const A_TRACE: u64 = 10;
/// Between the starts of two traces: a hundred traces a second.
const BETWEEN_NS: i64 = 10_000_000;
/// The trace that has so many.
pub(crate) const LARGE: &str = "000000000000000000000000ca11ab1e";
pub(crate) const LARGE_SPANS: u64 = 100_000;
const SERVICES: u64 = 40;
const OPERATIONS: u64 = 12;

/// All spans, in the order of their traces; those of the large one in the middle.
pub(crate) struct Spans {
    /// How many there are but for the large trace's.
    others: u64,
    next: u64,
    next_large: u64,
}

impl Spans {
    pub(crate) fn new(others: u64) -> Spans {
        Spans { others, next: 0, next_large: 0 }
    }
}

impl Iterator for Spans {
    type Item = SpanRow;

    fn next(&mut self) -> Option<SpanRow> {
        let trace = self.next / A_TRACE;
        if self.next >= self.others / 2 && self.next_large < LARGE_SPANS {
            let number = self.next_large;
            self.next_large += 1;
            return Some(span(LARGE.into(), trace, number, number as i64 * 1_000));
        }
        if self.next >= self.others {
            return None;
        }
        let number = self.next % A_TRACE;
        self.next += 1;
        Some(span(id(trace), trace, number, number as i64 * 1_000_000))
    }
}

/// When a trace starts, UTC nanoseconds.
pub(crate) fn start_of(trace: u64) -> i64 {
    START + trace as i64 * BETWEEN_NS
}

/// Its id: any 128 bits, as SDKs make them.
pub(crate) fn id(trace: u64) -> SmolStr {
    let mixed = mix(trace);
    format_smolstr!("{mixed:016x}{:016x}", mix(mixed))
}

pub(crate) fn service(number: u64) -> String {
    format!("service-{:02}", number % SERVICES)
}

fn span(trace_id: SmolStr, trace: u64, number: u64, after_ns: i64) -> SpanRow {
    let time = start_of(trace) + after_ns;
    let random = mix(trace * 131 + number);
    let duration_ns = 1_000 + (random % 50_000_000) as i64;
    let service = service(mix(trace) + number / 2);
    let is_server = number.is_multiple_of(2);
    SpanRow {
        time,
        end_time: Some(time + duration_ns),
        duration_ns,
        trace_id: Some(trace_id),
        span_id: Some(span_id(trace, number)),
        parent_span_id: (number > 0).then(|| span_id(trace, number - 1)),
        operation: Some(format_smolstr!("GET /api/v1/resource-{}", random % OPERATIONS)),
        kind: Some(SmolStr::new_static(if is_server { "server" } else { "client" })),
        status: Some(SmolStr::new_static(if random.is_multiple_of(50) { "error" } else { "unset" })),
        source: Some(SmolStr::new_static("otlp")),
        scope_name: Some(SmolStr::new_static("io.opentelemetry.http")),
        scope_version: Some(SmolStr::new_static("2.1.0")),
        attributes: vec![
            ("http.request.method".into(), "GET".into()),
            ("http.response.status_code".into(), format_smolstr!("{}", 200 + random % 3 * 100)),
            ("tenant".into(), format_smolstr!("t{}", random / 7 % 50)),
            (
                "url.path".into(),
                format_smolstr!("/api/v1/resource-{}/{}", random % OPERATIONS, random % 100_000),
            ),
        ],
        attribute_types: Some("siss".into()),
        resource_attributes: vec![
            ("k8s.pod.name".into(), format_smolstr!("{service}-5d9c7b{:02}", random % 4)),
            ("service.name".into(), SmolStr::new(&service)),
        ],
        resource_attribute_types: Some("ss".into()),
        service: Some(SmolStr::new(service)),
        node: Some(format_smolstr!("node-{}", random % 16)),
        ..SpanRow::default()
    }
}

fn span_id(trace: u64, number: u64) -> SmolStr {
    format_smolstr!("{:016x}", mix(trace * 1_000_003 + number) | 1)
}

/// `SplitMix64`'s last steps: the same rows in each run.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}
