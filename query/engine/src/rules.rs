//! Which rules make a plan of a question, and in which order: DataFusion's own, and ours where they have to be among them.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::optimizer::OptimizerRule;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, NestedLoopJoinExec};

use crate::distinct::{CountsBesideDistinct, DistinctInMemory};
use crate::first_rows::{FilterEarly, FirstRows};
use crate::rollup::UseRollUps;

/// What a question means → how it is best said.
pub(crate) fn logical() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    let simplified = rules.iter().position(|rule| rule.name() == "simplify_expressions");
    // As soon as times and types are known, and before distinct counts are made groups of.
    let place = simplified.map_or(0, |place| place + 1);
    rules.insert(place, Arc::new(UseRollUps));
    rules.insert(place + 1, Arc::new(DistinctInMemory));
    rules.push(Arc::new(CountsBesideDistinct));
    rules
}

/// The same for a question that several machines answer: what each of them knows of distinct texts would go to another one
/// whole, so they group twice.
pub(crate) fn logical_spread() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = logical();
    rules.retain(|rule| rule.name() != DistinctInMemory.name());
    rules
}

/// How it is best said → how it is worked on.
pub(crate) fn physical() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    // In any case before the sort's bound, which changes as rows are found, is given to files to filter by.
    let pushed = rules.iter().position(|rule| rule.name() == "PushdownSort");
    rules.insert(pushed.map_or(0, |place| place + 1), Arc::new(FirstRows));
    // Before any filter goes into a file's reader.
    rules.insert(0, Arc::new(FilterEarly));
    rules.push(Arc::new(JoinsGiveWay));
    rules
}

/// A join may make rows for hours of a few that it read. What reads gives way to others now and then, as DataFusion has it;
/// what makes rows does here: else a question that nobody waits for any more would hold on to its thread, and with one for each
/// thread nobody would be answered.
#[derive(Debug)]
struct JoinsGiveWay;

impl PhysicalOptimizerRule for JoinsGiveWay {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let giving_way = plan.transform_up(|plan| {
            if plan.is::<CrossJoinExec>() || plan.is::<NestedLoopJoinExec>() {
                return Ok(Transformed::yes(Arc::new(CooperativeExec::new(plan)) as _));
            }
            Ok(Transformed::no(plan))
        });
        giving_way.data()
    }

    fn name(&self) -> &'static str {
        "joins_give_way"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
