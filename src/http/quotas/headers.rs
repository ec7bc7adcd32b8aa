//! The headers `X-RateLimit-Resource`, `-Limit`, `-Remaining` and `-Reset`.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use chrono::{DateTime, Utc};

use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, QuotaExceeded};

const RESOURCE: HeaderName = HeaderName::from_static("x-ratelimit-resource");
const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The headers, with their values.
pub const HEADERS: [(HeaderName, &str); 4] = [
    (RESOURCE, "The quota that applies, as in `GET /v1/quotas`"),
    (LIMIT, "Its limit"),
    (REMAINING, "The remaining amount; 0 in a rejection"),
    (RESET, "The time of the next change, in Unix seconds"),
];

/// The refusal of a response, kept with the response.
#[derive(Debug, Clone)]
pub(in crate::http) struct Refused(pub(in crate::http) OrganizationId);

impl Refused {
    /// Adds the headers of a refusal to its answer.
    pub(in crate::http) fn mark(refusal: &QuotaExceeded, answer: &mut HttpResponse) {
        let QuotaExceeded { organization, quota, limit, .. } = refusal;
        set(answer.headers_mut(), *quota, *limit, 0, refusal.retry_at());
        answer.extensions_mut().insert(Self(*organization));
    }
}

pub(super) fn set(
    headers: &mut HeaderMap,
    quota: Quota,
    limit: u64,
    remaining: u64,
    resets_at: DateTime<Utc>,
) {
    headers.insert(RESOURCE, HeaderValue::from_static(quota.as_str()));
    headers.insert(LIMIT, limit.into());
    headers.insert(REMAINING, remaining.into());
    // Rounded up: at that second it has happened.
    headers.insert(RESET, (resets_at.timestamp() + 1).into());
}
