//! Routes of the compatible API that this server does not have.
//!
//! Each is answered in one of two ways. If this server never has resources of a kind, requests that
//! read that kind get the empty answer: it is true, and pages show it without an error ([`empty`]).
//! Everything else is rejected with `not_supported` and the alternative ([`refused`]).
//!
//! The status of a rejection is 404. The generated clients retry answers of 500 and above, and of
//! 408, 409 and 429, and would take three seconds to report that the route is missing.

mod empty;
mod refused;

use actix_web::http::{Method, StatusCode};
use actix_web::{FromRequest as _, HttpRequest};
use serde_json::Value;

use super::caller::Caller;
use super::problem::Problem;

/// The answer to a request for a route of the compatible API that is missing here.
#[derive(Debug, Clone, PartialEq)]
enum Absent {
    /// No resource of this kind exists.
    Empty(Value),
    /// The server cannot do it; holds the alternative for the client.
    Refused(&'static str),
}

/// Splits the path below the API's prefix into parts; `agents` is another name for `workflows`.
fn parts(path: &str) -> Option<Vec<&str>> {
    let rest = ["/v1/", "/api/v1/", "/api/v2/"].iter().find_map(|it| path.strip_prefix(it))?;
    let mut parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(first) = parts.first_mut().filter(|first| **first == "agents") {
        *first = "workflows";
    }
    Some(parts)
}

/// Matches the beginning of a path against a pattern. Returns the parts that matched `*`, and the
/// number of parts in the pattern.
fn matched<'a>(pattern: &str, parts: &[&'a str]) -> Option<(Vec<&'a str>, usize)> {
    let mut wild = Vec::new();
    let mut count = 0;
    for expected in pattern.split('/') {
        let part = parts.get(count)?;
        match expected {
            "*" => wild.push(*part),
            _ if expected == *part => {}
            _ => return None,
        }
        count += 1;
    }
    Some((wild, count))
}

fn find(method: &Method, path: &str) -> Option<Absent> {
    let parts = parts(path)?;
    empty::answer(method, &parts)
        .map(Absent::Empty)
        .or_else(|| refused::instead(&parts).map(Absent::Refused))
}

fn refusal_with(instead: &'static str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_supported", instead)
}

/// Returns the rejection of a request for a route of the compatible API that is missing here.
pub fn refusal(method: &Method, path: &str) -> Option<Problem> {
    match find(method, path)? {
        Absent::Empty(_) => None,
        Absent::Refused(instead) => Some(refusal_with(instead)),
    }
}

/// Returns the answer to a request for a route of the compatible API that is missing here. Only
/// callers with a valid key get the empty answers.
pub async fn answer(request: &HttpRequest) -> Option<Result<Value, Problem>> {
    Some(match find(request.method(), request.path())? {
        Absent::Empty(value) => Caller::extract(request).await.map(|_| value),
        Absent::Refused(instead) => Err(refusal_with(instead)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn routes_of_the_compatible_api_that_are_not_here_say_what_to_do_instead() {
        let said = |path: &str| refusal(&Method::POST, path).map(|problem| problem.to_string());
        assert!(said("/v1/run/tasks").unwrap().contains("agent endpoint"));
        assert!(said("/v1/run/tasks/login").is_some());
        assert!(said("/v1/agents/wpid_1/tags").unwrap().contains("tags"));
        assert!(said("/api/v1/workflows/wpid_1/schedules/wfs_1/enable").is_some());
        assert_eq!(said("/v1/run/tasksx"), None);
        assert_eq!(said("/v1/nothing"), None);
        assert_eq!(said("/v1/workflows/wpid_1"), None);
        assert_eq!(said("/tasks"), None);
        assert_eq!(refusal(&Method::POST, "/v1/run/tasks").unwrap().status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn what_reads_things_that_are_not_kept_is_given_none() {
        let read = |path: &str| match find(&Method::GET, path) {
            Some(Absent::Empty(value)) => Some(value),
            Some(Absent::Refused(_)) | None => None,
        };
        assert_eq!(read("/v1/credentials"), Some(json!([])));
        assert_eq!(
            read("/api/v1/runs/wr_1/tags"),
            Some(json!({"workflow_run_id": "wr_1", "tags": []}))
        );
        assert_eq!(read("/v1/workflow/copilot/chat-history").unwrap()["chat_history"], json!([]));
        assert_eq!(read("/v1/credentials/cred_1"), None, "one that is named is not there");
        assert_eq!(find(&Method::POST, "/v1/credentials"), {
            Some(Absent::Refused(refused::instead(&["credentials"]).unwrap()))
        });
    }
}
