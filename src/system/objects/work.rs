//! Work on local files, within deadlines, and its failures.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::directory::{Directory, PutError};
use super::error::ObjectError;
use super::object::ObjectInfo;

/// The longest time of an operation on a local file of no size.
pub(super) const LOCAL: Duration = Duration::from_secs(30);

/// The bytes that each further second of a transfer must move at least.
const SLOWEST: u64 = 1024 * 1024;

pub(super) fn directory_name(directory: &Directory) -> String {
    format!("the directory {}", directory.root().display())
}

pub(super) fn missing(directory: &Directory, key: &str) -> ObjectError {
    ObjectError::Missing { store: directory_name(directory), key: key.to_owned() }
}

/// The longest time of a transfer of `size` bytes.
pub(super) fn transfer_deadline(least: Duration, size: u64) -> Duration {
    least.saturating_add(Duration::from_secs(size / SLOWEST))
}

pub(super) async fn within<T>(
    store: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ObjectError>>,
) -> Result<T, ObjectError> {
    timeout(limit, work).await.unwrap_or_else(|_late| {
        let cause = format!("not finished within {} s", limit.as_secs());
        Err(ObjectError::StoreAway { store: store.to_owned(), cause })
    })
}

/// Does work that blocks, within a deadline. Late work goes on, and its outcome is ignored.
pub(super) async fn local<T: Send + 'static>(
    store: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ObjectError> {
    let away = |cause: String| ObjectError::StoreAway { store: store.to_owned(), cause };
    let work = async { spawn_blocking(work).await.map_err(|cause| away(cause.to_string())) };
    within(store, limit, work).await
}

pub(super) async fn put_in<T: Send + 'static>(
    directory: &Directory,
    key: &str,
    source: &Path,
    limit: Duration,
    work: impl FnOnce(&Directory) -> Result<T, PutError> + Send + 'static,
) -> Result<T, ObjectError> {
    let (owned, name) = (directory.clone(), directory_name(directory));
    match local(&name, limit, move || work(&owned)).await? {
        Ok(done) => Ok(done),
        Err(PutError::Source(cause)) => Err(ObjectError::file(source, &cause)),
        Err(PutError::Store(cause)) => Err(ObjectError::of_directory(&name, key, &cause)),
    }
}

pub(super) async fn change<T: Send + 'static>(
    directory: &Directory,
    key: &str,
    work: impl FnOnce(&Directory) -> io::Result<T> + Send + 'static,
) -> Result<T, ObjectError> {
    let (owned, name) = (directory.clone(), directory_name(directory));
    let done = local(&name, LOCAL, move || work(&owned)).await?;
    done.map_err(|cause| ObjectError::of_directory(&name, key, &cause))
}

pub(super) async fn list_in(
    directory: &Directory,
    prefix: &str,
) -> Result<Vec<ObjectInfo>, ObjectError> {
    let owned = prefix.to_owned();
    change(directory, prefix, move |it| it.list(&owned)).await
}
