//! How the failures of this floor are put.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::process::{Exit, Process, SpawnError};
use crate::domain::session::Failure;

/// A failure of `stage` that no program's exit or log explains.
pub(super) fn failure(stage: &str, code: &str, message: String) -> Failure {
    Failure {
        code: code.to_owned(),
        stage: Some(stage.to_owned()),
        message,
        exit: None,
        log_tail: Vec::new(),
        hint: None,
    }
}

/// The directory of a session, or a file in it, could not be made.
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
    Failure { hint: Some(hint.to_owned()), ..failure("directory", "directory_failed", message) }
}

fn is_out_of_descriptors(cause: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(cause);
    errno.is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

fn no_descriptor_free(stage: &str, message: String) -> Failure {
    let hint = "raise the limit of open files: `LimitNOFILE=` in the unit, or `ulimit -n`";
    Failure { hint: Some(hint.to_owned()), ..failure(stage, "no_descriptor_free", message) }
}

/// What `stage` starts, and which Debian package has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    /// `xvfb`, `vnc` or `chromium`.
    pub(super) name: &'static str,
    /// The Debian package.
    pub(super) package: &'static str,
}

impl Stage {
    fn failed(self, what: &str, message: String) -> Failure {
        failure(self.name, &format!("{}_{what}", self.name), message)
    }

    /// The program is not there.
    pub(super) fn missing(self, program: &Path) -> Failure {
        let Self { package, .. } = self;
        let hint = format!("install the Debian package `{package}`, or run `scripts/setup`");
        let message = format!("the program {} is missing", program.display());
        Failure { hint: Some(hint), ..self.failed("missing", message) }
    }

    /// The program could not be started.
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

    /// The program ended before it was ready.
    pub(super) fn exited(self, process: &Process, exit: Exit) -> Failure {
        let message = format!("{} ended before it was ready: {exit}", self.name);
        Failure {
            exit: Some(exit.to_string()),
            log_tail: process.log_tail(),
            ..self.failed("exited", message)
        }
    }

    /// The program showed no sign of readiness before its deadline.
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

    /// The program ended while it was needed.
    pub(super) fn died(self, process: &Process, exit: Exit) -> Failure {
        let message = format!("{} ended unexpectedly: {exit}", self.name);
        Failure {
            exit: Some(exit.to_string()),
            log_tail: process.log_tail(),
            ..self.failed("died", message)
        }
    }

    /// The program ended in good order while it was needed.
    pub(super) fn closed(self, exit: Exit) -> Failure {
        let message = format!("{} was closed: {exit}", self.name);
        Failure { exit: Some(exit.to_string()), ..self.failed("closed", message) }
    }

    /// The program died as `died` tells, because its session had no memory left.
    pub(super) fn out_of_memory(self, died: Failure) -> Failure {
        let message = format!(
            "{}: the session had used up its memory, and the kernel ended it",
            died.message
        );
        Failure {
            code: format!("{}_out_of_memory", self.name),
            message,
            hint: Some("raise `limits.session_memory_mib`, or ask less of one browser".to_owned()),
            ..died
        }
    }

    /// The program did not answer while it was needed, and is ended.
    pub(super) fn hung(self, process: &Process, deadline: Duration) -> Failure {
        let message = format!("{} did not answer for {} s", self.name, deadline.as_secs());
        Failure { log_tail: process.log_tail(), ..self.failed("hung", message) }
    }

    /// The program lost a part that it cannot start again, and is ended.
    pub(super) fn broken(self, process: &Process, part: &str) -> Failure {
        let message = format!("{} lost {part}, and starts none again", self.name);
        Failure { log_tail: process.log_tail(), ..self.failed("died", message) }
    }

    /// Resolves with the sign of readiness, or when `process` has ended, or at the deadline.
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
