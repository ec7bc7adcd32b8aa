//! `POST /v1/ui-session`: a token for a page, good for an hour wherever the key is that asked for it.
//!
//! A page that a server of one's own gives out need not carry the key. The token is signed and not
//! stored: it ends with its time, or with its key.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, ServiceConfig, post};
use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{Caller, key_of, refused};
use super::error::ApiError;
use super::front::Front;
use crate::actors::secrets::Secrets;
use crate::domain::ids::{ApiKeyId, OrganizationId};

/// What tells such a token from a key.
const PREFIX: &str = "ui_";
const LIFETIME: chrono::Duration = chrono::Duration::minutes(60);

/// Adds the routes.
pub fn routes(config: &mut ServiceConfig) {
    for prefix in ["/v1", "/api/v1"] {
        config.route(&format!("{prefix}/ui-session"), post().to(open));
    }
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub struct UiSessionResource {
    /// In the place of a key.
    pub token: String,
    /// When it is no longer good, in seconds since 1970.
    pub expires_at: i64,
}

/// Whose token it is, as it is written in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub organization: OrganizationId,
    pub key: ApiKeyId,
    expires_at: i64,
}

/// A token for a page, in place of the key that asks for it.
#[utoipa::path(
    post,
    path = "/v1/ui-session",
    tag = "Credentials",
    responses(
        (status = 200, description = "The token", body = UiSessionResource),
        (status = 403, description = "This takes a key, and not such a token"),
    ),
)]
pub async fn open(
    caller: Caller,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    // A token that could renew itself would never end.
    if key_of(&request).is_none_or(|key| is_one(&key)) {
        return Err(refused().into());
    }
    let Caller { organization, key } = caller;
    let expires_at = (front.world.clock.now() + LIFETIME).timestamp();
    let token = Claims { organization, key, expires_at }.signed(&front.world.secrets);
    let answer = UiSessionResource { token, expires_at };
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(answer))
}

/// Whether this is such a token, or pretends to be one.
pub(super) fn is_one(text: &str) -> bool {
    text.starts_with(PREFIX) && text.contains('.')
}

impl Claims {
    fn signed(&self, secrets: &Secrets) -> String {
        let claims = serde_json::to_vec(self).unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.encode(claims);
        let signature = secrets.sign(&format!("ui-session {claims}"));
        format!("{PREFIX}{claims}.{signature}")
    }

    /// What a token says, if this server has signed it and it is good at `now`.
    pub fn read(token: &str, secrets: &Secrets, now: DateTime<Utc>) -> Option<Self> {
        let (claims, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        if !secrets.has_signed(&format!("ui-session {claims}"), signature) {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Self = serde_json::from_slice(&claims).ok()?;
        (claims.expires_at > now.timestamp()).then_some(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_its_time_and_only_where_it_was_signed() {
        let (ours, theirs) = (Secrets::new([1; 32]), Secrets::new([2; 32]));
        let (organization, key) = (OrganizationId::from(1), ApiKeyId::from(2));
        let claims = Claims { organization, key, expires_at: 1000 };
        let token = claims.signed(&ours);
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        assert!(is_one(&token));
        assert_eq!(Claims::read(&token, &ours, at(999)), Some(claims));
        assert_eq!(Claims::read(&token, &ours, at(1000)), None);
        assert_eq!(Claims::read(&token, &theirs, at(999)), None);
        let (head, signature) = token.split_once('.').unwrap();
        let forged = format!("{head}x.{signature}");
        assert_eq!(Claims::read(&forged, &ours, at(999)), None);
    }
}
