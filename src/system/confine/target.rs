//! The program itself: checked first, executed last.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use rustix::io::Errno;

use super::spec::Spec;
use super::status::{ConfineError, Step, failed};
use crate::system::executable::{self, NotExecutable};

/// Makes the checks of `execve` early, so that a missing or broken program is reported before any
/// other step. The path must be absolute, and the file a program or a script whose interpreter
/// exists. A file that only the program's user may read is left to `execve`.
pub(super) fn check(program: &Path) -> Result<(), ConfineError> {
    if !program.is_absolute() {
        let cause = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failed(Step::Target, format!("{} is not absolute", program.display()))(cause));
    }
    executable::check(program).map_err(|NotExecutable { file, cause }| match cause {
        Errno::NOENT | Errno::NOTDIR => ConfineError::Missing(file),
        cause => failed(Step::Target, file.display())(cause),
    })
}

/// Becomes the program. The standard library resets the signals to their defaults, including
/// `SIGPIPE`, which a Rust process ignores.
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
