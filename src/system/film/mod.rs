//! Films of a session: requested recordings, and the automatic black box.
//!
//! ```text
//! capture thread --a few frames may wait, others are dropped--> frames on the disk, by their time
//!                                                                  |
//!                              a part at a time, during recording  v
//!                                                 ffmpeg --> parts --> one film
//! ```
//!
//! Frames are JPEGs that the capture encodes after changes. They are written to the disk and not to ffmpeg.
//! So no pipe can block the capture, a killed server loses none, and the next server continues the same
//! recording. ffmpeg encodes files of a few seconds each, so that little remains to do at the end of a long
//! recording. The film has a constant frame rate, independent of the frames.
//!
//! The black box is a ring of such frames, bounded in time and bytes, while the session is used. When
//! something breaks, its folder is renamed, which freezes it. The film is made in parallel to the recovery.
//!
//! All files are in the server's directory of the session, in `films/`, and are removed with it:
//! the end of a session waits for its films. For each part, ffmpeg has a separate folder among the
//! programs' directories.

mod archive;
mod black_box;
mod ffmpeg;
mod frames;
mod recording;
mod settings;
#[cfg(test)]
mod tests;

pub use black_box::{BlackBox, Frozen};
pub use recording::{Recording, RecordingMetadata};
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

/// The number of films that are made at once, which leaves CPU time to other work.
const AT_ONCE: usize = 2;

/// The reasons for which there is no film.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilmError {
    /// The program that makes films is not installed.
    #[error("the program {} is missing; install the Debian package `ffmpeg`, or run `scripts/setup`", .program.display())]
    NoFfmpeg {
        /// The program that was searched for.
        program: PathBuf,
    },
    /// The disk has too little room for a film.
    #[error("{free} MB are free on the disk, and `recording.min_free_megabytes` is {least}")]
    DiskFull {
        /// The free room, in megabytes.
        free: u64,
        /// The room that is required, in megabytes.
        least: u64,
    },
    /// The frames could not be stored, or made into a film.
    #[error("the recording failed: {cause}")]
    Failed {
        /// The error of the system or ffmpeg.
        cause: String,
    },
}

fn failed(cause: impl ToString) -> FilmError {
    FilmError::Failed { cause: cause.to_string() }
}

/// A film that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Film {
    /// The location of the film, until it is moved away.
    pub file: PathBuf,
    /// The container format of the file.
    pub container: Container,
    /// The length of the film.
    pub length: Duration,
    /// The reason for which the film is shorter than requested.
    pub cut_short: Option<String>,
    /// The folder with the film's sources, which are no longer needed.
    folder: PathBuf,
}

impl Film {
    /// Returns the size of the file and the hash of its content. This blocks.
    pub fn measure(&self) -> io::Result<(u64, String)> {
        let mut checksum = Checksum::default();
        let size = io::copy(&mut File::open(&self.file)?, &mut checksum)?;
        Ok((size, checksum.finish()))
    }

    /// Removes the film and its sources. This blocks.
    pub fn forget(&self) {
        if let Err(cause) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(error = %cause, "{} was not removed", self.folder.display());
        }
    }
}

/// The maker of films. Clones share its state.
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
    /// Films of the sessions that have these directories. Programs are searched for in `path` and
    /// started confined, and all work is done on `runtime`.
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

    /// The settings of films.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Checks the requirements of a recording: ffmpeg, and room on the disk.
    pub fn ready(&self) -> Result<(), FilmError> {
        self.ffmpeg()?;
        self.room()
    }

    /// The folder for a session's films that are in production.
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

    /// Checks that there is room for frames.
    fn room(&self) -> Result<(), FilmError> {
        const MEGABYTE: u64 = 1024 * 1024;
        let least = self.0.settings.min_free_megabytes;
        // A file system that does not report its room counts as having enough.
        let Ok(disk) = rustix::fs::statvfs(self.0.directories.data()) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize) / MEGABYTE;
        if free < least { Err(FilmError::DiskFull { free, least }) } else { Ok(()) }
    }
}

/// The current time in milliseconds since 1970, as in frames.
fn now() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}
