//! Webhook messages are stored together with the event or run that they report.

use chrono::TimeDelta;
use serde_json::json;

use crate::db::store::{RunChange, Store as _};
use crate::db::testing::{TestDb, mint, on_both, time};
use crate::db::webhook_messages::{self as messages, Of};
use crate::db::{Page, api_keys, events, webhook_deliveries as deliveries, webhooks};
use crate::domain::event::{EventKind, NewEvent, Subject};
use crate::domain::hmac::Signer;
use crate::domain::ids::{OrganizationId, WebhookId};
use crate::domain::quota::Limits;
use crate::domain::run::RunStatus;
use crate::domain::tenancy::ApiKey;
use crate::domain::webhook::{MessageStatus, Webhook, WebhookDelivery, WebhookMessage};

pub(super) fn webhook(organization: OrganizationId, kinds: &[EventKind]) -> Webhook {
    Webhook {
        id: mint(),
        organization,
        url: "https://hooks.example/in".to_owned(),
        description: Some("Ann's".to_owned()),
        kinds: kinds.to_vec(),
        signer: Signer::of(b"one"),
        former: Some((Signer::of(b"none"), time(50))),
        paused: false,
        created_at: time(0),
        modified_at: time(0),
    }
}

async fn happens(world: &TestDb, organization: OrganizationId, kind: EventKind) {
    let subject = Subject { organization, session: Some(mint()), run: None };
    let event = NewEvent { id: mint(), subject, kind, data: json!({}), at: time(1) };
    events::append(&world.db, vec![event]).await.unwrap();
}

async fn delivered_kinds(
    world: &TestDb,
    organization: OrganizationId,
    of: WebhookId,
) -> Vec<EventKind> {
    let found = messages::list(&world.db, organization, Of::Webhook(of), None, Page::first(100))
        .await
        .unwrap();
    found.iter().rev().map(|message| message.kind).collect()
}

#[test]
fn an_event_becomes_a_message_of_every_webhook_that_wants_its_kind() {
    use EventKind::{SessionEnded, SessionStarted};
    on_both(async |world| {
        let (db, ours) = (&world.db, world.tenant().await.organization);
        let (all, ends) = (webhook(ours, &[]), webhook(ours, &[SessionEnded]));
        let mut paused = webhook(ours, &[]);
        paused.paused = true;
        for webhook in [&all, &ends, &paused] {
            webhooks::insert(db, webhook).await.unwrap();
        }
        assert_eq!(webhooks::by_id(db, ours, all.id).await.unwrap(), Some(all.clone()));
        assert_eq!(webhooks::by_id(db, mint(), all.id).await.unwrap(), None);
        assert_eq!(webhooks::list(db, ours).await.unwrap().len(), 3);

        happens(world, ours, SessionStarted).await;
        happens(world, ours, SessionEnded).await;
        happens(world, mint(), SessionEnded).await;
        assert_eq!(delivered_kinds(world, ours, all.id).await, [SessionStarted, SessionEnded]);
        assert_eq!(delivered_kinds(world, ours, ends.id).await, [SessionEnded]);
        assert_eq!(delivered_kinds(world, ours, paused.id).await, []);

        // A message that a worker has taken is not returned to others for a while, nor is any of a
        // busy webhook.
        let far = time(9);
        let due = messages::due(db, far, Vec::new(), 10).await.unwrap();
        assert_eq!(due.len(), 3);
        assert_eq!(messages::due(db, far, vec![all.id], 10).await.unwrap().len(), 1);
        assert_eq!(messages::due(db, time(0), Vec::new(), 10).await.unwrap(), []);
        assert!(messages::take(db, &due[0], far + TimeDelta::days(1)).await.unwrap());
        assert!(!messages::take(db, &due[0], far + TimeDelta::days(1)).await.unwrap());
        assert_eq!(messages::due(db, far, Vec::new(), 10).await.unwrap().len(), 2);

        let changed = Webhook { paused: true, modified_at: time(2), ..ends.clone() };
        assert!(webhooks::replace(db, &changed, ends.modified_at).await.unwrap());
        assert!(!webhooks::replace(db, &ends, ends.modified_at).await.unwrap());
        assert_eq!(webhooks::by_id(db, ours, ends.id).await.unwrap(), Some(changed));
        assert_eq!(messages::due(db, far, Vec::new(), 10).await.unwrap().len(), 1);

        assert!(!webhooks::delete(db, mint(), all.id).await.unwrap());
        assert!(webhooks::delete(db, ours, all.id).await.unwrap());
        assert_eq!(messages::next_due(db, Vec::new()).await.unwrap(), None);
        let left =
            messages::list(db, ours, Of::Webhook(all.id), None, Page::first(10)).await.unwrap();
        assert!(left.iter().all(|message| message.status == MessageStatus::Failed));
    });
}

#[test]
fn the_end_of_a_run_that_names_a_webhook_is_a_message_and_its_attempts_are_kept() {
    on_both(async |world| {
        let (db, tenant) = (&world.db, world.tenant().await);
        let mut run = tenant.run(0);
        run.request = json!({ "webhook_url": " https://hooks.example/run " });
        db.insert_run(run.clone(), Limits::default()).await.unwrap();
        let change = |status| RunChange { status: Some(status), ..RunChange::default() };
        db.change_run(run.id, change(RunStatus::Running)).await.unwrap();
        let list = async || {
            messages::list(db, tenant.organization, Of::Run(run.id), None, Page::first(10))
                .await
                .unwrap()
        };
        assert_eq!(list().await, []);
        db.change_run(run.id, change(RunStatus::Canceled)).await.unwrap();
        assert!(db.change_run(run.id, change(RunStatus::Failed)).await.is_err());
        let found = list().await;
        let [message] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(message.url, "https://hooks.example/run");
        assert_eq!((message.kind, message.webhook), (EventKind::RunEnded, None));

        messages::keep_body(db, message.id, "{\"a\":1}".to_owned()).await.unwrap();
        assert!(messages::take(db, message, time(900)).await.unwrap());
        let delivery = WebhookDelivery {
            id: mint(),
            message: message.id,
            organization: tenant.organization,
            url: message.url.clone(),
            attempt: 1,
            status_code: Some(503),
            response: Some("no".to_owned()),
            error: Some("it said 503".to_owned()),
            latency_milliseconds: 12,
            created_at: time(8),
        };
        let tried = WebhookMessage {
            status: MessageStatus::Failed,
            error: Some("it said 503".to_owned()),
            body: Some("{\"a\":1}".to_owned()),
            attempts: 1,
            due_at: time(901),
            finished_at: Some(time(9)),
            ..message.clone()
        };
        messages::tried(db, &tried, Some(&delivery)).await.unwrap();
        assert_eq!(list().await, std::slice::from_ref(&tried));
        assert_eq!(deliveries::of(db, vec![message.id]).await.unwrap(), [delivery]);
        let again = WebhookMessage { id: mint(), created_at: time(0), ..tried };
        messages::insert(db, &again).await.unwrap();
        assert_eq!(messages::by_id(db, tenant.organization, again.id).await.unwrap(), Some(again));
        let far = time(100_000).max(chrono::Utc::now() + TimeDelta::days(1));
        assert_eq!(messages::forget(db, far).await.unwrap(), 2);
        assert_eq!(deliveries::of(db, vec![message.id]).await.unwrap(), []);

        // A run that names no URL produces no message.
        let quiet = tenant.run(1);
        db.insert_run(quiet.clone(), Limits::default()).await.unwrap();
        db.change_run(quiet.id, change(RunStatus::Completed)).await.unwrap();
        assert_eq!(messages::next_due(db, Vec::new()).await.unwrap(), None);
    });
}

#[test]
fn the_key_that_is_wanted_signs_unless_it_was_revoked() {
    on_both(async |world| {
        let (db, organization) = (&world.db, world.tenant().await.organization);
        let mut keys = Vec::new();
        for (second, text) in [(0, "old"), (1, "new"), (2, "unused")] {
            let (hash, label) = (text.to_owned(), text.to_owned());
            let key = ApiKey::new(mint(), organization, hash, label, time(second));
            api_keys::insert(db, &key).await.unwrap();
            if text != "unused" {
                let signer = Signer::of(text.as_bytes());
                api_keys::keep_signer(db, key.id, &signer).await.unwrap();
            }
            keys.push(key.id);
        }
        let signer = async |wanted| {
            let key = api_keys::signing(db, organization, wanted).await.unwrap();
            key.map(|key| key.signer)
        };
        assert_eq!(signer(Some(keys[0])).await, Some(Signer::of(b"old")));
        assert_eq!(signer(None).await, Some(Signer::of(b"new")));
        api_keys::revoke(db, organization, keys[0]).await.unwrap();
        assert_eq!(signer(Some(keys[0])).await, Some(Signer::of(b"new")));
        assert_eq!(api_keys::signing(db, mint(), None).await.unwrap(), None);
    });
}
