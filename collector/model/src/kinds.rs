//! The kinds of column: a Rust value on one side, an Arrow array on the other.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int32Array, Int64Array, ListBuilder, MapBuilder,
    MapFieldNames, StringArray, StringBuilder, StringDictionaryBuilder, TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use smol_str::SmolStr;

use crate::schema::DataKind;

/// A kind of column.
pub trait Kind {
    /// The value in a row struct.
    type Value: Clone + Default;
    /// The same as a value.
    const DATA: DataKind;
    /// One array out of the rows' values.
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Self::Value>) -> ArrayRef
    where
        Self::Value: 'a;
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
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a i64>) -> ArrayRef {
        Arc::new(TimestampNanosecondArray::from_iter_values(values.copied()).with_timezone("UTC"))
    }
    fn values(array: &ArrayRef) -> Option<Vec<i64>> {
        let array = array.as_primitive_opt::<TimestampNanosecondType>()?;
        Some(array.iter().map(Option::unwrap_or_default).collect())
    }
}

impl Kind for OptTime {
    type Value = Option<i64>;
    const DATA: DataKind = DataKind::OptTime;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<i64>>) -> ArrayRef {
        Arc::new(values.copied().collect::<TimestampNanosecondArray>().with_timezone("UTC"))
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<i64>>> {
        Some(array.as_primitive_opt::<TimestampNanosecondType>()?.iter().collect())
    }
}

impl Kind for Text {
    type Value = Option<SmolStr>;
    const DATA: DataKind = DataKind::Text;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<SmolStr>>) -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for value in values {
            builder.append_option(value.as_deref());
        }
        Arc::new(builder.finish())
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
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<SmolStr>>) -> ArrayRef {
        Arc::new(values.map(Option::as_deref).collect::<StringArray>())
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
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<i64>>) -> ArrayRef {
        Arc::new(values.copied().collect::<Int64Array>())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<i64>>> {
        Some(array.as_primitive_opt::<Int64Type>()?.iter().collect())
    }
}

impl Kind for Count {
    type Value = i64;
    const DATA: DataKind = DataKind::Count;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values.copied()))
    }
    fn values(array: &ArrayRef) -> Option<Vec<i64>> {
        Some(array.as_primitive_opt::<Int64Type>()?.iter().map(Option::unwrap_or_default).collect())
    }
}

impl Kind for Port {
    type Value = Option<u16>;
    const DATA: DataKind = DataKind::Port;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<u16>>) -> ArrayRef {
        Arc::new(values.map(|port| port.map(i32::from)).collect::<Int32Array>())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<u16>>> {
        let array = array.as_primitive_opt::<Int32Type>()?;
        Some(array.iter().map(|port| port.and_then(|port| u16::try_from(port).ok())).collect())
    }
}

impl Kind for Bool {
    type Value = Option<bool>;
    const DATA: DataKind = DataKind::Bool;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<bool>>) -> ArrayRef {
        Arc::new(values.copied().collect::<BooleanArray>())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<bool>>> {
        Some(array.as_boolean_opt()?.iter().collect())
    }
}

impl Kind for Float {
    type Value = Option<f64>;
    const DATA: DataKind = DataKind::Float;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Option<f64>>) -> ArrayRef {
        Arc::new(values.copied().collect::<Float64Array>())
    }
    fn values(array: &ArrayRef) -> Option<Vec<Option<f64>>> {
        Some(array.as_primitive_opt::<Float64Type>()?.iter().collect())
    }
}

impl Kind for TextList {
    type Value = Vec<SmolStr>;
    const DATA: DataKind = DataKind::TextList;
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Vec<SmolStr>>) -> ArrayRef {
        let mut builder = ListBuilder::new(StringBuilder::new());
        for list in values {
            for text in list {
                builder.values().append_value(text);
            }
            builder.append(true);
        }
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
    fn column<'a>(values: impl ExactSizeIterator<Item = &'a Vec<(SmolStr, SmolStr)>>) -> ArrayRef {
        let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
        let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for map in values {
            for (key, value) in map {
                builder.keys().append_value(key);
                builder.values().append_value(value);
            }
            builder.append(true).expect("as many keys as values");
        }
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
