//! Functions, as `pg_proc` tells them: a row for each list of types that one takes, Weir's own in `public`, DataFusion's in
//! `pg_catalog`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Field, FieldRef};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::function::WindowUDFFieldArgs;
use datafusion::logical_expr::{ReturnFieldArgs, Signature, TypeSignature, Volatility};
use datafusion::prelude::SessionContext;

use super::spec::Rows;
use super::{OWNER, PG_CATALOG, PUBLIC, row};
use crate::functions::{self, FunctionDoc};
use crate::postgres::types::Type;

/// Where their numbers begin: beyond those of tables.
const FIRST: i64 = 20_000;
/// PostgreSQL's number of any type.
const ANY: i64 = 2276;
/// And of what is written in C.
const INTERNAL: i64 = 12;

/// A function with the types that it takes.
pub(in crate::postgres) struct Routine {
    pub(in crate::postgres) oid: i64,
    pub(in crate::postgres) description: String,
    name: String,
    is_own: bool,
    /// `f`, `a` for an aggregate, `w` for one over a window.
    kind: &'static str,
    /// Whether it gives rows.
    is_set: bool,
    /// As `pg_proc` has it.
    volatility: &'static str,
    /// The names of what it takes, where they are known.
    names: Vec<String>,
    /// Their types; `None` where it takes any, and as many as one likes.
    takes: Option<Vec<Type>>,
    /// `None` where that depends on more than types.
    gives: Option<Type>,
}

impl Routine {
    /// What it takes, as text.
    pub(in crate::postgres) fn arguments(&self) -> String {
        let Some(takes) = &self.takes else { return "VARIADIC \"any\"".to_owned() };
        let arguments = takes.iter().enumerate().map(|(index, kind)| match self.names.get(index) {
            Some(name) => format!("{name} {}", kind.sql_name()),
            None => kind.sql_name(),
        });
        arguments.collect::<Vec<_>>().join(", ")
    }

    /// What it gives, as text.
    pub(in crate::postgres) fn result(&self) -> String {
        match (self.is_set, self.gives) {
            (true, _) => "SETOF record".to_owned(),
            (false, Some(kind)) => kind.sql_name(),
            (false, None) => "\"any\"".to_owned(),
        }
    }
}

/// All functions that a question may use.
pub(in crate::postgres) static ROUTINES: LazyLock<Vec<Routine>> = LazyLock::new(|| {
    let context = SessionContext::new_with_state(SessionStateBuilder::new().with_default_features().build());
    functions::register(&context);
    let state = context.state();
    let functions = functions::all(&state);
    let routines = functions.iter().flat_map(|function| routines(function, &state));
    routines.zip(FIRST..).map(|(routine, oid)| Routine { oid, ..routine }).collect()
});

/// The routine of a number.
pub(in crate::postgres) fn routine(oid: &str) -> Option<&'static Routine> {
    let oid: i64 = oid.parse().ok()?;
    ROUTINES.get(usize::try_from(oid.checked_sub(FIRST)?).ok()?)
}

/// A function, once for each list of types.
fn routines(function: &FunctionDoc, state: &SessionState) -> Vec<Routine> {
    let (name, is_own) = (function.name.as_str(), function.own);
    let told = match function.kind {
        "aggregate" => state.aggregate_functions().get(name).map(|aggregate| {
            let gives = |fields: &[FieldRef]| aggregate.return_field(fields).ok();
            ("a", volatility(aggregate.signature()), overloads(aggregate.signature(), is_own, gives))
        }),
        "window" => state.window_functions().get(name).map(|window| {
            let gives = |fields: &[FieldRef]| window.field(WindowUDFFieldArgs::new(fields, name)).ok();
            ("w", volatility(window.signature()), overloads(window.signature(), is_own, gives))
        }),
        "scalar" => state.scalar_functions().get(name).map(|scalar| {
            let gives = |fields: &[FieldRef]| {
                let scalar_arguments = &vec![None; fields.len()];
                scalar.return_field_from_args(ReturnFieldArgs { arg_fields: fields, scalar_arguments }).ok()
            };
            ("f", volatility(scalar.signature()), overloads(scalar.signature(), is_own, gives))
        }),
        _ => None,
    };
    let (kind, volatility, overloads) = told.unwrap_or_else(|| ("f", "v", vec![(None, None)]));
    let routines = overloads.into_iter().map(|(takes, gives)| Routine {
        oid: 0,
        description: function.description.clone(),
        name: name.to_owned(),
        is_own,
        kind,
        is_set: function.kind == "table",
        volatility,
        names: names(&function.signature),
        takes,
        gives,
    });
    routines.collect()
}

/// What may change what it gives: `i` nothing, `s` another question, `v` anything.
fn volatility(signature: &Signature) -> &'static str {
    match signature.volatility {
        Volatility::Immutable => "i",
        Volatility::Stable => "s",
        Volatility::Volatile => "v",
    }
}

/// What a function takes and gives, by the types that PostgreSQL's clients know.
fn overloads(
    signature: &Signature,
    is_own: bool,
    gives: impl Fn(&[FieldRef]) -> Option<FieldRef>,
) -> Vec<(Option<Vec<Type>>, Option<Type>)> {
    let mut lists = signature.type_signature.get_example_types();
    let takes_any = lists.is_empty() && signature.type_signature != TypeSignature::Nullary;
    if lists.is_empty() {
        lists.push(Vec::new());
    }
    // Several of the engine's types are one of PostgreSQL's.
    let mut known: BTreeMap<Vec<u32>, (Vec<Type>, Option<Type>)> = BTreeMap::new();
    for list in lists {
        let takes: Vec<Type> = list.iter().map(Type::of_data).collect();
        let oids = takes.iter().map(|kind| kind.oid()).collect();
        let (_, told) = known.entry(oids).or_insert((takes, None));
        // Of those that take anything, only ours are known to give the same whatever that is.
        if told.is_none() && (!takes_any || is_own) {
            let fields = list.into_iter().map(|kind| Arc::new(Field::new("", kind, true)) as FieldRef);
            *told = gives(&fields.collect::<Vec<_>>()).map(|field| Type::of_data(field.data_type()));
        }
    }
    // The others are cast to these.
    let are_told = known.values().any(|(_, told)| told.is_some());
    let told = known.into_values().filter(|(_, told)| told.is_some() || !are_told);
    told.map(|(takes, told)| ((!takes_any).then_some(takes), told)).collect()
}

/// The names in `dns_suffix(name[, labels])`; none where it says anything but names.
fn names(signature: &str) -> Vec<String> {
    let inner = signature.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    let names: Vec<String> =
        inner.split(',').map(|name| name.replace(['[', ']'], "").trim().to_owned()).collect();
    let is_name = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if names.iter().all(is_name) { names } else { Vec::new() }
}

/// The rows of `pg_proc`.
pub(super) fn rows() -> Rows {
    let rows = ROUTINES.iter().map(|routine| {
        let takes = routine.takes.as_deref().unwrap_or_default();
        let types: Vec<String> = takes.iter().map(|kind| kind.oid().to_string()).collect();
        row([
            ("oid", routine.oid.into()),
            ("proname", routine.name.as_str().into()),
            ("pronamespace", if routine.is_own { PUBLIC.1 } else { PG_CATALOG.1 }.into()),
            ("proowner", OWNER.into()),
            ("prolang", INTERNAL.into()),
            ("provariadic", if routine.takes.is_none() { ANY } else { 0 }.into()),
            ("prokind", routine.kind.into()),
            ("proretset", routine.is_set.into()),
            ("provolatile", routine.volatility.into()),
            ("proparallel", "s".into()),
            ("pronargs", (takes.len() as i64).into()),
            ("prorettype", routine.gives.map_or(ANY, |kind| i64::from(kind.oid())).into()),
            ("proargtypes", types.join(" ").into()),
            ("prosrc", routine.name.as_str().into()),
        ])
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_told_by_what_it_takes_and_gives() {
        let told = |name: &str| {
            let routines = ROUTINES.iter().filter(|routine| routine.name == name);
            routines
                .map(|routine| format!("{} → {}", routine.arguments(), routine.result()))
                .collect::<Vec<_>>()
        };
        assert_eq!(told("cidr_contains"), ["network text, address text → boolean"]);
        assert_eq!(told("dns_suffix"), ["name text → text", "name text, labels bigint → text"]);
        assert_eq!(told("duration_text"), ["VARIADIC \"any\" → text"]);
        assert_eq!(told("p99"), ["x double precision → double precision"]);
        assert_eq!(told("now"), [" → timestamp without time zone"]);
        assert_eq!(
            told("generate_series").last().map(String::as_str),
            Some("VARIADIC \"any\" → SETOF record")
        );
        let sqrt = told("sqrt");
        assert!(sqrt.iter().any(|told| told.ends_with("double precision → double precision")), "{sqrt:?}");
    }

    #[test]
    fn each_routine_is_found_by_its_number_and_none_is_told_twice() {
        let mut told = std::collections::HashSet::new();
        for routine in ROUTINES.iter() {
            let found = super::routine(&routine.oid.to_string()).expect("itself");
            assert_eq!((found.oid, &found.name), (routine.oid, &routine.name));
            let call = format!("{}({})", routine.name, routine.arguments());
            assert!(told.insert((call.clone(), routine.kind, routine.is_set)), "{call}");
        }
        assert!(super::routine("16384").is_none());
    }
}
