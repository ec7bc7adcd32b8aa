//! Tickets over a restart: a server that leaves its sessions to the next one leaves their tickets too.
//!
//! The file has the hashes of their secrets, never the secrets. It is written when the server stops with
//! `--keep-sessions`, and removed when the next one reads it: so a ticket that is revoked later cannot come
//! back. After `kill -9` there is no such file, and tickets have to be made again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::data::DataDirectory;
use crate::actors::tickets::Stored;
use crate::actors::world::World;
use crate::db::{Db, api_keys};
use crate::domain::ids::ApiKeyId;
use crate::domain::session::SessionRecord;

/// The file in the data directory.
const FILE: &str = "tickets.json";

#[derive(Serialize, Deserialize)]
struct Saved {
    tickets: Vec<Stored>,
}

/// Writes the tickets that are valid.
pub(super) fn keep(data: &DataDirectory, world: &World) {
    let rotations: HashMap<_, _> = world
        .views
        .all_sessions()
        .into_iter()
        .map(|view| (view.record.id, view.record.spec.rotation))
        .collect();
    let tickets = world.views.tickets.stored(world.clock.now(), |id| rotations.get(&id).copied());
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

/// The tickets of the former server that this one has taken over.
pub(super) struct HandedOver {
    file: PathBuf,
    keys: Vec<ApiKeyId>,
}

/// Takes over the tickets of the former server whose sessions live on with the same credentials. Expired ones are
/// among them, because what was opened with a ticket ends with it.
pub(super) fn restore(data: &DataDirectory, world: &World, left: &[SessionRecord]) -> HandedOver {
    let file = data.file(FILE);
    let mut tickets = match data.read(FILE).map(|text| serde_json::from_str(&text)) {
        Some(Ok(Saved { tickets })) => tickets,
        Some(Err(cause)) => {
            warn!("the tickets of the former server cannot be read, and have ended: {cause}");
            Vec::new()
        }
        None => Vec::new(),
    };
    tickets.retain(|ticket| {
        let session = left.iter().find(|session| session.id == ticket.session);
        session.is_some_and(|session| session.spec.rotation == ticket.rotation)
    });
    if !tickets.is_empty() {
        info!("{} tickets of the former server are taken over", tickets.len());
    }
    let keys = tickets.iter().map(|ticket| ticket.key).collect();
    world.views.tickets.restore(tickets);
    HandedOver { file, keys }
}

impl HandedOver {
    /// Ends the tickets whose keys have ended, and removes the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be removed: its tickets could come back after they were revoked.
    pub(super) async fn settle(self, world: &World, db: &Db) -> anyhow::Result<()> {
        let ended =
            api_keys::revoked_among(db, &self.keys).await.context("keys cannot be checked")?;
        for key in ended {
            world.views.tickets.forget_those_by(key);
        }
        match fs::remove_file(&self.file) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", self.file.display())),
        }
    }
}
