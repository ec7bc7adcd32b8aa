//! The figures of requests for `/metrics`, and the root of their traces: a middleware around all others.

use std::cell::Cell;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest};

use super::front::Front;
use super::traced;

tokio::task_local! {
    /// True if the handler of the current request waits for something at the request's wish.
    static WAITS: Cell<bool>;
}

/// Notes that the current request waits for a change or for its turn, because it asks for that. Its time is that of
/// others, and is left out of the times of requests.
pub fn waits() {
    let _outside_of_a_request = WAITS.try_with(|waits| waits.set(true));
}

/// The label of requests whose path has no route. No client can add to the labels.
const NO_ROUTE: &str = "no route";

/// Records each request under the template of its route, also one that a layer refuses, and traces it.
pub async fn count<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = Instant::now();
    let method = request.method().clone();
    let front = request.app_data::<Data<Front>>().cloned();
    let span = front.as_ref().and_then(|front| traced::begin(front, &request));
    let handling = async {
        let handled = next.call(request).await;
        (handled, WAITS.with(Cell::get))
    };
    let handling = WAITS.scope(Cell::new(false), handling);
    let (handled, has_waited) = match &span {
        Some(span) => span.trace().scope(handling).await,
        None => handling.await,
    };
    let (route, status) = match &handled {
        Ok(answer) => (template(answer.request()), answer.status()),
        Err(cause) => (None, cause.as_response_error().status_code()),
    };
    if let Some(span) = span {
        let answer = handled.as_ref().ok();
        traced::end(span, &method, route.as_deref(), status, answer);
    }
    if let Some(front) = front {
        let took = (!has_waited).then(|| began.elapsed());
        let route = route.as_deref().unwrap_or(NO_ROUTE);
        front.world.metrics.request(method.as_str(), route, status.as_u16(), took);
    }
    handled
}

/// Returns the template of the matched route, such as `/v1/runs/{run}`; none for a path without a route. The
/// patterns of names, as in `{rest:.*}`, are left out.
fn template(request: &HttpRequest) -> Option<String> {
    let pattern = request.match_pattern()?;
    let mut template = String::with_capacity(pattern.len());
    // A pattern may have braces of its own.
    let (mut depth, mut is_name) = (0_usize, true);
    for character in pattern.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 1 => is_name = false,
            _ => {}
        }
        is_name |= depth == 0;
        if is_name {
            template.push(character);
        }
    }
    Some(template)
}
