//! Lookup of programs, and short runs of them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Child;
use tokio::time::timeout;

/// The absolute path of the program `name`: itself if it contains a slash, otherwise the first
/// executable in `path`. Absolute, because a program starts in another directory than the server's.
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

/// Runs a short program with only `PATH` in its environment, and returns its standard output. The
/// error is a text with the cause. The program is killed at the deadline.
pub async fn output(
    program: &Path,
    arguments: &[String],
    path: &str,
    deadline: Duration,
) -> Result<String, String> {
    output_with(program, arguments, &[], path, deadline).await
}

/// The same with these variables in its environment as well.
pub async fn output_with(
    program: &Path,
    arguments: &[String],
    environment: &[(&str, &OsStr)],
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
        .envs(environment.iter().copied())
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

/// Starts a program that belongs to the caller, with no other environment than this one. Its standard error is
/// appended to `log`, its standard output is read through the child. It is killed when the child is dropped, so it
/// must have no programs of its own.
///
/// # Errors
///
/// The error of the system.
pub fn start_owned(
    program: &Path,
    arguments: &[&OsStr],
    environment: &[(&str, &OsStr)],
    log: File,
) -> io::Result<Child> {
    #[expect(clippy::disallowed_methods, reason = "this is the module that starts programs")]
    let mut command = tokio::process::Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // An interruption of the terminal is for the caller, which then ends the program itself.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
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
