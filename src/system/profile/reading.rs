//! Strict reading of the form of tar that `pack` writes.
//!
//! Not the reader of the `tar` crate: that accepts archives without an end, and describes entries by
//! several extensions, which other programs may understand differently.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};

use tar::{EntryType, Header};
use zstd::stream::read::Decoder;

use super::refusal::{UnpackError, damaged, refused};
use super::{BLOCK, BUFFER, LONGEST_NAME, Limits, padding, shown};

/// The largest window of compression, as a power of two: 8 MiB, which each decoder must support by
/// RFC 8878. A larger one would cost each of many restorations that much memory.
const WINDOW: u32 = 23;

/// The bytes of the checksum in a header, see the `ustar` format of POSIX.
const CHECKSUM: std::ops::Range<usize> = 148..156;

/// An entry: a plain file or a folder. The paths are not checked here.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) is_folder: bool,
    /// The bytes of the content that follows; 0 for a folder.
    pub(super) size: u64,
}

/// The entries of an archive.
pub(super) struct Entries {
    decoder: Decoder<'static, BufReader<File>>,
    longest_path: u64,
    buffer: Vec<u8>,
}

impl Entries {
    /// The entries of an archive whose file is at its beginning.
    pub(super) fn new(file: File, limits: Limits) -> io::Result<Self> {
        let mut decoder = Decoder::new(file)?.single_frame();
        decoder.window_log_max(WINDOW)?;
        // Two names more than a path of the profile may have: too deep ones are refused as such.
        let longest_path = limits.depth.saturating_add(2).saturating_mul(LONGEST_NAME + 1);
        let longest_path = u64::try_from(longest_path).unwrap_or(u64::MAX);
        Ok(Self { decoder, longest_path, buffer: vec![0; BUFFER] })
    }

    /// The next entry; none at the proper end of the archive. The content of the former one must have
    /// been read.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, UnpackError> {
        let Some(mut header) = self.header()? else { return Ok(None) };
        let mut long = None;
        if header.entry_type() == EntryType::GNULongName {
            let path = self.long_name(&header)?;
            let Some(next) = self.header()? else {
                return Err(damaged(format!("it ends after the name {}", shown(&path))));
            };
            header = next;
            long = Some(path);
        }
        let short = header.path_bytes();
        let path = match long {
            // Another reader would take the short one.
            Some(long) if long.get(..short.len()) != Some(&*short) => {
                return Err(damaged(format!("{} has two names", shown(&long))));
            }
            Some(long) => long,
            None => short.into_owned(),
        };
        let kind = header.entry_type();
        let is_folder = kind == EntryType::Directory;
        let [flag] = header.as_old().linkflag;
        // The crate also reads the flag 0 of old archives as that of a file.
        if !is_folder && flag != EntryType::Regular.as_byte() {
            return Err(refused(&path, described(flag)));
        }
        if header.as_gnu().is_none() {
            return Err(refused(&path, "is not in the form of GNU tar"));
        }
        let size = size_of(&header)?;
        if is_folder && size > 0 {
            return Err(refused(&path, "is a folder with content"));
        }
        Ok(Some(Entry { path, is_folder, size }))
    }

    /// Copies the content of an entry.
    pub(super) fn copy(&mut self, entry: &Entry, into: &mut dyn Write) -> Result<(), UnpackError> {
        let mut left = entry.size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let room = self.buffer.get_mut(..wanted).unwrap_or_default();
            let read = match self.decoder.read(room) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|cause| unread(cause, &entry.path))?,
            };
            if read == 0 {
                return Err(damaged(format!("it ends in {}", shown(&entry.path))));
            }
            let bytes = self.buffer.get(..read).unwrap_or_default();
            into.write_all(bytes).map_err(|cause| UnpackError::NotWritten {
                what: format!("{} could not be written", shown(&entry.path)),
                cause,
            })?;
            left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
        }
        self.pass_padding(entry.size)
    }

    /// The next header; none after the two blocks that mark the end, if nothing follows them.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        self.fill(header.as_mut_bytes())?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            self.end()?;
            return Ok(None);
        }
        let sum = header.as_bytes().iter().enumerate().fold(0_u32, |sum, (at, byte)| {
            let byte = if CHECKSUM.contains(&at) { b' ' } else { *byte };
            sum.wrapping_add(byte.into())
        });
        match header.cksum() {
            Ok(expected) if expected == sum => Ok(Some(header)),
            Ok(_) | Err(_) => {
                Err(damaged(format!("the header of {} is invalid", shown(&header.path_bytes()))))
            }
        }
    }

    /// The path in the content of an entry that stands for a long one.
    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, UnpackError> {
        let size = size_of(header)?;
        if size > self.longest_path {
            return Err(damaged("it has a path that is too long".to_owned()));
        }
        let mut path = vec![0; usize::try_from(size).unwrap_or_default()];
        self.fill(&mut path)?;
        self.pass_padding(size)?;
        if path.pop() != Some(0) || path.contains(&0) || path.len() <= header.as_old().name.len() {
            return Err(refused(&path, "has an invalid name"));
        }
        Ok(path)
    }

    fn pass_padding(&mut self, size: u64) -> Result<(), UnpackError> {
        let mut block = [0; BLOCK];
        let padding = block.get_mut(..padding(size)).unwrap_or_default();
        self.fill(padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(damaged("it has bytes that belong to no entry".to_owned()));
        }
        Ok(())
    }

    /// Reads the rest after the first block of the mark of the end.
    fn end(&mut self) -> Result<(), UnpackError> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        let trailing = || damaged("something follows its end".to_owned());
        if block.iter().any(|byte| *byte != 0) {
            return Err(trailing());
        }
        let mut next = [0];
        // This also verifies the frame's checksum.
        if self.decoder.read(&mut next).map_err(|cause| unread(cause, b""))? > 0 {
            return Err(trailing());
        }
        self.decoder.finish_frame().map_err(|cause| unread(cause, b""))?;
        let rest = self.decoder.get_mut().fill_buf().map_err(|cause| unread(cause, b""))?;
        if rest.is_empty() { Ok(()) } else { Err(trailing()) }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), UnpackError> {
        self.decoder.read_exact(bytes).map_err(|cause| unread(cause, b""))
    }
}

/// The failure to read: of the system, or because the archive is damaged.
fn unread(cause: io::Error, path: &[u8]) -> UnpackError {
    if cause.raw_os_error().is_some() {
        return UnpackError::NotWritten { what: "its archive could not be read".to_owned(), cause };
    }
    let place = if path.is_empty() { String::new() } else { format!(", in {}", shown(path)) };
    if cause.kind() == io::ErrorKind::UnexpectedEof {
        return damaged(format!("it ends too early{place}"));
    }
    damaged(format!("{cause}{place}"))
}

fn size_of(header: &Header) -> Result<u64, UnpackError> {
    header.entry_size().map_err(|_invalid| {
        damaged(format!("the size of {} is invalid", shown(&header.path_bytes())))
    })
}

/// The reason to refuse an entry of this type, which is no plain file and no folder.
fn described(kind: u8) -> &'static str {
    match kind {
        b'1' => "is a hard link",
        b'2' => "is a symbolic link",
        b'3' | b'4' => "is a device",
        b'6' => "is a pipe",
        b'S' => "is a sparse file",
        b'K' | b'L' | b'x' | b'g' => "is described by an extension that is not allowed",
        _ => "is neither a plain file nor a folder",
    }
}
