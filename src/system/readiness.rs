//! Waiting for the content of a file by inotify, without polling.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};
use tokio::time::sleep;

use super::beneath::Tree;

/// The polling interval if the machine has no inotify instance left.
const FALLBACK: Duration = Duration::from_millis(20);

/// Resolves when `read` returns a value for the text of the file `path`. `read` is called
/// immediately and after every change in its directory. The caller sets a deadline.
pub(super) async fn file_says<T>(path: &Path, read: impl Fn(&str) -> Option<T>) -> T {
    let look = || written(path).and_then(|text| read(&text));
    let mut watch = watch(path).ok();
    loop {
        if let Some(found) = look() {
            return found;
        }
        match &watch {
            Some(changes) => {
                if drained(changes).await.is_err() {
                    watch = None;
                }
            }
            None => sleep(FALLBACK).await,
        }
    }
}

/// Resolves as [`file_says`] does, or with none if changes cannot be observed. It never polls,
/// because it may wait for hours.
pub(super) async fn changes_until<T>(path: &Path, read: impl Fn(&str) -> Option<T>) -> Option<T> {
    let look = || std::fs::read_to_string(path).ok().and_then(|text| read(&text));
    let changes = watch(path).ok()?;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        drained(&changes).await.ok()?;
    }
}

/// The text of a file that a program may have written. It must be a regular file of limited size.
fn written(path: &Path) -> Option<String> {
    const MOST: u64 = 64 * 1024;
    let folder = Tree::open(path.parent()?).ok()?;
    String::from_utf8(folder.read(Path::new(path.file_name()?), MOST).ok()?).ok()
}

fn watch(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let changes = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let what = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
    inotify::add_watch(&changes, directory, what)?;
    Ok(observed(changes)?)
}

/// Registers a descriptor with the runtime for reading. An error contains the descriptor.
pub(super) fn observed(
    descriptor: OwnedFd,
) -> Result<AsyncFd<OwnedFd>, AsyncFdRegisterError<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "unsound only for types that do not own their descriptor; `OwnedFd` does, and \
                  the replacement is unsafe to call"
    )]
    AsyncFd::try_with_interest(descriptor, Interest::READABLE)
}

/// Resolves after the next change of any kind.
async fn drained(changes: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut ready = changes.readable().await?;
    let mut events = [0_u8; 4096];
    loop {
        match rustix::io::read(changes, &mut events) {
            Ok(_some) => (),
            Err(rustix::io::Errno::AGAIN) => break,
            Err(cause) => return Err(cause.into()),
        }
    }
    ready.clear_ready();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_seen_when_it_is_there_when_it_comes_and_when_it_grows() {
        let directory = std::env::temp_dir().join(format!("greenroom-said-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("sign");
        let number = |text: &str| text.trim_end_matches('\n').parse::<u16>().ok();

        let writer = async {
            tokio::task::yield_now().await;
            std::fs::write(directory.join("other"), "7\n").unwrap();
            std::fs::write(&path, "").unwrap();
            tokio::task::yield_now().await;
            std::fs::write(&path, "42\n").unwrap();
        };
        let limit = Duration::from_secs(5);
        let (found, ()) =
            tokio::join!(tokio::time::timeout(limit, file_says(&path, number)), writer);
        assert_eq!(found, Ok(42));
        assert_eq!(tokio::time::timeout(limit, file_says(&path, number)).await, Ok(42));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
