//! The kinds of column: a Rust value on one side, an Arrow array on the other.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder,
    MapBuilder, MapFieldNames, StringBuilder, TimestampNanosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use smol_str::SmolStr;

use crate::dictionary::DictionaryBuilder;
use crate::schema::DataKind;

/// A kind of column.
pub trait Kind {
    /// The value in a row struct.
    type Value: Clone + Default;
    /// The same as a value.
    const DATA: DataKind;
    /// What makes an array out of the rows' values, one by one.
    type Builder;
    /// For about so many rows.
    fn builder(rows: usize) -> Self::Builder;
    /// One more row.
    fn append(builder: &mut Self::Builder, value: &Self::Value);
    /// The array.
    fn finish(builder: Self::Builder) -> ArrayRef;
    /// The values of one array; `None` if it has another type.
    fn values(array: &ArrayRef) -> Option<Vec<Self::Value>>;
}

/// See [`DataKind::Time`].
pub struct Time;
/// See [`DataKind::OptTime`].
pub struct OptTime;
/// See [`DataKind::Text`].
pub struct Text;
/// See [`DataKind::Str`].
pub struct Str;
/// See [`DataKind::Int`].
pub struct Int;
/// See [`DataKind::Count`].
pub struct Count;
/// See [`DataKind::Port`].
pub struct Port;
/// See [`DataKind::Bool`].
pub struct Bool;
/// See [`DataKind::Float`].
pub struct Float;
/// See [`DataKind::TextList`].
pub struct TextList;
/// See [`DataKind::Map`].
pub struct Map;

impl Kind for Time {
    type Value = i64;
    const DATA: DataKind = DataKind::Time;
    type Builder = TimestampNanosecondBuilder;
    fn builder(rows: usize) -> TimestampNanosecondBuilder {
        TimestampNanosecondBuilder::with_capacity(rows).with_timezone("UTC")
    }
    #[inline]
    fn append(builder: &mut TimestampNanosecondBuilder, value: &i64) {
        builder.append_value(*value);
    }
    fn finish(mut builder: TimestampNanosecondBuilder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<i64>> {
        let array = array.as_primitive_opt::<TimestampNanosecondType>()?;
        Some(array.iter().map(Option::unwrap_or_default).collect())
    }
}

impl Kind for OptTime {
    type Value = Option<i64>;
    const DATA: DataKind = DataKind::OptTime;
    type Builder = TimestampNanosecondBuilder;
    fn builder(rows: usize) -> TimestampNanosecondBuilder {
        TimestampNanosecondBuilder::with_capacity(rows).with_timezone("UTC")
    }
    #[inline]
    fn append(builder: &mut TimestampNanosecondBuilder, value: &Option<i64>) {
        builder.append_option(*value);
    }
    fn finish(mut builder: TimestampNanosecondBuilder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<i64>>> {
        Some(array.as_primitive_opt::<TimestampNanosecondType>()?.iter().collect())
    }
}

impl Kind for Text {
    type Value = Option<SmolStr>;
    const DATA: DataKind = DataKind::Text;
    type Builder = DictionaryBuilder;
    fn builder(rows: usize) -> DictionaryBuilder {
        DictionaryBuilder::new(rows)
    }
    #[inline]
    fn append(builder: &mut DictionaryBuilder, value: &Option<SmolStr>) {
        builder.append(value.as_deref());
    }
    fn finish(builder: DictionaryBuilder) -> ArrayRef {
        builder.finish()
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<SmolStr>>> {
        let DataType::Dictionary(_, _) = array.data_type() else { return Str::values(array) };
        // One SmolStr a distinct value, then cheap clones: rows repeat a lot, that's why it is a dictionary.
        let dictionary = array.as_dictionary_opt::<Int32Type>()?;
        let distinct = Str::values(dictionary.values())?;
        Some(dictionary.keys().iter().map(|key| key.and_then(|key| distinct[key as usize].clone())).collect())
    }
}

impl Kind for Str {
    type Value = Option<SmolStr>;
    const DATA: DataKind = DataKind::Str;
    type Builder = StringBuilder;
    fn builder(rows: usize) -> StringBuilder {
        StringBuilder::with_capacity(rows, 0)
    }
    #[inline]
    fn append(builder: &mut StringBuilder, value: &Option<SmolStr>) {
        builder.append_option(value.as_deref());
    }
    fn finish(mut builder: StringBuilder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<SmolStr>>> {
        let text = match array.data_type() {
            DataType::Utf8 => array.clone(),
            DataType::Utf8View | DataType::LargeUtf8 | DataType::Dictionary(_, _) => {
                cast(array, &DataType::Utf8).ok()?
            }
            _ => return None,
        };
        Some(text.as_string_opt::<i32>()?.iter().map(|value| value.map(SmolStr::new)).collect())
    }
}

impl Kind for Int {
    type Value = Option<i64>;
    const DATA: DataKind = DataKind::Int;
    type Builder = Int64Builder;
    fn builder(rows: usize) -> Int64Builder {
        Int64Builder::with_capacity(rows)
    }
    #[inline]
    fn append(builder: &mut Int64Builder, value: &Option<i64>) {
        builder.append_option(*value);
    }
    fn finish(mut builder: Int64Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<i64>>> {
        Some(array.as_primitive_opt::<Int64Type>()?.iter().collect())
    }
}

impl Kind for Count {
    type Value = i64;
    const DATA: DataKind = DataKind::Count;
    type Builder = Int64Builder;
    fn builder(rows: usize) -> Int64Builder {
        Int64Builder::with_capacity(rows)
    }
    #[inline]
    fn append(builder: &mut Int64Builder, value: &i64) {
        builder.append_value(*value);
    }
    fn finish(mut builder: Int64Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<i64>> {
        Some(array.as_primitive_opt::<Int64Type>()?.iter().map(Option::unwrap_or_default).collect())
    }
}

impl Kind for Port {
    type Value = Option<u16>;
    const DATA: DataKind = DataKind::Port;
    type Builder = Int32Builder;
    fn builder(rows: usize) -> Int32Builder {
        Int32Builder::with_capacity(rows)
    }
    #[inline]
    fn append(builder: &mut Int32Builder, value: &Option<u16>) {
        builder.append_option(value.map(i32::from));
    }
    fn finish(mut builder: Int32Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<u16>>> {
        let array = array.as_primitive_opt::<Int32Type>()?;
        Some(array.iter().map(|port| port.and_then(|port| u16::try_from(port).ok())).collect())
    }
}

impl Kind for Bool {
    type Value = Option<bool>;
    const DATA: DataKind = DataKind::Bool;
    type Builder = BooleanBuilder;
    fn builder(rows: usize) -> BooleanBuilder {
        BooleanBuilder::with_capacity(rows)
    }
    #[inline]
    fn append(builder: &mut BooleanBuilder, value: &Option<bool>) {
        builder.append_option(*value);
    }
    fn finish(mut builder: BooleanBuilder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<bool>>> {
        Some(array.as_boolean_opt()?.iter().collect())
    }
}

impl Kind for Float {
    type Value = Option<f64>;
    const DATA: DataKind = DataKind::Float;
    type Builder = Float64Builder;
    fn builder(rows: usize) -> Float64Builder {
        Float64Builder::with_capacity(rows)
    }
    #[inline]
    fn append(builder: &mut Float64Builder, value: &Option<f64>) {
        builder.append_option(*value);
    }
    fn finish(mut builder: Float64Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<f64>>> {
        Some(array.as_primitive_opt::<Float64Type>()?.iter().collect())
    }
}

impl Kind for TextList {
    type Value = Vec<SmolStr>;
    const DATA: DataKind = DataKind::TextList;
    type Builder = ListBuilder<StringBuilder>;
    fn builder(rows: usize) -> ListBuilder<StringBuilder> {
        ListBuilder::with_capacity(StringBuilder::new(), rows)
    }
    #[inline]
    fn append(builder: &mut ListBuilder<StringBuilder>, value: &Vec<SmolStr>) {
        for text in value {
            builder.values().append_value(text);
        }
        builder.append(true);
    }
    fn finish(mut builder: ListBuilder<StringBuilder>) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Vec<SmolStr>>> {
        let lists = array.as_list_opt::<i32>()?;
        (0..lists.len())
            .map(|row| {
                if lists.is_null(row) {
                    return Some(Vec::new());
                }
                Some(Str::values(&lists.value(row))?.into_iter().flatten().collect())
            })
            .collect()
    }
}

impl Kind for Map {
    type Value = Vec<(SmolStr, SmolStr)>;
    const DATA: DataKind = DataKind::Map;
    type Builder = MapBuilder<StringBuilder, StringBuilder>;
    fn builder(rows: usize) -> MapBuilder<StringBuilder, StringBuilder> {
        let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
        MapBuilder::with_capacity(Some(names), StringBuilder::new(), StringBuilder::new(), rows)
    }
    #[inline]
    fn append(builder: &mut MapBuilder<StringBuilder, StringBuilder>, value: &Vec<(SmolStr, SmolStr)>) {
        for (key, text) in value {
            builder.keys().append_value(key);
            builder.values().append_value(text);
        }
        builder.append(true).expect("as many keys as values");
    }
    fn finish(mut builder: MapBuilder<StringBuilder, StringBuilder>) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Vec<(SmolStr, SmolStr)>>> {
        let maps = array.as_map_opt()?;
        (0..maps.len())
            .map(|row| {
                if maps.is_null(row) {
                    return Some(Vec::new());
                }
                let entries = maps.value(row);
                let keys = Str::values(entries.column(0))?;
                let values = Str::values(entries.column(1))?;
                Some(
                    keys.into_iter()
                        .zip(values)
                        .filter_map(|(key, value)| Some((key?, value.unwrap_or_default())))
                        .collect(),
                )
            })
            .collect()
    }
}
