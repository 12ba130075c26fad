use std::sync::Arc;

use arrow::array::{Int64Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use weir_model::{FlowRow, Row};

use super::*;
use crate::encode::{Encoded, schema_message};

fn rows() -> Vec<FlowRow> {
    let row = |id: i64| FlowRow {
        time: id,
        client_ip: Some(format!("10.0.0.{}", id % 5).into()),
        connection_id: Some(format!("{id:016x}").into()),
        client_bytes: id * 1000,
        ..FlowRow::default()
    };
    (0..200).map(row).collect()
}

fn meta() -> BatchMeta {
    BatchMeta::of::<FlowRow>("node", "boot", 1)
}

fn send(batch: &RecordBatch, limits: &Limits) -> Result<(RecordBatch, Bytes), Refusal> {
    let encoded = Encoded::of(batch).unwrap();
    decode(&meta(), &schema_message(batch.schema_ref()), &encoded.messages, limits)
}

fn reason(result: Result<(RecordBatch, Bytes), Refusal>) -> RefusalReason {
    result.expect_err("refused").reason
}

#[test]
fn a_batch_and_its_written_form_hold_the_same_rows() {
    let (batch, ipc) = send(&FlowRow::to_batch(&rows()), &Limits::default()).unwrap();
    assert_eq!(FlowRow::from_batch(&batch).unwrap(), rows());
    let mut reader = arrow::ipc::reader::StreamReader::try_new(ipc.as_ref(), None).unwrap();
    assert_eq!(FlowRow::from_batch(&reader.next().unwrap().unwrap()).unwrap(), rows());
}

#[test]
fn an_older_probe_that_lacks_columns_is_understood() {
    let batch = FlowRow::to_batch(&rows()).project(&[0, 3, 9]).unwrap();
    let (batch, _) = send(&batch, &Limits::default()).unwrap();
    assert_eq!(FlowRow::from_batch(&batch).unwrap().len(), 200);
}

#[test]
fn a_newer_probe_with_unknown_columns_is_understood() {
    let batch = FlowRow::to_batch(&rows());
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let unknown = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    fields.insert(2, Field::new("from_the_future", unknown.clone(), true));
    let mut columns = batch.columns().to_vec();
    columns.insert(2, new_null_array(&unknown, batch.num_rows()));
    let newer = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let (batch, _) = send(&newer, &Limits::default()).unwrap();
    assert_eq!(FlowRow::from_batch(&batch).unwrap(), rows());
}

#[test]
fn each_refusal_has_its_reason() {
    let batch = FlowRow::to_batch(&rows());
    let few = Limits { max_rows: 199, ..Limits::default() };
    assert_eq!(reason(send(&batch, &few)), RefusalReason::TooManyRows);
    let small = Limits { max_batch_bytes: 10_000, ..Limits::default() };
    assert_eq!(reason(send(&batch, &small)), RefusalReason::TooLarge);
    assert_eq!(reason(send(&batch.project(&[1, 2]).unwrap(), &Limits::default())), RefusalReason::NoTime);

    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let schema =
        Schema::new(vec![batch.schema().field(0).clone(), Field::new("client_bytes", list.clone(), true)]);
    let wrong =
        RecordBatch::try_new(Arc::new(schema), vec![batch.column(0).clone(), new_null_array(&list, 200)]);
    assert_eq!(reason(send(&wrong.unwrap(), &Limits::default())), RefusalReason::BadColumn);

    let encoded = Encoded::of(&batch).unwrap();
    let elsewhere = BatchMeta { table: "tea".into(), ..meta() };
    let schema = schema_message(batch.schema_ref());
    let result = decode(&elsewhere, &schema, &encoded.messages, &Limits::default());
    assert_eq!(reason(result), RefusalReason::UnknownTable);
    let result = decode(&meta(), &schema, &encoded.messages[..1], &Limits::default());
    assert_eq!(reason(result), RefusalReason::Malformed);
}

/// 16 MB of zeros take a few bytes on the wire; they must not take more here than the limit.
#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let field = Field::new("client_bytes", DataType::Int64, true);
    let batch = RecordBatch::try_new(
        Arc::new(Schema::new(vec![field])),
        vec![Arc::new(Int64Array::from(vec![0; 2 << 20]))],
    );
    let limits = Limits { max_batch_bytes: 1 << 20, max_rows: usize::MAX };
    assert_eq!(reason(send(&batch.unwrap(), &limits)), RefusalReason::TooLarge);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A probe with a broken network card, or worse: a batch or a refusal, nothing else.
    #[test]
    fn flipped_bytes_are_a_refusal_or_another_batch_never_a_panic(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), flip in 1_u8..,
        in_header in any::<bool>(),
    ) {
        let batch = FlowRow::to_batch(&rows());
        let mut messages = Encoded::of(&batch).unwrap().messages;
        let number = which.index(messages.len());
        let part = if in_header { &mut messages[number].data_header } else { &mut messages[number].data_body };
        let mut bytes = part.to_vec();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        *part = bytes.into();
        let limits = Limits::default();
        if let Ok((batch, _)) = decode(&meta(), &schema_message(batch.schema_ref()), &messages, &limits) {
            prop_assert!(batch.num_rows() <= limits.max_rows);
            prop_assert!(FlowRow::from_batch(&batch).is_ok());
        }
    }
}
