//! Creation, rotation and revocation of keys.

use actix_web::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{ApiKeyResource, find};
use crate::db;
use crate::domain::ids::{ApiKeyId, OrganizationId, SessionId};
use crate::domain::tenancy::{ApiKey, KeyRole};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;
use crate::service::keys::{fresh_key, hash_of};

/// The maximum length of a label, in characters.
const LONGEST_LABEL: usize = 100;

/// The maximum number of sessions that a key may be limited to.
const MOST_SESSIONS: usize = 100;

/// The maximum number of keys of an organization that may be valid at once.
const MOST_KEYS: usize = 1000;

/// The maximum life of a key with an end, in seconds: ten years.
const LONGEST_LIFE: i64 = 10 * 366 * 24 * 60 * 60;

/// The default time for which a key stays valid beside its replacement, in seconds: a day.
const OVERLAP: i64 = 24 * 60 * 60;

/// The maximum time for which a key stays valid beside its replacement, in seconds: 30 days.
const LONGEST_OVERLAP: i64 = 30 * 24 * 60 * 60;

/// The body of a request for a new key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiKeyRequest {
    /// The key's owner or purpose, for people.
    #[schema(min_length = 1, max_length = 100)]
    label: String,
    /// The key's role. `organization` allows everything in the organization, `drive` occupancy and
    /// DevTools of sessions, `watch` only seeing them, and `operator` everything that operators see
    /// and do as well. Default: `organization`.
    #[schema(pattern = "^(operator|organization|drive|watch)$")]
    role: Option<String>,
    /// The sessions that the key is limited to, `pbs_…`; allowed with the roles `drive` and
    /// `watch`. Default: all sessions of the organization.
    sessions: Option<Vec<String>>,
    /// The key's life in seconds. Without it, the key is valid until it is revoked.
    #[schema(minimum = 1, maximum = 316224000)]
    expires_in_seconds: Option<i64>,
}

/// A validated request for a key.
struct Wanted {
    label: String,
    role: KeyRole,
    sessions: Option<Vec<SessionId>>,
    expires_at: Option<DateTime<Utc>>,
}

impl ApiKeyRequest {
    fn check(self, now: DateTime<Utc>) -> Result<Wanted, Problem> {
        let mut fields = Fields::new();
        let label = self.label.trim().to_owned();
        let fits = (1..=LONGEST_LABEL).contains(&label.chars().count());
        fields.require("label", &*label, fits, "expected 1 to 100 characters");
        let role = self.role.as_deref().unwrap_or("organization");
        let parsed = fields.check("role", role, role.parse());
        let sessions = self.sessions.map(|texts| {
            let fits = (1..=MOST_SESSIONS).contains(&texts.len());
            fields.require("sessions", texts.len(), fits, "expected 1 to 100 sessions");
            let ids = texts.iter().enumerate();
            let ids = ids.filter_map(|(at, text)| {
                fields.check(&format!("sessions[{at}]"), &**text, text.parse::<SessionId>())
            });
            ids.collect::<Vec<_>>()
        });
        let may_be_limited = parsed.is_none_or(|role: KeyRole| role <= KeyRole::Drive);
        let wrong = "expected with the roles `drive` and `watch` only";
        fields.require("sessions", role, sessions.is_none() || may_be_limited, wrong);
        let seconds = self.expires_in_seconds;
        let within = seconds.is_none_or(|seconds| (1..=LONGEST_LIFE).contains(&seconds));
        fields.require("expires_in_seconds", seconds, within, "expected 1 to 316224000, ten years");
        fields.finish()?;
        let expires_at = seconds.map(|seconds| now + TimeDelta::seconds(seconds));
        Ok(Wanted { label, role: parsed.unwrap_or(KeyRole::Organization), sessions, expires_at })
    }
}

/// The body of a request to replace a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ApiKeyRotation)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// The seconds for which the former key stays valid beside the new one; 86400 unless given, 0
    /// to end it at once.
    #[schema(minimum = 0, maximum = 2592000)]
    overlap_seconds: Option<i64>,
}

/// Makes a key of an organization for a caller with the role `by`.
///
/// # Errors
///
/// 403 for a role above `by`; 409 if there are too many keys; 422 for invalid fields.
pub async fn make(
    front: &Front,
    organization: OrganizationId,
    by: KeyRole,
    request: ApiKeyRequest,
) -> Result<ApiKeyResource, ApiError> {
    let now = front.world.clock.now();
    let Wanted { label, role, sessions, expires_at } = request.check(now)?;
    permit(by, role)?;
    let key = ApiKey {
        role,
        sessions,
        expires_at,
        ..ApiKey::new(front.world.mint.mint(now), organization, String::new(), label, now)
    };
    store(front, key).await
}

/// Replaces a key by a new key with the same label, role, sessions and end.
///
/// # Errors
///
/// 403 for a key whose role is above `by`; 404 if there is none; 409 if it has ended; 422.
pub async fn rotate(
    front: &Front,
    organization: OrganizationId,
    by: KeyRole,
    id: ApiKeyId,
    Rotation { overlap_seconds }: Rotation,
) -> Result<ApiKeyResource, ApiError> {
    let overlap = overlap_seconds.unwrap_or(OVERLAP);
    let mut fields = Fields::new();
    let within = (0..=LONGEST_OVERLAP).contains(&overlap);
    fields.require("overlap_seconds", overlap, within, "expected 0 to 2592000, 30 days");
    fields.finish()?;
    let (former, now) = (find(front, organization, id).await?, front.world.clock.now());
    permit(by, former.role)?;
    if !former.is_valid(now) {
        let detail = format!("API key {id} has ended, and is not replaced; make a new one");
        return Err(Problem::new(StatusCode::CONFLICT, "api_key_ended", detail).into());
    }
    // The replacement does not come from the settings, even if the former key does.
    let (id_of_new, is_bootstrap) = (front.world.mint.mint(now), false);
    let key =
        ApiKey { id: id_of_new, created_at: now, last_use: None, is_bootstrap, ..former.clone() };
    let made = store(front, key).await?;
    if overlap == 0 {
        revoke(front, organization, by, id).await?;
    } else {
        let end = now + TimeDelta::seconds(overlap);
        db::api_keys::end_at(&front.db, organization, id, end).await?;
    }
    Ok(made)
}

/// Revokes a key, and disconnects everything that was opened with it.
///
/// # Errors
///
/// 403 for a key whose role is above `by`; 404 if there is none.
pub async fn revoke(
    front: &Front,
    organization: OrganizationId,
    by: KeyRole,
    id: ApiKeyId,
) -> Result<ApiKeyResource, ApiError> {
    permit(by, find(front, organization, id).await?.role)?;
    db::api_keys::revoke(&front.db, organization, id).await?;
    front.keys.ended(&[id]);
    tracing::info!("API key {id} of organization {organization} is revoked");
    Ok(ApiKeyResource::of(find(front, organization, id).await?, front))
}

fn permit(by: KeyRole, role: KeyRole) -> Result<(), Problem> {
    if role <= by {
        return Ok(());
    }
    let detail = format!(
        "only an operator key can create or change a key with the role `{}`",
        role.as_str()
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "key_insufficient", detail).with("role", by.as_str()))
}

/// Generates and stores a key. The answer is the only place that shows it in clear.
async fn store(front: &Front, key: ApiKey) -> Result<ApiKeyResource, ApiError> {
    let now = front.world.clock.now();
    let keys = db::api_keys::list(&front.db, key.organization).await?;
    if keys.iter().filter(|key| key.is_valid(now)).count() >= MOST_KEYS {
        let detail = format!("{MOST_KEYS} keys of the organization are valid; revoke some");
        return Err(Problem::new(StatusCode::CONFLICT, "too_many_api_keys", detail).into());
    }
    let text = fresh_key();
    let key = ApiKey { hash: hash_of(&text), ..key };
    db::api_keys::insert(&front.db, &key).await?;
    tracing::info!("API key {} of organization {} is created", key.id, key.organization);
    Ok(ApiKeyResource { key: Some(text), ..ApiKeyResource::of(key, front) })
}
