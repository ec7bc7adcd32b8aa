//! The start of an egress program.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::{EgressContext, Inner, Mode, Running};
use crate::domain::egress::{EgressIdentity, NetworkLevel};
use crate::domain::hmac::hex;
use crate::domain::sealing::Vault;
use crate::domain::session::{Failure, ProcessIdentity};
use crate::egress::files::{READY, SECRET};
use crate::egress::launch::{GATEWAY_PORT, Level, Ready};
use crate::system::confine::spec::{Landlock, Network, ProgramKind, User};
use crate::system::failure::{LaunchStage, failure};
use crate::system::process::{Process, Program, beside, is_alive, user_in};
use crate::system::readiness::file_says;
use crate::system::settings::Settings;

pub(super) const STAGE: LaunchStage = LaunchStage { name: "egress", package: "greenroom" };

/// The longest time for a trial of a namespace.
const TRIAL: Duration = Duration::from_secs(10);

/// The network separation that `settings` request and this machine supports.
pub async fn level(settings: &Settings) -> NetworkLevel {
    let Some(launcher) = settings.confinement.launcher() else { return NetworkLevel::None };
    match settings.network.mode {
        Mode::Off => NetworkLevel::None,
        Mode::Proxy => NetworkLevel::Proxied,
        Mode::Namespace => match available(launcher).await {
            Ok(()) => NetworkLevel::Enforced,
            Err(cause) => {
                tracing::warn!(
                    "sessions have no network of their own, only a proxy: {cause}; \
                     see `greenroom doctor`"
                );
                NetworkLevel::Proxied
            }
        },
    }
}

/// Tries in a separate process whether a network namespace can be created.
///
/// # Errors
///
/// Fails with the cause and how to resolve it.
#[expect(clippy::disallowed_methods, reason = "a trial that ends at once, of no session")]
pub async fn available(launcher: &Path) -> Result<(), String> {
    let mut command = tokio::process::Command::new(launcher);
    command.args(["egress", "--trial"]).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = match tokio::time::timeout(TRIAL, command.output()).await {
        Ok(output) => output.map_err(|cause| cause.to_string())?,
        Err(_elapsed) => return Err("the trial of a namespace did not end".to_owned()),
    };
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Starts a program and resolves when it listens. `started` gets the process before that.
pub(super) async fn start(
    inner: &Inner,
    resident: Option<ProcessIdentity>,
    started: impl FnOnce(&Process),
) -> Result<Running, Failure> {
    let Inner { place, settings, runtime, .. } = inner;
    let Some(launcher) = settings.confinement.launcher() else {
        return Err(failure(STAGE.name, "egress_missing", "nothing starts it".to_owned()));
    };
    let mut environment = vec![("PATH".into(), settings.path.clone().into())];
    if let Some(secret) = settings.vault.map(|vault| secret(&vault, place)) {
        environment.push((SECRET.into(), hex(&secret).into()));
    }
    let program = Program {
        confined: settings.confinement.of(ProgramKind::Egress, launcher, Landlock::default()),
        path: launcher.to_owned(),
        arguments: arguments(place, resident),
        environment,
        session: place.session,
        records: beside(&place.log),
        log: place.log.clone(),
        output: None,
        open_files: None,
    };
    let process = Process::spawn(&program, runtime).map_err(|cause| STAGE.not_spawned(&cause))?;
    started(&process);
    let pid = process.identity().pid;
    let says = |text: &str| {
        let ready: Ready = serde_json::from_str(text).ok()?;
        (i64::from(ready.pid) == i64::from(pid)).then_some(ready)
    };
    let file = place.directory.join(READY);
    let sign = file_says(&file, says);
    let ready = STAGE.ready(&process, settings.start_deadline(), sign).await?;
    let identity = EgressIdentity {
        process: process.identity().clone(),
        level: place.level,
        directory: place.directory.clone(),
        proxy: ready.proxy,
    };
    Ok(Running { process, identity, network: network(&ready), opens: ready.opens })
}

/// The secret, derived from the vault, that unseals the policy of one session.
pub(super) fn secret(vault: &Vault, place: &EgressContext) -> [u8; 32] {
    vault.secret_of_program(&format!("egress\0{}", place.session))
}

fn arguments(place: &EgressContext, resident: Option<ProcessIdentity>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["egress".into()];
    arguments.extend(["--directory".into(), place.directory.clone().into_os_string()]);
    match place.level {
        NetworkLevel::Enforced => {
            let prefix = format!("/v1/browser_sessions/{}/", place.session);
            arguments.extend(["--level".into(), "enforced".into()]);
            arguments.extend(["--gateway-port".into(), GATEWAY_PORT.to_string().into()]);
            arguments.extend(["--gateway-prefix".into(), prefix.into()]);
            if let Some(resident) = resident.filter(is_alive) {
                arguments.extend(["--join".into(), resident.pid.to_string().into()]);
            }
        }
        NetworkLevel::Proxied | NetworkLevel::None => {
            let user = user_in(&beside(&place.log)).unwrap_or_else(User::own).uid;
            arguments.extend(["--level".into(), "proxied".into()]);
            arguments.extend(["--client-user".into(), user.to_string().into()]);
        }
    }
    arguments
}

/// The namespace of a program, for others to join.
pub(super) fn network(ready: &Ready) -> Option<Network> {
    match ready.level {
        Level::Enforced => Some(Network {
            user: ready.user_namespace.clone(),
            network: ready.network_namespace.clone()?,
        }),
        Level::Proxied => None,
    }
}
