//! The Python of `code` blocks, each in a child process of its own with limits.
//!
//! The child is `runner.py`. It connects Playwright to the session's DevTools, runs the code with its page
//! and its values, and writes the result to a file. Its folder is removed with it. Dropping the work ends
//! the child's whole group immediately; [`Python::quiet`] resolves when none is left.
//!
//! The limits protect others from mistakes. They are not a sandbox: a user who may store a workflow
//! may run a program as the server's user.

mod installed;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::time::{Instant, sleep};

use super::beneath::Tree;
use super::confine::spec::{Landlock, ProgramKind, User};
use super::confine::{Confined, Confinement};
use super::process::{BESIDE, Exit, Process, Program, SpawnError, find, user_in};
use crate::domain::ids::SessionId;
use crate::system::egress::Joined;
use installed::Installed;

/// The script that the child runs.
const RUNNER: &str = include_str!("runner.py");

/// The module that Playwright's driver loads first.
const CLOCK: &str = include_str!("clock.js");

/// The file that exists while the clocks of the child are stopped.
const HELD: &str = "held";

/// The file with the result of the code.
const RESULT: &str = "result.json";

/// The most bytes in the result for one byte of output: `\u00ff`.
const ESCAPED: u64 = 6;

/// The bytes that the result may have in addition to its output.
const AROUND_OUTPUT: u64 = 64 * 1024;

/// The additional time for the child: to start, to connect and to write.
const AROUND: Duration = Duration::from_secs(45);

/// The number of printed lines that are kept for a failure.
const LINES: usize = 20;

/// The code to run, with its session and limits.
#[derive(Debug)]
pub struct Task {
    /// The session whose page the code drives.
    pub session: SessionId,
    /// The path of a folder that does not exist yet.
    pub folder: PathBuf,
    /// The directory of the session's logs, see [`Program::records`].
    pub records: PathBuf,
    /// The body of an async function.
    pub code: String,
    /// The variables of the code.
    pub values: Map<String, Value>,
    /// The address of the session's DevTools.
    pub devtools: String,
    /// The network of the session; the server's own if none.
    pub network: Option<Joined>,
    /// The target id of the tab to work in, if it is known.
    pub target: Option<String>,
    /// The limits for time, memory and output.
    pub limits: Limits,
    /// True while a person has control of the browser: the time of the code and of its waits in the
    /// browser is stopped then.
    pub held: watch::Receiver<bool>,
}

/// The limits of code.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest run time of the code.
    pub time: Duration,
    /// The most memory in bytes.
    pub memory: u64,
    /// The most bytes of the output, and of the printed text.
    pub output: u64,
}

/// The result of a task.
#[derive(Debug)]
pub struct Ran {
    /// The value that the code returned, or its failure.
    pub gave: Result<Value, Fault>,
    /// The text that the code printed.
    pub printed: String,
}

/// The reasons for which the code returned no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The Python interpreter does not exist.
    #[error("there is no Python at {interpreter}")]
    NoPython {
        /// The interpreter that was searched for.
        interpreter: String,
    },
    /// This Python installation has no Playwright.
    #[error("Python has no Playwright: {cause}")]
    NoPlaywright {
        /// The error of the import.
        cause: String,
    },
    /// The code itself failed, or exceeded a limit.
    #[error("{message}")]
    Code {
        /// The error code: `code_failed`, `timeout`, `code_out_of_memory`, `code_output_too_large`
        /// or `browser_unreachable`.
        code: String,
        /// The cause, without the position.
        message: String,
        /// The line in the code, counted from 1.
        line: Option<u64>,
        /// The text of that line.
        text: Option<String>,
    },
    /// The child ended without a result.
    #[error("Python ended by {exit} without a result")]
    Ended {
        /// The exit of the child.
        exit: Exit,
    },
    /// The child exceeded its time and was killed.
    #[error("the code did not end within {} s", .after.as_secs_f64())]
    Late {
        /// The time that was allowed.
        after: Duration,
    },
    /// The child could not be started.
    #[error("Python could not be started: {cause}")]
    Broken {
        /// The error of the system.
        cause: String,
    },
}

#[derive(Serialize)]
struct RunnerRequest<'a> {
    code: &'a str,
    values: &'a Map<String, Value>,
    devtools: &'a str,
    target: Option<&'a str>,
    seconds: f64,
    memory_bytes: u64,
    output_bytes: u64,
}

#[derive(Deserialize)]
struct RunnerReport {
    #[serde(default)]
    output: Value,
    error: Option<String>,
    #[serde(default)]
    message: String,
    line: Option<u64>,
    source: Option<String>,
}

/// The runner of `code` blocks.
#[derive(Debug, Clone)]
pub struct Python {
    interpreter: PathBuf,
    path: String,
    confinement: Confinement,
    /// The answer of the interpreter, once it was queried.
    installed: Arc<OnceCell<Installed>>,
    runtime: Handle,
    running: watch::Sender<usize>,
}

/// A child, its folder and its log. Dropping this ends the child and removes the others.
struct Child {
    process: Option<Process>,
    folder: PathBuf,
    log: PathBuf,
    runtime: Handle,
    running: watch::Sender<usize>,
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            process.kill_now();
        }
        let (process, folder) = (self.process.take(), std::mem::take(&mut self.folder));
        let log = std::mem::take(&mut self.log);
        let running = self.running.clone();
        self.runtime.spawn(async move {
            if let Some(process) = process
                && !process.kill().await
            {
                tracing::error!("the Python of a code block does not end");
            }
            let removed = tokio::task::spawn_blocking(move || {
                let _ = fs::remove_file(log); // It is removed with the session.
                Tree::remove_all(&folder)
                    .map_err(|cause| format!("{} cannot be removed: {cause}", folder.display()))
            });
            if let Ok(Err(cause)) = removed.await {
                tracing::warn!("{cause}");
            }
            running.send_modify(|running| *running = running.saturating_sub(1));
        });
    }
}

impl Python {
    /// A runner with this interpreter, or the `python3` in `path`. `path` is also the `PATH` of the code.
    pub fn new(
        interpreter: Option<&Path>,
        path: &str,
        confinement: Confinement,
        runtime: Handle,
    ) -> Self {
        let interpreter = interpreter.unwrap_or_else(|| Path::new("python3")).to_owned();
        let (running, _) = watch::channel(0);
        let installed = Arc::default();
        Self { interpreter, path: path.to_owned(), confinement, installed, runtime, running }
    }

    /// Returns the same runner, in which only its own children count as running.
    #[must_use]
    pub fn apart(&self) -> Self {
        let (running, _) = watch::channel(0);
        Self { running, ..self.clone() }
    }

    /// Runs code to its end. Dropping the future ends the child.
    pub async fn run(&self, task: Task) -> Ran {
        let printed = task.log();
        let limit = task.limits.output;
        let gave = self.child(task).await;
        let (gave, child) = match gave {
            Ok((gave, child)) => (gave, Some(child)),
            Err(fault) => (Err(fault), None),
        };
        let text = tokio::task::spawn_blocking(move || head(&printed, limit)).await;
        drop(child); // Also drops the folder, which has been read.
        Ran { gave, printed: text.unwrap_or_default() }
    }

    /// Resolves when no ended child is left.
    pub async fn quiet(&self) {
        let mut running = self.running.subscribe();
        let _ = running.wait_for(|running| *running == 0).await;
    }

    async fn child(&self, task: Task) -> Result<(Result<Value, Fault>, Child), Fault> {
        let interpreter = find(&self.interpreter, &self.path).ok_or_else(|| Fault::NoPython {
            interpreter: self.interpreter.display().to_string(),
        })?;
        let broken = |cause: io::Error| Fault::Broken { cause: cause.to_string() };
        let (interpreter, confined) = self.confined(interpreter, &task).await?;
        let limits = task.limits;
        self.running.send_modify(|running| *running += 1);
        let mut child = Child {
            process: None,
            folder: task.folder.clone(),
            log: task.log(),
            runtime: self.runtime.clone(),
            running: self.running.clone(),
        };
        let is_of_server = confined.as_ref().is_some_and(|confined| confined.is_of_server);
        let program = self.program(interpreter, confined, &task);
        let mut held = task.held.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let user = user_in(&task.records).filter(|_| !is_of_server);
            prepare(&task, user)
        });
        let prepared = prepared.await;
        let prepared = prepared.map_err(|cause| Fault::Broken { cause: cause.to_string() })?;
        let tree = Arc::new(prepared.map_err(broken)?);
        let process = Process::spawn(&program, &self.runtime).map_err(|cause| match cause {
            SpawnError::Missing { program } => {
                Fault::NoPython { interpreter: program.display().to_string() }
            }
            SpawnError::Failed { cause, .. } => broken(cause),
        })?;
        child.process = Some(process.clone());

        let mut left = limits.time + AROUND;
        let mut was_held = false;
        let exit = loop {
            let is_held = *held.borrow_and_update();
            if std::mem::replace(&mut was_held, is_held) != is_held {
                hold(&process, &tree, is_held).map_err(broken)?;
            }
            let began = Instant::now();
            tokio::select! {
                exit = process.exited() => break exit,
                Ok(()) = held.changed() => {}
                () = sleep(left), if !is_held => {
                    return Ok((Err(Fault::Late { after: limits.time }), child));
                }
            }
            if !is_held {
                left = left.saturating_sub(began.elapsed());
            }
        };
        let most = limits.output.saturating_mul(ESCAPED).saturating_add(AROUND_OUTPUT);
        let read = move || tree.read(Path::new(RESULT), most);
        let gave = match tokio::task::spawn_blocking(read).await.map_err(io::Error::other) {
            Ok(Ok(bytes)) => outcome_of(&bytes, exit),
            Ok(Err(cause)) if cause.kind() == io::ErrorKind::FileTooLarge => Err(Fault::Code {
                code: "code_output_too_large".to_owned(),
                message: format!("the output has more than {} bytes", limits.output),
                line: None,
                text: None,
            }),
            Ok(Err(_none)) | Err(_none) => Err(Fault::Ended { exit }),
        };
        Ok((gave, child))
    }

    /// The confinement of a task, and the program to start in it. If a script stands for the
    /// interpreter, as in version managers, that program is the interpreter itself.
    async fn confined(
        &self,
        interpreter: PathBuf,
        task: &Task,
    ) -> Result<(PathBuf, Option<Confined>), Fault> {
        if self.confinement.launcher().is_none() {
            return Ok((interpreter, None));
        }
        let ask = || Installed::ask(&interpreter, &self.path);
        let installed = self.installed.get_or_try_init(ask).await;
        let installed = installed.map_err(|cause| Fault::Broken { cause })?;
        let landlock = Landlock {
            execute: installed.roots.clone(),
            write: vec![task.folder.clone()],
            signals: true,
            abstract_sockets: true,
            // The proxy and the server, but not the browser, because that would bypass the DevTools rules.
            connect: task.network.as_ref().map(|network| network.ports.to_vec()),
            ..Landlock::default()
        };
        let mut confined =
            self.confinement.of(ProgramKind::Python, &installed.executable, landlock);
        if let Some(confined) = &mut confined {
            let network = task.network.as_ref();
            confined.network = network.and_then(|network| network.namespace.clone());
            confined.is_of_server = installed.is_closed;
        }
        Ok((installed.executable.clone(), confined))
    }

    fn program(&self, interpreter: PathBuf, confined: Option<Confined>, task: &Task) -> Program {
        let folder = task.folder.as_os_str().to_owned();
        let variables: [(&str, OsString); 6] = [
            ("PATH", self.path.clone().into()),
            ("HOME", folder.clone()),
            ("TMPDIR", folder.clone()),
            ("LANG", "C.UTF-8".into()),
            ("PYTHONUNBUFFERED", "1".into()),
            (BESIDE, "python".into()),
        ];
        let mut environment = variables.map(|(name, value)| (name.into(), value)).to_vec();
        if let Some(network) = &task.network {
            environment.extend(network.variables());
        }
        Program {
            path: interpreter,
            // Isolated mode, so that no file in the folder is imported as a module.
            arguments: vec!["-I".into(), task.folder.join("runner.py").into(), folder],
            environment,
            session: task.session,
            records: task.records.clone(),
            log: task.log(),
            output: None,
            open_files: None,
            confined,
        }
    }
}

impl Task {
    /// The file for the code's printed text, among the server's own logs.
    fn log(&self) -> PathBuf {
        let name = self.folder.file_name().unwrap_or_default();
        self.records.join(format!("python-{}.log", name.display()))
    }
}

/// Creates the folder of a task, for the user that it runs as.
fn prepare(task: &Task, user: Option<User>) -> io::Result<Tree> {
    let (Some(parent), Some(name)) = (task.folder.parent(), task.folder.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
    let parent = Tree::open(parent)?.owned_by(user);
    let folder = parent.make_folder(Path::new(name))?;
    let job = RunnerRequest {
        code: &task.code,
        values: &task.values,
        devtools: &task.devtools,
        target: task.target.as_deref(),
        seconds: task.limits.time.as_secs_f64(),
        memory_bytes: task.limits.memory,
        output_bytes: task.limits.output,
    };
    for (name, text) in [("runner.py", RUNNER), ("clock.js", CLOCK)] {
        folder.create(Path::new(name))?.write_all(text.as_bytes())?;
    }
    let file = folder.create(Path::new("job.json"))?;
    serde_json::to_writer(file, &job).map_err(io::Error::other)?;
    Ok(folder)
}

/// Stops the clocks of the child, or lets them continue.
fn hold(process: &Process, folder: &Tree, is_held: bool) -> io::Result<()> {
    if is_held {
        match folder.create(Path::new(HELD)) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            Ok(_) | Err(_) => (),
        }
    } else {
        folder.remove_file(Path::new(HELD))?;
    }
    process.notify();
    Ok(())
}

fn outcome_of(bytes: &[u8], exit: Exit) -> Result<Value, Fault> {
    let Ok(report) = serde_json::from_slice::<RunnerReport>(bytes) else {
        return Err(Fault::Ended { exit });
    };
    let RunnerReport { output, error, message, line, source } = report;
    match error.as_deref() {
        None => Ok(output),
        Some("no_playwright") => Err(Fault::NoPlaywright { cause: message }),
        Some(code) => Err(Fault::Code { code: code.to_owned(), message, line, text: source }),
    }
}

/// The beginning of a file, as text.
fn head(path: &Path, limit: u64) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(limit + 200).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new(); // The program never started.
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Ran {
    /// The last lines of the printed text.
    pub fn last_lines(&self) -> Vec<String> {
        let lines: Vec<&str> = self.printed.lines().collect();
        let skipped = lines.len().saturating_sub(LINES);
        lines.into_iter().skip(skipped).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests;
