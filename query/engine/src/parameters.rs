//! The values of `$1`, `$2` …: as many as the text has, each of the type that its place in the text asks for.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::LogicalPlan;

use crate::error::{QueryError, position_of};
use crate::plain::type_name;

/// The plan with its values in place.
///
/// # Errors
/// `sql.parameter`, with the place in `text`: too few values, too many, or one that is no value of the wanted type.
pub(crate) fn bind(plan: LogicalPlan, values: &[ScalarValue], text: &str) -> Result<LogicalPlan, QueryError> {
    let failed = |err| QueryError::from_datafusion(&err, text);
    let names = plan.get_parameter_names().map_err(failed)?;
    let mut wanted = 0;
    for name in &names {
        wanted = wanted.max(number(name).ok_or_else(|| unnumbered(name, text))?);
    }
    if wanted > values.len() {
        return Err(missing(wanted, values.len(), text));
    }
    if wanted < values.len() {
        let has = if wanted == 0 { "no parameter".to_owned() } else { format!("none beyond ${wanted}") };
        return Err(QueryError {
            hint: Some("leave the others out, or mention them as $1, $2 … in the text".to_owned()),
            ..QueryError::invalid(
                "sql.parameter",
                format!("{} values are given, and the text has {has}", values.len()),
            )
        });
    }
    if wanted == 0 {
        return Ok(plan);
    }
    // Where a parameter stands in places of different types, each place casts it for itself.
    let types = plan.get_parameter_types().unwrap_or_default();
    let values = values.iter().enumerate().map(|(index, value)| {
        let name = format!("${}", index + 1);
        fitted(value, &name, &types, text).map(|value| ScalarAndMetadata::new(value, None))
    });
    let values = values.collect::<Result<Vec<_>, _>>()?;
    plan.replace_params_with_values(&ParamValues::List(values)).map_err(failed)
}

/// How many values the plan wants, and the type of each, as far as its place tells.
///
/// # Errors
/// `sql.parameter` where one has no number.
pub(crate) fn types(plan: &LogicalPlan, text: &str) -> Result<Vec<Option<DataType>>, QueryError> {
    let names = plan.get_parameter_names().map_err(|err| QueryError::from_datafusion(&err, text))?;
    let known = plan.get_parameter_types().unwrap_or_default();
    let mut types = Vec::new();
    for name in names {
        let number = number(&name).ok_or_else(|| unnumbered(&name, text))?;
        if types.len() < number {
            types.resize(number, None);
        }
        types[number - 1] = known.get(&name).cloned().flatten();
    }
    Ok(types)
}

/// The most parameters that a question may have: each is a value that is held.
const MOST: usize = 1_000;

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok().filter(|number| (1..=MOST).contains(number))
}

fn unnumbered(name: &str, text: &str) -> QueryError {
    QueryError {
        position: position_of(name, text),
        hint: Some(format!("write $1, $2 … up to ${MOST}")),
        ..QueryError::invalid("sql.parameter", format!("{name} is no parameter with a number"))
    }
}

fn missing(wanted: usize, given: usize, text: &str) -> QueryError {
    let first = format!("${}", given + 1);
    let name = if position_of(&first, text).is_some() { first } else { format!("${wanted}") };
    QueryError {
        position: position_of(&name, text),
        hint: Some(r#"give each a value, in their order: {"query": "… $1 …", "params": [443]}"#.to_owned()),
        ..QueryError::invalid(
            "sql.parameter",
            format!("{name} has no value: {wanted} are wanted, {given} given"),
        )
    }
}

/// The value as its place wants it. Numbers are left to SQL's own rules; text becomes a time, a number or a truth.
fn fitted(
    value: &ScalarValue,
    name: &str,
    types: &HashMap<String, Option<DataType>>,
    text: &str,
) -> Result<ScalarValue, QueryError> {
    let Some(kind) = types.get(name).and_then(Option::as_ref) else { return Ok(value.clone()) };
    let failed = |err| QueryError::from_datafusion(&err, text);
    if value.is_null() {
        return ScalarValue::try_from(kind).map_err(failed);
    }
    let ScalarValue::Utf8(Some(given)) = value else { return Ok(value.clone()) };
    if matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        return Ok(value.clone());
    }
    value.cast_to(kind).map_err(|_| {
        let wanted = type_name(kind);
        let hint = match kind {
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {
                "write times as 2026-11-24T08:00:00Z".to_owned()
            }
            _ => format!("give a value of this type, or CAST({name} AS VARCHAR) in the text"),
        };
        QueryError {
            position: position_of(name, text),
            hint: Some(hint),
            ..QueryError::invalid("sql.parameter", format!("{name} is {given:?}, which is no {wanted}"))
        }
    })
}
