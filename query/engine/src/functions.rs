//! Functions that questions about a network want and SQL lacks, and what is told of all functions.
//!
//! | file             | subject                                    |
//! |------------------|--------------------------------------------|
//! | `network.rs`     | `cidr_contains`, `ip_family`                |
//! | `names.rs`       | `dns_suffix`                                |
//! | `durations.rs`   | `duration_text`                             |
//! | `percentiles.rs` | `p50` … `p99`                               |
//! | `bounded.rs`     | built-in ones that make much from little    |
//! | `list.rs`        | name, signature, description, example of each |

mod bounded;
mod durations;
mod list;
mod names;
mod network;
mod percentiles;

use std::hash::{Hash, Hasher};

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::prelude::SessionContext;

pub use list::FunctionDoc;
pub(crate) use list::all;

/// The section of our own functions, by which the list knows them.
const OURS: DocSection = DocSection { include: true, label: "Weir", description: None };

/// Adds them to a session.
pub(crate) fn register(context: &SessionContext) {
    bounded::register(context);
    percentiles::register(context);
    for function in
        [network::cidr_contains(), network::ip_family(), names::dns_suffix(), durations::duration_text()]
    {
        context.register_udf(ScalarUDF::new_from_impl(function));
    }
}

/// A function of one row's values.
#[derive(Debug)]
struct Function {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    documentation: Documentation,
    run: fn(&[ColumnarValue]) -> Result<ColumnarValue>,
}

impl Function {
    /// One that takes nothing and gives text, until it is said otherwise.
    fn new(name: &'static str, syntax: &str, description: &str, example: &str) -> Function {
        Function {
            name,
            signature: text_arguments(0),
            returns: DataType::Utf8,
            documentation: documentation(syntax, description, example),
            run: |_| exec_err!("not a function"),
        }
    }
}

// There is one of each name.
impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.run)(&arguments.args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

fn documentation(syntax: &str, description: &str, example: &str) -> Documentation {
    Documentation::builder(OURS, description, syntax).with_sql_example(example).build()
}

fn text_arguments(many: usize) -> Signature {
    Signature::exact(vec![DataType::Utf8; many], Volatility::Immutable)
}

/// The arguments as plain text arrays of one length.
fn texts<const N: usize>(arguments: &[ColumnarValue]) -> Result<[StringArray; N]> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let texts: Vec<StringArray> = arrays.iter().map(text).collect::<Result<_>>()?;
    match texts.try_into() {
        Ok(texts) => Ok(texts),
        Err(texts) => exec_err!("{N} arguments wanted, {} given", texts.len()),
    }
}

fn text(array: &ArrayRef) -> Result<StringArray> {
    Ok(cast(array, &DataType::Utf8)?.as_string::<i32>().clone())
}
