//! `POST /v1/ui-session`: a token for a page, valid for an hour in place of the key that made it.
//!
//! With it, a customer's own server can deliver a page without its key. The token is signed for the
//! key and not stored. It ends at its time or with its key, and no token lives for longer than an
//! hour, whatever it says.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, ServiceConfig, post};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{Caller, key_of, refused};
use super::error::ApiError;
use super::front::Front;
use crate::service::keys::{Claims, LIFETIME, is_page_token};

pub fn routes(config: &mut ServiceConfig) {
    for prefix in ["/v1", "/api/v1"] {
        config.route(&format!("{prefix}/ui-session"), post().to(open));
    }
}

/// A token for a page.
#[derive(Debug, Serialize, ToSchema)]
pub struct UiSessionResource {
    /// The token, which is used in place of a key.
    pub token: String,
    /// The end of the token's life, in seconds since 1970.
    pub expires_at: i64,
}

/// Makes a token for a page, in place of the caller's key.
#[utoipa::path(
    post,
    path = "/v1/ui-session",
    tag = "Credentials",
    responses(
        (status = 200, description = "The token", body = UiSessionResource),
        (status = 403, description = "The caller needs an API key; a page token cannot create another"),
    ),
)]
pub async fn open(
    caller: Caller,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    // A token that could renew itself would never end.
    if key_of(&request).is_none_or(|key| is_page_token(&key)) {
        return Err(refused().into());
    }
    let Caller { organization, key, signer } = caller;
    let expires_at = (front.world.clock.now() + LIFETIME).timestamp();
    let token = Claims { organization, key, expires_at }.signed(&signer);
    let answer = UiSessionResource { token, expires_at };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer))
}
