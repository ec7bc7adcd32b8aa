//! The films of a session that are not stored yet.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::domain::ids::ArtifactId;
use crate::domain::run::ArtifactRecord;
use crate::system::film::{BlackBox, FilmError, Recording, RecordingMetadata};

/// The result of a film; `None` until it is known.
pub(super) type FilmResult = watch::Receiver<Option<Result<ArtifactRecord, FilmError>>>;

/// The films of one session.
#[derive(Debug, Default)]
pub(super) struct Filming {
    /// The recordings under way.
    pub(super) live: BTreeMap<ArtifactId, Live>,
    /// The black box, while the session is used.
    pub(super) black_box: Option<BlackBox>,
    /// The films that are being made or stored, including recordings under way.
    pub(super) open: Vec<FilmResult>,
}

/// A recording under way.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) metadata: RecordingMetadata,
    pub(super) recording: Recording,
    pub(super) result: FilmResult,
}

impl Filming {
    /// The recordings under way, the oldest first.
    pub(super) fn under_way(&self) -> Vec<RecordingMetadata> {
        self.live.values().map(|live| live.metadata.clone()).collect()
    }

    /// Stops the recordings that `of` accepts, and returns the results to wait for.
    pub(super) fn stop(&self, of: impl Fn(&RecordingMetadata) -> bool) -> Vec<FilmResult> {
        let stopped = self.live.values().filter(|live| of(&live.metadata));
        stopped
            .map(|live| {
                live.recording.stop();
                live.result.clone()
            })
            .collect()
    }
}
