//! The extensions of organizations: `DATA/extensions/<organization>/<id>/`, with the archive and a
//! description of it. No program of a session reads them; each gets a copy.

mod archive;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;

use self::archive::Archive;
use crate::domain::checksum::Checksum;
use crate::domain::extension::{Extension, Manifest};
use crate::domain::ids::{ExtensionId, OrganizationId};

/// The most extensions of an organization.
pub const MOST_EXTENSIONS: usize = 100;

const ARCHIVE: &str = "archive.zip";

const DESCRIPTION: &str = "extension.json";

/// The suffix of a folder that is not complete.
const PART: &str = "part";

/// Held while extensions are counted and stored, or deleted: one server writes to a data directory.
static CHANGE: Mutex<()> = Mutex::new(());

/// The reason why an extension is not stored.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// The archive has no extension that a session may have.
    #[error("{0}")]
    Invalid(String),
    /// The organization has too many.
    #[error("the organization has {MOST_EXTENSIONS} extensions, which is the limit; delete one")]
    TooMany,
    /// The disk does not take it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The store of all extensions of this node. Its methods block.
#[derive(Debug, Clone)]
pub struct Extensions {
    root: PathBuf,
}

impl Extensions {
    /// The store in a data directory.
    pub fn below(data: &Path) -> Self {
        Self { root: data.join("extensions") }
    }

    /// The folder of an organization.
    pub fn folder_of(&self, organization: OrganizationId) -> PathBuf {
        self.root.join(organization.to_string())
    }

    /// Checks an archive and stores it whole, or not at all. Forbidden permissions that are among
    /// `allowed` pass.
    ///
    /// # Errors
    ///
    /// [`ExtensionError::Invalid`] with the reason; the others for a limit and the disk.
    pub fn add(
        &self,
        organization: OrganizationId,
        id: ExtensionId,
        bytes: &[u8],
        allowed: &[String],
        created_at: DateTime<Utc>,
    ) -> Result<Extension, ExtensionError> {
        let invalid = ExtensionError::Invalid;
        let mut archive = Archive::open(bytes).map_err(invalid)?;
        let manifest = archive.manifest().map_err(invalid)?;
        let Manifest { name, version, permissions } =
            Manifest::read(&manifest, allowed).map_err(invalid)?;
        let files = u64::try_from(archive.len()).unwrap_or(u64::MAX);
        let size = archive.verify().map_err(invalid)?;
        let _change = CHANGE.lock();
        remove_parts(&self.folder_of(organization))?;
        if self.list(organization)?.len() >= MOST_EXTENSIONS {
            return Err(ExtensionError::TooMany);
        }
        let sha256 = Checksum::of(bytes);
        let extension =
            Extension { id, name, version, permissions, sha256, bytes: size, files, created_at };
        let folder = self.folder_of(organization).join(id.to_string());
        let part = folder.with_extension(PART);
        let stored = write(&part, &extension, bytes)
            .and_then(|()| fs::rename(&part, &folder))
            .and_then(|()| self.sync(organization));
        if let Err(cause) = stored {
            let _ = fs::remove_dir_all(&part); // The first failure is the one to report.
            return Err(cause.into());
        }
        Ok(extension)
    }

    /// Makes the names in an organization's folder durable, and its own.
    fn sync(&self, organization: OrganizationId) -> io::Result<()> {
        fs::File::open(self.folder_of(organization))?.sync_all()?;
        fs::File::open(&self.root)?.sync_all()
    }

    /// The extensions of an organization, the newest first.
    ///
    /// # Errors
    ///
    /// Fails when the folder cannot be read.
    pub fn list(&self, organization: OrganizationId) -> io::Result<Vec<Extension>> {
        let entries = match fs::read_dir(self.folder_of(organization)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
                found.extend(self.get(organization, id)?);
            }
        }
        found.sort_by_key(|extension: &Extension| std::cmp::Reverse(extension.id));
        Ok(found)
    }

    /// An extension of an organization.
    ///
    /// # Errors
    ///
    /// Fails when its description cannot be read.
    pub fn get(
        &self,
        organization: OrganizationId,
        id: ExtensionId,
    ) -> io::Result<Option<Extension>> {
        let folder = self.folder_of(organization).join(id.to_string());
        match fs::read(folder.join(DESCRIPTION)) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(serde_json::from_slice(&bytes?)?)),
        }
    }

    /// Deletes an extension. False if there is none. Sessions that have it keep their copy.
    ///
    /// # Errors
    ///
    /// Fails when its files cannot be removed.
    pub fn delete(&self, organization: OrganizationId, id: ExtensionId) -> io::Result<bool> {
        let _change = CHANGE.lock();
        let folder = self.folder_of(organization).join(id.to_string());
        let part = folder.with_extension(PART);
        match fs::rename(&folder, &part) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
            moved => {
                moved?;
                self.sync(organization)?;
                fs::remove_dir_all(part)?;
                Ok(true)
            }
        }
    }

    /// Unpacks an extension of any organization to `target`, whole or not at all. False if there is
    /// none. The checksum of the archive must be the one at its upload.
    ///
    /// # Errors
    ///
    /// Fails when the archive is damaged, or the disk does not take it.
    pub fn unpack(&self, id: ExtensionId, target: &Path) -> io::Result<bool> {
        for organization in fs::read_dir(&self.root).into_iter().flatten() {
            let folder = organization?.path().join(id.to_string());
            let Ok(description) = fs::read(folder.join(DESCRIPTION)) else { continue };
            let extension: Extension = serde_json::from_slice(&description)?;
            let bytes = fs::read(folder.join(ARCHIVE))?;
            if Checksum::of(&bytes) != extension.sha256 {
                return Err(io::Error::other(format!("the archive of {id} is damaged")));
            }
            let part = target.with_extension(PART);
            remove(&part)?;
            fs::create_dir_all(&part)?;
            let unpacked = Archive::open(&bytes)
                .map_err(io::Error::other)
                .and_then(|mut archive| archive.unpack(&part))
                .and_then(|()| fs::rename(&part, target));
            if unpacked.is_err() {
                remove(&part)?;
            }
            return unpacked.map(|()| true);
        }
        Ok(false)
    }
}

/// Writes the files of an extension.
fn write(folder: &Path, extension: &Extension, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(ARCHIVE), bytes)?;
    fs::File::open(folder.join(ARCHIVE))?.sync_all()?;
    fs::write(folder.join(DESCRIPTION), serde_json::to_vec(extension)?)?;
    fs::File::open(folder.join(DESCRIPTION))?.sync_all()?;
    fs::File::open(folder)?.sync_all()
}

/// Removes what a server left in an organization's folder that ended while it stored or deleted an extension.
fn remove_parts(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            remove(&path)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::archive::tests::packed;
    use super::*;

    const MANIFEST: &[u8] = br#"{"manifest_version":3,"name":"Probe","version":"1"}"#;

    #[test]
    fn an_extension_is_stored_listed_unpacked_and_deleted() {
        let data = std::env::temp_dir().join(format!("greenroom-{:016x}", rand::random::<u64>()));
        fs::create_dir(&data).unwrap();
        let store = Extensions::below(&data);
        let (own, other) = (OrganizationId::from(1), OrganizationId::from(2));
        let (id, now) = (ExtensionId::from(7), DateTime::default());
        assert_eq!(store.list(own).unwrap(), []);

        let bytes = packed(&[("manifest.json", MANIFEST), ("js/a.js", b"1")]);
        let added = store.add(own, id, &bytes, &[], now).unwrap();
        assert_eq!((added.name.as_str(), added.files), ("Probe", 2));
        assert_eq!(store.list(own).unwrap(), std::slice::from_ref(&added));
        assert_eq!(store.get(own, id).unwrap(), Some(added));
        assert_eq!(store.get(other, id).unwrap(), None);

        let target = data.join("unpacked");
        assert!(store.unpack(id, &target).unwrap());
        assert_eq!(fs::read(target.join("js/a.js")).unwrap(), b"1");
        assert!(!store.unpack(ExtensionId::from(8), &data.join("none")).unwrap());

        // Nothing is left of one that is refused, and none is started from a damaged archive.
        let refused = packed(&[("manifest.json", b"{}")]);
        let refused = store.add(own, ExtensionId::from(9), &refused, &[], now);
        assert!(matches!(refused, Err(ExtensionError::Invalid(_))));
        assert_eq!(fs::read_dir(store.folder_of(own)).unwrap().count(), 1);
        let archive = store.folder_of(own).join(id.to_string()).join(ARCHIVE);
        fs::write(&archive, &bytes[1..]).unwrap();
        assert!(store.unpack(id, &data.join("damaged")).is_err());
        assert!(!data.join("damaged").exists() && !data.join("damaged.part").exists());

        assert!(!store.delete(other, id).unwrap());
        assert!(store.delete(own, id).unwrap());
        assert!(!store.delete(own, id).unwrap());
        assert_eq!(fs::read_dir(store.folder_of(own)).unwrap().count(), 0);
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_part_of_a_former_server_goes_and_uploads_at_once_keep_the_limit() {
        let data = std::env::temp_dir().join(format!("greenroom-{:016x}", rand::random::<u64>()));
        let store = Extensions::below(&data);
        let (own, now) = (OrganizationId::from(1), DateTime::default());
        let bytes = packed(&[("manifest.json", MANIFEST)]);
        let add = |id: u64| store.add(own, ExtensionId::from(id), &bytes, &[], now);
        let part = store.folder_of(own).join(ExtensionId::from(1).to_string()).with_extension(PART);
        fs::create_dir_all(part.join("js")).unwrap();
        let first = serde_json::to_vec(&add(2).unwrap()).unwrap();
        assert!(!part.exists());
        for id in 3..100 {
            let folder = store.folder_of(own).join(ExtensionId::from(id).to_string());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(DESCRIPTION), &first).unwrap();
        }
        let added = std::thread::scope(|scope| {
            let adding: Vec<_> =
                (100..108).map(|id| scope.spawn(move || add(id).is_ok())).collect();
            adding.into_iter().map(|one| one.join().unwrap()).filter(|ok| *ok).count()
        });
        assert_eq!((added, store.list(own).unwrap().len()), (2, MOST_EXTENSIONS));
        assert!(matches!(add(200), Err(ExtensionError::TooMany)));
        fs::remove_dir_all(data).unwrap();
    }
}
