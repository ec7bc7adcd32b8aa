//! Settings of films.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::film::{Container, Wish};

/// Recordings, and the black box: the section `recording`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The program that makes films of frames: a name in `desktop.path`, or a path.
    pub ffmpeg: PathBuf,
    /// Frames a second of a recording that asks for nothing else.
    pub frame_rate: u8,
    /// `mp4` or `webm`, for a recording that asks for nothing else.
    pub format: Container,
    /// How many recordings of one session may be under way at once.
    pub max_at_once: usize,
    /// After how long a recording ends by itself.
    pub max_seconds: u64,
    /// At which size a recording ends by itself, its frames that wait for ffmpeg included.
    pub max_megabytes: u64,
    /// With less room on the disk, nothing is recorded.
    pub min_free_megabytes: u64,
    /// How much of a film ffmpeg is given at a time, while it goes on.
    pub part_seconds: u64,
    /// How long the end of a session, or of a run, waits for its films.
    pub finish_seconds: u64,
    /// Whether the last moments before a crash or a failure are kept without being asked for.
    pub black_box: bool,
    /// How many seconds those are.
    pub black_box_seconds: u64,
    /// How many bytes their frames may have.
    pub black_box_megabytes: u64,
    /// The least time between two frames of the black box.
    pub black_box_interval_milliseconds: u64,
    /// How many black boxes of one organization are kept, the newest.
    pub black_box_keep: u32,
    /// How long they are kept.
    pub black_box_keep_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ffmpeg: "ffmpeg".into(),
            frame_rate: 5,
            format: Container::Mp4,
            max_at_once: 2,
            max_seconds: 4 * 60 * 60,
            max_megabytes: 2_048,
            min_free_megabytes: 512,
            part_seconds: 20,
            finish_seconds: 20,
            black_box: true,
            black_box_seconds: 60,
            black_box_megabytes: 32,
            black_box_interval_milliseconds: 1_000,
            black_box_keep: 100,
            black_box_keep_days: 14,
        }
    }
}

impl Settings {
    /// The problems of these settings, one line each, which begins with the key.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let rates = Wish::RATES;
        if !rates.contains(&self.frame_rate) {
            problems.push(format!("frame_rate must be {} to {}", rates.start(), rates.end()));
        }
        if self.format == Container::Zip {
            problems.push("format must be mp4 or webm".to_owned());
        }
        for (key, value) in [
            ("part_seconds", self.part_seconds),
            ("finish_seconds", self.finish_seconds),
            ("black_box_seconds", self.black_box_seconds),
            ("black_box_interval_milliseconds", self.black_box_interval_milliseconds),
        ] {
            if value == 0 {
                problems.push(format!("{key} must be at least 1"));
            }
        }
        problems
    }

    /// The value of [`finish_seconds`](Self::finish_seconds) as a duration.
    pub fn finish(&self) -> Duration {
        Duration::from_secs(self.finish_seconds)
    }

    pub(super) fn black_box_interval(&self) -> Duration {
        Duration::from_millis(self.black_box_interval_milliseconds)
    }
}
