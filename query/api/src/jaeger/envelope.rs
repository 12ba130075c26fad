//! v1's one form of answers and errors: `{"data":…,"total":…,"limit":0,"offset":0,"errors":null}`.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::failure::Failure;

/// What every v1 answer is wrapped in. There is no paging: `limit` and `offset` are always 0.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<T> {
    data: T,
    total: usize,
    limit: u8,
    offset: u8,
    errors: Option<Vec<Problem>>,
}

/// What was wrong with a part of the answer, or with all of it.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<u16>,
    pub(crate) msg: String,
    #[serde(rename = "traceID", skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
}

impl<T: Serialize> Envelope<T> {
    /// An answer whose items are counted.
    pub(crate) fn counted(data: T, total: usize) -> Envelope<T> {
        Envelope { data, total, limit: 0, offset: 0, errors: None }
    }

    /// An answer whose items Jaeger doesn't count.
    pub(crate) fn uncounted(data: T, problems: Vec<Problem>) -> Envelope<T> {
        let errors = (!problems.is_empty()).then_some(problems);
        Envelope { data, total: 0, limit: 0, offset: 0, errors }
    }

    /// An answer to what was done, which went well.
    pub(crate) fn done(data: T) -> Envelope<T> {
        Envelope { data, total: 0, limit: 0, offset: 0, errors: Some(Vec::new()) }
    }

    /// As JSON, indented for people where they ask for it.
    pub(crate) fn encode(&self, is_pretty: bool) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let written = if is_pretty {
            self.serialize(&mut Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b"    ")))
        } else {
            self.serialize(&mut Serializer::new(&mut bytes))
        };
        written.map_err(|err| Failure::internal(format!("encoding the answer: {err}")))?;
        Ok(bytes)
    }
}

/// JSON that is encoded already.
pub(crate) fn json(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An error, as Go's `http.Error` sends it: JSON inside, plain text by its label.
pub(crate) fn error(status: StatusCode, body: &impl Serialize) -> Response {
    let mut text = serde_json::to_string(body).unwrap_or_default();
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// A [`Failure`] in v1's form.
#[derive(Debug)]
pub(crate) struct V1Failure(Failure);

impl<E: Into<Failure>> From<E> for V1Failure {
    fn from(failure: E) -> V1Failure {
        V1Failure(failure.into())
    }
}

impl IntoResponse for V1Failure {
    fn into_response(self) -> Response {
        let V1Failure(Failure { status, message }) = self;
        let problem = Problem { code: Some(status.as_u16()), msg: message, trace_id: None };
        error(status, &Envelope::<Option<()>>::uncounted(None, vec![problem]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_jaeger_s_fields_in_its_order() {
        let names = Envelope::counted(vec!["a", "b"], 2).encode(false).expect("encodes");
        assert_eq!(
            String::from_utf8(names).expect("text"),
            r#"{"data":["a","b"],"total":2,"limit":0,"offset":0,"errors":null}"#
        );
    }

    #[test]
    fn for_people_it_is_indented_by_four() {
        let bytes = Envelope::counted(Vec::<u8>::new(), 0).encode(true).expect("encodes");
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.starts_with("{\n    \"data\": [],\n    \"total\": 0,"), "{text}");
    }
}
