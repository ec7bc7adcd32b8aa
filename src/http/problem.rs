//! The body of every error: `detail`, `code`, `retryable`, `request_id`.
//!
//! A handler's error becomes a [`Problem`], and the problem becomes the answer; the request's id is
//! filled in on the way out. Errors that no handler of ours made become problems in
//! `fallback.rs`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::field_error::FieldError;
use super::quotas::Refused;
use super::request_id::{Code, RequestId};
use crate::domain::ids::Id;
use crate::domain::quota::QuotaExceeded;

/// An error answer, before it is rendered.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The HTTP status, from 400 up.
    pub status: StatusCode,
    /// A stable code for programs, such as `session_occupied`.
    pub code: Cow<'static, str>,
    /// The error for people; a list if fields of the request are invalid.
    pub detail: Detail,
    /// True if the same request may succeed later, unchanged.
    pub retryable: bool,
    /// Further members of the body, such as `occupancy`.
    pub extra: Map<String, Value>,
    /// The least time to wait before a retry; rounded up to whole seconds.
    pub retry_after: Option<Duration>,
    /// True to close the connection with the answer, without reading the rest of the request.
    pub closes: bool,
    /// The quota that is used up, for the headers of the answer.
    pub quota: Option<Box<QuotaExceeded>>,
}

/// The description of an error for people.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// A phrase or a sentence.
    Text(String),
    /// One entry for each invalid field of the request.
    Fields(Vec<FieldError>),
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<FieldError>> for Detail {
    fn from(fields: Vec<FieldError>) -> Self {
        Self::Fields(fields)
    }
}

impl Problem {
    /// Makes a problem that is not retryable, without a time to wait or further members.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Detail>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            retryable: false,
            extra: Map::new(),
            retry_after: None,
            closes: false,
            quota: None,
        }
    }

    /// Makes the answer close the connection.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Makes a 422 `invalid_request`: fields of the request are invalid.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", fields)
    }

    /// Makes a 404 `…_unknown`. Malformed ids, unknown ids and those of other organizations look
    /// the same.
    pub fn unknown<I: Id>(shown: impl fmt::Display) -> Self {
        Self::unknown_of(I::PREFIX, shown)
    }

    /// Makes a 404 as [`unknown`](Self::unknown) for the kind of ids with this prefix.
    pub fn unknown_of(prefix: &str, shown: impl fmt::Display) -> Self {
        let (thing, name) = thing_named_by(prefix);
        Self::new(
            StatusCode::NOT_FOUND,
            format!("{thing}_unknown"),
            format!("{name} {shown} not found"),
        )
    }

    /// Makes the 403 for wrong credentials, as the compatible API has it; never 401.
    pub fn credentials() -> Self {
        Self::new(StatusCode::FORBIDDEN, "credentials_invalid", "Invalid credentials")
    }

    /// Makes the 403 for a key of an organization that an operator has suspended.
    pub fn suspended() -> Self {
        let detail = "the organization of this key is suspended; ask the operator of the server";
        Self::new(StatusCode::FORBIDDEN, "organization_suspended", detail)
    }

    /// Marks that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Marks that the same request may succeed after this time.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self.retryable()
    }

    /// Adds a member to the body. A value that does not serialize is left out.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.extra.insert(name.to_owned(), value);
        }
        self
    }

    /// Returns the body. It names the current request, if called while one is handled.
    pub fn body(&self) -> Value {
        let mut body = self.extra.clone();
        let detail = serde_json::to_value(&self.detail).unwrap_or_default();
        body.insert("detail".to_owned(), detail);
        body.insert("code".to_owned(), self.code.clone().into());
        body.insert("retryable".to_owned(), self.retryable.into());
        let id = RequestId::current().map(|id| id.to_string());
        body.insert("request_id".to_owned(), id.into());
        Value::Object(body)
    }

    /// Returns the HTTP response.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(wait) = self.retry_after {
            let up = u64::from(wait.subsec_nanos() > 0);
            response.insert_header((RETRY_AFTER, wait.as_secs().saturating_add(up).to_string()));
        }
        if self.closes {
            response.force_close();
        }
        let mut response = response.json(self.body());
        if let Some(refusal) = &self.quota {
            Refused::mark(refusal, &mut response);
        }
        response.extensions_mut().insert(Code(self.code.clone()));
        response
    }
}

impl From<QuotaExceeded> for Problem {
    fn from(refusal: QuotaExceeded) -> Self {
        let QuotaExceeded { quota, limit, used, resets_at, .. } = &refusal;
        let body = json!({ "name": quota, "limit": limit, "used": used, "resets_at": resets_at });
        let problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", refusal.to_string())
                .retry_after(refusal.retry_after())
                .with("quota", body);
        Self { quota: Some(Box::new(refusal)), ..problem }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Detail::Text(text) => f.write_str(text),
            Detail::Fields(fields) => {
                for (index, field) in fields.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{}: {}", field.place(), field.msg)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

/// Returns the names of the thing that a prefix stands for, in codes and in sentences.
fn thing_named_by(prefix: &str) -> (&'static str, &'static str) {
    match prefix {
        "pbs" => ("session", "Browser session"),
        "wr" => ("run", "Run"),
        "wrb" => ("block", "Block"),
        "w" | "wpid" => ("workflow", "Workflow"),
        "bp" => ("browser_profile", "Browser profile"),
        "ds" => ("debug_session", "Debug session"),
        "a" => ("artifact", "Artifact"),
        "ext" => ("extension", "Extension"),
        "ae" => ("audit_event", "Audit event"),
        "o" => ("organization", "Organization"),
        "oat" => ("api_key", "API key"),
        "wh" => ("webhook", "Webhook"),
        "wm" => ("webhook_message", "Webhook message"),
        "n" => ("node", "Node"),
        "wp" | "op" => ("parameter", "Parameter"),
        _ => ("resource", "Resource"),
    }
}
