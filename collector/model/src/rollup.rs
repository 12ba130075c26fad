//! Roll-ups: what is left of a table's rows when those of one minute and of the same kept columns are one.

use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::schema::Table;
use crate::tables;

/// How long a time one row stands for, ns.
pub const ROLLED_NS: i64 = 60 * crate::time::SECOND_NS;
/// The column that says how many rows became one.
pub const ROLLED_ROWS: &str = "rolled_rows";

/// What a table's roll-up keeps. Its columns are the minute (under the name of the table's own time), those that are kept,
/// [`ROLLED_ROWS`], sums under the names of what was summed, and the least and greatest of others.
#[derive(Debug)]
pub struct RollUp {
    /// Of which table.
    pub table: &'static str,
    /// Rises when a column is added or goes: what another version made isn't used.
    pub version: u32,
    /// Columns that rows have in common.
    pub kept: &'static [&'static str],
    /// Counters, which are summed.
    pub summed: &'static [&'static str],
    /// Measures of which the least and the greatest are known: see [`least`] and [`greatest`].
    pub ranged: &'static [&'static str],
    cached: OnceLock<SchemaRef>,
}

/// Every roll-up.
pub static ALL: [&RollUp; 2] = [&FLOWS, &DROPS];

static FLOWS: RollUp = RollUp {
    table: "flows",
    version: 1,
    kept: &[
        "direction",
        "encryption",
        "tls_version",
        "protocol",
        "observer",
        "source",
        "policy_verdict",
        "close_reason",
        "drop_reason",
        "server_port",
        "client_identity",
        "client_namespace",
        "client_workload",
        "client_workload_kind",
        "client_zone",
        "server_identity",
        "server_namespace",
        "server_workload",
        "server_workload_kind",
        "server_zone",
        "server_name",
    ],
    summed: &[
        "client_bytes",
        "server_bytes",
        "client_packets",
        "server_packets",
        "connections",
        "client_retransmits",
        "server_retransmits",
        "exchanges",
        "resets",
        "drops",
        "icmp_errors",
    ],
    ranged: &["rtt_us", "connect_us", "first_byte_us"],
    cached: OnceLock::new(),
};

static DROPS: RollUp = RollUp {
    table: "drops",
    version: 1,
    kept: &["node", "protocol", "server_port", "reason", "location", "policy"],
    summed: &["packets", "bytes"],
    ranged: &[],
    cached: OnceLock::new(),
};

/// The roll-up of `table`, if it has one.
pub fn of(table: &Table) -> Option<&'static RollUp> {
    ALL.into_iter().find(|rollup| rollup.table == table.name)
}

/// Where the least of a measure is.
pub fn least(measure: &str) -> String {
    format!("{measure}_least")
}

/// Where the greatest of a measure is.
pub fn greatest(measure: &str) -> String {
    format!("{measure}_greatest")
}

impl RollUp {
    /// Its columns; text is plain.
    pub fn schema(&self) -> SchemaRef {
        self.cached.get_or_init(|| Arc::new(Schema::new(self.fields()))).clone()
    }

    fn fields(&self) -> Vec<Field> {
        let table = tables::by_name(self.table).expect("a table of ours");
        let number = |name: String| Field::new(name, DataType::Int64, true);
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let mut fields = vec![Field::new(table.time_column(), time, false)];
        for name in self.kept {
            let kind = table.column(name).expect("a column of its table").kind.data_type();
            let plain = match kind {
                DataType::Dictionary(_, _) => DataType::Utf8,
                other => other,
            };
            fields.push(Field::new(*name, plain, true));
        }
        fields.push(Field::new(ROLLED_ROWS, DataType::Int64, false));
        fields.extend(self.summed.iter().map(|name| number((*name).to_owned())));
        fields.extend(self.ranged.iter().flat_map(|name| [number(least(name)), number(greatest(name))]));
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::DataKind;

    #[test]
    fn roll_ups_are_of_columns_that_can_be_kept_and_summed() {
        for rollup in ALL {
            let table = tables::by_name(rollup.table).expect("a table of ours");
            let kind = |name: &str| table.column(name).map(|column| column.kind);
            for name in rollup.kept {
                assert!(matches!(kind(name), Some(DataKind::Text | DataKind::Port)), "{}.{name}", table.name);
            }
            for name in rollup.summed.iter().chain(rollup.ranged) {
                assert!(matches!(kind(name), Some(DataKind::Count | DataKind::Int)), "{}.{name}", table.name);
            }
            assert_eq!(rollup.schema().field(0).name(), table.time_column());
        }
    }
}
