//! Files between a run and its session's browser: uploads to pages, and downloads from them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{RunHost, host_error};
use crate::domain::file_name::{BLOCK_FOLDER, file_name};
use crate::system::beneath::Tree;
use crate::system::desktop::Directory;
use crate::workflow::host::HostError;

fn missing(cause: &io::Error) -> HostError {
    host_error("scratch_missing", &format!("the folder for files cannot be opened: {cause}"))
}

/// Opens the folder `own` in `folder`, for the session's user. Creates both if they are missing.
fn opened(directory: &Directory, folder: &Path, own: &str) -> io::Result<Tree> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = Tree::open(parent)?.owned_by(directory.user());
    parent.make_folder(Path::new(name))?.make_folder(Path::new(own))
}

impl RunHost {
    fn directory(&self) -> Directory {
        self.world.directories.of(self.session)
    }

    /// Runs file operations of the session on a blocking thread.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(Directory, String) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (directory, run) = (self.directory(), self.id.to_string());
        let work = tokio::task::spawn_blocking(move || work(directory, run));
        work.await.unwrap_or_else(|cause| Err(io::Error::other(cause)))
    }

    /// Removes the uploads of former runs in the session, for which no page waits any more.
    async fn forget_uploads(&self) -> Result<(), HostError> {
        let work = |directory: Directory, run: String| {
            let folder = directory.uploads();
            opened(&directory, &folder, &run)?;
            let uploads = Tree::open(&folder)?;
            for entry in uploads.entries()? {
                if entry.name != run.as_str() {
                    let _ = uploads.remove(&entry.name); // It may have been removed already.
                }
            }
            Ok(())
        };
        self.on_disk(work).await.map_err(|cause| missing(&cause))
    }

    /// Writes a file under its own name into a new folder, so that equal names do not collide.
    pub(super) async fn put(&self, name: String, bytes: Bytes) -> Result<PathBuf, HostError> {
        self.uploads.get_or_try_init(|| self.forget_uploads()).await?;
        let work = move |directory: Directory, run: String| {
            let folder = directory.uploads();
            let unique = format!("upload-{:016x}", rand::random::<u64>());
            let own = opened(&directory, &folder, &run)?.make_folder(Path::new(&unique))?;
            let name = file_name(&name);
            own.create(Path::new(&name))?.write_all(&bytes)?;
            Ok(folder.join(run).join(unique).join(name))
        };
        let written = self.on_disk(work).await;
        written.map_err(|cause| {
            host_error("file_failed", &format!("the file could not be written: {cause}"))
        })
    }

    pub(super) async fn folder_for_downloads(&self) -> Result<PathBuf, HostError> {
        let work = |directory: Directory, run: String| {
            let folder = directory.block_downloads();
            opened(&directory, &folder, &run)?;
            Ok(folder.join(run))
        };
        self.on_disk(work).await.map_err(|cause| missing(&cause))
    }

    /// Reads a download and removes it. The browser may have replaced it by anything.
    pub(super) async fn take(&self, name: String, most: u64) -> io::Result<Bytes> {
        let work = move |directory: Directory, run: String| {
            let folder = Tree::open(&directory.downloads())?;
            let folder = folder.folder(&Path::new(BLOCK_FOLDER).join(run))?;
            let read = folder.read(Path::new(&name), most);
            folder.remove_file(Path::new(&name))?;
            read.map(Bytes::from)
        };
        self.on_disk(work).await
    }
}
