//! Batch metadata, and making a batch from an older or newer sender fit the table that we know.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use serde::{Deserialize, Serialize};

use crate::schema::{DataKind, Row, SCHEMA_VERSION, Table, nulls};

/// What is wrong with a batch; resending it can't help.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The column's type is not the table's, and can't be made so.
    #[error("table {table}: column {column} has type {found}, expected {expected}")]
    Column {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The type that came.
        found: String,
        /// The type that the table has.
        expected: String,
    },
    /// A row without its own time can't be stored: nothing would find it.
    #[error("table {table}: column {column} is missing or has nulls")]
    NoTime {
        /// The table.
        table: &'static str,
        /// Its time column.
        column: &'static str,
    },
    /// No such table.
    #[error("no table {0:?} in schema version {SCHEMA_VERSION}: upgrade the collector before the probes")]
    UnknownTable(String),
    /// The metadata is not ours.
    #[error("batch metadata: {0}")]
    Metadata(#[from] serde_json::Error),
}

/// Travels with each batch (Flight `app_metadata`, WAL record): who sent it, and which it is.
///
/// (node, boot id, table, sequence) names a batch once and for all, so that resending it is harmless.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchMeta {
    /// The sender's [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The table's name.
    pub table: String,
    /// The sending node's name.
    pub node: String,
    /// A new one each time that the sender starts.
    pub boot_id: String,
    /// Counts the sender's batches of this table since it started, from 1, without holes.
    pub sequence: u64,
}

impl BatchMeta {
    /// What each begins with, encoded.
    pub const BEGINS: &[u8] = b"{\"schema_version\":";

    /// Metadata of the `sequence`th batch of `R`'s table.
    pub fn of<R: Row>(node: &str, boot_id: &str, sequence: u64) -> BatchMeta {
        BatchMeta {
            schema_version: SCHEMA_VERSION,
            table: R::table().name.to_owned(),
            node: node.to_owned(),
            boot_id: boot_id.to_owned(),
            sequence,
        }
    }

    /// As bytes (JSON: small beside the batch, and readable in any dump).
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields")
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`ModelError::Metadata`] with serde's line and column.
    pub fn decode(bytes: &[u8]) -> Result<BatchMeta, ModelError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

/// Makes `batch` have exactly `table`'s columns, in order: what we don't know is left out, what the sender
/// didn't know is null, and encodings that carry the same values (dictionary, view, plain) are converted. Columns in which
/// no row says anything, about half of a flow's, share their memory with those of all other batches.
///
/// # Errors
/// [`ModelError::Column`] where a type can't be converted, [`ModelError::NoTime`] where rows have no time.
pub fn conform(batch: &RecordBatch, table: &'static Table) -> Result<RecordBatch, ModelError> {
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in table.columns {
        let wanted = column.kind.data_type();
        let array = match batch.column_by_name(column.name) {
            None if column.kind == DataKind::Time => {
                return Err(ModelError::NoTime { table: table.name, column: column.name });
            }
            None => nulls(column.kind, batch.num_rows()),
            Some(array) if is_empty(array) && column.kind != DataKind::Time && can_be(array, &wanted) => {
                nulls(column.kind, batch.num_rows())
            }
            Some(array) if array.data_type() == &wanted => array.clone(),
            Some(array) => cast(array, &wanted).map_err(|_| ModelError::Column {
                table: table.name,
                column: column.name,
                found: array.data_type().to_string(),
                expected: wanted.to_string(),
            })?,
        };
        if column.kind == DataKind::Time && array.null_count() > 0 {
            return Err(ModelError::NoTime { table: table.name, column: column.name });
        }
        columns.push(array);
    }
    Ok(crate::schema::assemble(table, columns))
}

/// Whether no row says anything.
fn is_empty(array: &ArrayRef) -> bool {
    array.null_count() == array.len()
}

/// Whether the type is right, or can be made so.
fn can_be(array: &ArrayRef, wanted: &arrow::datatypes::DataType) -> bool {
    array.data_type() == wanted || arrow::compute::can_cast_types(array.data_type(), wanted)
}

#[cfg(test)]
mod tests {
    use arrow::array::new_null_array;

    use super::*;
    use crate::tables::{FLOWS, FlowRow};

    fn one_flow() -> FlowRow {
        FlowRow {
            time: 7,
            client_ip: Some("10.0.0.1".into()),
            client_port: Some(40_000),
            client_bytes: 12,
            ..FlowRow::default()
        }
    }

    #[test]
    fn an_older_probe_that_lacks_columns_gets_nulls() {
        let batch = FlowRow::to_batch(&[one_flow()]);
        let older = batch.project(&[0, 1, 2]).expect("first columns");
        let conformed = conform(&older, &FLOWS).expect("conforms");
        assert_eq!(conformed.num_columns(), FLOWS.columns.len());
        assert_eq!(FlowRow::from_batch(&conformed).expect("reads")[0].client_ip, None);
    }

    #[test]
    fn a_newer_probe_with_unknown_columns_is_understood() {
        let batch = FlowRow::to_batch(&[one_flow()]);
        let mut fields: Vec<_> = batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.insert(
            1,
            arrow::datatypes::Field::new("from_the_future", arrow::datatypes::DataType::Int64, true),
        );
        let mut columns = batch.columns().to_vec();
        columns.insert(1, new_null_array(&arrow::datatypes::DataType::Int64, 1));
        let newer = RecordBatch::try_new(std::sync::Arc::new(arrow::datatypes::Schema::new(fields)), columns)
            .expect("batch");
        let rows = FlowRow::from_batch(&conform(&newer, &FLOWS).expect("conforms")).expect("reads");
        assert_eq!(rows, vec![one_flow()]);
    }

    #[test]
    fn a_row_without_its_time_is_refused_by_name() {
        let batch = FlowRow::to_batch(&[one_flow()]).project(&[1, 2]).expect("without time");
        assert!(matches!(conform(&batch, &FLOWS), Err(ModelError::NoTime { column: "time", .. })));
    }

    /// Half of what a collector has in memory would be nothing otherwise.
    #[test]
    fn columns_in_which_no_row_says_anything_share_their_memory() {
        let batch = conform(&FlowRow::to_batch(&vec![one_flow(); 500]), &FLOWS).expect("conforms");
        let buffer = |name: &str| {
            let data = batch.column_by_name(name).expect("a column").to_data();
            data.buffers()[0].as_ptr()
        };
        assert_eq!(buffer("client_pod"), buffer("server_pod"));
        assert_ne!(buffer("client_ip"), buffer("server_ip"));
        let large = vec![one_flow(); 3 * crate::schema::NULLS + 1];
        let batch = conform(&FlowRow::to_batch(&large), &FLOWS).expect("conforms");
        assert_eq!(FlowRow::from_batch(&batch).expect("reads"), large);
    }

    #[test]
    fn metadata_survives_its_round_trip() {
        let meta = BatchMeta::of::<FlowRow>("node-a", "b1", 42);
        assert_eq!(BatchMeta::decode(&meta.encode()).expect("decodes"), meta);
        assert!(meta.encode().starts_with(BatchMeta::BEGINS));
    }
}
