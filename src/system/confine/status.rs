//! The report of a launch: the confinement that it reached, or the step that failed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::spec::{Feature, ProgramKind, User};

/// The exit code of a launch that failed before the program ran, as in shells.
pub const FAILED: u8 = 126;

/// The exit code of a launch whose program is missing.
pub const MISSING: u8 = 127;

/// One line of the file `status`: the confinement of the program that runs from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The pid of the launcher, which becomes the program.
    pub pid: i32,
    /// The kind of the program.
    pub kind: ProgramKind,
    /// The ABI of Landlock in force; 0 means none.
    pub landlock: i32,
    /// Features that were requested and that Landlock does not enforce.
    pub unenforced: Vec<Feature>,
    /// The user of the program, if it differs from the server's.
    #[serde(default)]
    pub user: Option<User>,
    /// Failures of optional steps, such as the control group.
    pub warnings: Vec<String>,
}

/// A step of the launch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Reads the specification from standard input.
    Spec,
    /// Checks the program's file.
    Target,
    /// Closes all inherited descriptors.
    Descriptors,
    /// Joins the control group.
    Group,
    /// Leaves the terminal and the process group.
    Session,
    /// Sets the resource limits.
    Limits,
    /// Joins the network namespace.
    Network,
    /// Mounts private shared memory.
    SharedMemory,
    /// Shows the policies of the session.
    Policies,
    /// Forbids gaining new privileges.
    Privileges,
    /// Changes the user and drops capabilities.
    User,
    /// Enters the Landlock domain.
    Landlock,
    /// Enters the working directory.
    Directory,
    /// Writes the report to the status file.
    Status,
    /// Executes the program in place of the launcher.
    Execute,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "specification",
            Self::Target => "program",
            Self::Descriptors => "descriptors",
            Self::Group => "control group",
            Self::Session => "session",
            Self::Limits => "limits",
            Self::Network => "network",
            Self::SharedMemory => "shared memory",
            Self::Policies => "policies",
            Self::Privileges => "privileges",
            Self::User => "user",
            Self::Landlock => "landlock",
            Self::Directory => "working directory",
            Self::Status => "status",
            Self::Execute => "execution",
        })
    }
}

/// The reason for which a launch failed. Nothing of the program has run.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The program does not exist.
    #[error("the program {} is missing", .0.display())]
    Missing(PathBuf),
    /// The kernel lacks a feature that the specification requires.
    #[error("the kernel's Landlock (ABI {abi}) cannot enforce {features:?}")]
    Unenforceable {
        /// The ABI in force.
        abi: i32,
        /// The required features that are missing.
        features: Vec<Feature>,
    },
    /// A step of the launch failed.
    #[error("{step} of the launch failed: {subject}")]
    Failed {
        /// The step that failed.
        step: Step,
        /// The path or setting that the step handled.
        subject: String,
        /// The error of the system.
        #[source]
        cause: io::Error,
    },
}

/// The line that a failed launch prints to standard error, which is the program's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLine {
    /// The constant `confine`, which distinguishes the line from the program's output.
    pub error: String,
    /// The step that failed.
    pub step: Step,
    /// The reason as a message for people.
    pub message: String,
    /// The `errno` of the system, if it has one.
    pub errno: Option<i32>,
}

impl ConfineError {
    /// The exit code for the launcher.
    pub fn code(&self) -> u8 {
        match self {
            Self::Missing(_) => MISSING,
            Self::Unenforceable { .. } | Self::Failed { .. } => FAILED,
        }
    }

    /// The line for standard error.
    pub fn line(&self) -> ErrorLine {
        let (step, message, errno) = match self {
            Self::Missing(_) => (Step::Target, self.to_string(), None),
            Self::Unenforceable { .. } => (Step::Landlock, self.to_string(), None),
            Self::Failed { step, cause, .. } => {
                (*step, format!("{self}: {cause}"), cause.raw_os_error())
            }
        };
        ErrorLine { error: ErrorLine::MARK.to_owned(), step, message, errno }
    }
}

impl ErrorLine {
    const MARK: &str = "confine";

    /// Finds the launcher's error in the last lines of a log.
    pub fn among(lines: &[String]) -> Option<Self> {
        let parsed = lines.iter().rev().filter_map(|line| serde_json::from_str(line).ok());
        parsed.into_iter().find(|line: &Self| line.error == Self::MARK)
    }
}

/// Returns a function that makes the error of a step from its cause.
pub(super) fn failed<C: Into<io::Error>>(
    step: Step,
    subject: impl fmt::Display,
) -> impl FnOnce(C) -> ConfineError {
    let subject = subject.to_string();
    move |cause| ConfineError::Failed { step, subject, cause: cause.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_found_again_in_a_log() {
        let error = failed(Step::Group, "/sys/fs/cgroup/x")(io::Error::from_raw_os_error(13));
        let line = serde_json::to_string(&error.line()).unwrap();
        let log = ["_XSERVTransmkdir: …".to_owned(), "{}".to_owned(), line];
        let found = ErrorLine::among(&log).unwrap();
        assert_eq!((found.step, found.errno), (Step::Group, Some(13)));
        assert_eq!(ErrorLine::among(&log[..2]), None);
        assert_eq!(ConfineError::Missing("/x".into()).code(), 127);
    }
}
