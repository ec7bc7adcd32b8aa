//! The facts that decide whether a server of this version can take over what a former one has left.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Handle;

use super::data;
use crate::config::Settings;
use crate::db::OpenError;
use crate::db::standing::{self, Standing};
use crate::domain::ids::{NodeId, SessionId};
use crate::system::desktop::Desktops;
use crate::system::seam::AdoptError;

/// The data directory, the database and the sessions that a former server has left.
#[derive(Debug)]
pub struct Remains {
    /// The node of the data directory; none if no server has used it.
    pub node: Option<NodeId>,
    /// True if the data directory has the key of sealed secrets.
    pub has_secret: bool,
    /// The database; none if there is none yet.
    pub database: Result<Option<Standing>, OpenError>,
}

/// Looks at what a former server has left. Changes nothing, and needs no server to be stopped.
pub async fn remains(settings: &Settings) -> Remains {
    let data = &settings.data;
    Remains {
        node: data::node(data),
        has_secret: data.join("secret").exists(),
        database: standing::standing(&settings.database, data).await,
    }
}

/// Returns the sessions of a node whose desktops a server of this version cannot adopt, with the reason.
pub fn unreadable(
    settings: &Settings,
    node: NodeId,
    standing: &Standing,
) -> Vec<(SessionId, AdoptError)> {
    let desktops = Desktops::new(&settings.data, settings.desktop.clone(), Handle::current());
    let node = node.to_string();
    let own = standing.sessions.iter().filter(|session| session.node_id == node);
    let ids = own.filter_map(|session| session.id.parse().ok());
    let refused = ids.filter_map(|id: SessionId| Some((id, desktops.check_adoption(id).err()?)));
    // A session whose browser never ran is started by the next server.
    refused.filter(|(_, cause)| !matches!(cause, AdoptError::NothingSaved)).collect()
}

/// The beginning of the name of a directory for a trial; its process id follows.
const TRIAL: &str = ".upgrade-check-";

/// The free disk that a trial leaves to others, in bytes.
const KEPT_FREE: u64 = 64 << 20;

/// Returns the bytes that are free on the disk of a directory, if they are known.
fn free(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A directory for a copy of the database. It is removed when the value is dropped.
#[derive(Debug)]
struct Trial(PathBuf);

impl Trial {
    /// Makes a directory that only this user may read: the copy has everything that the database has.
    /// Removes those of former checks that were killed.
    fn begin(data: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let own = std::process::id().to_string();
        for entry in fs::read_dir(data)?.flatten() {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(TRIAL));
            let pid = rest.and_then(|rest| rest.split('-').next());
            // In a container, each check may have the same process id.
            let has_ended = |pid: &str| pid == own || !Path::new("/proc").join(pid).exists();
            if pid.is_some_and(has_ended)
                && let Err(cause) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!("the copy of a former check stays: {cause}");
            }
        }
        let path = data.join(format!("{TRIAL}{own}-{:08x}", rand::random::<u32>()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(cause) = fs::remove_dir_all(&self.0) {
            tracing::warn!("the copy {} was not removed: {cause}", self.0.display());
        }
    }
}

/// Applies the pending migrations to a copy of the file, in the data directory. Returns their time.
///
/// # Errors
///
/// Returns an error if there is no room for the copy, or a migration fails.
pub async fn try_migrations(settings: &Settings, file: PathBuf) -> anyhow::Result<Duration> {
    let size = fs::metadata(&file)?.len();
    let free = free(&settings.data);
    // The copy, what the migrations write again, and what a server of the same disk needs meanwhile.
    let needed = size.saturating_mul(2) + KEPT_FREE;
    anyhow::ensure!(
        free.is_none_or(|free| free >= needed),
        "a copy needs {} MiB of free disk, and there are {} MiB",
        needed >> 20,
        free.unwrap_or_default() >> 20
    );
    let trial = Trial::begin(&settings.data)?;
    Ok(standing::try_migrations(file, trial.0.join("copy.db")).await?)
}
