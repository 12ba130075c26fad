//! Whether files should filter while they are read, or their rows afterwards.
//!
//! Filtering first reads the filter's columns, then of the others only what passed. That is a gain where little passes, or
//! much else is read, and a loss where half of all rows come in runs of a few: then it is quicker to read everything and to
//! filter once. How much a condition on a text leaves is guessed from how many different texts there are, which the size
//! of their dictionary tells; nothing is known of other conditions, and they are taken to leave everything.

use std::sync::Arc;

use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, LikeExpr, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use parquet::file::metadata::RowGroupMetaData;

/// What is filtered first must spare so many columns' reading, whole.
const SPARED: f64 = 4.0;
/// Or leave no more than this.
const LEFT: f64 = 0.1;
/// A text of a dictionary takes about this, compressed, and a dictionary about this by itself, bytes.
const TEXT_BYTES: i64 = 6;
const DICTIONARY_BYTES: i64 = 40;
/// What a pattern leaves, about.
const LIKE: f64 = 0.05;

/// Whether to filter first; `group` is some of the rows, `columns` is how many columns are read in all.
pub(crate) fn is_worth_it(
    predicate: &Arc<dyn PhysicalExpr>,
    columns: usize,
    group: Option<&RowGroupMetaData>,
) -> bool {
    let others = columns.saturating_sub(collect_columns(predicate).len());
    let Some(group) = group else { return true };
    let left = split_conjunction(predicate).into_iter().map(|part| left(part, group)).product::<f64>();
    left <= LEFT || (1.0 - left) * others as f64 >= SPARED
}

/// What a condition leaves of the rows, 0 to 1.
fn left(condition: &Arc<dyn PhysicalExpr>, group: &RowGroupMetaData) -> f64 {
    if let Some(binary) = condition.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::And => left(binary.left(), group) * left(binary.right(), group),
            Operator::Or => (left(binary.left(), group) + left(binary.right(), group)).min(1.0),
            Operator::Eq => equal(binary.left(), binary.right(), group),
            _ => 1.0,
        };
    }
    if let Some(list) = condition.downcast_ref::<InListExpr>() {
        let each = list.list().iter().map(|value| equal(list.expr(), value, group));
        return if list.negated() { 1.0 } else { each.sum::<f64>().min(1.0) };
    }
    if let Some(like) = condition.downcast_ref::<LikeExpr>() {
        return if like.negated() { 1.0 } else { LIKE };
    }
    1.0
}

fn equal(one: &Arc<dyn PhysicalExpr>, other: &Arc<dyn PhysicalExpr>, group: &RowGroupMetaData) -> f64 {
    let (column, value) = if one.is::<Column>() { (one, other) } else { (other, one) };
    let Some(column) = column.downcast_ref::<Column>().filter(|_| value.is::<Literal>()) else { return 1.0 };
    let chunk = group.columns().iter().find(|chunk| chunk.column_descr().name() == column.name());
    // A file without the column has no row that equals anything.
    let Some(chunk) = chunk else { return 0.0 };
    match chunk.dictionary_page_offset() {
        Some(dictionary) => {
            let bytes = chunk.data_page_offset() - dictionary;
            let texts = ((bytes - DICTIONARY_BYTES) / TEXT_BYTES).max(2);
            1.0 / texts as f64
        }
        // Values that hardly repeat have none.
        None => 0.0,
    }
}
