//! Questions about tables that have never a row: a subquery over one is NULL, or nothing; a whole question has no rows. What else
//! it says needn't be understood then, which is much of what clients ask about indexes, triggers, policies and the like.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::{parsed, parts};
use crate::postgres::catalog::is_never_filled;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr,
    TableFactor, TableWithJoins, Value, Visit, Visitor,
};

/// Functions that give a row also where there is none.
const AGGREGATES: [&str; 12] = [
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "json_agg",
    "max",
    "min",
    "string_agg",
    "sum",
    "jsonb_agg",
];

/// A subquery in an expression.
pub(super) fn expression(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && let FunctionArguments::Subquery(query) = &function.args
        && is_never(query)
        && let Some(empty) = parsed("CAST([] AS TEXT[])")
    {
        *expr = empty;
        return;
    }
    let known = match expr {
        Expr::Subquery(query) if is_never(query) => Value::Null,
        Expr::Exists { subquery, negated } if is_never(subquery) => Value::Boolean(*negated),
        Expr::InSubquery { subquery, negated, .. } if is_never(subquery) => Value::Boolean(*negated),
        _ => return,
    };
    *expr = Expr::Value(known.with_empty_span());
}

/// A whole question, or a part of a union.
pub(super) fn query(query: &mut Query) {
    if is_never(query) {
        query.order_by = None;
    }
    body(&mut query.body);
}

fn body(expr: &mut SetExpr) {
    match expr {
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        SetExpr::Select(select) if is_never_selected(select) => nothing(select),
        _ => {}
    }
}

/// The same columns, and no row.
fn nothing(select: &mut Select) {
    let null = || Expr::Value(Value::Null.with_empty_span());
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut known = HashSet::new();
    for item in &mut select.projection {
        let mut alias = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            // A column's own name goes on where its table does.
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) if has_wildcard => {
                continue;
            }
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name.clone(),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => match names.last() {
                Some(name) => name.clone(),
                None => continue,
            },
            SelectItem::UnnamedExpr(expr) => {
                Ident::with_quote('"', super::selects::name_of(expr).unwrap_or_else(|| "?column?".to_owned()))
            }
            _ => continue,
        };
        if !known.insert(alias.value.clone()) {
            alias = Ident::with_quote('"', format!("{}{}", alias.value, known.len()));
            known.insert(alias.value.clone());
        }
        *item = SelectItem::ExprWithAlias { expr: null(), alias };
    }
    if !has_wildcard {
        select.from.clear();
    }
    select.distinct = None;
    select.selection = parsed("false");
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
}

fn is_never(query: &Query) -> bool {
    query.with.is_none() && is_never_body(&query.body)
}

fn is_never_body(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => is_never_selected(select),
        SetExpr::Query(query) => is_never(query),
        SetExpr::SetOperation { left, right, .. } => is_never_body(left) && is_never_body(right),
        _ => false,
    }
}

fn is_never_selected(select: &Select) -> bool {
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    let is_false =
        matches!(&select.selection, Some(Expr::Value(value)) if value.value == Value::Boolean(false));
    // Without FROM: one of ours. Others ask by it for an answer's columns.
    (is_false && select.from.is_empty() || select.from.iter().any(is_never_joined))
        && (is_grouped || !has_aggregate(select))
}

fn is_never_joined(table: &TableWithJoins) -> bool {
    let is_inner = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let is_kept = table.joins.iter().any(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    });
    let joined =
        table.joins.iter().any(|join| is_inner(&join.join_operator) && is_never_table(&join.relation));
    !is_kept && (joined || is_never_table(&table.relation))
}

fn is_never_table(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => match parts(name).as_slice() {
            [schema, table] | [_, schema, table] => is_never_filled(schema, table),
            _ => false,
        },
        TableFactor::Derived { subquery, .. } => is_never(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => is_never_joined(table_with_joins),
        _ => false,
    }
}

fn has_aggregate(select: &Select) -> bool {
    select.projection.iter().any(|item| {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            return false;
        };
        is_aggregated(expr)
    })
}

/// Whether an aggregate is in it, other than in a subquery of its own.
pub(super) fn is_aggregated(expr: &Expr) -> bool {
    struct Aggregates {
        depth: usize,
    }
    impl Visitor for Aggregates {
        type Break = ();
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let is_one = parts(&function.name).last().is_some_and(|name| AGGREGATES.contains(&name.as_str()));
            if is_one && self.depth == 0 && function.over.is_none() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }
    expr.visit(&mut Aggregates { depth: 0 }).is_break()
}
