//! `p50(x)` … `p99(x)`: percentiles in one word. Exact for few values, of more within half a percent, so that their memory
//! doesn't grow with the rows; `percentile_cont(0.99) WITHIN GROUP (ORDER BY x)` is always exact.

mod groups;
mod sketch;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, Signature, Volatility,
};
use datafusion::prelude::SessionContext;

use groups::{Alone, Groups};

/// Name and thousandths of the values that are at most the answer: whole, so that the function can be compared.
const ALL: [(&str, u32); 5] = [("p50", 500), ("p75", 750), ("p90", 900), ("p95", 950), ("p99", 990)];

/// Adds them to a session.
pub(super) fn register(context: &SessionContext) {
    for (name, thousandths) in ALL {
        let signature = Signature::exact(vec![DataType::Float64], Volatility::Immutable);
        let share = f64::from(thousandths) / 1000.0;
        let documentation = super::documentation(
            &format!("{name}(x)"),
            &format!(
                "The value that {} % of the values are at most: exact for few, of more within half a percent, so that its memory \
                 doesn't grow with the rows. percentile_cont({share}) WITHIN GROUP (ORDER BY x) is always exact.",
                thousandths / 10
            ),
            &format!("SELECT server_name, {name}(rtt_us) AS rtt_us FROM flows GROUP BY server_name"),
        );
        context.register_udaf(AggregateUDF::new_from_impl(Percentile {
            name,
            thousandths,
            signature,
            documentation,
        }));
    }
}

#[derive(Debug)]
struct Percentile {
    name: &'static str,
    thousandths: u32,
    signature: Signature,
    documentation: Documentation,
}

// There is one of each name.
impl PartialEq for Percentile {
    fn eq(&self, other: &Percentile) -> bool {
        self.name == other.name
    }
}

impl Eq for Percentile {}

impl Hash for Percentile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Percentile {
    fn share(&self) -> f64 {
        f64::from(self.thousandths) / 1000.0
    }

    fn check(&self, arguments: &AccumulatorArgs) -> Result<()> {
        if arguments.is_distinct {
            return not_impl_err!("{}(DISTINCT …): leave out DISTINCT", self.name);
        }
        Ok(())
    }
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn state_fields(&self, arguments: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part: &str, kind: DataType| {
            let item = Field::new_list_field(kind, true);
            Arc::new(Field::new_list(format_state_name(arguments.name, part), item, true))
        };
        Ok(vec![field("values", DataType::Float64), field("bins", DataType::Int64)])
    }

    fn accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.check(&arguments)?;
        Ok(Box::new(Alone(Groups::new(self.share()))))
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs) -> bool {
        !arguments.is_distinct
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.check(&arguments)?;
        Ok(Box::new(Groups::new(self.share())))
    }
}
