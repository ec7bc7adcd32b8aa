//! `/v1/webhooks`: the URLs to which an organization's events are delivered.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use crate::db;
use crate::domain::event::EventKind;
use crate::domain::hmac::Signer;
use crate::domain::ids::{OrganizationId, WebhookId};
use crate::domain::masking::masked_url;
use crate::domain::webhook::Webhook;
use crate::http::body::{Body, PathId};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;

/// The longest time for which two secrets are valid together, in seconds.
const LONGEST_OVERLAP: u64 = 30 * 24 * 60 * 60;

/// A request to create a webhook.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookRequest {
    /// The URL to which events are delivered.
    url: String,
    /// The kinds of events to deliver, as in `session.ended`, `run.ended`; all kinds if the list is
    /// empty.
    kinds: Vec<String>,
    /// A description for people.
    description: Option<String>,
}

/// The changes of a webhook.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = WebhookChange)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// The URL to which events are delivered.
    url: Option<String>,
    /// The kinds of events to deliver.
    kinds: Option<Vec<String>>,
    /// A description for people.
    description: Option<String>,
    /// True to pause deliveries. Pending messages wait; events that happen meanwhile are not
    /// delivered.
    paused: Option<bool>,
}

/// The replacement of a secret.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = SecretRotation)]
#[serde(default, deny_unknown_fields)]
pub struct Rotation {
    /// The time for which the former secret remains valid, in seconds.
    overlap_seconds: Option<u64>,
}

/// A webhook of an organization.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookResource {
    /// The id of the webhook, `wh_…`.
    pub webhook_id: String,
    /// The URL to which events are delivered.
    pub url: String,
    /// The kinds of events to deliver; all kinds if the list is empty.
    pub kinds: Vec<&'static str>,
    /// A description for people.
    pub description: Option<String>,
    /// True if deliveries are paused.
    pub paused: bool,
    /// The time until which the former secret is valid beside the current one.
    pub former_secret_until: Option<DateTime<Utc>>,
    /// The time at which the webhook was created.
    pub created_at: DateTime<Utc>,
    /// The time at which the webhook was last changed.
    pub modified_at: DateTime<Utc>,
    /// The secret that signs deliveries, `whsec_…`. It is returned only when it is created or
    /// replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl WebhookResource {
    fn of(webhook: &Webhook, now: DateTime<Utc>) -> Self {
        let former = webhook.former.as_ref().map(|(_, until)| *until);
        Self {
            webhook_id: webhook.id.to_string(),
            url: masked_url(&webhook.url),
            kinds: webhook.kinds.iter().map(|kind| kind.as_str()).collect(),
            description: webhook.description.clone(),
            paused: webhook.paused,
            former_secret_until: former.filter(|until| *until > now),
            created_at: webhook.created_at,
            modified_at: webhook.modified_at,
            secret: None,
        }
    }
}

/// Creates a secret in the form for clients, and its signer.
fn new_secret() -> (String, Signer) {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    (format!("whsec_{}", STANDARD.encode(bytes)), Signer::of(&bytes))
}

fn checked_url(front: &Front, fields: &mut Fields, text: &str) -> String {
    let url = Url::parse(text.trim()).map_err(|cause| cause.to_string());
    let allowed = url.and_then(|url| {
        front.webhooks.guard.check(&url).map(|()| url).map_err(|refused| refused.to_string())
    });
    let url = fields.check("url", text, allowed);
    url.map(String::from).unwrap_or_default()
}

fn checked_kinds(fields: &mut Fields, kinds: &[String]) -> Vec<EventKind> {
    let mut known = Vec::new();
    for (index, text) in kinds.iter().enumerate() {
        let kind = text.parse::<EventKind>().map_err(|cause| {
            let near =
                crate::domain::given::nearest(text, EventKind::ALL.iter().map(|it| it.as_str()));
            near.map_or_else(
                || cause.to_string(),
                |near| format!("{cause}; did you mean `{near}`?"),
            )
        });
        known.extend(fields.check(&format!("kinds[{index}]"), text.as_str(), kind));
    }
    known
}

pub(super) async fn find(
    front: &Front,
    organization: OrganizationId,
    id: WebhookId,
) -> Result<Webhook, ApiError> {
    let found = db::webhooks::by_id(&front.db, organization, id).await?;
    found.ok_or_else(|| Problem::unknown::<WebhookId>(id).into())
}

/// Creates a webhook. Only this response contains its secret.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    tag = "Webhooks",
    request_body = WebhookRequest,
    responses(
        (status = 200, description = "The webhook, with its secret", body = WebhookResource),
        (status = 422, description = "The URL is not allowed, or an event kind is unknown"),
        (status = 429, description = "The organization's limit of webhooks is reached"),
    ),
)]
pub async fn create(
    caller: Caller,
    Body(WebhookRequest { url, kinds, description }): Body<WebhookRequest>,
    front: Data<Front>,
) -> Result<Json<WebhookResource>, ApiError> {
    let mut fields = Fields::new();
    let url = checked_url(&front, &mut fields, &url);
    let kinds = checked_kinds(&mut fields, &kinds);
    fields.finish()?;
    let limit = front.webhooks.settings.max_webhooks;
    if db::webhooks::list(&front.db, caller.organization).await?.len() >= limit {
        let detail = format!("the organization has {limit} webhooks (webhooks.max_webhooks)");
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(Problem::new(status, "too_many_webhooks", detail).into());
    }
    let (secret, signer) = new_secret();
    let now = front.world.clock.now();
    let webhook = Webhook {
        id: front.world.mint.mint(now),
        organization: caller.organization,
        url,
        description,
        kinds,
        signer,
        former: None,
        paused: false,
        created_at: now,
        modified_at: now,
    };
    db::webhooks::insert(&front.db, &webhook).await?;
    Ok(Json(WebhookResource { secret: Some(secret), ..WebhookResource::of(&webhook, now) }))
}

/// Lists the organization's webhooks, oldest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    tag = "Webhooks",
    responses((status = 200, description = "The webhooks", body = Vec<WebhookResource>)),
)]
pub async fn list(
    caller: Caller,
    front: Data<Front>,
) -> Result<Json<Vec<WebhookResource>>, ApiError> {
    let now = front.world.clock.now();
    let webhooks = db::webhooks::list(&front.db, caller.organization).await?;
    Ok(Json(webhooks.iter().map(|webhook| WebhookResource::of(webhook, now)).collect()))
}

/// Returns one webhook of the organization.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook_id}",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "`wh_…`")),
    responses(
        (status = 200, description = "The webhook", body = WebhookResource),
        (status = 404, description = "There is no such webhook"),
    ),
)]
pub async fn show(
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    front: Data<Front>,
) -> Result<Json<WebhookResource>, ApiError> {
    let webhook = find(&front, caller.organization, id).await?;
    Ok(Json(WebhookResource::of(&webhook, front.world.clock.now())))
}

/// Changes, pauses or resumes a webhook.
#[utoipa::path(
    patch,
    path = "/v1/webhooks/{webhook_id}",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "`wh_…`")),
    request_body = Change,
    responses(
        (status = 200, description = "The webhook", body = WebhookResource),
        (status = 404, description = "There is no such webhook"),
        (status = 409, description = "Another request changed it at the same time: try again"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn change(
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    Body(change): Body<Change>,
    front: Data<Front>,
) -> Result<Json<WebhookResource>, ApiError> {
    let before = find(&front, caller.organization, id).await?;
    let mut fields = Fields::new();
    // A masked URL that a client sends back is no change.
    let url = change.url.filter(|url| *url != masked_url(&before.url));
    let url = url.map(|url| checked_url(&front, &mut fields, &url));
    let kinds = change.kinds.map(|kinds| checked_kinds(&mut fields, &kinds));
    fields.finish()?;
    let webhook = Webhook {
        url: url.unwrap_or_else(|| before.url.clone()),
        kinds: kinds.unwrap_or_else(|| before.kinds.clone()),
        description: change.description.or_else(|| before.description.clone()),
        paused: change.paused.unwrap_or(before.paused),
        ..before.clone()
    };
    replace(&front, &before, webhook).await.map(Json)
}

/// Replaces the secret of a webhook. The former secret remains valid for a while; until then,
/// deliveries have two signatures.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{webhook_id}/rotate_secret",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "`wh_…`")),
    request_body = Rotation,
    responses(
        (status = 200, description = "The webhook, with its new secret", body = WebhookResource),
        (status = 404, description = "There is no such webhook"),
        (status = 409, description = "Another request changed it at the same time: try again"),
    ),
)]
pub async fn rotate(
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    Body(Rotation { overlap_seconds }): Body<Rotation>,
    front: Data<Front>,
) -> Result<Json<WebhookResource>, ApiError> {
    let overlap = overlap_seconds.unwrap_or(front.webhooks.settings.overlap_seconds);
    let mut fields = Fields::new();
    let fits = overlap <= LONGEST_OVERLAP;
    fields.require("overlap_seconds", overlap, fits, "expected at most 2592000, 30 days");
    fields.finish()?;
    let before = find(&front, caller.organization, id).await?;
    let (secret, signer) = new_secret();
    let until = front.world.clock.now() + Duration::from_secs(overlap);
    let former = Some((before.signer.clone(), until));
    let webhook = Webhook { signer, former, ..before.clone() };
    let resource = replace(&front, &before, webhook).await?;
    Ok(Json(WebhookResource { secret: Some(secret), ..resource }))
}

async fn replace(
    front: &Front,
    before: &Webhook,
    webhook: Webhook,
) -> Result<WebhookResource, ApiError> {
    // The new time must be later than the former one, because concurrent changes are detected by it.
    let least = before.modified_at + chrono::TimeDelta::microseconds(1);
    let now = front.world.clock.now().max(least);
    let webhook = Webhook { modified_at: now, ..webhook };
    if !db::webhooks::replace(&front.db, &webhook, before.modified_at).await? {
        let detail = "another request changed this webhook at the same time: try again";
        let problem = Problem::new(StatusCode::CONFLICT, "changed_by_another", detail);
        return Err(problem.retryable().into());
    }
    front.webhooks.wake();
    Ok(WebhookResource::of(&webhook, now))
}

/// Deletes a webhook. Its pending messages are abandoned; its deliveries are kept on record.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{webhook_id}",
    tag = "Webhooks",
    params(("webhook_id" = String, Path, description = "`wh_…`")),
    responses(
        (status = 204, description = "The webhook is removed"),
        (status = 404, description = "There is no such webhook"),
    ),
)]
pub async fn remove(
    caller: Caller,
    PathId(id): PathId<WebhookId>,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    if !db::webhooks::delete(&front.db, caller.organization, id).await? {
        return Err(Problem::unknown::<WebhookId>(id).into());
    }
    Ok(HttpResponse::NoContent().finish())
}
