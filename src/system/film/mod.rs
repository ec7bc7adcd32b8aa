//! Films of a session: recordings that were asked for, and the black box that was not.
//!
//! ```text
//! capture thread --a few frames may wait, others are dropped--> frames on the disk, by their time
//!                                                                  |
//!                              a part at a time, while it goes on  v
//!                                                 ffmpeg --> parts --> one film
//! ```
//!
//! Frames are JPEGs that the capture has encoded because something changed. They go to the disk and
//! not to ffmpeg: no pipe can hold the capture up, a server that is killed loses none, and the next
//! one goes on with the same recording. ffmpeg reads files and writes files, a few seconds each
//! time, so that what is left to do at the end of a long recording is little. The film has a
//! constant frame rate, whatever the frames had.
//!
//! The black box is a ring of such frames, bounded in time and bytes, while somebody uses the
//! session. When something breaks, its folder is renamed, which freezes it, and made into a film
//! beside the recovery.
//!
//! All of it is in the server's directory of the session, in `films/`, and goes with it: the end of a
//! session waits for its films. ffmpeg has a folder of its own among the programs' directories for each
//! part that it makes.

mod archive;
mod black_box;
mod ffmpeg;
mod frames;
mod recording;
mod settings;
#[cfg(test)]
mod tests;

pub use black_box::{BlackBox, Frozen};
pub use recording::{Recording, Slate};
pub use settings::Settings;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::ffmpeg::Ffmpeg;
use super::confine::Confinement;
use super::desktop::Directories;
use super::process::find;
use crate::domain::checksum::Checksum;
use crate::domain::film::Container;
use crate::domain::ids::SessionId;

/// How many films are made at once on a machine that has better things to do.
const AT_ONCE: usize = 2;

/// Why there is no film.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilmError {
    /// The program that makes films is not there.
    #[error("the program {} is missing; install the Debian package `ffmpeg`, or run `scripts/setup`", .program.display())]
    NoFfmpeg {
        /// What was looked for.
        program: PathBuf,
    },
    /// There is too little room for one.
    #[error("{free} MB are free on the disk, and `recording.min_free_megabytes` is {least}")]
    DiskFull {
        /// How much room there is, in megabytes.
        free: u64,
        /// How much there must be.
        least: u64,
    },
    /// The frames could not be kept, or made into a film.
    #[error("the film could not be made: {cause}")]
    Failed {
        /// What the system or ffmpeg said.
        cause: String,
    },
}

fn failed(cause: impl ToString) -> FilmError {
    FilmError::Failed { cause: cause.to_string() }
}

/// A film that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Film {
    /// Where it is, until it is moved away.
    pub file: PathBuf,
    /// What kind of file it is.
    pub container: Container,
    /// How long it is.
    pub length: Duration,
    /// Why it is not as long as it should be.
    pub cut_short: Option<String>,
    /// What it was made of, and is no longer needed.
    folder: PathBuf,
}

impl Film {
    /// Moves the file to `target`, whose folder is made when it is missing, and removes what it
    /// was made of. Gives its size and the hash of its content. It blocks.
    pub fn move_to(&self, target: &Path) -> io::Result<(u64, String)> {
        let mut checksum = Checksum::default();
        io::copy(&mut File::open(&self.file)?, &mut checksum)?;
        let size = self.file.metadata()?.len();
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::rename(&self.file, target).is_err() {
            // Another file system.
            fs::copy(&self.file, target)?;
        }
        self.forget();
        Ok((size, checksum.finish()))
    }

    /// Removes it, and what it was made of. It blocks.
    pub fn forget(&self) {
        if let Err(cause) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(error = %cause, "{} was not removed", self.folder.display());
        }
    }
}

/// Makes films. Clones are the same.
#[derive(Debug, Clone)]
pub struct Films(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    directories: Directories,
    settings: Settings,
    path: String,
    confinement: Confinement,
    runtime: Handle,
    making: Semaphore,
}

impl Films {
    /// Films of the sessions that have these directories. Programs are looked for in `path` and started
    /// confined, and all work is done on `runtime`.
    pub fn new(
        directories: Directories,
        settings: Settings,
        path: String,
        confinement: Confinement,
        runtime: Handle,
    ) -> Self {
        let making = Semaphore::new(AT_ONCE);
        Self(Arc::new(Inner { directories, settings, path, confinement, runtime, making }))
    }

    /// What is set.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether there is what a recording needs: ffmpeg, and room.
    pub fn ready(&self) -> Result<(), FilmError> {
        self.ffmpeg()?;
        self.room()
    }

    /// Where those of a session are in the making.
    fn folder(&self, session: SessionId) -> PathBuf {
        self.0.directories.of(session).films()
    }

    fn ffmpeg(&self) -> Result<Ffmpeg, FilmError> {
        let program = &self.0.settings.ffmpeg;
        let missing = || FilmError::NoFfmpeg { program: program.clone() };
        Ok(Ffmpeg {
            program: find(program, &self.0.path).ok_or_else(missing)?,
            nice: find(Path::new("nice"), &self.0.path),
            path: self.0.path.clone(),
            directories: self.0.directories.clone(),
            confinement: self.0.confinement.clone(),
            runtime: self.0.runtime.clone(),
        })
    }

    /// Whether there is room for frames.
    fn room(&self) -> Result<(), FilmError> {
        const MEGABYTE: u64 = 1024 * 1024;
        let least = self.0.settings.min_free_megabytes;
        // Who cannot be asked about its room may have some.
        let Ok(disk) = rustix::fs::statvfs(self.0.directories.data()) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) / MEGABYTE;
        if free < least { Err(FilmError::DiskFull { free, least }) } else { Ok(()) }
    }
}

/// Now, in milliseconds since 1970, as frames have it.
fn now() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}
