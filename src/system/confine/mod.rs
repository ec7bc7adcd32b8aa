//! The launcher of a session's programs: `greenroom confine`.
//!
//! The server executes its own binary. That process does the steps between `fork` and `exec`
//! without unsafe code, single-threaded and before any runtime, and then becomes the program:
//!
//! ```text
//! spec --> program --> descriptors --> control group --> session --> limits --> network
//!      --> shared memory --> policies
//!      --> privileges --> user --> Landlock --> working directory --> status --> execution
//! ```
//!
//! The process that the server has started becomes the program, with the same pid and exit status.
//! The specification is read from standard input, which is `/dev/null` for the program.
//!
//! # Invariants
//!
//! 1. Nothing of the program runs before every step has succeeded. A step that may fail without harm
//!    (the control group) leaves a warning in the status.
//! 2. A program reaches the parts of the machine that [`rules`] lists for its kind, and the parts of
//!    its session that the specification names. It can execute nothing that a session can write.
//! 3. A program has no capability, can gain none, and leaves no core dump.
//! 4. The paths of rules are opened before the user changes, and the domain is entered after it.
//!    Therefore the domain does not depend on the directories that the session's user may traverse.

mod descriptors;
pub mod landlock;
mod managed;
mod network;
mod order;
pub mod place;
mod prepare;
pub mod probe;
pub mod rules;
pub mod shared_memory;
pub mod spec;
pub mod status;
mod target;
pub mod user;

pub(in crate::system) use order::send;
pub use order::{Confined, Confinement};

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use landlock::Prepared;
use spec::{Landlock, ProgramKind, Spec};
use status::{ConfineError, Report, Step, failed};

/// Reads a specification from standard input and becomes its program. Returns only on failure, and
/// then prints a line of JSON to standard error. The process must be single-threaded.
pub fn main() -> ExitCode {
    let Err(error) = read(io::stdin().lock()).and_then(|spec| confine(&spec));
    let line = serde_json::to_string(&error.line()).unwrap_or_default();
    // Standard error is the log; if it is closed, only the exit code remains.
    let _ = writeln!(io::stderr(), "{line}");
    ExitCode::from(error.code())
}

fn read(input: impl Read) -> Result<Spec, ConfineError> {
    let mut text = Vec::new();
    let read = input.take(spec::LARGEST).read_to_end(&mut text);
    read.map_err(failed(Step::Spec, "standard input"))?;
    serde_json::from_slice(&text).map_err(|cause| {
        failed(Step::Spec, "standard input is not a launch specification")(io::Error::other(cause))
    })
}

/// Becomes the program of the specification.
pub fn confine(spec: &Spec) -> Result<Infallible, ConfineError> {
    target::check(&spec.program)?;
    descriptors::close_all_but(&spec.keep)?;
    let mut warnings = Vec::new();
    if let Some(group) = &spec.group {
        warnings.extend(prepare::join(group));
    }
    prepare::lead_session()?;
    prepare::limit(spec.open_files)?;
    let status = spec.status.as_deref().map(append).transpose()?;
    if let Some(network) = &spec.network {
        network::join(network)?;
        shared_memory::separate()?;
    }
    if let Some(policies) = &spec.policies {
        if spec.network.is_none() {
            let cause = io::Error::from(io::ErrorKind::Unsupported);
            return Err(failed(Step::Policies, "the program has no mount namespace")(cause));
        }
        managed::show(policies)?;
    }
    prepare::no_new_privileges()?;
    let landlock = spec.landlock.as_ref();
    let domain = landlock.map(|asked| Prepared::of(spec.kind, asked)).transpose()?;
    match spec.kind {
        // The egress program drops its capabilities itself, once it has its namespaces.
        ProgramKind::Egress => {}
        ProgramKind::Xvfb
        | ProgramKind::X11vnc
        | ProgramKind::Xtigervnc
        | ProgramKind::Chromium
        | ProgramKind::Python
        | ProgramKind::Ffmpeg
        | ProgramKind::Nss => user::change(spec.user)?,
    }
    // New files of the program are accessible to its user only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let level = domain.map(Prepared::enter).transpose()?.unwrap_or_default();
    std::env::set_current_dir(&spec.directory)
        .map_err(failed(Step::Directory, spec.directory.display()))?;
    let report = Report {
        pid: rustix::process::getpid().as_raw_nonzero().get(),
        kind: spec.kind,
        landlock: level.abi,
        unenforced: level.unenforced,
        user: spec.user,
        warnings,
    };
    if let Some(mut file) = status {
        let mut line = serde_json::to_vec(&report).map_err(io::Error::from).unwrap_or_default();
        line.push(b'\n');
        file.write_all(&line).map_err(failed(Step::Status, "the status cannot be written"))?;
    }
    target::execute(spec)
}

/// Confines this process as a program of `kind` that may write in `directory` and nowhere else.
///
/// # Errors
///
/// Fails when the kernel refuses. A kernel without Landlock confines nothing, which is no error.
pub fn enter(kind: ProgramKind, directory: &Path) -> io::Result<()> {
    let landlock =
        Landlock { write: vec![directory.to_owned()], signals: true, ..Landlock::default() };
    let entered = Prepared::of(kind, &landlock).and_then(Prepared::enter);
    entered.map(drop).map_err(io::Error::other)
}

fn append(path: &Path) -> Result<File, ConfineError> {
    let mut options = OpenOptions::new();
    let opened = options.append(true).create(true).mode(0o600).open(path);
    opened.map_err(failed(Step::Status, path.display()))
}
