//! Every function that a question may use: ours, and DataFusion's by its own descriptions.

use datafusion::execution::SessionState;
use datafusion::logical_expr::Documentation;
use serde::Serialize;

use super::OURS;

/// What is told of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionDoc {
    /// Its name.
    pub name: String,
    /// `scalar`, `aggregate`, `window` or `table`.
    pub kind: &'static str,
    /// How it is called.
    pub signature: String,
    /// What it does.
    pub description: String,
    /// A question that uses it; empty where there is none.
    pub example: String,
    /// Whether it is Weir's own.
    pub own: bool,
}

/// All functions, ours first, by name.
pub(crate) fn all(state: &SessionState) -> Vec<FunctionDoc> {
    let mut all = Vec::new();
    for (name, function) in state.scalar_functions() {
        // Other names of the same function lead to it.
        if name == function.name() {
            all.push(doc(name, "scalar", function.documentation()));
        }
    }
    for (name, function) in state.aggregate_functions() {
        if name == function.name() {
            all.push(doc(name, "aggregate", function.documentation()));
        }
    }
    for (name, function) in state.window_functions() {
        if name == function.name() {
            all.push(doc(name, "window", function.documentation()));
        }
    }
    all.extend(state.table_functions().keys().map(|name| doc(name, "table", None)));
    all.sort_by(|one, other| (!one.own, &one.name, one.kind).cmp(&(!other.own, &other.name, other.kind)));
    all
}

fn doc(name: &str, kind: &'static str, documentation: Option<&Documentation>) -> FunctionDoc {
    let Some(documentation) = documentation else {
        return FunctionDoc {
            name: name.to_owned(),
            kind,
            signature: format!("{name}(…)"),
            description: String::new(),
            example: String::new(),
            own: false,
        };
    };
    FunctionDoc {
        name: name.to_owned(),
        kind,
        signature: documentation.syntax_example.trim().to_owned(),
        description: documentation.description.trim().to_owned(),
        example: documentation.sql_example.as_deref().map(plain).unwrap_or_default(),
        own: documentation.doc_section == OURS,
    }
}

/// DataFusion's examples are blocks of Markdown.
fn plain(example: &str) -> String {
    let lines = example.trim().lines().filter(|line| !line.trim_start().starts_with("```"));
    lines.collect::<Vec<_>>().join("\n")
}
