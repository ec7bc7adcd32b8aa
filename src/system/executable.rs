//! The check of a program before its execution.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The most scripts that may be each other's interpreters, as in Linux.
const INTERPRETERS: u32 = 4;

/// A program that cannot be executed.
#[derive(Debug)]
pub(super) struct NotExecutable {
    /// The file at fault: the program, or an interpreter.
    pub file: PathBuf,
    /// The error that `execve` would return.
    pub cause: Errno,
}

/// Makes the checks of `execve`: the file must be executable, and a program or a script whose
/// interpreter is executable. A file that only the program's user may read is left to `execve`.
pub(super) fn check(program: &Path) -> Result<(), NotExecutable> {
    let mut file = program.to_owned();
    for _ in 0..=INTERPRETERS {
        match interpreter(&file) {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => file = next,
            Err(cause) => return Err(NotExecutable { file, cause }),
        }
    }
    Err(NotExecutable { file: program.to_owned(), cause: Errno::LOOP })
}

/// The interpreter of a script; none for a binary program.
fn interpreter(path: &Path) -> Result<Option<PathBuf>, Errno> {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
    let errno = |cause: io::Error| Errno::from_io_error(&cause).unwrap_or(Errno::IO);
    let mut file = match File::open(path) {
        // A file may be executable but not readable.
        Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        opened => opened.map_err(errno)?,
    };
    if !file.metadata().map_err(errno)?.is_file() {
        return Err(Errno::ACCESS);
    }
    let mut head = Vec::new();
    file.by_ref().take(256).read_to_end(&mut head).map_err(errno)?;
    if head.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let line = head.strip_prefix(b"#!").ok_or(Errno::NOEXEC)?;
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    let interpreter = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if interpreter.is_empty() {
        Err(Errno::NOEXEC)
    } else {
        Ok(Some(OsStr::from_bytes(interpreter).into()))
    }
}
