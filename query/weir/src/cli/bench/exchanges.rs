//! Exchanges out of CSV. Every mistake is told with its file and line.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use flate2::read::MultiGzDecoder;
use weir_stitch::infer::{Exchange, Inference, Span};

/// The rows of one file.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    rows: Vec<Row>,
    truth: Option<Truth>,
}

#[derive(Debug)]
struct Row {
    id: String,
    client: String,
    server: String,
    operation: String,
    client_time: Option<Span>,
    server_time: Option<Span>,
}

/// What was really so; only ever looked at after the inference.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Each row's trace, as a number.
    pub(super) traces: Vec<usize>,
    /// Each row's parent, a row.
    pub(super) parents: Vec<Option<u64>>,
}

impl Exchanges {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The name of the exchange with that number.
    pub(super) fn id(&self, number: u64) -> &str {
        self.rows.get(number as usize).map_or("", |row| &row.id)
    }

    pub(super) fn truth(&self) -> Option<&Truth> {
        self.truth.as_ref()
    }

    /// The rows as the inference takes them, numbered as they stand in the file.
    pub(super) fn exchanges(&self, inference: &mut Inference) -> Vec<Exchange> {
        let rows = self.rows.iter().enumerate();
        rows.map(|(number, row)| Exchange {
            id: number as u64,
            client: (!row.client.is_empty()).then(|| inference.name(&row.client)),
            server: inference.name(&row.server),
            operation: inference.name(&row.operation),
            client_time: row.client_time,
            server_time: row.server_time,
            client_bytes: None,
            server_bytes: None,
            cause: None,
        })
        .collect()
    }
}

/// Reads a CSV file, plain or gzip by its name.
pub(super) fn read(path: &Path) -> anyhow::Result<Exchanges> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    parse(reader, &path.display().to_string())
}

fn parse(reader: impl Read, name: &str) -> anyhow::Result<Exchanges> {
    let mut csv = csv::Reader::from_reader(reader);
    let columns = Columns::of(csv.headers().with_context(|| format!("read {name}"))?, name)?;
    let mut exchanges = Exchanges::default();
    let mut lines: HashMap<String, (usize, u64)> = HashMap::new();
    let mut truths = Vec::new();
    for record in csv.records() {
        let record = record.with_context(|| format!("read {name}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let row = columns.row(&record).with_context(|| format!("{name}:{line}"))?;
        if let Some((_, first)) = lines.insert(row.id.clone(), (exchanges.rows.len(), line)) {
            bail!(
                "{name}:{line}: exchange_id {:?} is that of line {first}, too: each row needs its own",
                row.id
            );
        }
        if let Some((trace, parent)) = columns.truth {
            truths.push((record[trace].to_owned(), record[parent].to_owned()));
        }
        exchanges.rows.push(row);
    }
    if exchanges.rows.is_empty() {
        bail!("{name}: no exchanges below the header");
    }
    exchanges.truth = columns.truth.map(|_| Truth::of(&truths, &lines));
    Ok(exchanges)
}

impl Truth {
    fn of(rows: &[(String, String)], lines: &HashMap<String, (usize, u64)>) -> Truth {
        let mut truth = Truth::default();
        let mut traces = HashMap::new();
        for (trace, parent) in rows {
            let next = traces.len();
            truth.traces.push(*traces.entry(trace).or_insert(next));
            truth.parents.push(lines.get(parent).map(|(number, _)| *number as u64));
        }
        truth
    }
}

/// Where each column stands.
struct Columns {
    id: usize,
    client: usize,
    server: usize,
    operation: usize,
    client_time: [(usize, &'static str); 2],
    server_time: [(usize, &'static str); 2],
    truth: Option<(usize, usize)>,
}

impl Columns {
    fn of(header: &csv::StringRecord, name: &str) -> anyhow::Result<Columns> {
        let find = |column: &str| header.iter().position(|known| known.trim() == column);
        let column = |column: &'static str| {
            let has = header.iter().collect::<Vec<_>>().join(", ");
            find(column)
                .with_context(|| format!("{name}:1: no column {column} in the header, which has: {has}"))
        };
        let time = |name| Ok::<_, anyhow::Error>((column(name)?, name));
        Ok(Columns {
            id: column("exchange_id")?,
            client: column("client_service")?,
            server: column("server_service")?,
            operation: column("operation")?,
            client_time: [time("client_start_us")?, time("client_end_us")?],
            server_time: [time("server_start_us")?, time("server_end_us")?],
            truth: find("truth_trace_id").zip(find("truth_parent_id")),
        })
    }

    fn row(&self, record: &csv::StringRecord) -> anyhow::Result<Row> {
        let row = Row {
            id: record[self.id].to_owned(),
            client: record[self.client].to_owned(),
            server: record[self.server].to_owned(),
            operation: record[self.operation].to_owned(),
            client_time: span(record, self.client_time)?,
            server_time: span(record, self.server_time)?,
        };
        if row.id.is_empty() {
            bail!("exchange_id is empty: each row needs its own");
        }
        if row.server.is_empty() {
            bail!("server_service is empty: an exchange was with somebody");
        }
        if row.client_time.or(row.server_time).is_none() {
            bail!("neither end's times are there: client_* or server_* must be");
        }
        Ok(row)
    }
}

/// Two columns as a span of time; `None` where both are empty.
fn span(record: &csv::StringRecord, [start, end]: [(usize, &str); 2]) -> anyhow::Result<Option<Span>> {
    match (time(record, start)?, time(record, end)?) {
        (None, None) => Ok(None),
        (Some(start), Some(end)) if start <= end => Ok(Some(Span { start, end })),
        (Some(_), Some(_)) => bail!("{} is after {}", start.1, end.1),
        (Some(_), None) => bail!("{} is there, but {} is empty", start.1, end.1),
        (None, Some(_)) => bail!("{} is there, but {} is empty", end.1, start.1),
    }
}

/// Microseconds in the file, nanoseconds here.
fn time(record: &csv::StringRecord, (column, name): (usize, &str)) -> anyhow::Result<Option<i64>> {
    let text = record[column].trim();
    if text.is_empty() {
        return Ok(None);
    }
    let ns = text.parse::<i64>().ok().filter(|&us| us >= 0).and_then(|us| us.checked_mul(1_000));
    match ns {
        Some(ns) => Ok(Some(ns)),
        None => bail!("{name}: {text:?} is no whole number of microseconds since the epoch"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "exchange_id,client_service,server_service,operation,client_start_us,client_end_us,server_start_us,server_end_us";

    fn check(rows: &str, expected: &str) {
        let error = parse(format!("{HEADER}\n{rows}").as_bytes(), "a.csv").unwrap_err();
        let text = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_column() {
        check("a,,s,o,1,2,1,2\nb,,s,o,x,2,1,2\n", r#"a.csv:3: client_start_us: "x" is no whole number"#);
        check("a,,s,o,3,2,1,2\n", "a.csv:2: client_start_us is after client_end_us");
        check("a,,s,o,,2,1,2\n", "a.csv:2: client_end_us is there, but client_start_us is empty");
        check("a,,s,o,,,,\n", "a.csv:2: neither end's times are there");
        check("a,,s,o,1,2,1,2\na,,s,o,1,2,1,2\n", r#"a.csv:3: exchange_id "a" is that of line 2"#);
        check("a,,s,o,1,2,1\n", "line: 2");
        check("", "no exchanges");
        let error = parse("exchange_id,operation\n".as_bytes(), "a.csv").unwrap_err().to_string();
        assert!(error.contains("a.csv:1: no column client_service"), "{error}");
    }

    #[test]
    fn one_end_s_times_may_be_missing() {
        let read = parse(format!("{HEADER}\na,,s,o,,,5,9\n").as_bytes(), "a.csv").unwrap();
        let exchanges = read.exchanges(&mut Inference::new(weir_stitch::infer::Config::default()));
        assert_eq!(exchanges[0].client_time, None);
        assert_eq!(exchanges[0].server_time, Some(Span { start: 5_000, end: 9_000 }));
    }
}
