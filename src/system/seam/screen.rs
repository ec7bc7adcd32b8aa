//! The display of a desktop: its pictures, and the texts that are copied on it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::DropGuard;

use crate::domain::session::Size;

/// The encoding of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Lossless encoding as PNG.
    Png,
    /// Lossy encoding as JPEG with quality 80.
    Jpeg,
}

/// One picture of a display.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The number of the picture, which rises with every picture of the display.
    pub number: u64,
    /// The time at which the picture was taken.
    pub taken_at: DateTime<Utc>,
    /// The size in pixels.
    pub size: Size,
    /// The encoding of `bytes`.
    pub format: Format,
    /// The encoded image file.
    pub bytes: Bytes,
}

/// The reason for which there is no picture.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the display could not be captured: {cause}")]
pub struct CaptureError {
    /// The error of the X server or the encoder.
    pub cause: String,
}

/// The picture source of one display.
pub trait Screen: fmt::Debug + Send + Sync + 'static {
    /// Takes a picture of the current display.
    fn shot(&self, format: Format) -> BoxFuture<'static, Result<Picture, CaptureError>>;

    /// Takes pictures until the result is dropped: one immediately, then one for each interval with
    /// a change. Each is encoded as PNG. With `keep`, that file always contains the latest one,
    /// replaced atomically.
    fn follow(&self, keep: Option<PathBuf>) -> Following;

    /// Takes frames until the result is dropped: one immediately, then at most one per `interval`
    /// with a change, encoded as JPEG. A frame is dropped if a few others are waiting, so a slow
    /// receiver gets fewer frames and blocks no other.
    fn film(&self, interval: Duration) -> Reel;
}

/// A running series of pictures, which ends when this is dropped.
#[derive(Debug)]
pub struct Following {
    /// The latest picture, if one was taken.
    pub pictures: watch::Receiver<Option<Picture>>,
    /// Ends the series when dropped.
    pub guard: DropGuard,
}

/// A running series of frames, which ends when this is dropped.
#[derive(Debug)]
pub struct Reel {
    /// The frames in order; the channel closes with the display.
    pub frames: mpsc::Receiver<Picture>,
    /// Ends the series when dropped.
    pub guard: DropGuard,
}

/// A running watch of the texts that are copied on a display, which ends when this is dropped.
#[derive(Debug)]
pub struct Copies {
    /// The latest text, from the first change on; the channel closes with the display.
    pub texts: watch::Receiver<String>,
    /// Ends the watch when dropped.
    pub guard: DropGuard,
}
