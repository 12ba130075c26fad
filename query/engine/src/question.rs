//! What is asked: the text, the values of its `$1`, `$2` …, and limits of its own.

use datafusion::common::ScalarValue;

use crate::limits::Lowered;

/// A question. A bare text is one without values.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// SQL.
    pub text: String,
    /// The values of `$1`, `$2` …, in this order.
    pub parameters: Vec<ScalarValue>,
    /// Less than the server allows.
    pub limits: Lowered,
}

impl From<&str> for Question {
    fn from(text: &str) -> Question {
        Question { text: text.to_owned(), ..Question::default() }
    }
}

impl From<&String> for Question {
    fn from(text: &String) -> Question {
        text.as_str().into()
    }
}

impl From<String> for Question {
    fn from(text: String) -> Question {
        Question { text, ..Question::default() }
    }
}
