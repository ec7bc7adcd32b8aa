//! The command `greenroom doctor`: checks whether this machine has everything that is needed.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use clap::Args;

use super::Ending;
use super::checks::{Check, State, report};
use super::serve::SettingsArguments;
use crate::config::{Environment, Settings};
use crate::system;
use crate::system::doctor::Verdict;
use crate::system::objects::{ARTIFACTS, ObjectError, Objects};

impl From<system::doctor::Check> for Check {
    fn from(check: system::doctor::Check) -> Self {
        let state = match check.verdict {
            Verdict::Ok => State::Ok,
            Verdict::Warning => State::Warn,
            Verdict::Failed => State::Missing,
        };
        Self { name: check.name.to_owned(), state, detail: check.found, hint: check.hint }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Exit code 1 when something required is missing.")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print JSON: `ok`, and the list `checks`.
    #[arg(long)]
    json: bool,
}

/// Runs the checks and prints their results.
pub(super) async fn doctor(
    arguments: &Arguments,
    environment: &Environment,
) -> anyhow::Result<Ending> {
    let settings = arguments.settings.load(environment)?.settings;
    let mut checks = checks(&settings);
    checks.push(storage(&settings).await);
    let confinement = settings.isolation.confinement();
    let (network, placement) = (settings.network(), settings.placement());
    let desktop = system::Settings { confinement, network, placement, ..settings.desktop.clone() };
    let of_desktops = system::doctor::checks(&desktop, &settings.recording).await;
    checks.extend(of_desktops.into_iter().map(Check::from));
    checks.extend(system::doctor::limits(&settings.limits, &settings.data).map(Check::from));
    Ok(report(&checks, &[], arguments.json))
}

/// Returns the checks that belong to no other floor.
fn checks(settings: &Settings) -> Vec<Check> {
    vec![data_directory(&settings.data), listen(settings)]
}

/// Checks that the data directory is writable. Does not create it.
fn data_directory(data: &Path) -> Check {
    let name = "data directory".to_owned();
    let there = data.ancestors().find(|path| path.exists()).unwrap_or(data);
    let probe = there.join(format!(".greenroom-doctor-{}", std::process::id()));
    let made = fs::create_dir(&probe);
    match made {
        Ok(()) => {
            // The directory is new and empty; if it cannot be removed, it does no harm.
            let _ = fs::remove_dir(&probe);
            let detail = data.display().to_string();
            Check { name, state: State::Ok, detail, hint: None }
        }
        Err(cause) => {
            let hint = "name a directory that you may write to with --data or GREENROOM_DATA";
            Check {
                name,
                state: State::Missing,
                detail: format!("{}: {cause}", there.display()),
                hint: Some(hint.to_owned()),
            }
        }
    }
}

/// Checks that the store of files can be written, read and deleted. A directory that no server has
/// used is not created.
async fn storage(settings: &Settings) -> Check {
    let name = "storage".to_owned();
    let hint = "see the settings `storage`; sessions start without it, and their files wait";
    let failed = |cause: ObjectError| Check {
        name: name.clone(),
        state: State::Missing,
        detail: cause.to_string(),
        hint: Some(hint.to_owned()),
    };
    let objects = match Objects::open(&settings.storage, &settings.data) {
        Ok(objects) => objects,
        Err(cause) => return failed(cause),
    };
    let is_used = settings.data.join(ARTIFACTS).exists();
    if (objects.is_shared() || is_used)
        && let Err(cause) = objects.check().await
    {
        return failed(cause);
    }
    Check { name, state: State::Ok, detail: objects.name(), hint: None }
}

/// Checks that the address is free to listen on. A running server is not a fault.
fn listen(settings: &Settings) -> Check {
    let name = "listen address".to_owned();
    let address = settings.http.listen;
    match TcpListener::bind(address) {
        Ok(_freed_at_once) => {
            Check { name, state: State::Ok, detail: address.to_string(), hint: None }
        }
        Err(cause) => Check {
            name,
            state: State::Warn,
            detail: format!("{address}: {cause}"),
            hint: Some(
                "a server runs there already, or name another address with --listen or \
                 GREENROOM_LISTEN"
                    .to_owned(),
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_that_cannot_be_made_is_missing_and_a_new_one_is_left_unmade() {
        assert_eq!(data_directory(Path::new("/proc/none/greenroom")).state, State::Missing);
        assert_eq!(data_directory(Path::new("/dev/null/greenroom")).state, State::Missing);
        let fresh = std::env::temp_dir().join(format!("greenroom-none-{}", std::process::id()));
        assert_eq!(data_directory(&fresh.join("data")).state, State::Ok);
        assert!(!fresh.exists());
    }
}
