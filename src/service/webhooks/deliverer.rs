//! Delivers the stored messages.
//!
//! A server claims a message by raising its count of attempts, so that of several servers on one
//! database only one delivers it. If that server ends meanwhile, the message is due again after the
//! time limit of an attempt. For each webhook, one message is delivered at a time, in order as long
//! as deliveries succeed. A failed message waits alone and holds up no others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::attempt::{Attempt, after};
use super::payload;
use crate::db::webhook_messages as messages;
use crate::db::{self, DbError};
use crate::domain::ids::WebhookId;
use crate::domain::webhook::{MessageStatus, Webhook, WebhookDelivery, WebhookMessage};
use crate::service::core::Core;
use crate::service::error::ServiceError;

/// The number of messages delivered at the same time.
const MOST: usize = 32;

/// The number of due messages read from the database at a time.
const PAGE: u32 = 64;

/// The time to wait when the database does not respond.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The time by which a claim of a message outlives the time limit of an attempt.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);

/// The time limit for deliveries in progress when the server stops. The next server delivers the
/// rest.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time between two looks for messages: another server may have ended before it delivered its own.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The shortest time between two deletions of old messages, while new ones arrive.
const DELETE_EVERY: Duration = Duration::from_secs(10 * 60);

/// Delivers messages until the server stops.
pub async fn deliver(core: Arc<Core>) {
    let mut stored = core.world.events.messages();
    let mut busy = BTreeSet::new();
    let mut work: JoinSet<Option<WebhookId>> = JoinSet::new();
    let mut forgotten: Option<Instant> = None;
    loop {
        let wait = match begin(&core, &mut busy, &mut work).await {
            Ok(None) => LOOK_EVERY,
            Ok(Some(at)) => core.world.clock.until(at).min(LOOK_EVERY),
            Err(cause) => {
                warn!("webhook deliveries wait for the database: {cause}");
                RETRY_DELAY
            }
        };
        if !work.is_empty() && forgotten.is_none_or(|at| at.elapsed() >= DELETE_EVERY) {
            forgotten = Some(Instant::now());
            forget(&core).await;
        }
        tokio::select! {
            () = core.closing.cancelled() => break,
            Some(ended) = work.join_next(), if !work.is_empty() => {
                match ended {
                    Ok(Some(webhook)) => {
                        busy.remove(&webhook);
                    }
                    Ok(None) => {}
                    Err(cause) => {
                        // The webhook of the broken task is unknown here, so all are freed. Rows
                        // distinguish the deliveries still in progress.
                        warn!("a webhook delivery panicked: {cause}");
                        busy.clear();
                    }
                }
            }
            _ = stored.changed() => {}
            () = core.webhooks.woken.notified() => {}
            () = sleep(wait) => {}
        }
    }
    let rest = async { while work.join_next().await.is_some() {} };
    if timeout(FLUSH_TIMEOUT, rest).await.is_err() {
        info!("the next server delivers the remaining webhook messages");
    }
}

/// Starts deliveries of due messages up to the limit, and returns when the next one is due.
async fn begin(
    core: &Arc<Core>,
    busy: &mut BTreeSet<WebhookId>,
    work: &mut JoinSet<Option<WebhookId>>,
) -> Result<Option<DateTime<Utc>>, DbError> {
    loop {
        if work.len() >= MOST {
            return Ok(None); // The caller waits until a delivery ends.
        }
        let now = core.world.clock.now();
        let lanes: Vec<WebhookId> = busy.iter().copied().collect();
        let mut began = false;
        for message in messages::due(&core.db, now, lanes, PAGE).await? {
            let is_free = message.webhook.is_none_or(|webhook| !busy.contains(&webhook));
            if !is_free || work.len() >= MOST {
                continue;
            }
            let until = now + core.webhooks.settings.timeout() + CLAIM_MARGIN;
            if !messages::take(&core.db, &message, until).await? {
                continue; // Another server has taken it.
            }
            began = true;
            busy.extend(message.webhook);
            let core = Arc::clone(core);
            let message = WebhookMessage { attempts: message.attempts + 1, ..message };
            work.spawn(async move {
                let lane = message.webhook;
                attempt_delivery(&core, message).await;
                lane
            });
        }
        if !began {
            return messages::next_due(&core.db, busy.iter().copied().collect()).await;
        }
    }
}

/// A request that is ready to be sent.
struct OutgoingRequest {
    url: String,
    headers: payload::Headers,
    body: String,
}

async fn attempt_delivery(core: &Core, message: WebhookMessage) {
    let at = core.world.clock.now();
    let (url, attempt) = match request_for(core, &message, at).await {
        Ok(Ok(OutgoingRequest { url, headers, body })) => {
            let attempt = core.webhooks.send(&url, &headers, body).await;
            (url, attempt)
        }
        Ok(Err(refused)) => (message.url.clone(), refused),
        Err(cause) => {
            warn!("webhook message {} cannot be prepared: {cause}", message.id);
            let attempt = Attempt::refused(cause.for_clients(), false);
            (message.url.clone(), attempt)
        }
    };
    let delivery = delivery(core, &message, &url, &attempt, at);
    let now = core.world.clock.now();
    let next = after(&core.webhooks.settings, &message, &attempt, now);
    let (id, tries) = (message.id, message.attempts);
    let why = attempt.error.as_deref().unwrap_or_default();
    match next.status {
        MessageStatus::Delivered => debug!("webhook message {id} was delivered, try {tries}"),
        MessageStatus::Pending => {
            info!("webhook message {id} was not delivered, try {tries}: {why}")
        }
        MessageStatus::Failed => warn!("webhook message {id} is abandoned, try {tries}: {why}"),
    }
    if let Err(cause) = messages::tried(&core.db, &next, Some(&delivery)).await {
        warn!(
            "the outcome of webhook message {id} is not stored, so it is delivered again: {cause}"
        );
    }
}

/// Returns the record of an attempt.
pub fn delivery(
    core: &Core,
    message: &WebhookMessage,
    url: &str,
    attempt: &Attempt,
    at: DateTime<Utc>,
) -> WebhookDelivery {
    WebhookDelivery {
        id: core.world.mint.mint(at),
        message: message.id,
        organization: message.organization,
        url: url.to_owned(),
        attempt: message.attempts,
        status_code: attempt.status.map(i32::from),
        response: attempt.response.clone(),
        error: attempt.error.clone(),
        latency_milliseconds: attempt.milliseconds(),
        created_at: at,
    }
}

/// Builds the request for a message, or the failed attempt if that is impossible.
async fn request_for(
    core: &Core,
    message: &WebhookMessage,
    now: DateTime<Utc>,
) -> Result<Result<OutgoingRequest, Attempt>, ServiceError> {
    let hopeless = |why: &str| Ok(Err(Attempt::refused(why, true)));
    let webhook: Option<Webhook> = match message.webhook {
        None => None,
        Some(id) => match db::webhooks::by_id(&core.db, message.organization, id).await? {
            Some(webhook) => Some(webhook),
            None => return hopeless("the webhook was removed"),
        },
    };
    // The key of the run signs its message and the links in it.
    let signing = if webhook.is_some() {
        None
    } else {
        let run = match message.run {
            Some(run) => db::runs::by_id(&core.db, message.organization, run).await?,
            None => None,
        };
        core.keys.of_webhook(message.organization, run.and_then(|run| run.api_key)).await?
    };
    let unsigned = || Ok(Err(Attempt::refused("the organization has no key to sign with", false)));
    let body = match (&message.body, message.event, message.run) {
        (Some(body), _, _) => body.clone(),
        (None, Some(seq), _) => match payload::of_event(core, message, seq).await? {
            Some(body) => body,
            None => return hopeless("the event is no longer stored"),
        },
        (None, None, Some(run)) => match &signing {
            Some((key, _)) => payload::of_run(core, *key, run).await?,
            None => return unsigned(),
        },
        (None, None, None) => return hopeless("the message has no event and no run"),
    };
    if message.body.is_none() {
        messages::keep_body(&core.db, message.id, body.clone()).await?;
    }
    if webhook.as_ref().is_some_and(|webhook| webhook.signer.is_lost()) {
        let why = "the secret of the webhook cannot be opened: this server's file `secret` is not the one \
                   that sealed it; restore that file, or rotate the secret";
        return Ok(Err(Attempt::refused(why, false)));
    }
    let (url, headers) = match (&webhook, &signing) {
        (Some(webhook), _) => {
            (webhook.url.clone(), payload::headers_of_event(webhook, message, &body, now))
        }
        (None, Some((_, signer))) => {
            (message.url.clone(), payload::headers_of_run(signer, &body, now))
        }
        (None, None) => return unsigned(),
    };
    Ok(Ok(OutgoingRequest { url, headers, body }))
}

async fn forget(core: &Core) {
    let keep = Duration::from_secs(core.webhooks.settings.keep_seconds);
    match messages::forget(&core.db, core.world.clock.now() - keep).await {
        Ok(0) => {}
        Ok(count) => debug!("{count} old webhook messages are deleted"),
        Err(cause) => warn!("old webhook messages are not deleted yet: {cause}"),
    }
}
