//! Webhooks: the subscriptions of organizations to their events.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncConnection as _, RunQueryDsl};
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use super::sealed::{FORMER_SIGNER, SIGNER, Secrets, opened};
use super::values::{Reader, all, json, now, one, stored};
use crate::domain::event::EventKind;
use crate::domain::ids::{OrganizationId, WebhookId};
use crate::domain::sealing::{SealError, SecretLocation, Vault};
use crate::domain::webhook::{MessageStatus, Webhook};
use crate::schema::{webhook_messages as messages, webhooks};

#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = webhooks)]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    pub(super) id: String,
    organization_id: String,
    pub(super) url: String,
    description: Option<String>,
    kinds: Value,
    signer: String,
    former_signer: Option<String>,
    former_until: Option<NaiveDateTime>,
    paused: bool,
    created_at: NaiveDateTime,
    modified_at: NaiveDateTime,
}

impl Row {
    /// True if the webhook subscribes to events of this kind.
    pub(super) fn wants(&self, kind: &str) -> bool {
        let kinds = self.kinds.as_array().map(Vec::as_slice).unwrap_or_default();
        kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind)
    }
}

impl Secrets for Row {
    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        let of = &self.id;
        self.signer = vault.seal(SecretLocation { kind: SIGNER, of }, &self.signer)?;
        if let Some(former) = &mut self.former_signer {
            *former = vault.seal(SecretLocation { kind: FORMER_SIGNER, of }, former)?;
        }
        Ok(())
    }

    fn open(&mut self, vault: &Vault) {
        let of = &self.id;
        opened(vault, SecretLocation { kind: SIGNER, of }, &mut self.signer);
        if let Some(former) = &mut self.former_signer {
            opened(vault, SecretLocation { kind: FORMER_SIGNER, of }, former);
        }
    }
}

impl From<&Webhook> for Row {
    fn from(webhook: &Webhook) -> Self {
        let former = webhook.former.as_ref().filter(|(signer, _)| !signer.is_lost());
        Self {
            id: webhook.id.to_string(),
            organization_id: webhook.organization.to_string(),
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            kinds: json(&webhook.kinds),
            signer: webhook.signer.to_hex(),
            former_signer: former.map(|(signer, _)| signer.to_hex()),
            former_until: former.map(|(_, until)| stored(*until)),
            paused: webhook.paused,
            created_at: stored(webhook.created_at),
            modified_at: stored(webhook.modified_at),
        }
    }
}

impl TryFrom<Row> for Webhook {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        let kinds = row.kinds.as_array().map(Vec::as_slice).unwrap_or_default();
        let kinds: Result<Vec<EventKind>, DbError> = kinds
            .iter()
            .map(|kind| read.parse("webhooks.kinds", kind.as_str().unwrap_or_default()))
            .collect();
        let former = row.former_signer.as_deref();
        let former = former.map(|text| read.signer("webhooks.former_signer", text)).transpose()?;
        let former = former.filter(|signer| !signer.is_lost());
        Ok(Self {
            id: read.parse("webhooks.id", &row.id)?,
            organization: read.parse("webhooks.organization_id", &row.organization_id)?,
            kinds: kinds?,
            signer: read.signer("webhooks.signer", &row.signer)?,
            former: former.zip(row.former_until.map(|until| until.and_utc())),
            url: row.url,
            description: row.description,
            paused: row.paused,
            created_at: row.created_at.and_utc(),
            modified_at: row.modified_at.and_utc(),
        })
    }
}

/// Inserts a new webhook.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn insert(db: &Db, webhook: &Webhook) -> Result<(), DbError> {
    let row = db.sealed(Row::from(webhook))?;
    on!(db, write, |c| {
        diesel::insert_into(webhooks::table).values(row).execute(c).await?;
        Ok(())
    })
    .await
}

/// Returns the webhook of this organization with this id.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: WebhookId,
) -> Result<Option<Webhook>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = webhooks::table
            .filter(webhooks::id.eq(id.to_string()))
            .filter(webhooks::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(db.opened_one(row))
}

/// Returns all webhooks of an organization, the oldest first.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(db: &Db, organization: OrganizationId) -> Result<Vec<Webhook>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = webhooks::table
            .filter(webhooks::organization_id.eq(organization.to_string()))
            .order((webhooks::created_at, webhooks::id));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(db.opened(rows))
}

/// Replaces a webhook that was not changed since `before`. Returns true if there was such a
/// webhook. A secret that cannot be opened is kept as stored.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn replace(db: &Db, webhook: &Webhook, before: DateTime<Utc>) -> Result<bool, DbError> {
    let is_lost = webhook.signer.is_lost();
    let row = db.sealed(Row::from(webhook))?;
    let changed = on!(db, write, |c| {
        let known = webhooks::table
            .filter(webhooks::id.eq(row.id.clone()))
            .filter(webhooks::modified_at.eq(stored(before)));
        if is_lost {
            let change = (
                webhooks::url.eq(row.url.clone()),
                webhooks::description.eq(row.description.clone()),
                webhooks::kinds.eq(row.kinds.clone()),
                webhooks::paused.eq(row.paused),
                webhooks::modified_at.eq(row.modified_at),
            );
            Ok(diesel::update(known).set(change).execute(c).await?)
        } else {
            Ok(diesel::update(known).set(&row).execute(c).await?)
        }
    });
    Ok(changed.await? > 0)
}

/// Deletes a webhook. Returns true if it existed. Delivered messages stay on record, pending ones
/// are abandoned.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn delete(db: &Db, organization: OrganizationId, id: WebhookId) -> Result<bool, DbError> {
    let removed = on!(db, write, |c| {
        c.transaction(async move |c| {
            let known = webhooks::table
                .filter(webhooks::id.eq(id.to_string()))
                .filter(webhooks::organization_id.eq(organization.to_string()));
            let removed = diesel::delete(known).execute(c).await?;
            let left = messages::table
                .filter(messages::webhook_id.eq(id.to_string()))
                .filter(messages::organization_id.eq(organization.to_string()))
                .filter(messages::status.eq(MessageStatus::Pending.as_str()));
            let given_up = (
                messages::status.eq(MessageStatus::Failed.as_str()),
                messages::error.eq("the webhook was removed"),
                messages::finished_at.eq(now()),
            );
            diesel::update(left).set(given_up).execute(c).await?;
            Ok(removed)
        })
        .await
    });
    Ok(removed.await? > 0)
}
