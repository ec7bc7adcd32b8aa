//! The command `greenroom generate`: shell completions and manual pages, for packages.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::{Shell, generate_to};

use super::Ending;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The directory that gets the folders `completions` and `man`.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Writes the completions of three shells and a page for each command.
pub(super) fn generate(arguments: &Arguments, mut command: Command) -> anyhow::Result<Ending> {
    let folder = |name: &str| {
        let path = arguments.to.join(name);
        fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        anyhow::Ok(path)
    };
    let (completions, pages) = (folder("completions")?, folder("man")?);
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut command, "greenroom", &completions)
            .with_context(|| format!("{shell} completions cannot be written"))?;
    }
    clap_mangen::generate_to(command, &pages).context("the manual pages cannot be written")?;
    Ok(Ending::Done)
}
