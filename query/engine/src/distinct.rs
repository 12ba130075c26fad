//! `count(DISTINCT x)` by groups, as fast as it can be.
//!
//! | file       | subject                                             |
//! |------------|-----------------------------------------------------|
//! | `texts.rs` | how many different texts each group has, in memory   |
//! | `ids.rs`   | a set of small numbers                              |
//!
//! `DataFusion` keeps a set of texts for every group, or groups twice: by groups and `x`, then by groups. The first takes far
//! more memory than there is to say; the second makes a group of every pair, but it can spill. So texts are counted
//! by sets of numbers here as long as memory suffices, and everything else, and where it didn't suffice, by grouping twice:
//! `DataFusion` does that beside `sum`, `min` and `max` only, so plain counts become sums.

mod ids;
mod texts;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::sum;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit, when,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use crate::engine::MERGE_BYTES;

/// Texts are counted in memory.
#[derive(Debug, Default)]
pub(crate) struct DistinctInMemory;

static DISTINCT_TEXTS: LazyLock<Arc<AggregateUDF>> =
    LazyLock::new(|| Arc::new(AggregateUDF::from(texts::DistinctTexts::new())));

impl OptimizerRule for DistinctInMemory {
    fn name(&self) -> &'static str {
        "distinct_in_memory"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = &plan else { return Ok(Transformed::no(plan)) };
        // A question that didn't fit into memory is asked again without joins by hash, and one that has little doesn't try:
        // grouping twice gets by with less. How much it has shows in what a sort keeps free of it (`engine.rs`).
        let options = config.options();
        let has_room = options.optimizer.prefer_hash_join
            && options.execution.sort_spill_reservation_bytes >= MERGE_BYTES.1;
        if !has_room || !has_groups(aggregate) {
            return Ok(Transformed::no(plan));
        }
        let counted = aggregate.aggr_expr.iter().map(|expr| in_memory(expr, aggregate));
        let counted = counted.collect::<Result<Vec<Option<Expr>>>>()?;
        if counted.iter().all(Option::is_none) {
            return Ok(Transformed::no(plan));
        }
        let expressions = counted.into_iter().zip(&aggregate.aggr_expr);
        let expressions = expressions.map(|(counted, expr)| counted.unwrap_or_else(|| expr.clone()));
        Ok(Transformed::yes(with(aggregate, expressions.collect())?))
    }
}

/// The same count of texts; `None` for anything else.
fn in_memory(expr: &Expr, aggregate: &Aggregate) -> Result<Option<Expr>> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else { return Ok(None) };
    let [counted] = params.args.as_slice() else { return Ok(None) };
    if func.name() != "count" || !params.distinct || !params.order_by.is_empty() {
        return Ok(None);
    }
    if counted.get_type(aggregate.input.schema())? != DataType::Utf8View {
        return Ok(None);
    }
    let params = AggregateFunctionParams { distinct: false, ..params.clone() };
    Ok(Some(Expr::AggregateFunction(AggregateFunction { func: DISTINCT_TEXTS.clone(), params })))
}

fn has_groups(aggregate: &Aggregate) -> bool {
    !aggregate.group_expr.is_empty()
        && !aggregate.group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)))
}

/// Counts beside distinct counts become sums.
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
    has_groups(aggregate)
        && counts > 0
        && !distinct.is_empty()
        && distinct.windows(2).all(|pair| pair[0] == pair[1])
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
    with(aggregate, summed.collect::<Result<Vec<Expr>>>()?)
}

/// The same with other expressions under the same names.
fn with(aggregate: &Aggregate, expressions: Vec<Expr>) -> Result<LogicalPlan> {
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(
        aggregate.input.clone(),
        aggregate.group_expr.clone(),
        expressions,
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
