//! Finding programs, and asking short questions of them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::timeout;

/// The file that `name` stands for, as an absolute path: itself when it has a slash, else the first
/// in `path` that can be executed. A program is started in another directory than the server's.
pub fn find(name: &Path, path: &str) -> Option<PathBuf> {
    let executable = |file: &Path| {
        file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let file = if name.components().count() > 1 {
        executable(name).then(|| name.to_owned())
    } else {
        std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| executable(file))
    };
    std::path::absolute(file?).ok()
}

/// The most scripts that may be each other's interpreters, as in Linux.
const INTERPRETERS: u32 = 4;

/// Checks what `execve` would: that a file may be executed, and is a program or a script whose
/// interpreter may be.
pub(super) fn executable(path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    for _ in 0..=INTERPRETERS {
        rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)?;
        let mut file = match File::open(&path) {
            // One may execute what one may not read.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error()));
        }
        let mut head = Vec::new();
        file.by_ref().take(256).read_to_end(&mut head)?;
        if head.starts_with(b"\x7fELF") {
            return Ok(());
        }
        let broken = || io::Error::from_raw_os_error(rustix::io::Errno::NOEXEC.raw_os_error());
        let line = head.strip_prefix(b"#!").ok_or_else(broken)?;
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let interpreter = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        if interpreter.is_empty() {
            return Err(broken());
        }
        path = PathBuf::from(OsStr::from_bytes(interpreter));
    }
    Err(io::Error::from_raw_os_error(rustix::io::Errno::LOOP.raw_os_error()))
}

/// Runs a program that ends soon, with only `PATH` in its environment, and gives its standard
/// output; an error says why there is none. It is killed at the deadline.
pub async fn output(
    program: &Path,
    arguments: &[String],
    path: &str,
    deadline: Duration,
) -> Result<String, String> {
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts programs")]
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", path)
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = match timeout(deadline, command.output()).await {
        Ok(output) => output.map_err(|cause| cause.to_string())?,
        Err(_late) => return Err(format!("no answer after {} s", deadline.as_secs())),
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{}: {}", output.status, said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_named_relative_to_the_server_is_found_as_an_absolute_path() {
        let here = std::env::current_dir().unwrap();
        let up = "../".repeat(here.components().count());
        let relative = format!("{up}bin/sh");
        for (name, path) in [(relative.as_str(), ""), ("sh", format!("/none:{up}bin").as_str())] {
            let found = find(Path::new(name), path).unwrap();
            assert!(found.is_absolute() && found.ends_with("bin/sh"), "{}", found.display());
        }
        assert_eq!(find(Path::new("./no-such"), "/bin"), None);
    }
}
