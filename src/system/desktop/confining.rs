//! What desktops may use of the machine, and what the ledger of leaks is told of them.

use std::path::PathBuf;

use futures_util::future::BoxFuture;

use super::directory::{Directory, replace};
use super::launch::Desktops;
use crate::domain::ids::SessionId;
use crate::domain::leak::Leak;
use crate::domain::session::SessionRecord;
use crate::system::leaks;
use crate::system::limits::{self, Group, NoRoom, Usage};

impl Desktops {
    pub(super) fn tell_limits(&self) {
        let Some(subtree) = &self.0.subtree else { return };
        let base = subtree.base().display();
        match subtree.controllers() {
            [] => tracing::warn!(
                "sessions have control groups in {base}, but no limits: none is delegated"
            ),
            limited => tracing::info!("sessions are limited in {} by {base}", limited.join(", ")),
        }
        let line = format!("{base}\n");
        if let Err(cause) = std::fs::write(self.0.data.join(limits::BASE), line) {
            tracing::warn!(error = %cause, "where the control groups are is not on record");
        }
    }

    /// Where the ledger of leaks looks.
    pub fn place(&self) -> leaks::Place {
        let groups = std::fs::read_to_string(self.0.data.join(limits::BASE)).unwrap_or_default();
        leaks::Place {
            data: self.0.data.clone(),
            groups: groups.lines().map(PathBuf::from).collect(),
        }
    }

    /// The ports that are kept for no session, see [`leaks::ports`].
    pub fn port_leaks(&self, live: &[SessionRecord]) -> Vec<Leak> {
        leaks::ports(self.ports(), live, &self.place())
    }

    /// Removes what the end of sessions has left, see [`leaks::Place::remove`].
    pub async fn remove_leaks(&self, known: &leaks::Known) {
        self.place().remove(known, &self.settings().path).await;
    }

    /// Gives a new session its control group, where there are any, before its first program.
    pub(super) fn confine(&self, session: SessionId, directory: &Directory) -> std::io::Result<()> {
        let Some(subtree) = &self.0.subtree else { return Ok(()) };
        let path = match subtree.group(session) {
            Ok(group) => group.path().to_string_lossy().into_owned(),
            Err(cause) => {
                tracing::warn!(error = %cause, "the session has no limits: no control group");
                return Ok(());
            }
        };
        replace(&directory.group(), path.as_bytes())
    }

    /// Gives the control group that a former server made the limits of this one.
    pub(super) fn confine_again(&self, directory: &Directory) {
        if let (Some(subtree), Some(group)) = (&self.0.subtree, Group::named_in(&directory.group()))
            && let Err(cause) = subtree.limit_again(&group)
        {
            tracing::warn!(error = %cause, "{} has no limits", group.path().display());
        }
    }

    /// Whether the machine has room for `coming` more sessions, measured off this thread.
    pub(super) fn measured(&self, coming: u64) -> BoxFuture<'static, Result<(), NoRoom>> {
        let desktops = self.clone();
        let measured = self
            .runtime()
            .spawn_blocking(move || limits::room(&desktops.0.limits, &desktops.0.data, coming));
        // What cannot be measured is taken to suffice.
        Box::pin(async move { measured.await.unwrap_or(Ok(())) })
    }

    /// Whether the disk has the room that must be free, measured off this thread.
    pub(super) fn disk_measured(&self) -> BoxFuture<'static, Result<(), NoRoom>> {
        let desktops = self.clone();
        let measured = self
            .runtime()
            .spawn_blocking(move || limits::disk(&desktops.0.limits, &desktops.0.data));
        Box::pin(async move { measured.await.unwrap_or(Ok(())) })
    }

    /// What the programs of a session use, where it has a control group.
    pub(super) fn used_by(&self, session: SessionId) -> Option<Usage> {
        self.0.subtree.as_ref()?;
        Some(Group::named_in(&self.directory(session).group())?.usage())
    }
}
