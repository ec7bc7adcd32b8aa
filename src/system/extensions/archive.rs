//! The archives of extensions: ZIP files from clients, read within bounds and written as plain files
//! only.

use std::collections::HashSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Cursor, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

/// The most files and folders.
const MOST_ENTRIES: usize = 5_000;

/// The most bytes of all files together.
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// The largest manifest, in bytes.
const LARGEST_MANIFEST: u64 = 1024 * 1024;

/// The longest path, in bytes.
const LONGEST_PATH: usize = 512;

/// The name of the file that makes a folder an extension.
const MANIFEST: &str = "manifest.json";

/// A file in an archive: its place and its path within the extension.
#[derive(Debug)]
struct Entry {
    index: usize,
    path: PathBuf,
}

/// An archive whose entries have safe names.
#[derive(Debug)]
pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    files: Vec<Entry>,
}

impl<'a> Archive<'a> {
    /// Reads the entries of an archive. A single folder around all files is left out.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let mut zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|cause| format!("it is not a ZIP archive: {cause}"))?;
        if zip.len() > MOST_ENTRIES {
            return Err(format!("it has more than {MOST_ENTRIES} entries"));
        }
        let mut files = Vec::new();
        let mut paths = HashSet::new();
        for index in 0..zip.len() {
            let file = zip.by_index(index).map_err(|cause| format!("entry {index}: {cause}"))?;
            let name = file.name().map_err(|cause| format!("entry {index}: {cause}"))?.into_owned();
            // The upper bits of the mode are the type: only files and folders have a place.
            let kind = file.unix_mode().unwrap_or_default() & 0o170_000;
            if file.is_symlink() || !matches!(kind, 0 | 0o100_000 | 0o040_000) {
                return Err(format!("{name} is neither a file nor a folder"));
            }
            let path = safe(&name).ok_or_else(|| format!("{name:?} is not a path within it"))?;
            if file.is_dir() {
                continue;
            }
            if !paths.insert(path.clone()) {
                return Err(format!("{name} is in it twice"));
            }
            files.push(Entry { index, path });
        }
        if paths.iter().any(|path| path.ancestors().skip(1).any(|above| paths.contains(above))) {
            return Err("a file of it is also a folder".to_owned());
        }
        let mut archive = Self { zip, files };
        archive.strip_folder();
        Ok(archive)
    }

    /// Leaves out a folder that holds everything.
    fn strip_folder(&mut self) {
        if self.files.iter().any(|file| file.path == Path::new(MANIFEST)) {
            return;
        }
        let Some(top) = self.files.first().and_then(|file| file.path.components().next()) else {
            return;
        };
        let top = PathBuf::from(top.as_os_str());
        if self.files.iter().all(|file| file.path.starts_with(&top) && file.path != top) {
            for file in &mut self.files {
                if let Ok(inner) = file.path.strip_prefix(&top) {
                    file.path = inner.to_owned();
                }
            }
        }
    }

    /// The number of files.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Unpacks the manifest, within its bound.
    pub(super) fn manifest(&mut self) -> Result<Vec<u8>, String> {
        let found = self.files.iter().find(|file| file.path == Path::new(MANIFEST));
        let index = found.ok_or_else(|| format!("it has no {MANIFEST}"))?.index;
        let failed = |cause: &dyn std::fmt::Display| format!("{MANIFEST}: {cause}");
        let file = self.zip.by_index(index).map_err(|cause| failed(&cause))?;
        let mut bytes = Vec::new();
        let read = file.take(LARGEST_MANIFEST + 1).read_to_end(&mut bytes);
        let read = read.map_err(|cause| failed(&cause))?;
        if u64::try_from(read).is_ok_and(|read| read > LARGEST_MANIFEST) {
            return Err(failed(&"it is too large"));
        }
        Ok(bytes)
    }

    /// Unpacks every file without keeping it, which also verifies their checksums. Returns the
    /// bytes.
    pub(super) fn verify(&mut self) -> Result<u64, String> {
        let mut total = 0;
        for Entry { index, path } in &self.files {
            let failed = |cause: &dyn std::fmt::Display| format!("{}: {cause}", path.display());
            let file = self.zip.by_index(*index).map_err(|cause| failed(&cause))?;
            let left = MOST_BYTES - total + 1;
            let read = io::copy(&mut file.take(left), &mut io::sink());
            total += read.map_err(|cause| failed(&cause))?;
            if total > MOST_BYTES {
                return Err(format!("its files have more than {} MiB", MOST_BYTES >> 20));
            }
        }
        Ok(total)
    }

    /// Writes the files below `folder`, which is new: readable for all, writable for the server.
    pub(super) fn unpack(&mut self, folder: &Path) -> io::Result<()> {
        let mut left = MOST_BYTES;
        for Entry { index, path } in &self.files {
            let target = folder.join(path);
            make_folders(folder, path)?;
            let file = self.zip.by_index(*index).map_err(io::Error::other)?;
            let mut options = OpenOptions::new();
            let mut written = options.write(true).create_new(true).mode(0o644).open(&target)?;
            let bytes = io::copy(&mut file.take(left), &mut written)?;
            // The process may create files that are its own only.
            written.set_permissions(Permissions::from_mode(0o644))?;
            left = left.saturating_sub(bytes);
        }
        Ok(())
    }
}

/// Makes the folders of a file below `root`, readable for all.
fn make_folders(root: &Path, file: &Path) -> io::Result<()> {
    let above: Vec<_> = file.ancestors().skip(1).collect();
    for inner in above.into_iter().rev() {
        let folder = root.join(inner);
        if !folder.is_dir() {
            fs::create_dir(&folder)?;
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Returns the path of an entry, if it stays below its folder and its name is plain.
fn safe(name: &str) -> Option<PathBuf> {
    let name = name.strip_suffix('/').unwrap_or(name);
    let is_plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.chars().any(|char| char.is_control() || matches!(char, '\\' | ':'))
    };
    let fits = name.len() <= LONGEST_PATH && name.split('/').all(is_plain);
    fits.then(|| PathBuf::from(name))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    /// An archive with these files.
    pub fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn a_folder_around_all_files_is_left_out() {
        let bytes = packed(&[("a/manifest.json", b"{}"), ("a/js/b.js", b"1")]);
        let mut archive = Archive::open(&bytes).unwrap();
        assert_eq!(archive.manifest().unwrap(), b"{}");
        assert_eq!(archive.verify(), Ok(3));
    }

    #[test]
    fn hostile_archives_are_refused() {
        for name in ["../a", "/etc/a", "a/../../b", "a\\b", "a//b", "./a", "C:a", "a\nb", ""] {
            assert_eq!(safe(name), None, "{name:?}");
        }
        let bytes = packed(&[("manifest.json", b"{}"), ("../../escaped", b"1")]);
        assert!(Archive::open(&bytes).unwrap_err().contains("not a path within it"));
        let bytes = packed(&[("manifest.json", b"{}"), ("a", b"1"), ("a/b", b"1")]);
        assert!(Archive::open(&bytes).unwrap_err().contains("also a folder"));

        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("manifest.json", SimpleFileOptions::default()).unwrap();
        zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        assert!(Archive::open(&bytes).unwrap_err().contains("neither a file nor a folder"));

        for bytes in [&b""[..], b"PK", b"not a zip", &[0; 1000]] {
            assert!(Archive::open(bytes).is_err());
        }
        let whole = packed(&[("manifest.json", b"{\"a\": 1}"), ("b", &[7; 1000])]);
        let mut damaged = whole.clone();
        damaged[45] ^= 1;
        let refused = Archive::open(&damaged).and_then(|mut archive| archive.verify());
        assert!(refused.is_err());
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let large = vec![0; 16 * 1024 * 1024];
        let names: Vec<String> = (0..9).map(|number| number.to_string()).collect();
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options =
            SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for name in &names {
            zip.start_file(name.as_str(), options).unwrap();
            zip.write_all(&large).unwrap();
        }
        let bytes = zip.finish().unwrap().into_inner();
        assert!(bytes.len() < 1024 * 1024);
        let refused = Archive::open(&bytes).unwrap().verify().unwrap_err();
        assert!(refused.contains("more than 128 MiB"), "{refused}");
    }
}
