use std::sync::Arc;

use arrow::array::{
    BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationNanosecondArray, Float64Array,
    Int64Array, ListArray, NullArray, StringViewArray, TimestampNanosecondArray, UInt64Array,
};

use arrow::datatypes::DataType;

use super::*;

/// A text, what was encoded, and the bytes.
type Case<'a> = (&'a str, (String, Vec<u8>), &'a [u8]);

/// One value, as text and as binary.
fn encoded(array: impl Array + 'static) -> (String, Vec<u8>) {
    let array: ArrayRef = Arc::new(array);
    let kind = Type::of_data(array.data_type());
    let [text, binary] = [false, true].map(|is_binary| {
        let batch = RecordBatch::try_from_iter([("x", array.clone())]).expect("a batch");
        let mut rows = Rows::new(&batch, &[Column { kind, is_binary }]).expect("rows");
        let mut bytes = BytesMut::new();
        assert_eq!(rows.write(&mut Form::Rows, 1, usize::MAX, &mut bytes), 1);
        // D, length, one column, its length.
        bytes.split_off(11).to_vec()
    });
    (String::from_utf8(text).expect("text"), binary)
}

#[test]
fn values_are_written_as_postgresql_does() {
    let at = 1_764_000_000_123_456_789;
    let microseconds = (at / 1_000 - EPOCH_US).to_be_bytes();
    let words = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1), None])]);
    let texts: [Case<'_>; 12] = [
        ("t", encoded(BooleanArray::from(vec![true])), &[1]),
        ("-7", encoded(Int64Array::from(vec![-7])), &(-7_i64).to_be_bytes()),
        ("0.1", encoded(Float64Array::from(vec![0.1])), &0.1_f64.to_be_bytes()),
        ("1e+20", encoded(Float64Array::from(vec![1e20])), &1e20_f64.to_be_bytes()),
        ("1.5e-05", encoded(Float64Array::from(vec![1.5e-5])), &1.5e-5_f64.to_be_bytes()),
        ("ä", encoded(StringViewArray::from(vec!["ä"])), "ä".as_bytes()),
        ("\\x00ff", encoded(BinaryArray::from(vec![&b"\0\xff"[..]])), b"\0\xff"),
        ("1970-01-02", encoded(Date32Array::from(vec![1])), &(1 - EPOCH_DAYS).to_be_bytes()),
        ("2025-11-24 16:00:00.123456", encoded(TimestampNanosecondArray::from(vec![at])), &microseconds),
        (
            "2025-11-24 16:00:00.123456+00",
            encoded(TimestampNanosecondArray::from(vec![at]).with_timezone("UTC")),
            &microseconds,
        ),
        ("{1,NULL}", encoded(words), &{
            let mut bytes = BytesMut::new();
            for part in [1, 1, 20, 2, 1, 8, 0, 1, -1] {
                bytes.put_i32(part);
            }
            bytes.to_vec()
        }),
        ("00:00:01.5", encoded(DurationNanosecondArray::from(vec![1_500_000_000])), &{
            let mut bytes = 1_500_000_i64.to_be_bytes().to_vec();
            bytes.extend([0; 8]);
            bytes
        }),
    ];
    for (text, found, bytes) in texts {
        assert_eq!((found.0.as_str(), found.1.as_slice()), (text, bytes));
    }
}

#[test]
fn numbers_beyond_int8_are_whole() {
    assert_eq!(encoded(UInt64Array::from(vec![u64::MAX])).0, "18446744073709551615");
    let decimal = Decimal128Array::from(vec![-12_345]).with_precision_and_scale(10, 2).expect("a scale");
    assert_eq!(encoded(decimal).0, "-123.45");
}

#[test]
fn a_list_quotes_what_would_be_read_as_something_else() {
    let mut list = arrow::array::ListBuilder::new(arrow::array::StringBuilder::new());
    for word in ["a", "", "null", "b c", "x\"\\,"] {
        list.values().append_value(word);
    }
    list.append(true);
    assert_eq!(encoded(list.finish()).0, r#"{a,"","null","b c","x\"\\,"}"#);
}

#[test]
fn rows_are_written_up_to_a_number_and_a_size() {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let nothing: ArrayRef = Arc::new(NullArray::new(10));
    let batch = RecordBatch::try_from_iter([("a", numbers), ("b", nothing)]).expect("a batch");
    let columns =
        [DataType::Int64, DataType::Null].map(|kind| Column { kind: Type::of_data(&kind), is_binary: false });
    let mut rows = Rows::new(&batch, &columns).expect("rows");
    let mut bytes = BytesMut::new();
    assert_eq!((rows.write(&mut Form::Rows, 3, usize::MAX, &mut bytes), rows.left()), (3, 7));
    assert_eq!(bytes.len(), 3 * (1 + 4 + 2 + 4 + 1 + 4));
    bytes.clear();
    assert_eq!((rows.write(&mut Form::Rows, usize::MAX, 1, &mut bytes), rows.left()), (1, 6), "at least one");
}
