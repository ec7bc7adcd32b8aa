//! The report of a launch: the level that it reached, or the step that failed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::spec::{Feature, Kind, User};

/// The exit code of a launch that failed before the program ran, as shells have it.
pub const FAILED: u8 = 126;

/// The exit code of a launch whose program is missing.
pub const MISSING: u8 = 127;

/// One line of the file `status`: what holds for the program that runs from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The process, which becomes the program.
    pub pid: i32,
    /// Its kind.
    pub kind: Kind,
    /// The ABI of Landlock that is in force; 0 is none.
    pub landlock: i32,
    /// Features that were asked for and that Landlock does not enforce.
    pub unenforced: Vec<Feature>,
    /// Its user, where that is not the server's.
    #[serde(default)]
    pub user: Option<User>,
    /// Steps that failed and are not needed, such as a control group.
    pub warnings: Vec<String>,
}

/// A step of the launch, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The specification is read.
    Spec,
    /// The program is looked at.
    Target,
    /// Inherited descriptors are closed.
    Descriptors,
    /// The control group is joined.
    Group,
    /// The process leaves its terminal and its process group.
    Session,
    /// Limits are set.
    Limits,
    /// The network namespace is joined.
    Network,
    /// The program gets shared memory of its own.
    SharedMemory,
    /// New privileges are given up.
    Privileges,
    /// The user is changed, and capabilities are given up.
    User,
    /// The Landlock domain is entered.
    Landlock,
    /// The working directory is entered.
    Directory,
    /// The level is reported.
    Status,
    /// The process becomes the program.
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
            Self::Privileges => "privileges",
            Self::User => "user",
            Self::Landlock => "landlock",
            Self::Directory => "working directory",
            Self::Status => "status",
            Self::Execute => "execution",
        })
    }
}

/// The reason of a failed launch. Nothing of the program has run.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The program is not there.
    #[error("the program {} is missing", .0.display())]
    Missing(PathBuf),
    /// The kernel lacks what the specification requires.
    #[error("the kernel's Landlock (ABI {abi}) cannot enforce {features:?}")]
    Unenforceable {
        /// The ABI in force.
        abi: i32,
        /// The required features that are missing.
        features: Vec<Feature>,
    },
    /// A step failed.
    #[error("{step} of the launch failed: {subject}")]
    Failed {
        /// Which.
        step: Step,
        /// The path or setting that it was about.
        subject: String,
        /// The answer of the system.
        #[source]
        cause: io::Error,
    },
}

/// The line that a launch which failed leaves on standard error, which is the program's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorLine {
    /// The constant `confine`, which distinguishes it from what programs write.
    pub error: String,
    /// Which step.
    pub step: Step,
    /// The reason, for people.
    pub message: String,
    /// The number of the system's error.
    pub errno: Option<i32>,
}

impl ConfineError {
    /// The exit code.
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

    /// The error that the last lines of a log hold, if the launcher wrote one.
    pub fn among(lines: &[String]) -> Option<Self> {
        let parsed = lines.iter().rev().filter_map(|line| serde_json::from_str(line).ok());
        parsed.into_iter().find(|line: &Self| line.error == Self::MARK)
    }
}

/// Makes an error of a step.
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
