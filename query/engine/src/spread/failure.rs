//! Why a question failed on another machine, as text that comes through whatever quotes it on the way.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::QueryError;

/// Between these, in hexadecimal digits.
const BEGIN: &str = "weir-failure<";
const END: char = '>';

/// Why, and which files were read last.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    kind: Kind,
    message: String,
    /// The files that were opened last: one of them may be damaged.
    pub files: Vec<Path>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    /// More memory than a question may have.
    Memory,
    /// The question is wrong.
    Asked,
    /// We are.
    Ours,
}

#[derive(Serialize, Deserialize)]
struct Told {
    kind: Kind,
    message: String,
    files: Vec<String>,
}

impl Failure {
    /// Of an error of a plan that read these files last.
    pub fn of(error: &DataFusionError, files: Vec<Path>) -> Failure {
        let told = QueryError::from_datafusion(error, "");
        let kind = match told.code {
            "limit.memory" => Kind::Memory,
            _ if told.is_askers() => Kind::Asked,
            _ => Kind::Ours,
        };
        Failure { kind, message: told.message, files }
    }

    /// The same of one of Arrow's.
    pub fn of_arrow(error: &ArrowError, files: Vec<Path>) -> Failure {
        let kind = if crate::error::of_arrow(error) == "internal" { Kind::Ours } else { Kind::Asked };
        Failure { kind, message: error.to_string(), files }
    }

    /// The one that is somewhere in a text, if so.
    pub fn find(text: &str) -> Option<Failure> {
        let (_, told) = text.split_once(BEGIN)?;
        let (told, _) = told.split_once(END)?;
        let digits = told.as_bytes().chunks_exact(2);
        let bytes = digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let told: Told = serde_json::from_slice(&bytes.collect::<Option<Vec<u8>>>()?).ok()?;
        let files = told.files.into_iter().map(Path::from).collect();
        Some(Failure { kind: told.kind, message: told.message, files })
    }
}

impl std::fmt::Display for Failure {
    /// With the words for people, and once more for [`Failure::find`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = self.files.iter().map(ToString::to_string).collect();
        let told = Told { kind: self.kind, message: self.message.clone(), files };
        let told = serde_json::to_vec(&told).map_err(|_| std::fmt::Error)?;
        write!(f, "{} {BEGIN}", self.message)?;
        told.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "{END}")
    }
}

impl std::fmt::Debug for Failure {
    /// The same: those who quote it take either.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for DataFusionError {
    fn from(failure: Failure) -> DataFusionError {
        match failure.kind {
            Kind::Memory => DataFusionError::ResourcesExhausted(failure.message),
            Kind::Asked => DataFusionError::Execution(failure.message),
            Kind::Ours => DataFusionError::External(failure.message.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_comes_through_quotes() {
        let files = vec![Path::from("tables/flows/one.parquet")];
        for (error, code) in [
            (DataFusionError::ResourcesExhausted("more than \"there\" is".to_owned()), "limit.memory"),
            (DataFusionError::Execution("not a number: 'ä'".to_owned()), "sql.invalid"),
            (DataFusionError::External("line 1\nline 2".into()), "internal"),
        ] {
            let failure = Failure::of(&error, files.clone());
            let external = DataFusionError::External(Box::new(failure.clone()));
            for quoted in [format!("failed: {failure}"), format!("{:?}", format!("failed: {external:?}"))] {
                assert_eq!(Failure::find(&quoted).as_ref(), Some(&failure), "{quoted}");
            }
            assert_eq!(QueryError::from_datafusion(&failure.into(), "").code, code);
        }
        for text in ["", "weir-failure<", "weir-failure<7b>", "weir-failure<zz>", "weir-failure<é>"] {
            assert_eq!(Failure::find(text), None, "{text}");
        }
    }
}
