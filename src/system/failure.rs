//! Construction of this floor's failures.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::process::{Exit, Process, SpawnError};
use crate::domain::session::Failure;

/// A failure of `stage` without an exit status or a log.
pub(super) fn failure(stage: &str, code: &str, message: String) -> Failure {
    Failure::new(code, message).stage(stage)
}

/// The failure of writing a session's directory, or a file in it.
pub(super) fn directory(path: &Path, cause: &std::io::Error) -> Failure {
    let message = format!("{} could not be written: {cause}", path.display());
    if is_out_of_descriptors(cause) {
        return no_descriptor_free("directory", message);
    }
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let hint = if matches!(cause.kind(), StorageFull | QuotaExceeded) {
        "make room on the disk"
    } else {
        "check that the data directory exists and belongs to the user of the server"
    };
    failure("directory", "directory_failed", message).hint(hint)
}

fn is_out_of_descriptors(cause: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(cause);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

fn no_descriptor_free(stage: &str, message: String) -> Failure {
    let hint = "raise the limit of open files: `LimitNOFILE=` in the unit, or `ulimit -n`";
    failure(stage, "no_descriptor_free", message).hint(hint)
}

/// A stage of the launch: the name of its program, and the Debian package.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaunchStage {
    /// The name: `xvfb`, `vnc` or `chromium`.
    pub(super) name: &'static str,
    /// The Debian package that contains the program.
    pub(super) package: &'static str,
}

impl LaunchStage {
    fn failed(self, what: &str, message: String) -> Failure {
        failure(self.name, &format!("{}_{what}", self.name), message)
    }

    /// The failure of a program that is not installed.
    pub(super) fn missing(self, program: &Path) -> Failure {
        let Self { package, .. } = self;
        let hint = format!("install the Debian package `{package}`, or run `scripts/setup`");
        let message = format!("the program {} is missing", program.display());
        self.failed("missing", message).hint(hint)
    }

    /// The failure of a program that could not be started.
    pub(super) fn not_spawned(self, cause: &SpawnError) -> Failure {
        match cause {
            SpawnError::Missing { program } => self.missing(program),
            SpawnError::Failed { program, cause } => {
                let message = format!("{} could not be started: {cause}", program.display());
                if is_out_of_descriptors(cause) {
                    return no_descriptor_free(self.name, message);
                }
                self.failed("exited", message)
            }
        }
    }

    /// The failure of a program that ended before it was ready.
    pub(super) fn exited(self, process: &Process, exit: Exit) -> Failure {
        let message = format!("{} ended before it was ready: {exit}", self.name);
        Failure {
            exit: Some(exit.to_string()),
            log_tail: process.log_tail(),
            ..self.failed("exited", message)
        }
    }

    /// The failure of a program that was not ready before its deadline.
    pub(super) fn late(self, process: &Process, deadline: Duration) -> Failure {
        let message = format!("{} was not ready after {} s", self.name, deadline.as_secs());
        Failure {
            log_tail: process.log_tail(),
            hint: Some(
                "see its log; on a loaded machine, raise `start_deadline_seconds`".to_owned(),
            ),
            ..self.failed("not_ready", message)
        }
    }

    /// The failure of a program that ended while it was needed.
    pub(super) fn died(self, process: &Process, exit: Exit) -> Failure {
        let message = format!("{} ended unexpectedly: {exit}", self.name);
        Failure {
            exit: Some(exit.to_string()),
            log_tail: process.log_tail(),
            ..self.failed("died", message)
        }
    }

    /// The failure of a program that was closed in order while it was needed.
    pub(super) fn closed(self, exit: Exit) -> Failure {
        let message = format!("{} was closed: {exit}", self.name);
        Failure { exit: Some(exit.to_string()), ..self.failed("closed", message) }
    }

    /// The failure `died`, with the session's lack of memory as the cause.
    pub(super) fn out_of_memory(self, died: Failure) -> Failure {
        let message = format!(
            "{}: the session had used up its memory, and the kernel ended it",
            died.message
        );
        Failure {
            code: format!("{}_out_of_memory", self.name),
            message,
            hint: Some(
                "raise `limits.session_memory_mib`, or open fewer pages in a browser".to_owned(),
            ),
            ..died
        }
    }

    /// The failure of a program that did not answer while it was needed, and is ended.
    pub(super) fn hung(self, process: &Process, deadline: Duration) -> Failure {
        let message = format!("{} did not answer for {} s", self.name, deadline.as_secs());
        Failure { log_tail: process.log_tail(), ..self.failed("hung", message) }
    }

    /// The failure of a program that lost a part which it cannot restart, and is ended.
    pub(super) fn broken(self, process: &Process, part: &str) -> Failure {
        let message = format!("{} lost {part}, and cannot start another", self.name);
        Failure { log_tail: process.log_tail(), ..self.failed("died", message) }
    }

    /// Resolves when `sign` does, when `process` has ended, or at the deadline.
    pub(super) async fn ready<T>(
        self,
        process: &Process,
        deadline: Duration,
        sign: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let either = async {
            tokio::select! {
                biased;
                sign = sign => Ok(sign),
                exit = process.exited() => Err(self.exited(process, exit)),
            }
        };
        timeout(deadline, either).await.unwrap_or_else(|_late| Err(self.late(process, deadline)))
    }
}
