//! The pools that the API has made, in a file of the data directory: they belong to this node, as the desktops do.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tracing::error;

use super::settings::ShapeSettings;

/// The pools of the API by their names.
pub type OwnPools = BTreeMap<String, ShapeSettings>;

/// The content of the file. Fields of later versions are ignored.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    pools: BTreeMap<String, Stored>,
}

/// A pool as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    ready: usize,
    maximum: usize,
    width: u16,
    height: u16,
    #[serde(default)]
    executable: Option<String>,
}

impl From<ShapeSettings> for Stored {
    fn from(settings: ShapeSettings) -> Self {
        let ShapeSettings { ready, maximum, width, height, executable } = settings;
        Self { ready, maximum, width, height, executable }
    }
}

impl From<Stored> for ShapeSettings {
    fn from(stored: Stored) -> Self {
        let Stored { ready, maximum, width, height, executable } = stored;
        Self { ready, maximum, width, height, executable }
    }
}

/// The file; without a path, nothing outlives the server.
#[derive(Debug, Clone, Default)]
pub struct KeptPools(Option<PathBuf>);

impl KeptPools {
    /// The file at `path`, which need not exist.
    pub fn at(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Reads the pools. A file that cannot be read counts as empty, with a line in the log.
    pub(super) fn read(&self) -> OwnPools {
        let Some(path) = &self.0 else { return OwnPools::new() };
        let read = match fs::read(path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return OwnPools::new(),
            read => read.and_then(|bytes| Ok(serde_json::from_slice::<Content>(&bytes)?)),
        };
        match read {
            Ok(Content { pools }) => {
                pools.into_iter().map(|(name, stored)| (name, stored.into())).collect()
            }
            Err(cause) => {
                error!(
                    "the pools that the API has made are not known any more: {} cannot be read: {cause}",
                    path.display()
                );
                OwnPools::new()
            }
        }
    }

    /// Replaces the file atomically; on failure, the former one stays.
    pub(super) fn write(&self, pools: OwnPools) -> io::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
        let pools = pools.into_iter().map(|(name, settings)| (name, settings.into())).collect();
        let bytes = serde_json::to_vec_pretty(&Content { pools })?;
        let part = path.with_extension("part");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(part, path)
    }
}
