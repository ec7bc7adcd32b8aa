//! The figures of requests for `/metrics`: a middleware around all others.

use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpRequest};

use super::front::Front;

/// Records each answered request under the template of its route.
pub async fn count<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let began = Instant::now();
    let method = request.method().clone();
    let answer = next.call(request).await?;
    let request = answer.request();
    if let Some(front) = request.app_data::<Data<Front>>() {
        let route = template(request);
        let route = route.as_deref().unwrap_or("no route");
        let status = answer.status().as_u16();
        front.world.metrics.request(method.as_str(), route, status, began.elapsed());
    }
    Ok(answer)
}

/// Returns the template of the matched route, such as `/v1/runs/{run}`. A path without a route has none, so that
/// no client can add templates.
fn template(request: &HttpRequest) -> Option<String> {
    let found = request.match_info();
    if found.is_empty() {
        // Searches all routes, which the names of a match save.
        return request.match_pattern();
    }
    let mut template = String::new();
    let mut rest = found.as_str();
    for (name, value) in found.iter() {
        let segment = format!("/{value}");
        let is_whole = |(at, _): &(usize, &str)| {
            let behind = rest.get(at + segment.len()..);
            behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('/'))
        };
        let (at, _) = rest.match_indices(&segment).find(is_whole)?;
        let (before, behind) = (rest.get(..at)?, rest.get(at + segment.len()..)?);
        template.push_str(&format!("{before}/{{{name}}}"));
        rest = behind;
    }
    template.push_str(rest);
    Some(template)
}
