//! Arrow's types in PostgreSQL's words: which type a column is told to have, and the Arrow type in which its values are then.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// A type of one value, by PostgreSQL's name for it.
#[expect(missing_docs, reason = "each is called as in PostgreSQL's manual, chapter 8")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Bool,
    Bytea,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Integers beyond `int8`, and decimals.
    Numeric,
    Text,
    /// Maps and structures.
    Json,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    /// Of the catalogue: an object's number.
    Oid,
    /// Of the catalogue.
    Name,
}

/// A type: of one value, or of a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    /// What one value is.
    pub scalar: Scalar,
    /// Whether it is a list of them.
    pub is_list: bool,
}

/// Type, oid, oid of its lists, bytes of a binary value (−1: it varies), name, name in SQL, category.
type Numbers = (Scalar, u32, u32, i16, &'static str, &'static str, &'static str);

/// As `pg_type.dat` of PostgreSQL 16 has them.
const NUMBERS: [Numbers; 17] = [
    (Scalar::Bool, 16, 1000, 1, "bool", "boolean", "B"),
    (Scalar::Bytea, 17, 1001, -1, "bytea", "bytea", "U"),
    (Scalar::Int2, 21, 1005, 2, "int2", "smallint", "N"),
    (Scalar::Int4, 23, 1007, 4, "int4", "integer", "N"),
    (Scalar::Int8, 20, 1016, 8, "int8", "bigint", "N"),
    (Scalar::Float4, 700, 1021, 4, "float4", "real", "N"),
    (Scalar::Float8, 701, 1022, 8, "float8", "double precision", "N"),
    (Scalar::Numeric, 1700, 1231, -1, "numeric", "numeric", "N"),
    (Scalar::Text, 25, 1009, -1, "text", "text", "S"),
    (Scalar::Json, 114, 199, -1, "json", "json", "U"),
    (Scalar::Date, 1082, 1182, 4, "date", "date", "D"),
    (Scalar::Time, 1083, 1183, 8, "time", "time without time zone", "D"),
    (Scalar::Timestamp, 1114, 1115, 8, "timestamp", "timestamp without time zone", "D"),
    (Scalar::Timestamptz, 1184, 1185, 8, "timestamptz", "timestamp with time zone", "D"),
    (Scalar::Interval, 1186, 1187, 16, "interval", "interval", "T"),
    (Scalar::Oid, 26, 1028, 4, "oid", "oid", "N"),
    (Scalar::Name, 19, 1003, 64, "name", "name", "S"),
];

impl Scalar {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Scalar> {
        NUMBERS.iter().map(|(scalar, ..)| *scalar)
    }

    fn numbers(self) -> &'static Numbers {
        NUMBERS.iter().find(|(scalar, ..)| *scalar == self).unwrap_or(&NUMBERS[8])
    }

    /// The number by which clients know it.
    pub fn oid(self) -> u32 {
        self.numbers().1
    }

    /// Its name in `pg_type`.
    pub fn name(self) -> &'static str {
        self.numbers().4
    }

    /// Its name in SQL.
    pub fn sql_name(self) -> &'static str {
        self.numbers().5
    }

    /// Its kind, as `pg_type.typcategory` has it.
    pub fn category(self) -> &'static str {
        self.numbers().6
    }
}

impl Type {
    /// The type of one value.
    pub fn one(scalar: Scalar) -> Type {
        Type { scalar, is_list: false }
    }

    /// What a column is told to be. The catalogue's columns say themselves what they are.
    pub fn of(field: &Field) -> Type {
        match field.metadata().get("postgres").map(String::as_str) {
            Some("oid") => Type::one(Scalar::Oid),
            Some("name") => Type::one(Scalar::Name),
            _ => Type::of_data(field.data_type()),
        }
    }

    /// What values of an Arrow type are told to be.
    pub fn of_data(kind: &DataType) -> Type {
        Type::one(match kind {
            DataType::Boolean => Scalar::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Scalar::Int2,
            DataType::UInt16 | DataType::Int32 => Scalar::Int4,
            DataType::UInt32 | DataType::Int64 => Scalar::Int8,
            DataType::UInt64
            | DataType::Decimal32(_, _)
            | DataType::Decimal64(_, _)
            | DataType::Decimal128(_, _)
            | DataType::Decimal256(_, _) => Scalar::Numeric,
            DataType::Float16 | DataType::Float32 => Scalar::Float4,
            DataType::Float64 => Scalar::Float8,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Scalar::Bytea,
            DataType::Date32 | DataType::Date64 => Scalar::Date,
            DataType::Time32(_) | DataType::Time64(_) => Scalar::Time,
            DataType::Timestamp(_, None) => Scalar::Timestamp,
            DataType::Timestamp(_, Some(_)) => Scalar::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => Scalar::Interval,
            DataType::Map(_, _) | DataType::Struct(_) | DataType::Union(_, _) => Scalar::Json,
            DataType::Dictionary(_, values) => return Type::of_data(values),
            DataType::RunEndEncoded(_, values) => return Type::of_data(values.data_type()),
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::LargeListView(item)
            | DataType::FixedSizeList(item, _) => {
                return match Type::of_data(item.data_type()) {
                    // PostgreSQL's lists of lists must be as long as each other; ours needn't.
                    Type { scalar: Scalar::Json, .. } | Type { is_list: true, .. } => Type::one(Scalar::Json),
                    Type { scalar, .. } => Type { scalar, is_list: true },
                };
            }
            _ => Scalar::Text,
        })
    }

    /// The type that a client names by its number, where it is one that values are told in.
    pub fn by_oid(oid: u32) -> Option<Type> {
        match oid {
            // varchar, bpchar, "char", unknown, xml, jsonb, uuid, inet: all of them are text when they come.
            1043 | 1042 | 18 | 705 | 142 => return Some(Type::one(Scalar::Text)),
            1015 | 1014 => return Some(Type { scalar: Scalar::Text, is_list: true }),
            _ => {}
        }
        NUMBERS.iter().find_map(|(scalar, one, list, ..)| {
            (oid == *one || oid == *list).then_some(Type { scalar: *scalar, is_list: oid == *list })
        })
    }

    /// The number by which clients know it.
    pub fn oid(self) -> u32 {
        let (_, one, list, ..) = self.scalar.numbers();
        if self.is_list { *list } else { *one }
    }

    /// Its name in SQL.
    pub fn sql_name(self) -> String {
        format!("{}{}", self.scalar.sql_name(), if self.is_list { "[]" } else { "" })
    }

    /// Bytes of a binary value; −1 where it varies.
    pub fn size(self) -> i16 {
        if self.is_list { -1 } else { self.scalar.numbers().3 }
    }

    /// The Arrow type in which values of it are encoded, and come as parameters.
    pub fn arrow(self) -> DataType {
        let one = match self.scalar {
            Scalar::Bool => DataType::Boolean,
            Scalar::Bytea => DataType::Binary,
            Scalar::Int2 => DataType::Int16,
            Scalar::Int4 => DataType::Int32,
            Scalar::Int8 | Scalar::Oid => DataType::Int64,
            Scalar::Float4 => DataType::Float32,
            Scalar::Float8 => DataType::Float64,
            Scalar::Numeric | Scalar::Text | Scalar::Name | Scalar::Json => DataType::Utf8,
            Scalar::Date => DataType::Date32,
            Scalar::Time => DataType::Time64(TimeUnit::Microsecond),
            Scalar::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Scalar::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Scalar::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        };
        if self.is_list { DataType::new_list(one, true) } else { one }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_known_by_its_number() {
        for (scalar, oid, list, size, ..) in NUMBERS {
            let one = Type::one(scalar);
            assert_eq!((Type::by_oid(oid), one.oid(), one.size()), (Some(one), oid, size));
            assert_eq!(Type::by_oid(list), Some(Type { scalar, is_list: true }));
        }
        assert_eq!(Type::by_oid(600), None, "a point");
    }

    #[test]
    fn no_integer_is_told_in_a_type_too_small_for_it() {
        for (kind, oid) in [
            (DataType::UInt8, 21),
            (DataType::UInt16, 23),
            (DataType::UInt32, 20),
            (DataType::UInt64, 1700),
            (DataType::new_list(DataType::Utf8, true), 1009),
            (DataType::new_list(DataType::new_list(DataType::Utf8, true), true), 114),
        ] {
            assert_eq!(Type::of_data(&kind).oid(), oid, "{kind}");
        }
    }
}
