//! Functions that PostgreSQL's clients call and SQL elsewhere doesn't have: about the catalogue, names, rights and sizes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;

use super::catalog::{INFORMATION, PG_CATALOG, PUBLIC, RELATIONS, Routine, relation, routine};
use super::types::{Scalar, Type};

/// What a function gives for the texts that it was given.
#[derive(Clone, Copy, Debug)]
enum Run {
    /// The same whatever it is given: there is nothing of the kind.
    Null,
    Yes,
    No,
    Zero,
    Text(fn(&[Option<&str>]) -> Option<String>),
    Number(fn(&[Option<&str>]) -> Option<i64>),
    Texts(fn(&[Option<&str>]) -> Option<Vec<String>>),
}

/// What a routine takes, by its number.
const ARGUMENTS: Run = Run::Text(|given| routine(given.first().copied()??).map(Routine::arguments));

const FUNCTIONS: &[(&str, Run)] = &[
    ("array_lower", Run::Number(|given| items(given.first().copied()??).map(|_| 1))),
    ("array_upper", Run::Number(|given| items(given.first().copied()??))),
    ("col_description", Run::Text(|given| described(given.first().copied()??, given.get(1).copied()??))),
    ("format_type", Run::Text(|given| format_type(given.first().copied()??))),
    ("has_any_column_privilege", Run::Yes),
    ("has_column_privilege", Run::Yes),
    ("has_database_privilege", Run::Yes),
    ("has_function_privilege", Run::Yes),
    ("has_schema_privilege", Run::Yes),
    ("has_sequence_privilege", Run::No),
    ("has_table_privilege", Run::Yes),
    ("inet_server_addr", Run::Null),
    ("inet_server_port", Run::Null),
    ("obj_description", Run::Text(|given| described(given.first().copied()??, "0"))),
    ("parse_ident", Run::Texts(|given| Some(identifiers(given.first().copied()??)))),
    ("pg_database_size", Run::Zero),
    ("pg_encoding_to_char", Run::Text(|_| Some("UTF8".to_owned()))),
    ("pg_function_is_visible", Run::Yes),
    ("pg_get_constraintdef", Run::Null),
    ("pg_get_expr", Run::Null),
    ("pg_get_function_arguments", ARGUMENTS),
    ("pg_get_function_identity_arguments", ARGUMENTS),
    ("pg_get_function_result", Run::Text(|given| routine(given.first().copied()??).map(Routine::result))),
    ("pg_get_function_sqlbody", Run::Null),
    ("pg_get_functiondef", Run::Null),
    ("pg_get_indexdef", Run::Null),
    ("pg_get_partkeydef", Run::Null),
    ("pg_get_ruledef", Run::Null),
    ("pg_get_statisticsobjdef_columns", Run::Null),
    ("pg_get_triggerdef", Run::Null),
    (
        "pg_get_userbyid",
        Run::Text(|given| given.first().copied()?.map(|_| super::catalog::DATABASE.to_owned())),
    ),
    ("pg_get_viewdef", Run::Null),
    ("pg_has_role", Run::Yes),
    ("pg_indexes_size", Run::Zero),
    ("pg_is_in_recovery", Run::No),
    ("pg_is_other_temp_schema", Run::No),
    ("pg_my_temp_schema", Run::Zero),
    ("pg_opclass_is_visible", Run::Yes),
    ("pg_operator_is_visible", Run::Yes),
    ("pg_relation_is_publishable", Run::No),
    ("pg_relation_size", Run::Zero),
    ("pg_size_pretty", Run::Text(|given| Some(format!("{} bytes", given.first().copied()??)))),
    ("pg_stat_get_numscans", Run::Zero),
    ("pg_table_is_visible", Run::Yes),
    ("pg_table_size", Run::Zero),
    ("pg_tablespace_location", Run::Null),
    ("pg_tablespace_size", Run::Zero),
    ("pg_total_relation_size", Run::Zero),
    ("pg_type_is_visible", Run::Yes),
    ("quote_ident", Run::Text(|given| given.first().copied()?.map(quoted))),
    (
        "quote_literal",
        Run::Text(|given| given.first().copied()?.map(|text| format!("'{}'", text.replace('\'', "''")))),
    ),
    ("regclass_name", Run::Text(|given| relation_of(given.first().copied()??).map(|(_, name)| name))),
    ("regclass_oid", Run::Number(|given| relation_of(given.first().copied()??).map(|(oid, _)| oid))),
    (
        "regnamespace_name",
        Run::Text(|given| schema_of(given.first().copied()??).map(|(name, _)| name.to_owned())),
    ),
    ("regnamespace_oid", Run::Number(|given| schema_of(given.first().copied()??).map(|(_, oid)| oid))),
    ("regproc_name", Run::Text(|given| given.first().copied()?.map(|name| unqualified(name).to_owned()))),
    ("regtype_name", Run::Text(|given| type_of(given.first().copied()??).map(Type::sql_name))),
    ("regtype_oid", Run::Number(|given| type_of(given.first().copied()??).map(|kind| i64::from(kind.oid())))),
    ("row_security_active", Run::No),
    ("shobj_description", Run::Null),
    ("to_regclass", Run::Text(|given| relation_of(given.first().copied()??).map(|(_, name)| name))),
    ("to_regtype", Run::Text(|given| type_of(given.first().copied()??).map(Type::sql_name))),
    ("txid_current", Run::Zero),
];

/// Adds them to a session.
pub(super) fn register(context: &SessionContext) {
    for (name, run) in FUNCTIONS {
        let signature = Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Immutable,
        );
        context.register_udf(ScalarUDF::new_from_impl(Function { name, run: *run, signature }));
    }
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    run: Run,
    signature: Signature,
}

// There is one of each name.
impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.run {
            Run::Null | Run::Text(_) => DataType::Utf8,
            Run::Yes | Run::No => DataType::Boolean,
            Run::Zero | Run::Number(_) => DataType::Int64,
            Run::Texts(_) => DataType::new_list(DataType::Utf8, true),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { arguments.number_rows };
        let given = arguments.args.iter().map(|argument| texts(&argument.to_array(rows)?));
        let given = given.collect::<Result<Vec<_>>>()?;
        let row = |row: usize| {
            given.iter().map(|texts| texts.is_valid(row).then(|| texts.value(row))).collect::<Vec<_>>()
        };
        let array: ArrayRef = match self.run {
            Run::Null => Arc::new(StringArray::new_null(rows)),
            Run::Yes => Arc::new(BooleanArray::from(vec![true; rows])),
            Run::No => Arc::new(BooleanArray::from(vec![false; rows])),
            Run::Zero => Arc::new(Int64Array::from(vec![0; rows])),
            Run::Text(run) => Arc::new((0..rows).map(|at| run(&row(at))).collect::<StringArray>()),
            Run::Number(run) => Arc::new((0..rows).map(|at| run(&row(at))).collect::<Int64Array>()),
            Run::Texts(run) => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for at in 0..rows {
                    lists.append_option(run(&row(at)).map(|texts| texts.into_iter().map(Some)));
                }
                Arc::new(lists.finish())
            }
        };
        if is_constant {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Any values as texts; a list as the number of its items.
fn texts(array: &ArrayRef) -> Result<StringArray> {
    if let DataType::List(_) = array.data_type() {
        let lists = array.as_list::<i32>();
        let lengths: Int64Array = lists.iter().map(|list| list.map(|list| list.len() as i64)).collect();
        return texts(&(Arc::new(lengths) as ArrayRef));
    }
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}

/// How many items a list has that is given as its length; NULL of an empty one, as in PostgreSQL.
fn items(length: &str) -> Option<i64> {
    length.parse().ok().filter(|length| *length > 0)
}

fn unqualified(name: &str) -> &str {
    name.strip_prefix("pg_catalog.").unwrap_or(name)
}

/// A relation by its number or its name; the name has its schema where it isn't found without.
fn relation_of(given: &str) -> Option<(i64, String)> {
    let found = match given.parse::<i64>() {
        Ok(oid) => RELATIONS.iter().find(|relation| relation.oid == oid),
        Err(_) => relation(given),
    }?;
    let name = if found.schema == INFORMATION {
        format!("{}.{}", found.schema.0, found.name)
    } else {
        found.name.to_owned()
    };
    Some((found.oid, name))
}

fn schema_of(given: &str) -> Option<(&'static str, i64)> {
    let given = given.replace('"', "");
    [PG_CATALOG, PUBLIC, INFORMATION]
        .into_iter()
        .find(|(name, oid)| *name == given || oid.to_string() == given)
}

/// A type by its number, or by either of its names.
fn type_of(given: &str) -> Option<Type> {
    if let Ok(oid) = given.parse() {
        return Type::by_oid(oid);
    }
    let name = unqualified(given).replace('"', "");
    let (name, is_list) = match name.strip_suffix("[]").or_else(|| name.strip_prefix('_')) {
        Some(name) => (name.to_owned(), true),
        None => (name, false),
    };
    let scalar = Scalar::all().find(|scalar| scalar.name() == name || scalar.sql_name() == name)?;
    Some(Type { scalar, is_list })
}

fn format_type(oid: &str) -> Option<String> {
    let oid: u32 = oid.parse().ok()?;
    Some(match oid {
        0 => "-".to_owned(),
        18 => "\"char\"".to_owned(),
        1042 => "character".to_owned(),
        1043 => "character varying".to_owned(),
        2276 => "\"any\"".to_owned(),
        _ => Type::by_oid(oid).map_or_else(|| "???".to_owned(), Type::sql_name),
    })
}

/// What is told of a function, of a relation (number 0) or of its column.
fn described(oid: &str, number: &str) -> Option<String> {
    if let Some(found) = routine(oid) {
        return (!found.description.is_empty()).then(|| found.description.clone());
    }
    let oid: i64 = oid.parse().ok()?;
    let found = RELATIONS.iter().find(|relation| relation.oid == oid)?;
    let description = match number.parse::<usize>().ok()?.checked_sub(1) {
        None => found.description,
        Some(column) => found.columns.get(column)?.description,
    };
    (!description.is_empty()).then(|| description.to_owned())
}

/// A name as it is written in SQL.
fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The names in one that has its schema before it.
fn identifiers(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut is_quoted = false;
    for c in text.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => names.push(String::new()),
            c => {
                let c = if is_quoted { c } else { c.to_ascii_lowercase() };
                names.last_mut().expect("one").push(c);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(identifiers(r#"public."My.Table""#), ["public", "My.Table"]);
        assert_eq!(
            (quoted("flows"), quoted("My \"x\"")),
            ("flows".to_owned(), "\"My \"\"x\"\"\"".to_owned())
        );
        assert_eq!(relation_of("pg_catalog.pg_class"), Some((1259, "pg_class".to_owned())));
        let flows = relation_of("flows").expect("flows").0;
        assert_eq!(relation_of(&flows.to_string()), Some((flows, "flows".to_owned())));
        assert_eq!(relation_of("tea"), None);
        assert_eq!(type_of("pg_catalog.int8").map(Type::sql_name).as_deref(), Some("bigint"));
        assert_eq!(type_of("1009").map(Type::sql_name).as_deref(), Some("text[]"));
        assert_eq!(schema_of("2200"), Some(PUBLIC));
        assert_eq!(format_type("1184").as_deref(), Some("timestamp with time zone"));
        assert!(described(&flows.to_string(), "1").is_some_and(|text| !text.is_empty()));
    }
}
