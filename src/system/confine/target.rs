//! The program itself: looked at first, executed last.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::spec::Spec;
use super::status::{ConfineError, Step, failed};

/// The most scripts that may be each other's interpreters, as in Linux.
const INTERPRETERS: u32 = 4;

/// Checks what `execve` would, so that a missing or broken program is reported before anything else
/// is done: the path is absolute, and the file is a program or a script whose interpreter is there.
/// Where only the program's user may look, `execve` says it.
pub(super) fn check(program: &Path) -> Result<(), ConfineError> {
    if !program.is_absolute() {
        let cause = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failed(Step::Target, format!("{} is not absolute", program.display()))(cause));
    }
    let mut path = program.to_owned();
    for _ in 0..=INTERPRETERS {
        match interpreter(&path) {
            Ok(None) => return Ok(()),
            Ok(Some(next)) => path = next,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(ConfineError::Missing(path)),
            Err(cause) => return Err(failed(Step::Target, path.display())(cause)),
        }
    }
    Err(failed(Step::Target, program.display())(Errno::LOOP))
}

/// The interpreter of a script; none of a program.
fn interpreter(path: &Path) -> Result<Option<PathBuf>, Errno> {
    rustix::fs::access(path, rustix::fs::Access::EXEC_OK)?;
    let errno = |cause: io::Error| Errno::from_io_error(&cause).unwrap_or(Errno::IO);
    let mut file = match File::open(path) {
        // A file may be executed that may not be read.
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

/// Becomes the program. The standard library gives it the signals' defaults, `SIGPIPE` among them,
/// which a Rust process ignores.
#[expect(clippy::disallowed_methods, reason = "this process becomes the program")]
pub(super) fn execute(spec: &Spec) -> Result<Infallible, ConfineError> {
    let mut command = std::process::Command::new(&spec.program);
    command.args(&spec.arguments).env_clear().envs(&spec.environment);
    let cause = command.exec();
    let subject = format!("{} cannot be executed", spec.program.display());
    Err(failed(Step::Execute, subject)(cause))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_cannot_run_is_named_before_anything_else_is_done() {
        let folder = std::env::temp_dir().join(format!("confine-target-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str, mode: u32| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        assert!(check(Path::new("/bin/sh")).is_ok());
        assert!(check(&file("script", "#!/bin/sh -e\n", 0o755)).is_ok());
        let missing = |path: &Path| matches!(check(path), Err(ConfineError::Missing(_)));
        assert!(missing(Path::new("/nowhere/Xvfb")));
        assert!(missing(&file("no-interpreter", "#!/nowhere/python\n", 0o755)));
        for path in [
            Path::new("bin/sh").to_owned(),
            file("no-program", "GIF89a", 0o755),
            file("not-executable", "#!/bin/sh\n", 0o644),
            file("empty-line", "#!\n", 0o755),
            folder.clone(),
        ] {
            assert_eq!(check(&path).unwrap_err().code(), 126, "{}", path.display());
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
