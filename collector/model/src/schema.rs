//! What a table and a column are, and how they look in Arrow.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array as _, ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::Serialize;

use crate::batch::ModelError;

/// Rises when a column changes its meaning or type; adding a column doesn't raise it ([`crate::conform`]).
pub const SCHEMA_VERSION: u32 = 1;

/// How a column is stored. Plain types on purpose: any Parquet reader understands them without us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DataKind {
    /// A point in time, UTC, nanoseconds since the epoch; always there.
    Time,
    /// A point in time that may be absent.
    OptTime,
    /// Text that repeats (names, addresses): dictionary-encoded.
    Text,
    /// Text that hardly repeats (ids, JSON): plain UTF-8.
    Str,
    /// A whole number that may be unknown.
    Int,
    /// A counter: zero means none, and is always known.
    Count,
    /// A transport port, 0 to 65535.
    Port,
    /// A claim that may be unknown.
    Bool,
    /// A real number that may be unknown.
    Float,
    /// A list of texts; empty where there is nothing to list.
    TextList,
    /// Text to text; empty where there is nothing.
    Map,
}

impl DataKind {
    const COUNT: usize = DataKind::Map as usize + 1;

    /// The Arrow type of a column of this kind.
    pub fn data_type(self) -> DataType {
        match self {
            DataKind::Time | DataKind::OptTime => {
                DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
            }
            DataKind::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            DataKind::Str => DataType::Utf8,
            DataKind::Int | DataKind::Count => DataType::Int64,
            DataKind::Port => DataType::Int32,
            DataKind::Bool => DataType::Boolean,
            DataKind::Float => DataType::Float64,
            DataKind::TextList => DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
            DataKind::Map => {
                let entries = Fields::from(vec![
                    Field::new("keys", DataType::Utf8, false),
                    Field::new("values", DataType::Utf8, true),
                ]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
            }
        }
    }

    /// The type's name in SQL, for people.
    pub fn sql_name(self) -> &'static str {
        match self {
            DataKind::Time | DataKind::OptTime => "TIMESTAMP",
            DataKind::Text | DataKind::Str => "VARCHAR",
            DataKind::Int | DataKind::Count => "BIGINT",
            DataKind::Port => "INTEGER",
            DataKind::Bool => "BOOLEAN",
            DataKind::Float => "DOUBLE",
            DataKind::TextList => "VARCHAR[]",
            DataKind::Map => "MAP(VARCHAR, VARCHAR)",
        }
    }
}

/// One column: its type and all that a person or another tool wants to know of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Column {
    /// Name in SQL, Arrow and Parquet.
    pub name: &'static str,
    /// How it is stored.
    pub kind: DataKind,
    /// Unit of a number (`bytes`, `us`, `ns`, `packets`), or empty.
    pub unit: &'static str,
    /// What it means, where it comes from and when it is absent.
    pub description: &'static str,
    /// OpenTelemetry's attribute name, or empty.
    pub otel: &'static str,
    /// IPFIX information element (RFC 7012), or empty.
    pub ipfix: &'static str,
    /// Zeek's field, or empty.
    pub zeek: &'static str,
}

impl Column {
    /// A column about which nothing is said yet; tables fill in what they know.
    pub const EMPTY: Column =
        Column { name: "", kind: DataKind::Str, unit: "", description: "", otel: "", ipfix: "", zeek: "" };

    /// The Arrow field. Only a row's own time must be there: what a probe doesn't know is null.
    pub fn field(&self) -> Field {
        Field::new(self.name, self.kind.data_type(), self.kind != DataKind::Time)
    }
}

/// One table.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Name in SQL and on disk.
    pub name: &'static str,
    /// What one row is.
    pub description: &'static str,
    /// The columns, in order. The first is the row's time.
    pub columns: &'static [Column],
    /// Whether its rows stay until an age is set for this very table: somebody put them there to be kept.
    pub is_archive: bool,
    /// The columns that rows are sorted by within a file, after a short time bucket.
    pub sorted_by: &'static [&'static str],
    /// Built once; see [`Table::schema`].
    #[serde(skip)]
    pub cached: OnceLock<SchemaRef>,
}

impl Table {
    /// The Arrow schema.
    pub fn schema(&'static self) -> SchemaRef {
        self.cached
            .get_or_init(|| Arc::new(Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>())))
            .clone()
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The name of the column that holds a row's own time.
    pub fn time_column(&self) -> &'static str {
        self.columns[0].name
    }
}

/// Rows that are made into columns at a time: the largest, of 2 KB, then fit a core's second-level cache.
pub(crate) const BLOCK: usize = 32;

/// A row of a table as a Rust struct.
pub trait Row: Default + Clone + Send + Sync + 'static {
    /// The table that such rows belong to.
    fn table() -> &'static Table;
    /// Rows to columns.
    fn to_batch(rows: &[Self]) -> RecordBatch;
    /// Columns to rows; a column that the batch lacks is left at its default.
    ///
    /// # Errors
    /// [`ModelError::Column`] names the column whose type is not the table's.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, ModelError>;
}

/// One batch out of columns that were built for `table`, in its order.
pub(crate) fn assemble(table: &'static Table, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(table.schema(), columns).expect("columns are built from the table's own kinds")
}

/// Rows for which columns without values are shared.
pub(crate) const NULLS: usize = 8_192;

/// A column in which no row says anything; up to [`NULLS`] rows it takes no memory of its own. Who counts what a batch takes
/// counts what it shares as well, so what is shared is hardly longer than the batch.
pub(crate) fn nulls(kind: DataKind, rows: usize) -> ArrayRef {
    const SIZES: usize = NULLS.trailing_zeros() as usize + 1;
    static SHARED: [[OnceLock<ArrayRef>; SIZES]; DataKind::COUNT] =
        [const { [const { OnceLock::new() }; SIZES] }; DataKind::COUNT];
    if rows > NULLS {
        return new_null_array(&kind.data_type(), rows);
    }
    let size = rows.next_power_of_two();
    let shared = &SHARED[kind as usize][size.trailing_zeros() as usize];
    shared.get_or_init(|| new_null_array(&kind.data_type(), size)).slice(0, rows)
}
