//! Secrets in rows: sealed before they are written, opened after they are read.
//!
//! A secret that cannot be opened stays sealed in the value that is read, so that a list does not
//! fail because of one row. A sealed proxy address is refused where it is used, and a sealed signer
//! is read as the placeholder of a lost one.

use chrono::NaiveDateTime;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::query::{DbError, on};
use super::{Db, Pools};
use crate::domain::sealing::{
    SealError, SecretLocation, Vault, each_proxy, has_credentials, is_sealed,
};
use crate::schema::{api_keys, browser_sessions, webhooks, workflow_runs, workflows};

pub(super) const PROXY: &str = "browser_sessions.proxy";
pub(super) const ECHO: &str = "browser_sessions.echo";
pub(super) const REQUEST: &str = "workflow_runs.request";
pub(super) const SETTINGS: &str = "workflows.settings";
pub(super) const SIGNER: &str = "webhooks.signer";
pub(super) const FORMER_SIGNER: &str = "webhooks.former_signer";
pub(super) const KEY_SIGNER: &str = "api_keys.signer";

/// The number of rows in one batch when all rows are visited.
const BATCH: i64 = 200;

/// The pattern of every sealed text.
const SEALED: &str = "sealed:v1:%";

/// A row that contains secrets.
pub(super) trait Secrets {
    /// Seals the secrets that are not sealed yet.
    fn seal(&mut self, vault: &Vault) -> Result<(), SealError>;

    /// Opens the secrets that can be opened.
    fn open(&mut self, vault: &Vault);
}

/// Opens a text of this location. A text that cannot be opened is unchanged, and the reason is
/// logged.
pub(super) fn opened(vault: &Vault, place: SecretLocation<'_>, text: &mut String) {
    match vault.open(place, text) {
        Ok(plain) => *text = plain,
        Err(cause) => tracing::warn!("{cause}"),
    }
}

/// Seals the address of a proxy, if it contains credentials.
pub(super) fn seal_proxy(
    vault: &Vault,
    place: SecretLocation<'_>,
    text: &mut String,
) -> Result<(), SealError> {
    if has_credentials(text) {
        *text = vault.seal(place, text)?;
    }
    Ok(())
}

/// Seals the proxy addresses among the members of a request.
pub(super) fn seal_proxies(
    vault: &Vault,
    place: SecretLocation<'_>,
    members: &mut Value,
) -> Result<(), SealError> {
    each_proxy(members, &mut |text| seal_proxy(vault, place, text))
}

/// Opens the proxy addresses among the members of a request.
pub(super) fn open_proxies(vault: &Vault, place: SecretLocation<'_>, members: &mut Value) {
    let opening = each_proxy(members, &mut |text: &mut String| {
        opened(vault, place, text);
        Ok::<_, std::convert::Infallible>(())
    });
    match opening {
        Ok(()) => (),
    }
}

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

impl Db {
    /// Returns the same database with a vault, so that secrets are sealed from now on.
    #[must_use]
    pub fn sealed_with(self, vault: Vault) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// Runs `work` with the vault, if there is one.
    pub(super) fn sealing(
        &self,
        work: impl FnOnce(&Vault) -> Result<(), SealError>,
    ) -> Result<(), DbError> {
        self.vault.as_ref().map_or(Ok(()), work).map_err(DbError::not_sealed)
    }

    pub(super) fn sealed<R: Secrets>(&self, mut row: R) -> Result<R, DbError> {
        self.sealing(|vault| row.seal(vault))?;
        Ok(row)
    }

    pub(super) fn opened<R: Secrets>(&self, mut rows: Vec<R>) -> Vec<R> {
        if let Some(vault) = &self.vault {
            rows.iter_mut().for_each(|row| row.open(vault));
        }
        rows
    }

    pub(super) fn opened_one<R: Secrets>(&self, mut row: Option<R>) -> Option<R> {
        if let (Some(vault), Some(row)) = (&self.vault, &mut row) {
            row.open(vault);
        }
        row
    }

    /// Seals the secrets that earlier versions stored in clear text, in batches. It may be
    /// interrupted and repeated. Afterwards, no secret in clear text remains in SQLite's file.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`].
    pub async fn seal_former(&self) -> Result<Resealed, DbError> {
        let Some(vault) = &self.vault else { return Ok(Resealed::default()) };
        let mut done = Resealed::default();
        self.seal_keys(vault, &mut done).await?;
        self.seal_webhooks(vault, &mut done).await?;
        self.seal_sessions(vault, &mut done).await?;
        self.seal_workflows(vault, &mut done).await?;
        self.seal_runs(vault, &mut done).await?;
        self.empty_log().await?;
        Ok(done)
    }

    /// Returns the number of webhooks and keys with a secret that was sealed with another key.
    ///
    /// # Errors
    ///
    /// [`DbError::Unavailable`].
    pub async fn sealed_by_others(&self) -> Result<i64, DbError> {
        let Some(vault) = &self.vault else { return Ok(0) };
        let ours = format!("sealed:v1:{}:%", vault.fingerprint());
        on!(self, read, |c| {
            let theirs = webhooks::signer.like(SEALED).and(webhooks::signer.not_like(ours.clone()));
            let hooks: i64 = webhooks::table.filter(theirs).count().get_result(c).await?;
            let theirs = api_keys::signer.like(SEALED).and(api_keys::signer.not_like(ours));
            let keys: i64 = api_keys::table
                .filter(theirs)
                .filter(api_keys::revoked_at.is_null())
                .count()
                .get_result(c)
                .await?;
            Ok(hooks + keys)
        })
        .await
    }

    async fn seal_keys(&self, vault: &Vault, done: &mut Resealed) -> Result<(), DbError> {
        let mut last = String::new();
        loop {
            let after = last.clone();
            let page: Vec<(String, Option<String>)> = on!(self, read, |c| {
                let query = api_keys::table
                    .filter(api_keys::id.gt(after))
                    .filter(api_keys::signer.not_like(SEALED))
                    .order(api_keys::id)
                    .limit(BATCH)
                    .select((api_keys::id, api_keys::signer));
                Ok(query.load(c).await?)
            })
            .await?;
            let Some((newest, _)) = page.last() else { return Ok(()) };
            last.clone_from(newest);
            for (id, signer) in page {
                let Some(signer) = signer else { continue };
                let place = SecretLocation { kind: KEY_SIGNER, of: &id };
                let sealed = vault.seal(place, &signer).map_err(DbError::not_sealed)?;
                let changed = on!(self, write, |c| {
                    let key = api_keys::table
                        .filter(api_keys::id.eq(id))
                        .filter(api_keys::signer.eq(signer));
                    Ok(diesel::update(key).set(api_keys::signer.eq(sealed)).execute(c).await?)
                });
                done.count(changed.await?);
            }
        }
    }

    async fn seal_webhooks(&self, vault: &Vault, done: &mut Resealed) -> Result<(), DbError> {
        let mut last = String::new();
        loop {
            let after = last.clone();
            let page: Vec<(String, String, Option<String>, NaiveDateTime)> = on!(self, read, |c| {
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
            .await?;
            let Some((newest, ..)) = page.last() else { return Ok(()) };
            last.clone_from(newest);
            for (id, mut signer, mut former, modified_at) in page {
                let place = SecretLocation { kind: SIGNER, of: &id };
                seal_plain(vault, place, &mut signer)?;
                if let Some(former) = &mut former {
                    seal_plain(vault, SecretLocation { kind: FORMER_SIGNER, of: &id }, former)?;
                }
                let changed = on!(self, write, |c| {
                    let webhook = webhooks::table
                        .filter(webhooks::id.eq(id))
                        .filter(webhooks::modified_at.eq(modified_at));
                    let change = (webhooks::signer.eq(signer), webhooks::former_signer.eq(former));
                    Ok(diesel::update(webhook).set(change).execute(c).await?)
                });
                done.count(changed.await?);
            }
        }
    }

    async fn seal_sessions(&self, vault: &Vault, done: &mut Resealed) -> Result<(), DbError> {
        use browser_sessions as sessions;
        let mut last = String::new();
        loop {
            let after = last.clone();
            let page: Vec<(String, Option<String>, Value, NaiveDateTime)> = on!(self, read, |c| {
                let query = sessions::table
                    .filter(sessions::id.gt(after))
                    .order(sessions::id)
                    .limit(BATCH)
                    .select((sessions::id, sessions::proxy, sessions::echo, sessions::modified_at));
                Ok(query.load(c).await?)
            })
            .await?;
            let Some((newest, ..)) = page.last() else { return Ok(()) };
            last.clone_from(newest);
            for (id, proxy, echo, modified_at) in page {
                let (mut sealed, mut members) = (proxy.clone(), echo.clone());
                if let Some(proxy) = &mut sealed {
                    let place = SecretLocation { kind: PROXY, of: &id };
                    seal_proxy(vault, place, proxy).map_err(DbError::not_sealed)?;
                }
                let place = SecretLocation { kind: ECHO, of: &id };
                seal_proxies(vault, place, &mut members).map_err(DbError::not_sealed)?;
                if (&sealed, &members) == (&proxy, &echo) {
                    continue;
                }
                let changed = on!(self, write, |c| {
                    let session = sessions::table
                        .filter(sessions::id.eq(id))
                        .filter(sessions::modified_at.eq(modified_at));
                    let change = (sessions::proxy.eq(sealed), sessions::echo.eq(members));
                    Ok(diesel::update(session).set(change).execute(c).await?)
                });
                done.count(changed.await?);
            }
        }
    }

    /// Seals the settings of workflows. They never change, so no update can conflict.
    async fn seal_workflows(&self, vault: &Vault, done: &mut Resealed) -> Result<(), DbError> {
        let mut last = String::new();
        loop {
            let after = last.clone();
            let page: Vec<(String, Value)> = on!(self, read, |c| {
                let query = workflows::table
                    .filter(workflows::id.gt(after))
                    .order(workflows::id)
                    .limit(BATCH)
                    .select((workflows::id, workflows::settings));
                Ok(query.load(c).await?)
            })
            .await?;
            let Some((newest, _)) = page.last() else { return Ok(()) };
            last.clone_from(newest);
            for (id, settings) in page {
                let mut sealed = settings.clone();
                let place = SecretLocation { kind: SETTINGS, of: &id };
                seal_proxies(vault, place, &mut sealed).map_err(DbError::not_sealed)?;
                if sealed == settings {
                    continue;
                }
                let changed = on!(self, write, |c| {
                    let workflow = workflows::table.filter(workflows::id.eq(id));
                    let change = workflows::settings.eq(sealed);
                    Ok(diesel::update(workflow).set(change).execute(c).await?)
                });
                done.count(changed.await?);
            }
        }
    }

    /// Seals the requests of runs. They never change, so no update can conflict.
    async fn seal_runs(&self, vault: &Vault, done: &mut Resealed) -> Result<(), DbError> {
        use workflow_runs as runs;
        let mut last = String::new();
        loop {
            let after = last.clone();
            let page: Vec<(String, Value)> = on!(self, read, |c| {
                let query = runs::table
                    .filter(runs::id.gt(after))
                    .order(runs::id)
                    .limit(BATCH)
                    .select((runs::id, runs::request));
                Ok(query.load(c).await?)
            })
            .await?;
            let Some((newest, _)) = page.last() else { return Ok(()) };
            last.clone_from(newest);
            for (id, request) in page {
                let mut sealed = request.clone();
                let place = SecretLocation { kind: REQUEST, of: &id };
                seal_proxies(vault, place, &mut sealed).map_err(DbError::not_sealed)?;
                if sealed == request {
                    continue;
                }
                let changed = on!(self, write, |c| {
                    let run = runs::table.filter(runs::id.eq(id));
                    Ok(diesel::update(run).set(runs::request.eq(sealed)).execute(c).await?)
                });
                done.count(changed.await?);
            }
        }
    }

    /// Empties SQLite's write-ahead log, which contains old pages. `secure_delete` clears the file
    /// itself.
    async fn empty_log(&self) -> Result<(), DbError> {
        self.run(|pools, _patience| async move {
            if let Pools::Sqlite { write, .. } = &*pools {
                let mut connection = write.get().await?;
                diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)")
                    .execute(&mut connection)
                    .await?;
            }
            Ok(())
        })
        .await
    }
}

fn seal_plain(vault: &Vault, place: SecretLocation<'_>, text: &mut String) -> Result<(), DbError> {
    if !is_sealed(text) {
        *text = vault.seal(place, text).map_err(DbError::not_sealed)?;
    }
    Ok(())
}
