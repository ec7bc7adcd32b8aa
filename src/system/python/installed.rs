//! A Python installation: its interpreter and the directories of its modules, as the interpreter
//! reports them. Confined code reads and executes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::system::confine::place::closed_above;
use crate::system::process::output;

/// The script that reports them; `-I` excludes additions by the environment and the user.
const QUESTION: &str = "import json, sys; print(json.dumps({'executable': sys.executable, \
                        'roots': [sys.prefix, sys.base_prefix, *sys.path]}))";

/// The longest time for the answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The answer of an interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Installed {
    /// The path of the interpreter, while `python3` may be a script that finds it.
    pub(super) executable: PathBuf,
    /// The directories of the installation and of its modules.
    pub(super) roots: Vec<PathBuf>,
    /// True if only the server's user can access it, so that sessions' users cannot run it.
    #[serde(skip)]
    pub(super) is_closed: bool,
}

impl Installed {
    /// Queries an interpreter. The error is a text with the cause.
    pub(super) async fn ask(interpreter: &Path, path: &str) -> Result<Self, String> {
        let arguments = ["-I".to_owned(), "-c".to_owned(), QUESTION.to_owned()];
        let answer = output(interpreter, &arguments, path, PATIENCE).await;
        let name = interpreter.display();
        let answer = answer.map_err(|cause| {
            format!("the answer of {name} about its version is invalid: {cause}")
        })?;
        let mut installed: Self = serde_json::from_str(answer.trim())
            .map_err(|cause| format!("{name} is not a Python interpreter: {cause}"))?;
        // The root directory `/` is never opened to code, even if an interpreter reports it.
        installed
            .roots
            .retain(|root| root.is_absolute() && root.parent().is_some() && root.exists());
        installed.roots.sort();
        installed.roots.dedup();
        let closed = installed.roots.iter().find_map(|root| closed_above(root));
        if let Some(folder) = closed.or_else(|| closed_above(&installed.executable)) {
            tracing::warn!(
                "`code` blocks run as the server's user: other users cannot pass through {} to {name}",
                folder.display()
            );
            installed.is_closed = true;
        }
        Ok(installed)
    }
}
