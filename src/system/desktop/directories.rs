//! The directories of all sessions of a server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::directory::Directory;
use super::files::{SessionFiles, Uploads};
use crate::domain::ids::SessionId;
use crate::domain::sealing::Vault;
use crate::system::confine::place::Placement;
use crate::system::confine::user::Users;

/// The directories of all sessions. Those of the server are below its data directory. Those of
/// programs are below another one, which sessions' users can traverse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    data: PathBuf,
    programs: PathBuf,
    users: Users,
    vault: Option<Vault>,
    uploads: Uploads,
}

impl Directories {
    /// The directories of a server with this data directory, an absolute path. Nothing is created or read.
    pub fn new(data: impl Into<PathBuf>, placement: &Placement) -> Self {
        let data = data.into();
        let programs = placement.programs(&data);
        let users = Users::new(data.join("users"), placement.range);
        Self { data, programs, users, vault: None, uploads: Uploads::default() }
    }

    /// The directories of a server with default settings: all below its data directory, owned by its user.
    pub fn below(data: impl Into<PathBuf>) -> Self {
        Self::new(data, &Placement::default())
    }

    /// Returns the same directories, in which the server's secrets are sealed.
    #[must_use]
    pub fn sealed_with(self, vault: Vault) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// Returns the same directories, with these limits of uploads.
    #[must_use]
    pub fn taking(self, uploads: Uploads) -> Self {
        Self { uploads, ..self }
    }

    /// The files of a session, whether its directories exist or not.
    pub fn files_of(&self, session: SessionId) -> SessionFiles {
        SessionFiles::new(session, self.of(session), self.uploads.clone())
    }

    /// Seals files that an older server wrote in plain text, and returns their number. A file that
    /// cannot be replaced stays, and the log has the reason.
    pub fn seal_former(&self) -> usize {
        let sealed = |session: &SessionId| match self.of(*session).seal_former() {
            Ok(count) => count,
            Err(cause) => {
                tracing::warn!(session.id = %session, "its files are not sealed yet: {cause}");
                0
            }
        };
        named_in(&self.sessions()).iter().map(sealed).sum()
    }

    /// The data directory of the server.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The directory that contains the programs' directories of new sessions.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The record of sessions' users.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The directories of a session, whether they exist or not.
    pub fn of(&self, session: SessionId) -> Directory {
        let root = self.sessions().join(session.to_string());
        Directory::new(session, root, &self.programs, self.users.clone(), self.vault)
    }

    fn sessions(&self) -> PathBuf {
        self.data.join("sessions")
    }

    /// The directories that contain directories named after sessions.
    pub fn roots(&self) -> Vec<PathBuf> {
        let named = named_in(&self.sessions()).into_iter().map(|session| self.of(session));
        let own = named.filter_map(|directory| Some(directory.own().parent()?.to_owned()));
        let known = [self.sessions(), self.programs.clone()].into_iter().chain(own);
        known.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The sessions that have a directory or a user.
    pub fn named(&self) -> Vec<SessionId> {
        let mut found = named_in(&self.sessions());
        found.extend(named_in(&self.programs));
        found.extend(self.users.all().into_iter().map(|(_, session)| session));
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes the programs' parent directory if it is empty.
    pub fn tidy(&self) {
        let _ = fs::remove_dir(&self.programs); // It contains sessions, or does not exist.
    }
}

/// The sessions that are named by entries of a directory.
fn named_in(folder: &Path) -> Vec<SessionId> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}
