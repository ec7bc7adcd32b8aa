//! Frames on the disk, as `<milliseconds>.jpg` files: the source of films.
//!
//! They are written atomically, so that after a kill of the server even the last one is valid.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::system::seam::Picture;

/// The frames in one folder, the oldest first.
#[derive(Debug, Clone)]
pub(super) struct Frames {
    folder: PathBuf,
    /// The time of each frame, in milliseconds since 1970, and its size in bytes.
    kept: VecDeque<(u64, u64)>,
}

/// The time at which a picture was taken, in milliseconds since 1970.
pub(super) fn taken_at(picture: &Picture) -> u64 {
    u64::try_from(picture.taken_at.timestamp_millis()).unwrap_or(0)
}

impl Frames {
    /// The frames in `folder`; empty if it does not exist.
    pub(super) fn of(folder: &Path) -> Self {
        let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
        let mut kept: Vec<(u64, u64)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let time = name.to_str()?.strip_suffix(".jpg")?.parse().ok()?;
                Some((time, entry.metadata().ok()?.len()))
            })
            .collect();
        kept.sort_unstable();
        Self { folder: folder.to_owned(), kept: kept.into() }
    }

    /// The times of all frames, in milliseconds since 1970.
    pub(super) fn times(&self) -> Vec<u64> {
        self.kept.iter().map(|(time, _)| *time).collect()
    }

    /// The total size of all frames, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.kept.iter().map(|(_, bytes)| bytes).sum()
    }

    /// The file of the frame with this time.
    pub(super) fn file(&self, time: u64) -> PathBuf {
        self.folder.join(format!("{time}.jpg"))
    }

    /// Adds a frame, and creates its folder if necessary. A frame that is not newer than all
    /// others, because the clock was set back, is skipped.
    pub(super) fn add(&mut self, picture: &Picture) -> io::Result<()> {
        let time = taken_at(picture);
        if self.kept.back().is_some_and(|(last, _)| *last >= time) {
            return Ok(());
        }
        let written = match self.write(time, picture) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.folder)?;
                self.kept.clear(); // They were removed with their folder.
                self.write(time, picture)
            }
            written => written,
        };
        written?;
        self.kept.push_back((time, u64::try_from(picture.bytes.len()).unwrap_or(u64::MAX)));
        Ok(())
    }

    fn write(&self, time: u64, picture: &Picture) -> io::Result<()> {
        let part = self.folder.join("frame.part");
        fs::write(&part, &picture.bytes)?;
        fs::rename(&part, self.file(time))
    }

    /// Removes the oldest frames until none is older than `since`, except the one that was shown at
    /// that time.
    pub(super) fn forget_before(&mut self, since: u64) {
        while self.kept.get(1).is_some_and(|(next, _)| *next <= since) {
            self.forget_first();
        }
    }

    /// Removes the oldest frames until the total size is at most `bytes`; the newest stays.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        while self.kept.len() > 1 && self.bytes() > bytes {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((time, _)) = self.kept.pop_front() {
            // A frame that cannot be removed is removed with its folder.
            let _ = fs::remove_file(self.file(time));
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::session::Size;
    use crate::system::seam::Format;

    fn picture(time: i64, bytes: usize) -> Picture {
        Picture {
            number: 1,
            taken_at: DateTime::from_timestamp_millis(time).unwrap(),
            size: Size::default(),
            format: Format::Jpeg,
            bytes: vec![7; bytes].into(),
        }
    }

    #[test]
    fn old_frames_go_but_for_what_was_shown() {
        let folder = std::env::temp_dir().join(format!("gr-frames-{}", std::process::id()));
        let mut frames = Frames::of(&folder);
        assert!(frames.times().is_empty());
        for time in [1_000, 2_000, 2_000, 1_500, 3_000, 4_000] {
            frames.add(&picture(time, 10)).unwrap();
        }
        assert_eq!(frames.times(), [1_000, 2_000, 3_000, 4_000]);
        frames.forget_before(2_500);
        assert_eq!(frames.times(), [2_000, 3_000, 4_000]);
        frames.shrink_to(20);
        assert_eq!((frames.times(), frames.bytes()), (vec![3_000, 4_000], 20));
        assert_eq!(Frames::of(&folder).times(), [3_000, 4_000], "as on the disk");

        // Its folder may be removed at any time.
        fs::remove_dir_all(&folder).unwrap();
        frames.add(&picture(5_000, 10)).unwrap();
        assert_eq!(frames.times(), [5_000]);
        fs::remove_dir_all(&folder).unwrap();
    }
}
