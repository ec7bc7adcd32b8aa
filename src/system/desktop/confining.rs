//! Resource limits of desktops, and the data for the leak ledger.

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;

use super::directory::{Directory, replace};
use super::launch::Desktops;
use crate::domain::ids::SessionId;
use crate::domain::leak::Leak;
use crate::domain::session::{Failure, FilesLevel, SessionRecord};
use crate::system::confine::landlock;
use crate::system::confine::place::closed_above;
use crate::system::confine::user::UserError;
use crate::system::display::Cookie;
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::leaks;
use crate::system::limits::{self, Group, NoRoom, Usage};

impl Desktops {
    pub(super) fn log_limits(&self) {
        let Some(subtree) = &self.0.subtree else { return };
        let base = subtree.base().display();
        match subtree.controllers() {
            [] => tracing::warn!(
                "sessions have control groups in {base}, but no limits: none is delegated"
            ),
            limited => tracing::info!("sessions are limited in {} by {base}", limited.join(", ")),
        }
        let line = format!("{base}\n");
        let record = self.0.directories.data().join(limits::BASE);
        if let Err(cause) = std::fs::write(record, line) {
            tracing::warn!(error = %cause, "the place of the control groups is not recorded");
        }
    }

    /// The locations that the leak ledger examines.
    pub fn place(&self) -> leaks::LeakLocations {
        let record = self.0.directories.data().join(limits::BASE);
        let groups = std::fs::read_to_string(record).unwrap_or_default();
        leaks::LeakLocations {
            directories: self.0.directories.clone(),
            groups: groups.lines().map(PathBuf::from).collect(),
        }
    }

    /// The ports that are reserved for no session, see [`leaks::ports`].
    pub fn port_leaks(&self, live: &[SessionRecord]) -> Vec<Leak> {
        leaks::ports(self.ports(), live, &self.place())
    }

    /// Removes leaks of ended sessions, see [`leaks::LeakLocations::remove`].
    pub async fn remove_leaks(&self, known: &leaks::Known) {
        self.place().remove(known, &self.settings().path).await;
    }

    /// Creates the directories of a session before its programs start, with its own user if
    /// sessions get one and can execute `browser`. Returns the isolation level of its files.
    pub(super) fn prepare(
        &self,
        session: SessionId,
        directory: &Directory,
        cookie: &Cookie,
        password_file: &[u8],
        browser: &Path,
    ) -> Result<FilesLevel, Failure> {
        let settings = self.settings();
        let is_confined = settings.confinement.is_on();
        let closed = closed_above(browser);
        if let (Some(folder), true) = (&closed, settings.placement.assigns) {
            let folder = folder.display();
            tracing::warn!(
                "the session has no user: other users cannot pass through {folder} to the browser"
            );
        }
        let user = if is_confined && settings.placement.assigns && closed.is_none() {
            let assigned = self.0.directories.users().assign(session);
            Some(assigned.map_err(|cause| no_user(&cause))?)
        } else {
            // A previous server may have assigned a user.
            self.0.directories.users().of(session).filter(|_| is_confined)
        };
        directory
            .create(cookie, password_file, user)
            .map_err(|cause| directory_failed(directory.path(), &cause))?;
        Ok(match user {
            Some(_) => FilesLevel::Uid,
            None if is_confined && landlock::known_abi() > 0 => FilesLevel::Landlock,
            None => FilesLevel::None,
        })
    }

    /// Creates the control group of a new session before its first program, if there are control groups.
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

    /// Applies this server's limits to the control group that a previous server made.
    pub(super) fn confine_again(&self, directory: &Directory) {
        if let (Some(subtree), Some(group)) = (&self.0.subtree, Group::named_in(&directory.group()))
            && let Err(cause) = subtree.limit_again(&group)
        {
            tracing::warn!(error = %cause, "{} has no limits", group.path().display());
        }
    }

    /// Checks on a blocking thread that the machine has room for `coming` more sessions.
    pub(super) fn measured(&self, coming: u64) -> BoxFuture<'static, Result<(), NoRoom>> {
        let desktops = self.clone();
        let measured = self.runtime().spawn_blocking(move || {
            limits::room(&desktops.0.limits, desktops.0.directories.data(), coming)
        });
        // Room that cannot be measured counts as sufficient.
        Box::pin(async move { measured.await.unwrap_or(Ok(())) })
    }

    /// Checks on a blocking thread that the disk has the room that must be free.
    pub(super) fn disk_measured(&self) -> BoxFuture<'static, Result<(), NoRoom>> {
        let desktops = self.clone();
        let measured = self.runtime().spawn_blocking(move || {
            limits::disk(&desktops.0.limits, desktops.0.directories.data())
        });
        Box::pin(async move { measured.await.unwrap_or(Ok(())) })
    }

    /// The resources that the programs of a session use; none without a control group.
    pub(super) fn used_by(&self, session: SessionId) -> Option<Usage> {
        self.0.subtree.as_ref()?;
        Some(Group::named_in(&self.directory(session).group())?.usage())
    }
}

fn no_user(cause: &UserError) -> Failure {
    let message = match cause {
        UserError::Exhausted(_) => cause.to_string(),
        UserError::Record { cause: system, .. } => format!("{cause}: {system}"),
    };
    let hint = "close sessions, or widen `isolation.user_range`".to_owned();
    Failure { hint: Some(hint), ..failure("directory", "no_user_free", message) }
}
