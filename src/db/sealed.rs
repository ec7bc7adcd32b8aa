//! Secrets in rows: sealed before they are written, opened after they are read.
//!
//! A secret that cannot be opened stays sealed in the value that is read, so that a list does not
//! fail because of one row. A sealed proxy address is refused where it is used, and a sealed signer
//! is read as the placeholder of a lost one.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;

use super::Db;
use super::query::{DbError, on};
use crate::domain::sealing::{
    SealError, SecretLocation, Vault, each_proxy, has_credentials, is_sealed,
};
use crate::schema::{api_keys, webhooks};

pub(super) const PROXY: &str = "browser_sessions.proxy";
pub(super) const ECHO: &str = "browser_sessions.echo";
pub(super) const BROWSER: &str = "browser_sessions.settings";
pub(super) const REQUEST: &str = "workflow_runs.request";
pub(super) const SETTINGS: &str = "workflows.settings";
pub(super) const SIGNER: &str = "webhooks.signer";
pub(super) const FORMER_SIGNER: &str = "webhooks.former_signer";
pub(super) const KEY_SIGNER: &str = "api_keys.signer";

/// The member of a session's settings with the logins of its browser, and the member of a login
/// with its password.
pub(super) const LOGINS: (&str, &str) = ("http_credentials", "password");
/// The member of a session's settings with the client certificates of its browser, and that of a
/// certificate with its key.
pub(super) const CERTIFICATES: (&str, &str) = ("client_certificates", "key_pem");

/// The pattern of every sealed text.
pub(super) const SEALED: &str = "sealed:v1:%";

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

/// Returns the passwords and the keys in the settings of a session's browser.
pub(super) fn passwords(settings: Option<&mut Value>) -> impl Iterator<Item = &mut String> {
    let members = settings.and_then(Value::as_object_mut).into_iter().flatten();
    let lists = members.filter_map(|(name, list)| {
        let (_, secret) = [LOGINS, CERTIFICATES].into_iter().find(|(known, _)| known == name)?;
        Some((secret, list.as_array_mut()?))
    });
    lists.flat_map(|(secret, entries)| {
        entries.iter_mut().filter_map(move |entry| match entry.get_mut(secret) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        })
    })
}

/// Seals the passwords and the keys in the settings of a session's browser.
pub(super) fn seal_passwords(
    vault: &Vault,
    session: &str,
    settings: Option<&mut Value>,
) -> Result<(), SealError> {
    for text in passwords(settings).filter(|text| !is_sealed(text)) {
        *text = vault.seal(SecretLocation { kind: BROWSER, of: session }, text)?;
    }
    Ok(())
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
}
