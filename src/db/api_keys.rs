//! API keys, of which only the hashes are stored.

use chrono::{DateTime, NaiveDateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::query::{DbError, on};
use super::sealed::{KEY_SIGNER, opened};
use super::values::{Reader, all, json, now, one, stored};
use super::{Db, organizations as tenants};
use crate::domain::hmac::Signer;
use crate::domain::ids::{ApiKeyId, OrganizationId};
use crate::domain::sealing::{SecretLocation, is_sealed};
use crate::domain::tenancy::{ApiKey, LastUse, Organization};
use crate::schema::{api_keys, organizations};

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
struct Row {
    id: String,
    organization_id: String,
    hash: String,
    label: String,
    created_at: NaiveDateTime,
    revoked_at: Option<NaiveDateTime>,
    role: String,
    sessions: Option<serde_json::Value>,
    expires_at: Option<NaiveDateTime>,
    last_used_at: Option<NaiveDateTime>,
    last_used_from: Option<String>,
    is_bootstrap: bool,
}

impl From<&ApiKey> for Row {
    fn from(key: &ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            organization_id: key.organization.to_string(),
            hash: key.hash.clone(),
            label: key.label.clone(),
            created_at: stored(key.created_at),
            revoked_at: key.revoked_at.map(stored),
            role: key.role.as_str().to_owned(),
            sessions: key.sessions.as_ref().map(json),
            expires_at: key.expires_at.map(stored),
            last_used_at: key.last_use.as_ref().map(|last| stored(last.at)),
            last_used_from: key.last_use.as_ref().and_then(|last| last.from.clone()),
            is_bootstrap: key.is_bootstrap,
        }
    }
}

impl TryFrom<Row> for ApiKey {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        Ok(Self {
            id: read.parse("api_keys.id", &row.id)?,
            organization: read.parse("api_keys.organization_id", &row.organization_id)?,
            hash: row.hash,
            label: row.label,
            created_at: row.created_at.and_utc(),
            revoked_at: row.revoked_at.map(|at| at.and_utc()),
            role: read.parse("api_keys.role", &row.role)?,
            sessions: read.json("api_keys.sessions", row.sessions)?,
            expires_at: row.expires_at.map(|at| at.and_utc()),
            last_use: row
                .last_used_at
                .map(|at| LastUse { at: at.and_utc(), from: row.last_used_from }),
            is_bootstrap: row.is_bootstrap,
        })
    }
}

/// Inserts an API key.
///
/// # Errors
///
/// [`DbError::Conflict`] if the same key exists, revoked or not.
pub async fn insert(db: &Db, key: &ApiKey) -> Result<(), DbError> {
    let row = Row::from(key);
    on!(db, write, |c| {
        diesel::insert_into(api_keys::table).values(row).execute(c).await?;
        Ok(())
    })
    .await
}

/// Selects the keys that are valid now, as far as the table of keys decides.
macro_rules! valid {
    () => {
        api_keys::revoked_at.is_null().and(
            api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now()).assume_not_null()),
        )
    };
}

/// Returns the key with this hash and its organization, unless it was revoked or has expired.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_hash(db: &Db, hash: &str) -> Result<Option<(ApiKey, Organization)>, DbError> {
    let hash = hash.to_owned();
    let rows: Option<(Row, tenants::Row)> = on!(db, read, |c| {
        let query = api_keys::table
            .inner_join(organizations::table)
            .filter(api_keys::hash.eq(hash))
            .filter(valid!());
        let columns = (Row::as_select(), tenants::Row::as_select());
        Ok(query.select(columns).first(c).await.optional()?)
    })
    .await?;
    rows.map(|(key, organization)| Ok((key.try_into()?, organization.try_into()?))).transpose()
}

/// Returns the hash of a key of this organization, unless the key has ended or the organization is
/// suspended.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn hash_of(
    db: &Db,
    organization: OrganizationId,
    id: ApiKeyId,
) -> Result<Option<String>, DbError> {
    on!(db, read, |c| {
        let key = api_keys::table
            .inner_join(organizations::table)
            .filter(organizations::suspended_at.is_null())
            .filter(api_keys::id.eq(id.to_string()))
            .filter(api_keys::organization_id.eq(organization.to_string()))
            .filter(valid!());
        Ok(key.select(api_keys::hash).first(c).await.optional()?)
    })
    .await
}

/// The most ids in one query.
const MOST_AT_ONCE: usize = 500;

/// Returns those of these keys that are not valid: revoked, expired, unknown, or of a suspended
/// organization.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn revoked_among(db: &Db, keys: &[ApiKeyId]) -> Result<Vec<ApiKeyId>, DbError> {
    let mut revoked = Vec::new();
    for some in keys.chunks(MOST_AT_ONCE) {
        let ids: Vec<String> = some.iter().map(ApiKeyId::to_string).collect();
        let valid: Vec<String> = on!(db, read, |c| {
            let valid = api_keys::table
                .inner_join(organizations::table)
                .filter(organizations::suspended_at.is_null())
                .filter(api_keys::id.eq_any(ids))
                .filter(valid!());
            Ok(valid.select(api_keys::id).load(c).await?)
        })
        .await?;
        revoked.extend(some.iter().filter(|key| !valid.contains(&key.to_string())));
    }
    Ok(revoked)
}

/// Revokes a key permanently. Returns true if it was not revoked before; safe to repeat.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn revoke(db: &Db, organization: OrganizationId, id: ApiKeyId) -> Result<bool, DbError> {
    let changed = on!(db, write, |c| {
        let key = api_keys::table
            .filter(api_keys::id.eq(id.to_string()))
            .filter(api_keys::organization_id.eq(organization.to_string()))
            .filter(api_keys::revoked_at.is_null());
        Ok(diesel::update(key).set(api_keys::revoked_at.eq(now())).execute(c).await?)
    });
    Ok(changed.await? > 0)
}

/// Returns all keys of an organization, the newest first, including revoked ones.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn list(db: &Db, organization: OrganizationId) -> Result<Vec<ApiKey>, DbError> {
    let rows: Vec<Row> = on!(db, read, |c| {
        let query = api_keys::table
            .filter(api_keys::organization_id.eq(organization.to_string()))
            .order((api_keys::created_at.desc(), api_keys::id.desc()));
        Ok(query.select(Row::as_select()).load(c).await?)
    })
    .await?;
    all(rows)
}

/// Returns one key of an organization, revoked or not.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn by_id(
    db: &Db,
    organization: OrganizationId,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, DbError> {
    let row: Option<Row> = on!(db, read, |c| {
        let query = api_keys::table
            .filter(api_keys::id.eq(id.to_string()))
            .filter(api_keys::organization_id.eq(organization.to_string()));
        Ok(query.select(Row::as_select()).first(c).await.optional()?)
    })
    .await?;
    one(row)
}

/// True if a key with this hash has ever existed.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn is_known(db: &Db, hash: &str) -> Result<bool, DbError> {
    let hash = hash.to_owned();
    let count: i64 = on!(db, read, |c| {
        Ok(api_keys::table.filter(api_keys::hash.eq(hash)).count().get_result(c).await?)
    })
    .await?;
    Ok(count > 0)
}

/// Sets a key's expiry to `end`, unless it is earlier already. Returns false if the key has ended.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn end_at(
    db: &Db,
    organization: OrganizationId,
    id: ApiKeyId,
    end: DateTime<Utc>,
) -> Result<bool, DbError> {
    let end = stored(end);
    let changed = on!(db, write, |c| {
        let later =
            api_keys::expires_at.is_null().or(api_keys::expires_at.gt(end).assume_not_null());
        let key = api_keys::table
            .filter(api_keys::id.eq(id.to_string()))
            .filter(api_keys::organization_id.eq(organization.to_string()))
            .filter(api_keys::revoked_at.is_null())
            .filter(later);
        Ok(diesel::update(key).set(api_keys::expires_at.eq(end)).execute(c).await?)
    });
    Ok(changed.await? > 0)
}

/// Revokes the keys from `keys.bootstrap`, except the key with this hash. Returns the number of
/// keys.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn revoke_former_bootstrap(db: &Db, hash: &str) -> Result<usize, DbError> {
    let hash = hash.to_owned();
    on!(db, write, |c| {
        let former = api_keys::table
            .filter(api_keys::is_bootstrap.eq(true))
            .filter(api_keys::hash.ne(hash))
            .filter(api_keys::revoked_at.is_null());
        Ok(diesel::update(former).set(api_keys::revoked_at.eq(now())).execute(c).await?)
    })
    .await
}

/// Records the time and the client address of the last use of keys.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn note_uses(db: &Db, uses: Vec<(ApiKeyId, LastUse)>) -> Result<(), DbError> {
    on!(db, write, |c| {
        for (id, LastUse { at, from }) in uses {
            let key = diesel::update(api_keys::table.find(id.to_string()));
            let last = (api_keys::last_used_at.eq(stored(at)), api_keys::last_used_from.eq(from));
            key.set(last).execute(c).await?;
        }
        Ok(())
    })
    .await
}

/// Stores the signer of a key, unless one is stored already and can be opened.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn keep_signer(db: &Db, id: ApiKeyId, signer: &Signer) -> Result<(), DbError> {
    let id = id.to_string();
    let wanted = id.clone();
    let kept: Option<Option<String>> = on!(db, read, |c| {
        let query = api_keys::table.find(wanted).select(api_keys::signer);
        Ok(query.first(c).await.optional()?)
    })
    .await?;
    if kept.flatten().is_some_and(|kept| opened_signer(db, &id, &kept).is_some()) {
        return Ok(());
    }
    let mut text = signer.to_hex();
    db.sealing(|vault| {
        text = vault.seal(SecretLocation { kind: KEY_SIGNER, of: &id }, &text)?;
        Ok(())
    })?;
    on!(db, write, |c| {
        let key = api_keys::table.filter(api_keys::id.eq(id));
        diesel::update(key).set(api_keys::signer.eq(text)).execute(c).await?;
        Ok(())
    })
    .await
}

/// Returns a signer as it was stored; none if it cannot be opened.
fn opened_signer(db: &Db, id: &str, stored: &str) -> Option<String> {
    let mut text = stored.to_owned();
    if let Some(vault) = &db.vault {
        opened(vault, SecretLocation { kind: KEY_SIGNER, of: id }, &mut text);
    }
    (!is_sealed(&text)).then_some(text)
}

/// A key whose signer is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKey {
    pub id: ApiKeyId,
    /// The BLAKE3 hash of the key, in hexadecimal digits.
    pub hash: String,
    /// The signer derived from the key.
    pub signer: Signer,
}

/// Returns the key that signs for the organization: `wanted`, if it is valid, or else the newest
/// key that is valid and was used.
///
/// # Errors
///
/// [`DbError::Unavailable`].
pub async fn signing(
    db: &Db,
    organization: OrganizationId,
    wanted: Option<ApiKeyId>,
) -> Result<Option<SigningKey>, DbError> {
    let found: Vec<(String, String, Option<String>)> = on!(db, read, |c| {
        let query = api_keys::table
            .filter(api_keys::organization_id.eq(organization.to_string()))
            .filter(valid!())
            .filter(api_keys::signer.is_not_null())
            .order((api_keys::created_at.desc(), api_keys::id.desc()))
            .select((api_keys::id, api_keys::hash, api_keys::signer));
        Ok(query.load(c).await?)
    })
    .await?;
    let found: Vec<(String, String, String)> = found
        .into_iter()
        .filter_map(|(id, hash, signer)| {
            let signer = opened_signer(db, &id, &signer?)?;
            Some((id, hash, signer))
        })
        .collect();
    let wanted = wanted.map(|id| id.to_string());
    let own = found.iter().find(|(id, ..)| Some(id) == wanted.as_ref());
    let own = own.or(found.as_slice().first());
    let Some((id, hash, signer)) = own else { return Ok(None) };
    let read = Reader { row: id };
    Ok(Some(SigningKey {
        id: read.parse("api_keys.id", id)?,
        hash: hash.clone(),
        signer: read.parse("api_keys.signer", signer)?,
    }))
}
