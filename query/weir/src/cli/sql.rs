//! `weir sql`: a question in SQL, its answer as a table.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};

use anyhow::Context;
use clap::ValueEnum;
use futures::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;
use weir_kit::exit;

use super::client;

/// Asks a running Weir a question in SQL.
///
/// The tables are described by `DESCRIBE flows`, and with units and meaning in docs/tables.md and /api/v1/tables.
/// Example:
///
///     weir sql "SELECT server_name, count(*) AS n FROM flows GROUP BY ALL ORDER BY n DESC LIMIT 10"
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The question; `-` reads it from standard input.
    sql: String,
    /// Which Weir to ask.
    #[arg(long, env = "WEIR_SERVER", default_value = client::SERVER, value_name = "URL")]
    server: String,
    /// How the answer is written.
    #[arg(long, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned columns, for people.
    Table,
    /// The API's own JSON.
    Json,
    /// CSV with a header line.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let sql = if args.sql == "-" {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .take(1 << 20)
            .read_to_string(&mut text)
            .context("read the question from standard input")?;
        text
    } else {
        args.sql.clone()
    };
    let accept = match args.format {
        Format::Table | Format::Json => "application/json",
        Format::Csv => "text/csv",
        Format::Ndjson => "application/x-ndjson",
        Format::Arrow => "application/vnd.apache.arrow.stream",
        Format::Parquet => "application/vnd.apache.parquet",
    };
    let request = reqwest::Client::new()
        .post(format!("{}/api/v1/sql", args.server.trim_end_matches('/')))
        .header(ACCEPT, accept)
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(sql.clone());
    let response = client::send(&args.server, request, Some(&sql)).await?;
    let mut out = std::io::stdout().lock();
    if args.format == Format::Table {
        let answer: Value = response.json().await.context("read the answer")?;
        return exit::stdout(out.write_all(table(&answer).as_bytes()));
    }
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        exit::stdout(
            out.write_all(&chunk.context("the answer broke off: what was written is not all of it")?),
        )?;
    }
    if args.format == Format::Json && std::io::stdout().is_terminal() {
        exit::stdout(writeln!(out))?;
    }
    Ok(())
}

/// Widest that a cell is shown; the rest is cut with an ellipsis (the other formats have it whole).
const WIDEST: usize = 60;

/// The answer as aligned columns: numbers to the right, nulls as `-`, and a line that says how much and how complete.
fn table(answer: &Value) -> String {
    let columns = answer["columns"].as_array().map_or(&[][..], Vec::as_slice);
    let rows = answer["rows"].as_array().map_or(&[][..], Vec::as_slice);
    let is_number: Vec<bool> = columns
        .iter()
        .map(|column| matches!(column["type"].as_str(), Some("BIGINT" | "INTEGER" | "DOUBLE")))
        .collect();
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned()).collect()];
    for row in rows {
        lines.push(row.as_array().map_or(&[][..], Vec::as_slice).iter().map(cell).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let mut written = String::new();
        for (column, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) =
                if is_number[column] { (padding.as_str(), "") } else { ("", padding.as_str()) };
            let _ = write!(written, "{before}{cell}{after}  ");
        }
        text.push_str(written.trim_end());
        text.push('\n');
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            text.push_str(&rule.join("  "));
            text.push('\n');
        }
    }
    let count = rows.len();
    let more = if answer["truncated"] == true { " (cut here: add LIMIT, or use --format csv)" } else { "" };
    let elapsed = answer["elapsed_ms"].as_f64().unwrap_or_default();
    let completeness = match answer["completeness"]["complete"].as_bool() {
        Some(false) => {
            format!(" · incomplete: {}", answer["completeness"]["message"].as_str().unwrap_or_default())
        }
        _ => String::new(),
    };
    let plural = if count == 1 { "" } else { "s" };
    let _ = writeln!(text, "{count} row{plural}{more} in {elapsed:.0} ms{completeness}");
    text
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.replace(['\n', '\t'], " "),
        Value::Number(number) => match number.as_f64() {
            Some(real) if number.is_f64() && real.fract() != 0.0 => format!("{real:.3}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    if text.chars().count() <= WIDEST {
        return text;
    }
    let mut cut: String = text.chars().take(WIDEST - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_aligned_and_says_what_is_missing() {
        let answer = json!({
            "columns": [{ "name": "server_name", "type": "VARCHAR" }, { "name": "bytes", "type": "BIGINT" }],
            "rows": [["api", 12], [null, 3456]],
            "truncated": false, "elapsed_ms": 1.6,
            "completeness": { "complete": false, "message": "records missing in this range: 3 lost; the table probe_health says which" },
        });
        assert_eq!(
            table(&answer),
            "server_name  bytes\n\
             ───────────  ─────\n\
             api             12\n\
             -             3456\n\
             2 rows in 2 ms · incomplete: records missing in this range: 3 lost; the table probe_health says which\n"
        );
    }
}
