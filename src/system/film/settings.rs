//! Settings of recordings and black boxes.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::film::{Container, FilmOptions};

/// Recordings, and the black box: the section `recording`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The program that encodes films: a name in `desktop.path`, or a path.
    pub ffmpeg: PathBuf,
    /// The frames per second of a recording that requests no other rate.
    pub frame_rate: u8,
    /// The format of a recording that requests no other one: `mp4` or `webm`.
    pub format: Container,
    /// The most recordings of one session at once.
    pub max_at_once: usize,
    /// The length after which a recording ends by itself, in seconds.
    pub max_seconds: u64,
    /// The size at which a recording ends by itself, in megabytes, including frames that wait for ffmpeg.
    pub max_megabytes: u64,
    /// The free disk space below which nothing is recorded, in megabytes.
    pub min_free_megabytes: u64,
    /// The length of the parts in which ffmpeg encodes a film during the recording, in seconds.
    pub part_seconds: u64,
    /// The longest time that the end of a session or of a run waits for its films, in seconds.
    pub finish_seconds: u64,
    /// True if the last moments before a crash or a failure are recorded automatically.
    pub black_box: bool,
    /// The length of a black box in seconds.
    pub black_box_seconds: u64,
    /// The total size of a black box's frames, in megabytes.
    pub black_box_megabytes: u64,
    /// The least time between two frames of the black box, in milliseconds.
    pub black_box_interval_milliseconds: u64,
    /// The number of black boxes that are kept for one organization, the newest.
    pub black_box_keep: u32,
    /// The time for which black boxes are kept, in days.
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
        let rates = FilmOptions::RATES;
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
