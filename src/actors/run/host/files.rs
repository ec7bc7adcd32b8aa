//! Files between a run and its session's browser: uploads to pages, and downloads from them.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::FileType;

use super::{RunHost, host_error};
use crate::domain::file_name::BLOCK_FOLDER;
use crate::system::beneath::Tree;
use crate::system::desktop::Directory;
use crate::system::desktop::files::UploadError;
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

    /// Removes the uploads of former runs in the session, for which no page waits any more. Files
    /// that clients have uploaded are in no folder of a run, and stay.
    async fn forget_uploads(&self) -> Result<(), HostError> {
        let work = |directory: Directory, run: String| {
            let folder = directory.uploads();
            opened(&directory, &folder, &run)?;
            let uploads = Tree::open(&folder)?;
            for entry in uploads.entries()? {
                let is_folder = FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory;
                if is_folder && entry.name != run.as_str() {
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
        let (files, run) = (self.world.directories.files_of(self.session), self.id.to_string());
        let work = move || {
            let unique = format!("upload-{:016x}", rand::random::<u64>());
            let mut upload = files.upload(&[&run, &unique], &name)?;
            upload.write(&bytes)?;
            Ok::<_, UploadError>(upload.finish()?.path)
        };
        let written = tokio::task::spawn_blocking(work).await;
        let written =
            written.unwrap_or_else(|cause| Err(UploadError::Failed(io::Error::other(cause))));
        written.map_err(|cause| host_error("file_failed", &cause.to_string()))
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
