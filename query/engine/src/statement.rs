//! Text → one statement that only asks. The parser knows far more than questions; what may pass is listed, so that whatever
//! it learns later is refused.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, Statement as Sql, Visit, Visitor};

use crate::error::QueryError;

/// The only statement in `text`.
///
/// # Errors
/// `sql.syntax`, `sql.read_only`, and `sql.several` where there are more.
pub(crate) fn parse(text: &str, recursion_limit: usize) -> Result<Statement, QueryError> {
    let parsed = DFParserBuilder::new(text)
        .with_recursion_limit(recursion_limit)
        .build()
        .and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|err| from_parser(&err, text))?;
    if !statements.iter().all(only_asks) {
        return Err(QueryError::read_only());
    }
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => Ok(statement),
        (None, _) => Err(QueryError::invalid("sql.syntax", "there is no question in it")),
        (Some(_), more) => Err(QueryError {
            hint: Some("send each by itself".to_owned()),
            ..QueryError::invalid("sql.several", format!("{} questions at once: one is answered", more + 1))
        }),
    }
}

/// Refuses a plan of anything but a question: the second look, at what the text was understood as.
pub(crate) fn read_only(plan: &LogicalPlan) -> Result<(), QueryError> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|_| QueryError::read_only())
}

fn from_parser(error: &DataFusionError, text: &str) -> QueryError {
    let error = QueryError::from_datafusion(error, text);
    // What DataFusion's own parser says of statements that it knows half: they are none of ours.
    let first = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match first.as_str() {
        "CREATE" | "COPY" | "RESET" | "DROP" | "INSERT" | "UPDATE" | "DELETE" | "SET" | "ALTER" => {
            QueryError::read_only()
        }
        _ => error,
    }
}

fn only_asks(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(statement) => is_question(statement),
        Statement::Explain(explain) => only_asks(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => false,
    }
}

fn is_question(statement: &Sql) -> bool {
    // Also what is nested: WITH x AS (DELETE …), SELECT … INTO, EXPLAIN ANALYZE INSERT.
    statement.visit(&mut Asks).is_continue()
}

/// Breaks off at whatever isn't a question.
struct Asks;

impl Visitor for Asks {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Sql) -> ControlFlow<()> {
        match statement {
            Sql::Query(_)
            | Sql::Explain { .. }
            | Sql::ExplainTable { .. }
            | Sql::ShowTables { .. }
            | Sql::ShowColumns { .. }
            | Sql::ShowVariable { .. }
            | Sql::ShowVariables { .. }
            | Sql::ShowFunctions { .. }
            | Sql::ShowCreate { .. }
            | Sql::ShowSchemas { .. }
            | Sql::ShowCatalogs { .. }
            | Sql::ShowDatabases { .. }
            | Sql::ShowViews { .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let writes = matches!(
            query.body.as_ref(),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
        );
        // FOR UPDATE asks for locks.
        if writes || !query.locks.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.into.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        parse(text, 50).map_or_else(|err| err.code, |_| "ok")
    }

    #[test]
    fn questions_pass() {
        for text in [
            "SELECT 1",
            "SELECT 1;",
            "(SELECT 1) UNION ALL (VALUES (2))",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES (1)",
            "SHOW TABLES",
            "SHOW COLUMNS FROM flows",
            "SHOW ALL",
            "SHOW FUNCTIONS",
            "DESCRIBE flows",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "EXPLAIN FORMAT TREE SELECT 1",
        ] {
            assert_eq!(code(text), "ok", "{text}");
        }
    }

    #[test]
    fn what_is_hidden_in_a_question_is_found() {
        for text in [
            "WITH gone AS (DELETE FROM flows RETURNING *) SELECT * FROM gone",
            "SELECT * FROM (SELECT 1 INTO t FROM flows) x",
            "SELECT 1 UNION ALL SELECT 2 INTO t FROM flows",
            "EXPLAIN EXPLAIN ANALYZE INSERT INTO flows VALUES (1)",
            "EXPLAIN COPY flows TO 'x.csv'",
            "SELECT * FROM flows FOR UPDATE",
            "SELECT 1; DROP TABLE flows",
            "SELECT EXISTS (INSERT INTO flows VALUES (1))",
        ] {
            assert!(["sql.read_only", "sql.syntax"].contains(&code(text)), "{text}: {}", code(text));
        }
    }

    #[test]
    fn one_question_at_a_time() {
        assert_eq!(code("SELECT 1; SELECT 2"), "sql.several");
        assert_eq!(code(" ; "), "sql.syntax");
        assert_eq!(code("-- nothing"), "sql.syntax");
    }
}
