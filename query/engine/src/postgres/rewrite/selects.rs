//! What SELECT lists: each name once, as PostgreSQL calls it; subqueries that are values.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, FunctionArguments, Ident, ObjectName, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, Value, visit_expressions,
    visit_expressions_mut,
};

use super::{never, parsed, parts, values};
use crate::postgres::catalog::{INFORMATION, PG_CATALOG};

/// `ARRAY(SELECT x …)` is all x as a list; `(SELECT x …)` over the catalogue is the first x, of which PostgreSQL wants no second.
pub(super) fn subquery(expr: &mut Expr) {
    match expr {
        Expr::Function(function) => {
            let FunctionArguments::Subquery(query) = &mut function.args else { return };
            if parts(&function.name).last().is_some_and(|name| name == "array") {
                query.order_by = None;
                if aggregated(query, "array_agg") {
                    *expr = Expr::Subquery(query.clone());
                }
            }
        }
        Expr::Subquery(query) if is_of_the_catalogue(query) && query.limit_clause.is_none() => {
            aggregated(query, "first_value");
        }
        _ => {}
    }
}

/// Puts the only item of a SELECT into an aggregate, unless it is one.
fn aggregated(query: &mut Query, aggregate: &str) -> bool {
    let SetExpr::Select(select) = query.body.as_mut() else { return false };
    let [SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }] =
        select.projection.as_mut_slice()
    else {
        return false;
    };
    if aggregate == "first_value" && never::is_aggregated(item) {
        return false;
    }
    let Some(call) = parsed(&format!("{aggregate}({item})")) else { return false };
    *item = call;
    true
}

fn is_of_the_catalogue(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let mut tables = select
        .from
        .iter()
        .flat_map(|from| std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)));
    tables.any(|table| {
        let TableFactor::Table { name, .. } = table else { return false };
        parts(name).iter().any(|part| [PG_CATALOG.0, INFORMATION.0].contains(&part.as_str()))
    })
}

/// Changes what each SELECT of a query lists.
pub(super) fn query(query: &mut Query) {
    body(&mut query.body);
    if let Some(order) = &mut query.order_by
        && let OrderByKind::Expressions(expressions) = &mut order.kind
    {
        for order in expressions {
            as_values(&mut order.expr);
        }
    }
}

fn body(expr: &mut SetExpr) {
    match expr {
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        SetExpr::Select(select) => listed(select),
        _ => {}
    }
}

fn listed(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            values::shown(expr);
            as_values(expr);
        }
    }
    without_repeats(select);
    let mut known = HashSet::new();
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if known.insert(expr.to_string()) || matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        {
            continue;
        }
        // Said twice: the engine wants another name for the second.
        let name = name_of(expr).unwrap_or_else(|| "?column?".to_owned());
        let alias = Ident::with_quote('"', format!("{name}{}", known.len()));
        known.insert(alias.to_string());
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// `x IN (SELECT y …)` in a list: whether x is in the list of all y.
fn as_values(expr: &mut Expr) {
    let _ = visit_expressions_mut(expr, |expr| {
        if let Expr::InSubquery { expr: wanted, subquery, negated } = expr {
            let mut subquery = subquery.clone();
            subquery.order_by = None;
            if aggregated(&mut subquery, "array_agg") {
                let not = if *negated { "NOT " } else { "" };
                if let Some(value) =
                    parsed(&format!("{not}coalesce(array_has(({subquery}), {wanted}), false)"))
                {
                    *expr = value;
                }
            }
        }
        ControlFlow::<()>::Continue(())
    });
}

/// A column that is listed beside a wildcard that has it is listed once: clients look for it by its name.
fn without_repeats(select: &mut Select) {
    let listed: Vec<Vec<Ident>> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) if idents.len() == 2 => {
                Some(idents.clone())
            }
            _ => None,
        })
        .collect();
    for item in &mut select.projection {
        let (of, options) = match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), options) => {
                (parts(of).pop(), options)
            }
            SelectItem::Wildcard(options) => (None, options),
            _ => continue,
        };
        let columns =
            listed.iter().filter(|idents| of.as_ref().is_none_or(|of| idents[0].value.to_lowercase() == *of));
        let columns: Vec<ObjectName> =
            columns.map(|idents| ObjectName::from(vec![idents[1].clone()])).collect();
        if !columns.is_empty() && options.opt_exclude.is_none() && options.opt_except.is_none() {
            options.opt_exclude = Some(ExcludeSelectItem::Multiple(columns));
        }
    }
}

/// What PostgreSQL calls a column that has no name of its own.
pub(super) fn name_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Function(function) => parts(&function.name).pop(),
        Expr::Cast { expr, data_type, .. } => name_of(expr).or_else(|| {
            let kind = data_type.to_string().to_lowercase();
            kind.rsplit('.').next().map(str::to_owned)
        }),
        Expr::Nested(expr) => name_of(expr),
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.clone()),
        Expr::Case { .. } => Some("case".to_owned()),
        _ => None,
    }
}

/// Columns of the answer that have no name of their own get PostgreSQL's, where it is one of its own there.
pub(super) fn named(query: &mut Query) {
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let names: Vec<Option<String>> = select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(expr) => name_of(expr),
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
            _ => None,
        })
        .collect();
    for (index, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let is_column = match expr {
            Expr::Identifier(ident) => !values::is_about_session(&ident.value),
            Expr::CompoundIdentifier(_) => true,
            _ => false,
        };
        let Some(name) = names[index].as_ref().filter(|_| !is_column) else { continue };
        if names.iter().filter(|other| *other == &names[index]).count() == 1 {
            *item =
                SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name.clone()) };
        }
    }
}

/// The parameters that are mentioned.
pub(super) fn placeholders(statement: &Statement) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(statement, |expr| {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
        {
            found.insert(name.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// Mentions parameters once more that went with what needn't be understood: a value is bound to each.
pub(super) fn keep<'a>(query: &mut Query, placeholders: impl Iterator<Item = &'a String>) {
    for name in placeholders {
        let mut body = query.body.as_mut();
        while let SetExpr::SetOperation { left, .. } = body {
            body = left;
        }
        let SetExpr::Select(select) = body else { return };
        let condition = select.selection.as_ref().map_or_else(|| "true".to_owned(), ToString::to_string);
        select.selection = parsed(&format!("({condition}) AND (true OR CAST({name} AS TEXT) IS NULL)"));
    }
}
