//! `GET /metrics`: the figures of the server, for Prometheus.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, ServiceConfig, get};
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use subtle::ConstantTimeEq as _;

use super::caller::{Operator, key_of};
use super::front::Front;
use super::problem::Problem;
use crate::service::keys::hash_of;
use crate::service::metrics::{MEDIA_TYPE, text};

pub fn routes(config: &mut ServiceConfig) {
    config.route("/metrics", get().to(show));
}

/// A client that may read the metrics: with the metrics key of the settings, or an operator.
#[derive(Debug, Clone, Copy)]
pub struct Scraper;

impl Scraper {
    fn comes_with_its_key(request: &HttpRequest) -> bool {
        let front = request.app_data::<Data<Front>>();
        let expected = front.and_then(|front| front.metrics_key.as_ref());
        match (expected, key_of(request)) {
            (Some(expected), Some(key)) => {
                hash_of(expected.expose()).as_bytes().ct_eq(hash_of(&key).as_bytes()).into()
            }
            (Some(_) | None, _) => false,
        }
    }
}

impl FromRequest for Scraper {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if Self::comes_with_its_key(request) {
            return Box::pin(std::future::ready(Ok(Self)));
        }
        let operator = Operator::from_request(request, payload);
        Box::pin(async move { operator.await.map(|Operator| Self) })
    }
}

/// Returns the figures of the server in the text format of Prometheus. It needs the metrics key of the settings, which
/// may come as `Authorization: Bearer …`, or an operator key.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Operation",
    responses(
        (status = 200, description = "The figures", content_type = "text/plain", body = String),
        (status = 403, description = "This is neither the metrics key nor an operator key"),
    ),
)]
pub async fn show(_: Scraper, front: Data<Front>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(MEDIA_TYPE)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(text(&front).await)
}
