//! The server's side of a confined start: the specification of each program.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::spec::{Landlock, Network, Policies, ProgramKind, Spec, User};
use crate::system::process::{BESIDE, MARKER, Program};

/// The confinement of all sessions' programs, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confinement {
    /// The program that has the command `confine`; none if programs are not confined.
    launcher: Option<PathBuf>,
    /// True if Landlock confines the programs' file access.
    files: bool,
    /// Further paths that every program may read.
    read: Vec<PathBuf>,
    /// The Landlock ABI to simulate in tests.
    simulate_abi: Option<i32>,
}

/// The confinement of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confined {
    launcher: PathBuf,
    /// The kind, which selects the ruleset.
    pub kind: ProgramKind,
    /// The rules of its session; none if files are not confined.
    pub landlock: Option<Landlock>,
    /// The network namespace to join; the server's own if none.
    pub network: Option<Network>,
    /// The policies of the browser; those of the machine if none.
    pub policies: Option<Policies>,
    /// The file to which the launcher appends its report.
    pub status: Option<PathBuf>,
    /// True if the program runs as the server's user, even if the session has its own.
    pub is_of_server: bool,
}

impl Confinement {
    /// Confines programs with `launcher`, and lets every program read `read`.
    pub fn by(launcher: impl Into<PathBuf>, read: Vec<PathBuf>, simulate_abi: Option<i32>) -> Self {
        Self { launcher: Some(launcher.into()), files: true, read, simulate_abi }
    }

    /// Starts programs with `launcher`, which can give them a network, without confining their files.
    pub fn without_files(launcher: impl Into<PathBuf>) -> Self {
        Self { launcher: Some(launcher.into()), ..Self::default() }
    }

    /// True if programs are confined to their files.
    pub fn is_on(&self) -> bool {
        self.files
    }

    /// The program that has the commands `confine` and `egress`.
    pub fn launcher(&self) -> Option<&Path> {
        self.launcher.as_deref()
    }

    /// The confinement of a program of `kind` with the rules of its session; none if programs start
    /// unconfined. The program's own folder becomes executable.
    pub fn of(&self, kind: ProgramKind, program: &Path, landlock: Landlock) -> Option<Confined> {
        let launcher = self.launcher.clone()?;
        let mut landlock = Landlock { simulate_abi: self.simulate_abi, ..landlock };
        landlock.read.extend(self.read.iter().filter(|path| path.exists()).cloned());
        // The kernel follows links, so the folder of the final target must be executable.
        let folders = [Some(program.to_owned()), program.canonicalize().ok()];
        let folders = folders.into_iter().flatten().filter_map(|it| Some(it.parent()?.to_owned()));
        landlock.execute.extend(folders);
        landlock.execute.dedup();
        let landlock = (self.files && kind != ProgramKind::Egress).then_some(landlock);
        Some(Confined {
            launcher,
            kind,
            landlock,
            network: None,
            policies: None,
            status: None,
            is_of_server: kind == ProgramKind::Egress,
        })
    }
}

impl Confined {
    /// The command that starts `program` by the launcher in this control group and as this user,
    /// and its specification for [`send`].
    #[expect(clippy::disallowed_methods, reason = "`system::process` starts programs with it")]
    pub(in crate::system) fn command(
        &self,
        program: &Program,
        group: Option<&Path>,
        user: Option<User>,
    ) -> io::Result<(Command, Vec<u8>)> {
        let text = |value: &std::ffi::OsStr| {
            let text = value.to_str().map(str::to_owned);
            text.ok_or_else(|| io::Error::other(format!("{} is not UTF-8", value.display())))
        };
        let mut environment = std::collections::BTreeMap::new();
        for (name, value) in &program.environment {
            environment.insert(text(name)?, text(value)?);
        }
        let session = program.session.to_string();
        environment.insert(MARKER.to_owned(), session.clone());
        let beside = environment.get(BESIDE).cloned();
        let spec = Spec {
            kind: self.kind,
            program: program.path.clone(),
            arguments: program.arguments.iter().map(|it| text(it)).collect::<Result<_, _>>()?,
            environment,
            directory: "/".into(),
            group: group.map(Path::to_owned),
            status: self.status.clone(),
            open_files: program.open_files.map(u64::from),
            keep: Vec::new(),
            network: self.network.clone(),
            policies: self.policies.clone(),
            user: user.filter(|_| !self.is_of_server),
            landlock: self.landlock.clone(),
        };
        let mut command = Command::new(&self.launcher);
        // The marker identifies a launcher that the server leaves behind. The sweep of a restart must spare one
        // that works beside the desktop, as it does its program.
        command.arg("confine").env_clear().env(MARKER, session).stdin(Stdio::piped());
        command.envs(beside.map(|value| (BESIDE, value)));
        Ok((command, serde_json::to_vec(&spec)?))
    }
}

/// Sends a specification. It fits into the pipe's buffer, so this does not block.
pub(in crate::system) fn send(
    stdin: Option<std::process::ChildStdin>,
    specification: &[u8],
) -> io::Result<()> {
    const PIPE: usize = 64 * 1024;
    if specification.len() > PIPE {
        return Err(io::Error::other("the program has too many arguments"));
    }
    stdin.ok_or(io::ErrorKind::BrokenPipe)?.write_all(specification)
}
