//! Secrets that earlier versions stored in clear text: they are sealed at the start of a server.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::query::{DbError, on};
use super::sealed::{
    ECHO, FORMER_SIGNER, KEY_SIGNER, PROXY, REQUEST, SEALED, SETTINGS, SIGNER, seal_passwords,
    seal_proxies, seal_proxy,
};
use super::writer::Order;
use super::{Db, Pools};
use crate::domain::sealing::{SealError, SecretLocation, Vault, is_sealed};
use crate::schema::{api_keys, browser_sessions, webhooks, workflow_runs, workflows};

/// The number of rows in one batch.
const BATCH: i64 = 200;

/// The result of sealing the rows of earlier versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// The number of rows that were sealed now.
    pub rows: usize,
    /// The number of rows that another node changed in the meantime.
    pub missed: usize,
}

impl Resealed {
    fn count(&mut self, changed: usize) {
        match changed {
            0 => self.missed += 1,
            _ => self.rows += 1,
        }
    }
}

/// A row that may contain secrets in clear text.
trait Former: Clone + PartialEq {
    /// Reads the next rows after the id `after`, in the order of their ids.
    async fn batch(db: &Db, after: String) -> Result<Vec<Self>, DbError>;

    /// The id of the row.
    fn id(&self) -> &str;

    /// Seals the secrets that are in clear text.
    fn seal(&mut self, vault: &Vault) -> Result<(), SealError>;

    /// Writes the sealed row in place of `self`, and returns the number of rows that were written:
    /// none if another node has changed the row.
    async fn replace(self, sealed: Self, db: &Db) -> Result<usize, DbError>;
}

impl Db {
    /// Seals the secrets that earlier versions stored in clear text, in batches. It may be
    /// interrupted and repeated. Afterwards, no secret in clear text remains in SQLite's file.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`] if the database does not respond.
    pub async fn seal_former(&self) -> Result<Resealed, DbError> {
        let Some(vault) = &self.vault else { return Ok(Resealed::default()) };
        let mut done = Resealed::default();
        self.seal_rows::<Key>(vault, &mut done).await?;
        self.seal_rows::<Webhook>(vault, &mut done).await?;
        self.seal_rows::<Session>(vault, &mut done).await?;
        self.seal_rows::<Workflow>(vault, &mut done).await?;
        self.seal_rows::<Run>(vault, &mut done).await?;
        self.empty_log().await?;
        Ok(done)
    }

    async fn seal_rows<R: Former>(
        &self,
        vault: &Vault,
        done: &mut Resealed,
    ) -> Result<(), DbError> {
        let mut last = String::new();
        loop {
            let rows = R::batch(self, last).await?;
            let Some(newest) = rows.last() else { return Ok(()) };
            last = newest.id().to_owned();
            for row in rows {
                let mut sealed = row.clone();
                sealed.seal(vault).map_err(DbError::not_sealed)?;
                if sealed != row {
                    done.count(row.replace(sealed, self).await?);
                }
            }
        }
    }

    /// Empties SQLite's write-ahead log, which contains old pages. `secure_delete` clears the file
    /// itself.
    async fn empty_log(&self) -> Result<(), DbError> {
        let Pools::Sqlite(sqlite) = &*self.pools else { return Ok(()) };
        let emptied = sqlite.writer.submit(Order::Alone, |connection| {
            Box::pin(async move {
                let empty = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)");
                empty.execute(connection).await?;
                Ok(())
            })
        });
        emptied.await
    }
}

fn seal_plain(
    vault: &Vault,
    place: SecretLocation<'_>,
    text: &mut String,
) -> Result<(), SealError> {
    if !is_sealed(text) {
        *text = vault.seal(place, text)?;
    }
    Ok(())
}

#[derive(Clone, PartialEq, Queryable)]
struct Key {
    id: String,
    signer: Option<String>,
}

impl Former for Key {
    async fn batch(db: &Db, after: String) -> Result<Vec<Self>, DbError> {
        on!(db, read, |c| {
            let query = api_keys::table
                .filter(api_keys::id.gt(after))
                .filter(api_keys::signer.not_like(SEALED))
                .order(api_keys::id)
                .limit(BATCH)
                .select((api_keys::id, api_keys::signer));
            Ok(query.load(c).await?)
        })
        .await
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        let place = SecretLocation { kind: KEY_SIGNER, of: &self.id };
        self.signer.as_mut().map_or(Ok(()), |signer| seal_plain(vault, place, signer))
    }

    async fn replace(self, sealed: Self, db: &Db) -> Result<usize, DbError> {
        on!(db, write, |c| {
            let key = api_keys::table
                .filter(api_keys::id.eq(self.id))
                .filter(api_keys::signer.eq(self.signer));
            Ok(diesel::update(key).set(api_keys::signer.eq(sealed.signer)).execute(c).await?)
        })
        .await
    }
}

#[derive(Clone, PartialEq, Queryable)]
struct Webhook {
    id: String,
    signer: String,
    former_signer: Option<String>,
    modified_at: NaiveDateTime,
}

impl Former for Webhook {
    async fn batch(db: &Db, after: String) -> Result<Vec<Self>, DbError> {
        on!(db, read, |c| {
            let plain = webhooks::signer.not_like(SEALED).nullable();
            let query = webhooks::table
                .filter(webhooks::id.gt(after))
                .filter(plain.or(webhooks::former_signer.not_like(SEALED)))
                .order(webhooks::id)
                .limit(BATCH)
                .select((
                    webhooks::id,
                    webhooks::signer,
                    webhooks::former_signer,
                    webhooks::modified_at,
                ));
            Ok(query.load(c).await?)
        })
        .await
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        seal_plain(vault, SecretLocation { kind: SIGNER, of: &self.id }, &mut self.signer)?;
        let place = SecretLocation { kind: FORMER_SIGNER, of: &self.id };
        self.former_signer.as_mut().map_or(Ok(()), |signer| seal_plain(vault, place, signer))
    }

    async fn replace(self, sealed: Self, db: &Db) -> Result<usize, DbError> {
        on!(db, write, |c| {
            let webhook = webhooks::table
                .filter(webhooks::id.eq(self.id))
                .filter(webhooks::modified_at.eq(self.modified_at));
            let change = (
                webhooks::signer.eq(sealed.signer),
                webhooks::former_signer.eq(sealed.former_signer),
            );
            Ok(diesel::update(webhook).set(change).execute(c).await?)
        })
        .await
    }
}

#[derive(Clone, PartialEq, Queryable)]
struct Session {
    id: String,
    proxy: Option<String>,
    echo: Value,
    settings: Option<Value>,
    modified_at: NaiveDateTime,
}

impl Former for Session {
    async fn batch(db: &Db, after: String) -> Result<Vec<Self>, DbError> {
        use browser_sessions as sessions;
        on!(db, read, |c| {
            let query = sessions::table
                .filter(sessions::id.gt(after))
                .order(sessions::id)
                .limit(BATCH)
                .select((
                    sessions::id,
                    sessions::proxy,
                    sessions::echo,
                    sessions::settings,
                    sessions::modified_at,
                ));
            Ok(query.load(c).await?)
        })
        .await
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        if let Some(proxy) = &mut self.proxy {
            seal_proxy(vault, SecretLocation { kind: PROXY, of: &self.id }, proxy)?;
        }
        seal_proxies(vault, SecretLocation { kind: ECHO, of: &self.id }, &mut self.echo)?;
        seal_passwords(vault, &self.id, self.settings.as_mut())
    }

    async fn replace(self, sealed: Self, db: &Db) -> Result<usize, DbError> {
        use browser_sessions as sessions;
        on!(db, write, |c| {
            let session = sessions::table
                .filter(sessions::id.eq(self.id))
                .filter(sessions::modified_at.eq(self.modified_at));
            let change = (
                sessions::proxy.eq(sealed.proxy),
                sessions::echo.eq(sealed.echo),
                sessions::settings.eq(sealed.settings),
            );
            Ok(diesel::update(session).set(change).execute(c).await?)
        })
        .await
    }
}

/// The settings of a workflow never change, so no update can conflict.
#[derive(Clone, PartialEq, Queryable)]
struct Workflow {
    id: String,
    settings: Value,
}

impl Former for Workflow {
    async fn batch(db: &Db, after: String) -> Result<Vec<Self>, DbError> {
        on!(db, read, |c| {
            let query = workflows::table
                .filter(workflows::id.gt(after))
                .order(workflows::id)
                .limit(BATCH)
                .select((workflows::id, workflows::settings));
            Ok(query.load(c).await?)
        })
        .await
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        seal_proxies(vault, SecretLocation { kind: SETTINGS, of: &self.id }, &mut self.settings)
    }

    async fn replace(self, sealed: Self, db: &Db) -> Result<usize, DbError> {
        on!(db, write, |c| {
            let workflow = workflows::table.filter(workflows::id.eq(self.id));
            Ok(diesel::update(workflow)
                .set(workflows::settings.eq(sealed.settings))
                .execute(c)
                .await?)
        })
        .await
    }
}

/// The request of a run never changes, so no update can conflict.
#[derive(Clone, PartialEq, Queryable)]
struct Run {
    id: String,
    request: Value,
}

impl Former for Run {
    async fn batch(db: &Db, after: String) -> Result<Vec<Self>, DbError> {
        use workflow_runs as runs;
        on!(db, read, |c| {
            let query = runs::table
                .filter(runs::id.gt(after))
                .order(runs::id)
                .limit(BATCH)
                .select((runs::id, runs::request));
            Ok(query.load(c).await?)
        })
        .await
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        seal_proxies(vault, SecretLocation { kind: REQUEST, of: &self.id }, &mut self.request)
    }

    async fn replace(self, sealed: Self, db: &Db) -> Result<usize, DbError> {
        use workflow_runs as runs;
        on!(db, write, |c| {
            let run = runs::table.filter(runs::id.eq(self.id));
            Ok(diesel::update(run).set(runs::request.eq(sealed.request)).execute(c).await?)
        })
        .await
    }
}
