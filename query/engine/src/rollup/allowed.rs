//! What may be asked of a roll-up: only that of which it knows as much as its file.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, Operator};
use weir_model::rollup::{ROLLED_NS, RollUp, greatest, least};
use weir_model::{DataKind, tables};

use super::Measure;
use crate::range::nanoseconds;

/// A question to a roll-up.
pub(super) struct Asked {
    pub(super) rollup: &'static RollUp,
    /// The table's own time.
    pub(super) time: &'static str,
}

/// The times that a question is about, both ends included, and its other conditions.
#[derive(Debug)]
pub(super) struct Within {
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) others: Vec<Expr>,
}

impl Asked {
    /// Conditions that all hold; `None` where one can't be told by what is kept.
    pub(super) fn within(&self, filters: &[Expr]) -> Option<Within> {
        let mut within = Within { from: i64::MIN, until: i64::MAX, others: Vec::new() };
        for filter in filters {
            if let Some((from, until)) = self.bounds(filter) {
                within.from = within.from.max(from);
                within.until = within.until.min(until);
            } else if self.is_kept(filter) {
                within.others.push(filter.clone());
            } else {
                return None;
            }
        }
        Some(within)
    }

    /// The times for which a condition holds, if it is one on nothing but the time.
    fn bounds(&self, filter: &Expr) -> Option<(i64, i64)> {
        if let Expr::Between(between) = filter
            && self.is_time(&between.expr)
            && !between.negated
        {
            return Some((nanoseconds(&between.low)?, nanoseconds(&between.high)?));
        }
        let Expr::BinaryExpr(binary) = filter else { return None };
        let (op, bound) = if self.is_time(&binary.left) {
            (binary.op, &binary.right)
        } else if self.is_time(&binary.right) {
            (binary.op.swap()?, &binary.left)
        } else {
            return None;
        };
        let bound = nanoseconds(bound)?;
        match op {
            Operator::Gt => Some((bound.checked_add(1)?, i64::MAX)),
            Operator::GtEq => Some((bound, i64::MAX)),
            Operator::Lt => Some((i64::MIN, bound.checked_sub(1)?)),
            Operator::LtEq => Some((i64::MIN, bound)),
            Operator::Eq => Some((bound, bound)),
            _ => None,
        }
    }

    fn is_time(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Column(column) if column.name == self.time)
    }

    /// Whether an expression is of kept columns, and of whole minutes of the time.
    pub(super) fn is_kept(&self, expr: &Expr) -> bool {
        let mut is_kept = !expr.is_volatile();
        let walked = expr.apply(|part| {
            if self.is_whole_minutes(part) {
                return Ok(TreeNodeRecursion::Jump);
            }
            is_kept &= match part {
                Expr::Column(column) => self.rollup.kept.contains(&column.name.as_str()),
                Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::OuterReferenceColumn(_, _)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::GroupingSet(_) => false,
                _ => true,
            };
            Ok(if is_kept { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        is_kept && walked.is_ok()
    }

    /// The time cut to minutes or longer: the same for a row and for what it became part of.
    fn is_whole_minutes(&self, expr: &Expr) -> bool {
        let Expr::ScalarFunction(function) = expr else { return false };
        match (function.func.name(), function.args.as_slice()) {
            ("date_trunc", [Expr::Literal(unit, _), time]) if self.is_time(time) => {
                let unit = unit.try_as_str().flatten().unwrap_or_default().to_ascii_lowercase();
                ["minute", "hour", "day", "week", "month", "quarter", "year"].contains(&unit.as_str())
            }
            ("date_bin", [Expr::Literal(width, _), time, origin @ ..]) if self.is_time(time) => {
                let is_minute = |ns: i64| ns.rem_euclid(ROLLED_NS) == 0;
                let starts_well = match origin {
                    [] => true,
                    [origin] => nanoseconds(origin).is_some_and(is_minute),
                    _ => false,
                };
                starts_well
                    && match width {
                        ScalarValue::IntervalMonthDayNano(Some(width)) => is_minute(width.nanoseconds),
                        ScalarValue::IntervalDayTime(Some(width)) => {
                            is_minute(i64::from(width.milliseconds) * 1_000_000)
                        }
                        _ => false,
                    }
            }
            _ => false,
        }
    }

    /// How an aggregate is asked of a roll-up; `None` where it can't be.
    pub(super) fn measure(&self, expr: &Expr) -> Option<Measure> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias() else {
            return None;
        };
        if params.distinct
            || params.filter.is_some()
            || !params.order_by.is_empty()
            || params.null_treatment.is_some()
        {
            return None;
        }
        let [of] = params.args.as_slice() else { return None };
        match (func.name(), of) {
            ("count", Expr::Literal(value, _)) if !value.is_null() => Some(Measure::rows()),
            ("sum", of) if self.is_summed(of) => Some(Measure::sum(of.clone())),
            ("min" | "max", of) if self.is_kept(of) && !of.column_refs().is_empty() => {
                let measure = if func.name() == "min" { Measure::least } else { Measure::greatest };
                Some(measure(of.clone()))
            }
            ("min", Expr::Column(column)) if self.is_ranged(&column.name) => {
                Some(Measure::least(renamed(column, &least(&column.name))))
            }
            ("max", Expr::Column(column)) if self.is_ranged(&column.name) => {
                Some(Measure::greatest(renamed(column, &greatest(&column.name))))
            }
            _ => None,
        }
    }

    fn is_ranged(&self, name: &str) -> bool {
        self.rollup.ranged.contains(&name)
    }

    /// A column that is summed, or several that are added and that no row lacks: with one that a row lacks, the row's sum
    /// would be unknown, but not the sum of sums.
    fn is_summed(&self, of: &Expr) -> bool {
        match of {
            Expr::Column(column) => self.rollup.summed.contains(&column.name.as_str()),
            _ => self.is_added(of),
        }
    }

    fn is_added(&self, of: &Expr) -> bool {
        match of {
            Expr::Column(column) => {
                let table = tables::by_name(self.rollup.table);
                let kind = table.and_then(|table| table.column(&column.name)).map(|column| column.kind);
                self.rollup.summed.contains(&column.name.as_str()) && kind == Some(DataKind::Count)
            }
            Expr::BinaryExpr(binary) if matches!(binary.op, Operator::Plus | Operator::Minus) => {
                self.is_added(&binary.left) && self.is_added(&binary.right)
            }
            _ => false,
        }
    }
}

/// Another column of the same table.
fn renamed(column: &datafusion::common::Column, name: &str) -> Expr {
    Expr::Column(datafusion::common::Column::new(column.relation.clone(), name))
}
