//! Functions in FROM: PostgreSQL calls their only column as it calls them, and takes any function.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Statement, TableAlias, TableFactor, TableFunctionArgs, Visit, Visitor,
};

use super::{names, parsed_query, parts};
use crate::postgres::catalog;

/// Functions that are tables for the engine, too, where their arguments are plain numbers.
const TABLES: [&str; 2] = ["generate_series", "range"];

/// Names that stand alone in expressions.
pub(super) fn used_as_columns(statement: &Statement) -> Vec<String> {
    struct Used(Vec<String>);
    impl Visitor for Used {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(ident) => self.0.push(ident.value.to_lowercase()),
                Expr::CompoundFieldAccess { root, .. } => {
                    if let Expr::Identifier(ident) = root.as_ref() {
                        self.0.push(ident.value.to_lowercase());
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut used = Used(Vec::new());
    let _ = statement.visit(&mut used);
    used.0
}

/// Changes a function in FROM.
pub(super) fn function(factor: &mut TableFactor, used: &[String]) {
    let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return };
    names::unqualified(name);
    let Some(function) = parts(name).pop() else { return };
    if catalog::is_catalogue(&function) && args.args.is_empty() {
        let TableFactor::Table { args, .. } = factor else { return };
        *args = None;
        return;
    }
    // Lists of the catalogue (options, rights) are never filled.
    let is_never = function == "unnest"
        && args.args.iter().any(|argument| {
            let text = argument.to_string();
            text.rsplit('.').next().is_some_and(catalog::is_list)
        });
    let called = alias.as_ref().map_or(function.as_str(), |alias| alias.name.value.as_str()).to_owned();
    let is_used = used.contains(&called.to_lowercase());
    let is_table = TABLES.contains(&function.as_str());
    if is_table && !is_used && are_plain(args) {
        return;
    }
    let arguments = args.args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let value = format!("{function}({arguments})");
    // As a function it gives a list.
    let value = if is_table { format!("unnest({value})") } else { value };
    let value = if is_never { "NULL".to_owned() } else { value };
    let column = alias.as_ref().map_or_else(|| Ident::new(&called), |alias| alias.name.clone());
    let Some(subquery) =
        parsed_query(&format!("SELECT {value} AS {column}{}", if is_never { " WHERE false" } else { "" }))
    else {
        return;
    };
    let alias =
        alias.clone().unwrap_or(TableAlias { explicit: true, name: column, columns: Vec::new(), at: None });
    *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
}

fn are_plain(args: &TableFunctionArgs) -> bool {
    args.args.iter().all(|argument| {
        let text = argument.to_string();
        !text.contains('(') && !text.contains('[')
    })
}
