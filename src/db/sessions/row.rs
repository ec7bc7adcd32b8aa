//! The row of a session.

use std::time::Duration;

use chrono::NaiveDateTime;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::Db;
use super::super::query::DbError;
use super::super::sealed::{
    BROWSER, CERTIFICATES, ECHO, LOGINS, PROXY, Secrets, open_proxies, opened, passwords,
    seal_passwords, seal_proxies, seal_proxy,
};
use super::super::values::{Reader, json, stored};
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::deadlines::Deadlines;
use crate::domain::egress::EgressLists;
use crate::domain::ids::SessionId;
use crate::domain::labels::Tags;
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::{Generation, Held, Occupancy, Occupant};
use crate::domain::profile::ProfileUse;
use crate::domain::sealing::{SealError, SecretLocation, Vault};
use crate::domain::session::{SessionRecord, SessionSpec, Size};
use crate::schema::browser_sessions;

#[derive(Debug, Queryable, Selectable, Insertable)]
#[diesel(table_name = browser_sessions, treat_none_as_default_value = false)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct Row {
    pub(in crate::db) id: String,
    pub(in crate::db) organization_id: String,
    pub(in crate::db) node_id: String,
    status: String,
    width: i32,
    height: i32,
    start_url: Option<String>,
    lifetime_seconds: i64,
    proxy: Option<String>,
    echo: Value,
    display_number: Option<i32>,
    vnc_port: Option<i32>,
    desktop: Option<Value>,
    #[diesel(embed)]
    occupancy: OccupancyColumns,
    expires_at: Option<NaiveDateTime>,
    idle_expires_at: Option<NaiveDateTime>,
    start_by: Option<NaiveDateTime>,
    failure: Option<Value>,
    pub(in crate::db) created_at: NaiveDateTime,
    started_at: Option<NaiveDateTime>,
    completed_at: Option<NaiveDateTime>,
    modified_at: NaiveDateTime,
    egress: Option<Value>,
    sanitize_after: Option<i64>,
    sanitize_due: Option<i64>,
    rotation: i64,
    name: Option<String>,
    tags: Option<Value>,
    settings: Option<Value>,
    profile: Option<Value>,
}

impl Row {
    /// Returns the same row with another use of the profile.
    pub(super) fn with_profile(self, used: &ProfileUse) -> Self {
        Self { profile: Some(json(used)), ..self }
    }
}

/// The egress lists of a row. The column is null if both are empty.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Lists {
    #[serde(default)]
    session: EgressLists,
    #[serde(default)]
    organization: EgressLists,
}

/// The columns for the targets that the session's programs may reach, and for their upstream proxy.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = browser_sessions, treat_none_as_null = true)]
pub(super) struct EgressColumns {
    egress: Option<Value>,
    proxy: Option<String>,
    echo: Value,
}

impl Row {
    fn columns(&mut self) -> (&str, &mut Option<String>, &mut Value) {
        (&self.id, &mut self.proxy, &mut self.echo)
    }
}

impl Secrets for Row {
    fn seal(&mut self, vault: &Vault) -> Result<(), SealError> {
        let (of, proxy, echo) = self.columns();
        seal_columns(vault, of, proxy, echo)?;
        seal_passwords(vault, &self.id, self.settings.as_mut())
    }

    fn open(&mut self, vault: &Vault) {
        let (of, proxy, echo) = self.columns();
        if let Some(proxy) = proxy {
            opened(vault, SecretLocation { kind: PROXY, of }, proxy);
        }
        open_proxies(vault, SecretLocation { kind: ECHO, of }, echo);
        let place = SecretLocation { kind: BROWSER, of: &self.id };
        passwords(self.settings.as_mut()).for_each(|text| opened(vault, place, text));
    }
}

fn seal_columns(
    vault: &Vault,
    of: &str,
    proxy: &mut Option<String>,
    echo: &mut Value,
) -> Result<(), SealError> {
    if let Some(proxy) = proxy {
        seal_proxy(vault, SecretLocation { kind: PROXY, of }, proxy)?;
    }
    seal_proxies(vault, SecretLocation { kind: ECHO, of }, echo)
}

impl EgressColumns {
    /// Seals the secrets of these columns, for the row of a session.
    pub(super) fn sealed(mut self, db: &Db, session: SessionId) -> Result<Self, DbError> {
        db.sealing(|vault| {
            seal_columns(vault, &session.to_string(), &mut self.proxy, &mut self.echo)
        })?;
        Ok(self)
    }
}

impl From<&SessionSpec> for EgressColumns {
    fn from(spec: &SessionSpec) -> Self {
        Self {
            egress: lists(spec),
            proxy: spec.proxy.as_ref().map(ToString::to_string),
            echo: spec.echo.clone(),
        }
    }
}

/// The column of the settings, with passwords and keys that are not sealed; null if none is given.
pub(super) fn settings(settings: &BrowserSettings) -> Option<Value> {
    if *settings == BrowserSettings::default() {
        return None;
    }
    let mut column = json(settings);
    let logins = settings.http_credentials.iter().map(|it| it.password.expose());
    add_secrets(&mut column, LOGINS, logins);
    let keys = settings.client_certificates.iter().map(|it| it.key_pem.expose());
    add_secrets(&mut column, CERTIFICATES, keys);
    Some(column)
}

/// Adds the secrets to the entries of a list, which are serialized without them.
fn add_secrets<'a>(
    column: &mut Value,
    (list, secret): (&str, &str),
    texts: impl Iterator<Item = &'a str>,
) {
    let entries = column.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
    for (entry, text) in entries.zip(texts) {
        if let Some(members) = entry.as_object_mut() {
            members.insert(secret.to_owned(), text.into());
        }
    }
}

/// The column of the tags, which is null if there are none.
pub(super) fn tags(tags: &Tags) -> Option<Value> {
    (!tags.is_empty()).then(|| json(tags))
}

fn lists(spec: &SessionSpec) -> Option<Value> {
    let lists =
        Lists { session: spec.egress.clone(), organization: spec.organization_egress.clone() };
    (lists != Lists::default()).then(|| json(&lists))
}

/// The columns of the occupancy. A field that is `None` is written as null.
#[derive(Debug, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = browser_sessions)]
#[diesel(treat_none_as_default_value = false, treat_none_as_null = true)]
#[diesel(check_for_backend(diesel::sqlite::Sqlite, diesel::pg::Pg))]
pub(super) struct OccupancyColumns {
    occupancy_state: String,
    runnable_type: Option<String>,
    runnable_id: Option<String>,
    generation: i64,
    /// The lease of the occupant, or of the last one that released the session.
    lease_hash: Option<String>,
    occupied_since: Option<NaiveDateTime>,
    heartbeat_at: Option<NaiveDateTime>,
    occupancy_expires_at: Option<NaiveDateTime>,
}

/// The columns of the occupancy at the end of the session. The generation is kept.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = browser_sessions, treat_none_as_null = true)]
pub(super) struct ClosedColumns {
    occupancy_state: &'static str,
    runnable_type: Option<String>,
    runnable_id: Option<String>,
    lease_hash: Option<String>,
    occupied_since: Option<NaiveDateTime>,
    heartbeat_at: Option<NaiveDateTime>,
    occupancy_expires_at: Option<NaiveDateTime>,
}

impl Default for ClosedColumns {
    fn default() -> Self {
        Self {
            occupancy_state: "closed",
            runnable_type: None,
            runnable_id: None,
            lease_hash: None,
            occupied_since: None,
            heartbeat_at: None,
            occupancy_expires_at: None,
        }
    }
}

impl From<&Occupancy> for OccupancyColumns {
    fn from(occupancy: &Occupancy) -> Self {
        let nobody = |state: &str, last: &Generation, lease: Option<&LeaseHash>| Self {
            occupancy_state: state.to_owned(),
            runnable_type: None,
            runnable_id: None,
            generation: last.number(),
            lease_hash: lease.map(|lease| lease.to_hex()),
            occupied_since: None,
            heartbeat_at: None,
            occupancy_expires_at: None,
        };
        match occupancy {
            Occupancy::Vacant { last, released } => nobody("vacant", last, released.as_ref()),
            Occupancy::Closed { last } => nobody("closed", last, None),
            Occupancy::Held(held) => Self {
                occupancy_state: "held".to_owned(),
                runnable_type: Some(held.occupant.runnable_type.as_str().to_owned()),
                runnable_id: Some(held.occupant.runnable_id.as_str().to_owned()),
                generation: held.generation.number(),
                lease_hash: Some(held.lease.to_hex()),
                occupied_since: Some(stored(held.since)),
                heartbeat_at: Some(stored(held.heartbeat_at)),
                occupancy_expires_at: Some(stored(held.expires_at)),
            },
        }
    }
}

impl OccupancyColumns {
    fn read(self, read: Reader<'_>) -> Result<Occupancy, DbError> {
        let last = Generation::new(self.generation);
        let lease = match &self.lease_hash {
            Some(hex) => Some(read.some("browser_sessions.lease_hash", LeaseHash::from_hex(hex))?),
            None => None,
        };
        let runnable_type = self.runnable_type.as_deref();
        let runnable_id = self.runnable_id.as_deref();
        Ok(match self.occupancy_state.as_str() {
            "vacant" => Occupancy::Vacant { last, released: lease },
            "closed" => Occupancy::Closed { last },
            "held" => Occupancy::Held(Held {
                occupant: Occupant {
                    runnable_type: read.parse(
                        "browser_sessions.runnable_type",
                        runnable_type.unwrap_or_default(),
                    )?,
                    runnable_id: read
                        .parse("browser_sessions.runnable_id", runnable_id.unwrap_or_default())?,
                },
                generation: last,
                lease: read.some("browser_sessions.lease_hash", lease)?,
                since: read.some("browser_sessions.occupied_since", self.occupied_since)?.and_utc(),
                heartbeat_at: read
                    .some("browser_sessions.heartbeat_at", self.heartbeat_at)?
                    .and_utc(),
                expires_at: read
                    .some("browser_sessions.occupancy_expires_at", self.occupancy_expires_at)?
                    .and_utc(),
            }),
            _ => return Err(read.corrupt("browser_sessions.occupancy_state")),
        })
    }
}

impl From<&SessionRecord> for Row {
    fn from(session: &SessionRecord) -> Self {
        let SessionSpec { size, start_url, lifetime, proxy, echo, .. } = &session.spec;
        let desktop = session.desktop.as_ref();
        // A fraction of a second is rounded up.
        let lifetime = lifetime.as_secs() + u64::from(lifetime.subsec_nanos() > 0);
        Self {
            id: session.id.to_string(),
            organization_id: session.organization.to_string(),
            node_id: session.node.to_string(),
            status: session.status.to_string(),
            width: size.width().into(),
            height: size.height().into(),
            start_url: start_url.as_ref().map(ToString::to_string),
            lifetime_seconds: i64::try_from(lifetime).unwrap_or(i64::MAX),
            proxy: proxy.as_ref().map(ToString::to_string),
            echo: echo.clone(),
            display_number: desktop.map(|desktop| desktop.display_number.into()),
            vnc_port: desktop.map(|desktop| desktop.vnc_port.into()),
            desktop: desktop.map(json),
            occupancy: OccupancyColumns::from(&session.occupancy),
            expires_at: session.deadlines.expires_at.map(stored),
            idle_expires_at: session.deadlines.idle_expires_at.map(stored),
            start_by: session.deadlines.start_by.map(stored),
            failure: session.failure.as_ref().map(json),
            created_at: stored(session.created_at),
            started_at: session.started_at.map(stored),
            completed_at: session.completed_at.map(stored),
            modified_at: stored(session.modified_at),
            egress: lists(&session.spec),
            sanitize_after: session.spec.sanitize_after.map(Generation::number),
            sanitize_due: session.spec.sanitize_due.map(Generation::number),
            rotation: session.spec.rotation,
            name: session.spec.name.as_ref().map(ToString::to_string),
            tags: tags(&session.spec.tags),
            settings: settings(&session.spec.settings),
            profile: session.spec.profile.as_ref().map(json),
        }
    }
}

impl TryFrom<Row> for SessionRecord {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let read = Reader { row: &row.id };
        let size = u32::try_from(row.width)
            .ok()
            .zip(u32::try_from(row.height).ok())
            .and_then(|(width, height)| Size::new(width, height).ok());
        let lifetime = u64::try_from(row.lifetime_seconds).ok().map(Duration::from_secs);
        let lists: Option<Lists> = read.json("browser_sessions.egress", row.egress)?;
        let lists = lists.unwrap_or_default();
        Ok(Self {
            id: read.parse("browser_sessions.id", &row.id)?,
            organization: read.parse("browser_sessions.organization_id", &row.organization_id)?,
            node: read.parse("browser_sessions.node_id", &row.node_id)?,
            status: read.parse("browser_sessions.status", &row.status)?,
            spec: SessionSpec {
                size: read.some("browser_sessions.width", size)?,
                start_url: read
                    .parse_some("browser_sessions.start_url", row.start_url.as_deref())?,
                lifetime: read.some("browser_sessions.lifetime_seconds", lifetime)?,
                proxy: read.parse_some("browser_sessions.proxy", row.proxy.as_deref())?,
                egress: lists.session,
                organization_egress: lists.organization,
                echo: row.echo,
                sanitize_after: row.sanitize_after.map(Generation::new),
                sanitize_due: row.sanitize_due.map(Generation::new),
                rotation: row.rotation,
                name: read.parse_some("browser_sessions.name", row.name.as_deref())?,
                tags: read.json("browser_sessions.tags", row.tags)?.unwrap_or_default(),
                settings: read.json("browser_sessions.settings", row.settings)?.unwrap_or_default(),
                profile: read.json("browser_sessions.profile", row.profile)?,
            },
            desktop: read.json("browser_sessions.desktop", row.desktop)?,
            occupancy: row.occupancy.read(read)?,
            deadlines: Deadlines {
                start_by: row.start_by.map(|at| at.and_utc()),
                expires_at: row.expires_at.map(|at| at.and_utc()),
                idle_expires_at: row.idle_expires_at.map(|at| at.and_utc()),
            },
            failure: read.json("browser_sessions.failure", row.failure)?,
            created_at: row.created_at.and_utc(),
            started_at: row.started_at.map(|at| at.and_utc()),
            completed_at: row.completed_at.map(|at| at.and_utc()),
            modified_at: row.modified_at.and_utc(),
        })
    }
}
