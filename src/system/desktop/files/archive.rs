//! The files of a session as one ZIP archive.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};

use chrono::DateTime;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{FileEntry, SessionFiles};
use crate::domain::file_name::{file_name, numbered};

impl SessionFiles {
    /// Writes an archive of all complete files, one after the other, as `downloads/<name>` and
    /// `uploads/<name>`. Names are those of [`file_name`]. A file that disappears meanwhile is left
    /// out. This blocks.
    ///
    /// # Errors
    ///
    /// Those of the system, and of `out`.
    pub fn archive(&self, out: impl Write) -> io::Result<()> {
        let mut zip = ZipWriter::new_stream(out);
        let mut names = BTreeSet::new();
        for entry in self.list()?.into_iter().filter(|entry| entry.is_complete) {
            let file = match self.open(entry.folder, &entry.name) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?.0,
            };
            let size = file.metadata()?.len();
            zip.start_file(unused(&entry, &mut names), options(&entry))?;
            // A program may go on writing to the file.
            io::copy(&mut file.take(size), &mut zip)?;
        }
        zip.finish()?.into_inner().flush()
    }
}

/// Returns a name in the archive that no other file has.
fn unused(entry: &FileEntry, names: &mut BTreeSet<String>) -> String {
    let safe = file_name(&entry.name);
    let name = |number| format!("{}/{}", entry.folder.as_str(), numbered(&safe, number));
    let free = (0..).map(name).find(|name| !names.contains(&name.to_lowercase()));
    let name = free.unwrap_or_else(|| name(u32::MAX));
    names.insert(name.to_lowercase());
    name
}

fn options(entry: &FileEntry) -> SimpleFileOptions {
    let (seconds, nanoseconds) = entry.modified;
    let at = DateTime::from_timestamp(seconds, nanoseconds).unwrap_or_default();
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(entry.size >= u32::MAX.into())
        .unix_permissions(0o600)
        .last_modified_time(at.naive_utc().try_into().unwrap_or_default())
}
