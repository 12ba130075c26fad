//! The first rows of a sort come from where they are likeliest: files that hold the first times are read first, and what
//! cannot be among the first any more isn't read at all.
//!
//! DataFusion does so where a sort is right above files; here the newest rows, in memory, are beside them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;

use crate::files;

/// Files that a sort for first rows reads filter by themselves, whatever they filter by: most of their columns are not read
/// for rows that can't be among the first any more, and the sort's bound is another filter.
#[derive(Debug)]
pub(crate) struct FilterEarly;

impl PhysicalOptimizerRule for FilterEarly {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        below_first_rows(plan, |sort| {
            let input = sort.input().clone().transform_down(|below| {
                if let Some(early) = files::filtering_early(&below) {
                    return Ok(Transformed::new(early, true, TreeNodeRecursion::Jump));
                }
                // What is grouped or joined is read whole.
                let goes_on = below.children().len() == 1 && !below.is::<AggregateExec>();
                let goes_on = goes_on || below.is::<UnionExec>();
                let next = if goes_on { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Jump };
                Ok(Transformed::new(below, false, next))
            })?;
            Ok(input.transformed.then_some(input.data))
        })
    }

    fn name(&self) -> &'static str {
        "filter_early"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Files that hold the first times are read first, also beside rows in memory.
#[derive(Debug)]
pub(crate) struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        below_first_rows(plan, |sort| in_order(sort.input(), sort.expr()))
    }

    fn name(&self) -> &'static str {
        "first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan, in which each sort for first rows has what `better` makes of its input, if anything.
fn below_first_rows(
    plan: Arc<dyn ExecutionPlan>,
    better: impl Fn(&SortExec) -> Result<Option<Arc<dyn ExecutionPlan>>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let changed = plan.transform_down(|plan| {
        let sort = plan.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_some());
        match sort.map(&better).transpose()?.flatten() {
            Some(input) => over(&plan, input).map(Transformed::yes),
            None => Ok(Transformed::no(plan)),
        }
    });
    changed.data()
}

/// A step with another input.
fn over(plan: &Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.clone().replace_children(vec![input], recompute)
}

/// The same rows, nearer to `order` than before; `None` where nothing gets nearer. The order is not promised.
fn in_order(plan: &Arc<dyn ExecutionPlan>, order: &LexOrdering) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.is::<CoalescePartitionsExec>() || plan.is::<RepartitionExec>() {
        let Some(input) = in_order(plan.children()[0], order)? else { return Ok(None) };
        return over(plan, input).map(Some);
    }
    if let Some(union) = plan.downcast_ref::<UnionExec>() {
        let nearer = union.inputs().iter().map(|input| in_order(input, order));
        let nearer = nearer.collect::<Result<Vec<_>>>()?;
        if nearer.iter().all(Option::is_none) {
            return Ok(None);
        }
        let inputs = nearer.into_iter().zip(union.inputs());
        let inputs = inputs.map(|(nearer, input)| nearer.unwrap_or_else(|| input.clone()));
        return UnionExec::try_new(inputs.collect()).map(Some);
    }
    Ok(plan.try_pushdown_sort(order)?.into_inner())
}
