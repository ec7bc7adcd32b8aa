//! The headers of answers: `X-RateLimit-Resource`, `-Limit`, `-Remaining` and `-Reset`.
//!
//! A refusal has them of its quota. An answer of a route that is counted has them of the quota of which the
//! least is left, if there is a limit.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, web};
use tracing::warn;

use super::admission::Admitted;
use super::headers::{Refused, set};
use super::usage::use_of;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, Use};
use crate::http::front::Front;

/// The quotas that a successful request uses.
fn counted(method: &Method, pattern: &str) -> &'static [Quota] {
    let path = pattern.strip_prefix("/api").unwrap_or(pattern);
    let path = path.strip_prefix("/v1").unwrap_or(path);
    if method == Method::POST {
        return match path {
            "/browser_sessions" => &[Quota::Sessions, Quota::CreatesPerMinute],
            "/browser_sessions/{id}/begin" => &[Quota::Waiters],
            "/browser_sessions/{id}/recordings" => &[Quota::StorageMib],
            _ if path.starts_with("/run/")
                || path.ends_with("/runs/{run}/retry")
                || path.ends_with("/{workflow}/run") =>
            {
                &[Quota::Runs]
            }
            _ => &[],
        };
    }
    match path {
        "/events" | "/browser_sessions/{id}/events" => &[Quota::EventStreams],
        "/browser_sessions/{id}/cdp" => &[Quota::DevtoolsConnections],
        "/browser_sessions/{id}/vnc" => &[Quota::Viewers],
        _ if path.starts_with("/stream/messages") || path.starts_with("/stream/cdp_input") => {
            &[Quota::EventStreams]
        }
        _ if path.starts_with("/stream/") => &[Quota::Viewers],
        _ => &[],
    }
}

/// A middleware that delays repeated refusals, and adds the headers of quotas to other responses.
pub async fn answers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let front = request.app_data::<web::Data<Front>>().cloned();
    let mut answer = next.call(request).await?.map_into_boxed_body();
    let Some(front) = front else { return Ok(answer) };
    let refused = answer.response().extensions().get::<Refused>().cloned();
    if let Some(Refused(organization)) = refused {
        if !front.refusals.hold(organization).await {
            answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        return Ok(answer);
    }
    let status = answer.status();
    if !status.is_success() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer);
    }
    let (quotas, organization) = {
        let request = answer.request();
        let pattern = request.match_pattern().unwrap_or_default();
        let admitted = request.extensions().get::<Admitted>().map(|it| it.organization);
        (counted(request.method(), &pattern), admitted)
    };
    if let Some(organization) = organization
        && let Some(Use { quota, limit: Some(limit), used, resets_at }) =
            tightest(&front, organization, quotas).await
    {
        let now = front.world.clock.now();
        let resets_at = resets_at.unwrap_or(now);
        set(answer.headers_mut(), quota, limit, limit.saturating_sub(used), resets_at);
    }
    Ok(answer)
}

/// The use of the quota of which the least is left.
async fn tightest(front: &Front, organization: OrganizationId, quotas: &[Quota]) -> Option<Use> {
    let mut tightest: Option<Use> = None;
    for quota in quotas {
        if front.world.quotas.limit(organization, *quota).is_none() {
            continue;
        }
        match use_of(front, organization, *quota).await {
            Ok(found) => {
                if tightest.is_none_or(|least| found.remaining() < least.remaining()) {
                    tightest = Some(found);
                }
            }
            // The request has succeeded; its response is sent without these headers.
            Err(cause) => warn!("the use of {quota} cannot be determined: {cause}"),
        }
    }
    tightest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_take_of_a_quota_are_counted_under_every_prefix() {
        for (method, pattern, quota) in [
            (Method::POST, "/v1/browser_sessions", Some(Quota::Sessions)),
            (Method::POST, "/api/v1/browser_sessions", Some(Quota::Sessions)),
            (Method::GET, "/v1/browser_sessions", None),
            (Method::POST, "/v1/browser_sessions/{id}/close", None),
            (Method::POST, "/v1/run/agents/blocks", Some(Quota::Runs)),
            (Method::POST, "/v1/workflows/runs/{run}/retry", Some(Quota::Runs)),
            (Method::POST, "/api/v1/workflows/{workflow}/run", Some(Quota::Runs)),
            (Method::GET, "/v1/events", Some(Quota::EventStreams)),
            (
                Method::GET,
                "/v1/stream/messages/{what:browser_session|workflow_run}/{id}",
                Some(Quota::EventStreams),
            ),
            (
                Method::GET,
                "/api/v1/stream/vnc/{what:browser_session|workflow_run}/{id}",
                Some(Quota::Viewers),
            ),
            (
                Method::GET,
                "/v1/stream/{what:browser_sessions|workflow_runs}/{id}",
                Some(Quota::Viewers),
            ),
            (Method::GET, "/v1/browser_sessions/{id}/cdp", Some(Quota::DevtoolsConnections)),
        ] {
            assert_eq!(counted(&method, pattern).first().copied(), quota, "{method} {pattern}");
        }
    }
}
