//! The thread that takes pictures.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use chrono::Utc;

use super::encode::encode;
use super::link::{Link, connect};
use super::{Filmer, Follower, Request, Shared, error};
use crate::system::seam::{CaptureError, Format, Picture};

/// The time after which a connection counts as a success and may be replaced when it fails.
const YOUNG: Duration = Duration::from_secs(1);

/// Serves requests until none remain or the display is gone. If a slow display caused the
/// connection to be cut, followers and filmers continue over a new one.
pub(super) fn run(shared: &Shared, requests: &Receiver<Request>) {
    let mut wanted = Consumers::default();
    let cause = loop {
        let began = Instant::now();
        let outcome = linked(shared).and_then(|link| serve(link, shared, requests, &mut wanted));
        let Err(cause) = outcome else { return };
        let was_cut = shared.was_cut.swap(false, Ordering::Relaxed);
        if wanted.is_empty() || !(was_cut || began.elapsed() >= YOUNG) {
            break cause;
        }
        tracing::warn!(display = shared.display, error = %cause, "the screenshot connection was lost and is restored");
    };
    tracing::warn!(display = shared.display, error = %cause, "pictures end");
    let mut running = shared.running.lock();
    *running = None;
    while let Ok(request) = requests.try_recv() {
        if let Request::Shot { answer, .. } = request {
            let _ = answer.send(Err(cause.clone()));
        }
    }
}

fn linked(shared: &Shared) -> Result<Link, CaptureError> {
    let stream = connect(shared.display)?;
    let handle = stream.try_clone().map_err(error)?;
    if let Some(running) = &mut *shared.running.lock() {
        running.stream = Some(handle);
    }
    Link::new(stream, &shared.cookie)
}

/// The state of one connection.
struct At {
    link: Link,
    /// The count of changes to the display.
    drawn: u64,
    /// The latest pictures, each with the value of `drawn` at that time.
    png: Option<(u64, Picture)>,
    jpeg: Option<(u64, Picture)>,
}

impl At {
    fn capture(&mut self) -> Result<(), CaptureError> {
        if self.link.was_drawn()? {
            self.drawn += 1;
        }
        Ok(())
    }

    /// The latest picture of the display, encoded only once per change.
    fn picture(&mut self, shared: &Shared, format: Format) -> Result<Picture, CaptureError> {
        let latest = match format {
            Format::Png => &self.png,
            Format::Jpeg => &self.jpeg,
        };
        if let Some((drawn, picture)) = latest
            && *drawn == self.drawn
        {
            return Ok(picture.clone());
        }
        let picture = picture(&mut self.link, shared, format)?;
        let latest = Some((self.drawn, picture.clone()));
        match format {
            Format::Png => self.png = latest,
            Format::Jpeg => self.jpeg = latest,
        }
        Ok(picture)
    }
}

/// The followers and filmers, which may outlive a connection.
#[derive(Default)]
struct Consumers {
    followers: Vec<Follower>,
    filmers: Vec<Filmer>,
}

impl Consumers {
    fn is_empty(&self) -> bool {
        self.followers.is_empty() && self.filmers.is_empty()
    }
}

fn serve(
    link: Link,
    shared: &Shared,
    requests: &Receiver<Request>,
    Consumers { followers, filmers }: &mut Consumers,
) -> Result<(), CaptureError> {
    let mut at = At { link, drawn: 0, png: None, jpeg: None };
    for filmer in filmers.iter_mut() {
        filmer.seen = None;
    }
    let mut next = Instant::now();
    loop {
        let followed = (!followers.is_empty()).then_some(next);
        let due = followed.into_iter().chain(filmers.iter().map(|filmer| filmer.next)).min();
        let request = match due {
            None => {
                let mut running = shared.running.lock();
                match requests.try_recv() {
                    Ok(request) => Some(request),
                    Err(_none) => {
                        *running = None;
                        return Ok(());
                    }
                }
            }
            Some(due) => {
                match requests.recv_timeout(due.saturating_duration_since(Instant::now())) {
                    Ok(request) => Some(request),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        };
        match request {
            // The requester has stopped waiting.
            Some(Request::Shot { answer, .. }) if answer.is_closed() => (),
            Some(Request::Shot { format, answer }) => {
                let outcome = picture(&mut at.link, shared, format);
                let broken = outcome.as_ref().err().cloned();
                let _ = answer.send(outcome); // The caller may have left.
                if let Some(cause) = broken {
                    return Err(cause);
                }
            }
            Some(Request::Follow(follower)) => {
                followers.push(follower);
                at.capture()?;
                let is_new = at.png.as_ref().is_none_or(|(drawn, _)| *drawn != at.drawn);
                let picture = at.picture(shared, Format::Png)?;
                if is_new {
                    followers.iter().for_each(|one| give(one, &picture));
                    next = Instant::now() + shared.interval;
                } else if let Some(one) = followers.last() {
                    give(one, &picture);
                }
            }
            Some(Request::Film(filmer)) => {
                filmers.push(filmer);
                at.capture()?;
            }
            Some(Request::Look) => (),
            None => at.capture()?,
        }
        followers.retain(|follower| !follower.left.is_cancelled());
        filmers.retain(|filmer| !filmer.left.is_cancelled());
        let is_due = followed.is_some_and(|due| due <= Instant::now()) && next <= Instant::now();
        if is_due && !followers.is_empty() {
            next = Instant::now() + shared.interval;
            if at.png.as_ref().is_none_or(|(drawn, _)| *drawn != at.drawn) {
                let picture = at.picture(shared, Format::Png)?;
                followers.iter().for_each(|follower| give(follower, &picture));
            } else {
                shared.metrics.skipped.add(1);
            }
        }
        for filmer in filmers.iter_mut().filter(|filmer| filmer.next <= Instant::now()) {
            filmer.next = Instant::now() + filmer.interval;
            if filmer.seen != Some(at.drawn) {
                let frame = at.picture(shared, Format::Jpeg)?;
                // The channel is full; the filmer gets a later frame.
                if filmer.frames.try_send(frame).is_ok() {
                    filmer.seen = Some(at.drawn);
                } else {
                    shared.metrics.skipped.add(1);
                }
            } else {
                shared.metrics.skipped.add(1);
            }
        }
    }
}

fn picture(link: &mut Link, shared: &Shared, format: Format) -> Result<Picture, CaptureError> {
    link.grab()?;
    let taken_at = Utc::now();
    let bytes = encode(link.frame(), link.size(), format)?.into();
    shared.metrics.encoded.add(1);
    let number = shared.number.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Picture { number, taken_at, size: link.size(), format, bytes })
}

fn give(follower: &Follower, picture: &Picture) {
    if follower.left.is_cancelled() {
        return;
    }
    if let Some(path) = &follower.keep
        && let Err(cause) = replace(path, &picture.bytes)
    {
        tracing::warn!(path = %path.display(), error = %cause, "a screenshot was not stored");
    }
    follower.pictures.send_replace(Some(picture.clone()));
}

/// Replaces a file atomically. Creates its folder if it is missing.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}
