//! `count(DISTINCT x)` beside plain counts, as fast as it is without them. `DataFusion` makes grouping of distinct counts, one
//! by groups and `x` and one by groups, but only beside `sum`, `min` and `max`; else it keeps a set of texts for every group.
//! So counts become sums here, whose rows it then groups by its own rule.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, lit, when};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct CountsBesideDistinct;

impl OptimizerRule for CountsBesideDistinct {
    fn name(&self) -> &'static str {
        "counts_beside_distinct"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Aggregate(aggregate) if applies(&aggregate) => {
                Ok(Transformed::yes(with_sums(&aggregate)?))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// Whether there are plain counts beside distinct counts of one and the same thing. Without groups a count of no rows is 0, and
/// a sum null, so it does not.
fn applies(aggregate: &Aggregate) -> bool {
    let mut distinct: Vec<&[Expr]> = Vec::new();
    let mut counts = 0;
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(function) = expr else { return false };
        let AggregateFunctionParams { args, distinct: is_distinct, filter, order_by, .. } = &function.params;
        if filter.is_some() || !order_by.is_empty() {
            return false;
        }
        match function.func.name() {
            "count" if *is_distinct => distinct.push(args),
            "count" if args.len() == 1 => counts += 1,
            "sum" | "min" | "max" if !is_distinct => {}
            _ => return false,
        }
    }
    let has_groups = !aggregate.group_expr.is_empty()
        && !aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
    has_groups && counts > 0 && !distinct.is_empty() && distinct.windows(2).all(|pair| pair[0] == pair[1])
}

fn with_sums(aggregate: &Aggregate) -> Result<LogicalPlan> {
    let summed = aggregate.aggr_expr.iter().map(|expr| match expr {
        Expr::AggregateFunction(AggregateFunction { func, params })
            if func.name() == "count" && !params.distinct =>
        {
            summed(&params.args[0])
        }
        other => Ok(other.clone()),
    });
    let summed = summed.collect::<Result<Vec<Expr>>>()?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(
        aggregate.input.clone(),
        aggregate.group_expr.clone(),
        summed,
    )?);
    // What is above knows the columns by their old names.
    let columns = plan.schema().columns().into_iter().zip(aggregate.schema.iter());
    let named = columns.map(|(column, (qualifier, field))| {
        let is_same = column.relation.as_ref() == qualifier && column.name == *field.name();
        let expr = Expr::Column(column);
        if is_same { expr } else { expr.alias_qualified(qualifier.cloned(), field.name()) }
    });
    let named: Vec<Expr> = named.collect();
    LogicalPlanBuilder::from(plan).project(named)?.build()
}

/// How many rows have it, as a sum: what is always there counts as 1.
fn summed(counted: &Expr) -> Result<Expr> {
    let one = lit(ScalarValue::Int64(Some(1)));
    Ok(match counted {
        Expr::Literal(value, _) if !value.is_null() => sum(one),
        other => sum(when(other.clone().is_not_null(), one).otherwise(lit(ScalarValue::Int64(Some(0))))?),
    })
}
