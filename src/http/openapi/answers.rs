//! Error answers that many endpoints share, added to the description of each of them.

use serde_json::Value;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr};
use utoipa::{Modify, ToSchema};

use super::operations;
use crate::http::quotas;

/// The body of every error answer.
#[derive(Debug, ToSchema)]
#[schema(as = Problem)]
#[expect(dead_code, reason = "it only describes what `Problem::body` makes")]
pub(super) struct Body {
    /// The error for people; a list if fields of the request are invalid.
    detail: Value,
    /// A stable code for programs, such as `session_occupied`.
    code: String,
    /// True if the same request may succeed later, unchanged.
    retryable: bool,
    /// The id of the request, as in the header `x-request-id` and in the log.
    request_id: Option<String>,
}

/// Adds the body of every error, and the errors that endpoints do not describe themselves.
pub(super) struct Problems;

impl Modify for Problems {
    fn modify(&self, api: &mut OpenApi) {
        for (path, item) in &mut api.paths.paths {
            for (_, operation) in operations(item) {
                for (status, description) in common(path, operation) {
                    let missing = || ResponseBuilder::new().description(description).build().into();
                    let responses = &mut operation.responses.responses;
                    responses.entry(status.to_owned()).or_insert_with(missing);
                }
                for (status, answer) in &mut operation.responses.responses {
                    if status.starts_with(['4', '5']) {
                        describe(answer);
                    }
                    if status == "429" {
                        limited(answer);
                    }
                }
            }
        }
    }
}

/// Returns the errors that an operation may answer because of its inputs.
fn common(path: &str, operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let reads = |place: &ParameterIn| {
        operation.parameters.iter().flatten().any(|parameter| match parameter {
            RefOr::T(parameter) => parameter.parameter_in == *place,
            RefOr::Ref(_) => false,
        })
    };
    let has_body = operation.request_body.is_some();
    let mut answers = vec![
        ("403", "The request has no valid key, or the key does not permit this"),
        ("429", "A quota of the organization or a limit of the server is reached: try again later"),
        (
            "503",
            "The server is stopping or draining, or a part that it needs is unavailable: try again",
        ),
    ];
    if path.contains('{') {
        answers.push(("404", "There is no resource with this id"));
    }
    if has_body {
        answers.push(("400", "The body could not be read"));
        answers.push(("408", "The body did not arrive within `http.body_seconds`"));
        answers.push(("413", "The body is larger than `http.max_body_bytes`"));
    }
    if has_body || reads(&ParameterIn::Query) || reads(&ParameterIn::Header) {
        answers.push(("422", "Fields are invalid; `detail` lists them"));
    }
    answers
}

/// Names the headers of a refusal for a quota.
fn limited(answer: &mut RefOr<Response>) {
    let RefOr::T(answer) = answer else { return };
    let retry = ("retry-after".to_owned(), "Seconds until the same request may succeed");
    let headers = quotas::HEADERS.map(|(name, says)| (name.to_string(), says));
    for (name, says) in std::iter::once(retry).chain(headers) {
        let header = HeaderBuilder::new().description(Some(says)).build();
        answer.headers.insert(name, header.into());
    }
}

/// Says that an error's body is a problem.
fn describe(answer: &mut RefOr<Response>) {
    let RefOr::T(answer) = answer else { return };
    if answer.content.is_empty() {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        answer.content.insert("application/json".to_owned(), RefOr::T(content));
    }
}
