//! `weir bench`: how well and how fast a part of Weir does its work.

mod exchanges;
mod query;
mod score;
mod stitch;

use clap::Subcommand;

/// What `weir bench stitch --help` says.
const STITCH: &str = "\
Find who asked whom by timing alone, in CSV files of exchanges.

What can be learned from a service's timing shows in its exchanges alone: who asked it, whom it asked, when.

A FILE is CSV, plain or gzip (.gz), one row an exchange, with a header and the columns

  exchange_id       a name that no other row has
  client_service    who asked; empty: somebody outside, so that a trace begins
  server_service    who answered
  operation         what was asked for
  client_start_us, client_end_us
                    request sent, answer received: µs since the epoch by the client's clock
  server_start_us, server_end_us
                    request received, answer sent: by the server's clock

in any order. One end's times may be empty. `exchange_id,parent_id` of every exchange with a client goes to standard output
(or --out), an empty `parent_id` where no parent was found or none is sure enough; how fast it was, to standard error.

With `truth_trace_id` and `truth_parent_id`, which the inference never sees, you are also told how many links and whole
traces are right, whether confidences are true to their word, and what a least confidence would cost.";

/// What `weir bench query --help` says.
const QUERY: &str = "\
Ask fourteen questions about a day of a busy cluster, and measure Weir beside DuckDB and ClickHouse.

The day is drawn: 5,000 pods of 1,000 workloads in 200 namespaces, services called by Zipf's law, sizes with a heavy tail, some rows
late; the same in each run. It is stored as what probes send is, and sealed into files. Then a `weir up` over these files is
asked through its HTTP door, in turns with the other engines, who have the same rows in their own best formats, the same number
of threads and the same memory. Answers are compared row by row, and a wrong one fails the run; only percentiles are each
engine's own approximation.

Needs some 250 bytes of disk for each flow while it runs with the other engines. `make bench-query` builds for speed, installs
the other engines, and runs this.";

/// Measures a part of Weir; no running Weir is needed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Find who asked whom by timing alone, in CSV files of exchanges.
    #[command(long_about = STITCH)]
    Stitch(stitch::Args),
    /// Ask fourteen questions about a day of a busy cluster, and measure Weir beside DuckDB and ClickHouse.
    #[command(long_about = QUERY)]
    Query(query::Args),
    /// Store a day of a busy cluster as fast as it goes: files, rewriting, memory, and questions before and after merging.
    Day(query::day::Args),
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    match &args.what {
        What::Stitch(args) => stitch::run(args),
        What::Query(args) => query::run(args).await,
        What::Day(args) => query::day::run(args).await,
    }
}
