//! The time range that a question is about, from its own conditions, so that the answer can say what is missing there.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// A range of UTC nanoseconds, both ends included. Open where a question sets no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct TimeRange {
    /// The earliest time; `i64::MIN` where there is none.
    pub from: i64,
    /// The latest time; `i64::MAX` where there is none.
    pub until: i64,
}

impl TimeRange {
    /// All times.
    pub const ALL: TimeRange = TimeRange { from: i64::MIN, until: i64::MAX };

    /// The range that `filters`, all of which hold, leave of the column `time`.
    pub(crate) fn of(filters: &[Expr], time: &str) -> TimeRange {
        filters.iter().fold(TimeRange::ALL, |range, filter| range.narrowed(filter, time))
    }

    /// Between what is known of its ends; `None` where neither is.
    pub fn known(from: Option<i64>, until: Option<i64>) -> Option<TimeRange> {
        (from.is_some() || until.is_some())
            .then(|| TimeRange { from: from.unwrap_or(0), until: until.unwrap_or(i64::MAX) })
    }

    /// With so many nanoseconds more before and after.
    pub fn widened(self, by: i64) -> TimeRange {
        TimeRange { from: self.from.saturating_sub(by), until: self.until.saturating_add(by) }
    }

    /// As an SQL condition on a table's `time`. No row is older than 1970, and SQL has no literal for the earliest time
    /// there is.
    pub fn condition(self) -> String {
        let [from, until] = [self.from, self.until].map(|time| time.max(-1));
        format!("time >= to_timestamp_nanos({from}) AND time <= to_timestamp_nanos({until})")
    }

    /// The smallest range that holds both.
    pub fn with(self, other: TimeRange) -> TimeRange {
        TimeRange { from: self.from.min(other.from), until: self.until.max(other.until) }
    }

    fn narrowed(self, filter: &Expr, time: &str) -> TimeRange {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else {
            return self.between(filter, time);
        };
        if *op == Operator::And {
            return self.narrowed(left, time).narrowed(right, time);
        }
        let (op, bound) = match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), bound) if column.name == time => (*op, bound),
            (bound, Expr::Column(column)) if column.name == time => match op.swap() {
                Some(op) => (op, bound),
                None => return self,
            },
            _ => return self,
        };
        let Some(bound) = nanoseconds(bound) else { return self };
        match op {
            Operator::Gt | Operator::GtEq => TimeRange { from: self.from.max(bound), ..self },
            Operator::Lt | Operator::LtEq => TimeRange { until: self.until.min(bound), ..self },
            Operator::Eq => TimeRange { from: self.from.max(bound), until: self.until.min(bound) },
            _ => self,
        }
    }

    fn between(self, filter: &Expr, time: &str) -> TimeRange {
        match filter {
            Expr::Between(between) if !between.negated => {
                match (between.expr.as_ref(), nanoseconds(&between.low), nanoseconds(&between.high)) {
                    (Expr::Column(column), Some(low), Some(high)) if column.name == time => {
                        TimeRange { from: self.from.max(low), until: self.until.min(high) }
                    }
                    _ => self,
                }
            }
            _ => self,
        }
    }
}

pub(crate) fn nanoseconds(bound: &Expr) -> Option<i64> {
    match bound {
        Expr::Literal(ScalarValue::TimestampNanosecond(time, _), _) => *time,
        Expr::Literal(ScalarValue::TimestampMicrosecond(time, _), _) => {
            time.map(|time| time.saturating_mul(1_000))
        }
        Expr::Literal(ScalarValue::TimestampMillisecond(time, _), _) => {
            time.map(|time| time.saturating_mul(1_000_000))
        }
        Expr::Literal(ScalarValue::TimestampSecond(time, _), _) => {
            time.map(|time| time.saturating_mul(1_000_000_000))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(time: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into())))
    }

    #[test]
    fn conditions_on_the_time_narrow_the_range_and_others_do_not() {
        let filters = [col("time").gt_eq(at(10)).and(at(50).gt(col("time"))), col("end_time").lt(at(3))];
        assert_eq!(TimeRange::of(&filters, "time"), TimeRange { from: 10, until: 50 });
        assert_eq!(TimeRange::of(&[col("time").gt(at(5)).or(col("a").eq(lit(1)))], "time"), TimeRange::ALL);
        assert_eq!(
            TimeRange::of(&[col("time").between(at(1), at(2))], "time"),
            TimeRange { from: 1, until: 2 }
        );
    }

    #[test]
    fn tables_of_one_question_share_the_widest_range() {
        let (one, other) = (TimeRange { from: 1, until: 5 }, TimeRange { from: 3, until: i64::MAX });
        assert_eq!(one.with(other), TimeRange { from: 1, until: i64::MAX });
    }
}
