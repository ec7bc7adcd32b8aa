//! The extensions of a session's browser: copies in the programs' directory, which its programs read.

use std::path::PathBuf;

use super::directory::{Directory, folder};
use super::launch::Desktops;
use crate::domain::browser_settings::BrowserSettings;
use crate::domain::ids::ExtensionId;
use crate::domain::session::{Failure, FilesLevel};
use crate::system::failure::{directory as directory_failed, failure};
use crate::system::seam::Launch as _;

impl Desktops {
    /// Copies the extensions of a session that it does not have yet. Returns their folders.
    pub(super) async fn extended(
        &self,
        directory: &Directory,
        settings: &BrowserSettings,
        files: FilesLevel,
    ) -> Result<Vec<PathBuf>, Failure> {
        if settings.extensions.is_empty() {
            return Ok(Vec::new());
        }
        if files == FilesLevel::None {
            let message = "an extension reads files that its browser may read, and nothing keeps this \
                           session's browser from the server's files";
            let hint = "set `isolation.files` to `landlock`, see `greenroom doctor`".to_owned();
            let failure = failure("chromium", "extensions_unconfined", message.to_owned());
            return Err(Failure { hint: Some(hint), ..failure });
        }
        let mut folders = Vec::new();
        for name in &settings.extensions {
            let Ok(id) = name.parse::<ExtensionId>() else {
                folders.push(self.named(name)?);
                continue;
            };
            let (store, directory) = (self.extensions(), directory.clone());
            let target = directory.extensions().join(id.to_string());
            let unpacked = target.clone();
            let unpacking = tokio::task::spawn_blocking(move || {
                if unpacked.exists() {
                    return Ok(true);
                }
                folder(&directory.extensions(), 0o711)?;
                store.unpack(id, &unpacked)
            });
            let found = unpacking.await.unwrap_or_else(|cause| Err(std::io::Error::other(cause)));
            match found {
                Ok(true) => folders.push(target),
                Ok(false) => return Err(unknown(name)),
                Err(cause) => return Err(directory_failed(&target, &cause)),
            }
        }
        Ok(folders)
    }

    /// The folder of an extension that the operator has configured.
    fn named(&self, name: &str) -> Result<PathBuf, Failure> {
        let found = self.settings().extensions.get(name);
        found.filter(|folder| folder.is_dir()).cloned().ok_or_else(|| unknown(name))
    }
}

fn unknown(name: &str) -> Failure {
    let message = format!("the extension {name} of the session does not exist any more");
    failure("chromium", "extension_unknown", message)
}

impl Directory {
    fn extensions(&self) -> PathBuf {
        self.own().join("extensions")
    }
}
