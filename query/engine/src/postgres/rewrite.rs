//! PostgreSQL's way to say things → the engine's: parsed statements are changed part by part, whatever they are for.
//!
//! | file         | subject                                                                     |
//! |--------------|-------------------------------------------------------------------------------|
//! | `names.rs`   | tables and functions of `pg_catalog`, which PostgreSQL finds without its name  |
//! | `never.rs`   | questions about tables that have never a row: their answer is known            |
//! | `values.rs`  | types, operators, and functions that are about this session                    |
//! | `sources.rs` | functions in FROM                                                              |
//! | `selects.rs` | what SELECT lists: names once each, subqueries as values                       |

mod names;
mod never;
mod selects;
mod sources;
mod values;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, ObjectNamePart, Query, Statement as Sql, TableFactor, VisitMut, VisitorMut,
};

use super::Session;

/// Changes a statement that was found to be a question.
pub(super) fn statement(statement: &mut Statement, session: &Session) {
    match statement {
        Statement::Statement(statement) => {
            let aliases = sources::used_as_columns(statement);
            let _ = statement.visit(&mut Names { aliases });
            if let Sql::Query(query) = statement.as_mut() {
                selects::named(query);
            }
            let placeholders = selects::placeholders(statement);
            let _ = statement.visit(&mut Parts { session });
            let left = selects::placeholders(statement);
            if let Sql::Query(query) = statement.as_mut() {
                selects::keep(query, placeholders.difference(&left));
            }
        }
        Statement::Explain(explain) => self::statement(&mut explain.statement, session),
        _ => {}
    }
}

/// The first look: what is meant by names.
struct Names {
    /// Aliases of functions in FROM that are used as if they were columns.
    aliases: Vec<String>,
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &mut ObjectName) -> ControlFlow<()> {
        names::relation(relation);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        sources::function(factor, &self.aliases);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        names::function(expr);
        ControlFlow::Continue(())
    }
}

/// The second: the rest, the inner parts before those that they are in.
struct Parts<'a> {
    session: &'a Session,
}

impl VisitorMut for Parts<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        never::expression(expr);
        values::expression(expr, self.session);
        selects::subquery(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        never::query(query);
        selects::query(query);
        ControlFlow::Continue(())
    }
}

/// The parts of a name in lower case, those in quotes as they are.
fn parts(name: &ObjectName) -> Vec<String> {
    let parts = name.0.iter().filter_map(ObjectNamePart::as_ident);
    parts
        .map(
            |ident| {
                if ident.quote_style.is_none() { ident.value.to_lowercase() } else { ident.value.clone() }
            },
        )
        .collect()
}

/// An expression of this text, which is one of ours.
fn parsed(text: &str) -> Option<Expr> {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    Parser::new(&GenericDialect {}).try_with_sql(text).ok()?.parse_expr().ok()
}

/// The same of a query.
fn parsed_query(text: &str) -> Option<Box<Query>> {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;
    Parser::new(&GenericDialect {}).try_with_sql(text).ok()?.parse_query().ok()
}

/// A text as a literal.
fn literal(text: &str) -> Expr {
    use datafusion::sql::sqlparser::ast::Value;
    Expr::Value(Value::SingleQuotedString(text.to_owned()).with_empty_span())
}

#[cfg(test)]
mod tests;
