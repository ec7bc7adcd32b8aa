//! Tickets over a restart: a server that leaves its sessions to the next one leaves their tickets too.
//!
//! The file has the hashes of their secrets, never the secrets. It is written when the server stops with
//! `--keep-sessions`, and removed when the next one reads it: so a ticket that is revoked later cannot come
//! back. After `kill -9` there is no such file, and tickets have to be made again.

use std::fs;
use std::io;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::data::DataDirectory;
use crate::actors::tickets::Stored;
use crate::actors::world::World;
use crate::db::{Db, api_keys};
use crate::domain::session::SessionRecord;

/// The file in the data directory.
const FILE: &str = "tickets.json";

#[derive(Serialize, Deserialize)]
struct Saved {
    tickets: Vec<Stored>,
}

/// Writes the tickets that are valid.
pub(super) fn keep(data: &DataDirectory, world: &World) {
    let tickets = world.views.tickets.stored(world.clock.now());
    if tickets.is_empty() {
        return;
    }
    let count = tickets.len();
    let kept = serde_json::to_string(&Saved { tickets })
        .context("the tickets have no form")
        .and_then(|text| data.write(FILE, &text));
    match kept {
        Ok(()) => info!("{count} tickets are left to the next server"),
        Err(cause) => warn!("the tickets end with this server: {cause:#}"),
    }
}

/// Takes over the tickets of the former server whose sessions live on and whose keys are valid.
///
/// # Errors
///
/// Returns an error if the file cannot be removed: its tickets could come back after they were revoked.
pub(super) async fn restore(
    data: &DataDirectory,
    world: &World,
    db: &Db,
    left: &[SessionRecord],
) -> anyhow::Result<()> {
    let text = data.read(FILE);
    match fs::remove_file(data.file(FILE)) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.with_context(|| format!("cannot remove {FILE} (data)"))?,
    }
    let Some(Ok(Saved { mut tickets })) = text.map(|text| serde_json::from_str(&text)) else {
        warn!("the tickets of the former server cannot be read, and have ended");
        return Ok(());
    };
    let now = world.clock.now();
    tickets.retain(|ticket| {
        ticket.expires_at > now && left.iter().any(|session| session.id == ticket.session)
    });
    let keys: Vec<_> = tickets.iter().map(|ticket| ticket.key).collect();
    let ended = api_keys::revoked_among(db, &keys).await.context("keys cannot be checked")?;
    tickets.retain(|ticket| !ended.contains(&ticket.key));
    if !tickets.is_empty() {
        info!("{} tickets of the former server are valid", tickets.len());
    }
    world.views.tickets.restore(tickets);
    Ok(())
}
