//! The life of the thread that takes pictures.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use chrono::Utc;

use super::encode::encode;
use super::link::{Link, connect};
use super::{Follower, Request, Shared, error};
use crate::system::desktop::{CaptureError, Format, Picture};

/// Serves requests until nobody wants pictures any more, or the display is gone.
pub(super) fn run(shared: &Shared, requests: &Receiver<Request>) {
    let Err(cause) = serve(shared, requests) else { return };
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

fn serve(shared: &Shared, requests: &Receiver<Request>) -> Result<(), CaptureError> {
    let mut link = linked(shared)?;
    let mut followers: Vec<Follower> = Vec::new();
    let mut latest: Option<Picture> = None;
    let mut next = Instant::now();
    loop {
        let wait = next.saturating_duration_since(Instant::now());
        let request = if followers.is_empty() {
            let mut running = shared.running.lock();
            match requests.try_recv() {
                Ok(request) => Some(request),
                Err(_none) => {
                    *running = None;
                    return Ok(());
                }
            }
        } else {
            match requests.recv_timeout(wait) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        };
        match request {
            Some(Request::Shot { format, answer }) => {
                let outcome = picture(&mut link, shared, format);
                let broken = outcome.as_ref().err().cloned();
                let _ = answer.send(outcome); // Who asked may have left.
                if let Some(cause) = broken {
                    return Err(cause);
                }
            }
            Some(Request::Follow(follower)) => {
                let drawn = link.was_drawn()?;
                match &latest {
                    Some(picture) if !drawn => give(&follower, picture),
                    Some(_) | None => {
                        let picture = picture(&mut link, shared, Format::Png)?;
                        followers.iter().chain([&follower]).for_each(|one| give(one, &picture));
                        latest = Some(picture);
                        next = Instant::now() + shared.interval;
                    }
                }
                followers.push(follower);
            }
            Some(Request::Look) => (),
            None => {
                next = Instant::now() + shared.interval;
                if link.was_drawn()? {
                    let picture = picture(&mut link, shared, Format::Png)?;
                    followers.iter().for_each(|follower| give(follower, &picture));
                    latest = Some(picture);
                }
            }
        }
        followers.retain(|follower| !follower.left.is_cancelled());
    }
}

fn picture(link: &mut Link, shared: &Shared, format: Format) -> Result<Picture, CaptureError> {
    link.grab()?;
    let taken_at = Utc::now();
    let bytes = encode(link.frame(), link.size(), format)?.into();
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
        tracing::warn!(path = %path.display(), error = %cause, "a picture was not kept");
    }
    follower.pictures.send_replace(Some(picture.clone()));
}

/// Replaces a file whole. Its folder is made when it is missing.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, path)
}
