//! The browser of a session: the start and the end of Chromium.
//!
//! It is ended by `Browser.close` and not by `SIGTERM`, which would lose cookies that were set
//! within the last half minute.

mod closing;
mod flags;
mod profile;
mod sandbox;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::cdp::{Connection, Devtools};
use super::confine::{
    self,
    spec::{Landlock, ProgramKind},
};
use super::failure::{LaunchStage, failure};
use super::process::{Process, Program, beside, find, group_of, listened_to};
use super::readiness::file_says;
use super::settings::Settings;
use crate::domain::egress::EgressIdentity;
use crate::domain::ids::SessionId;
use crate::domain::session::{Failure, SessionSpec};

pub use closing::{ask, close, closed_in_order};
pub(crate) use flags::free_shared_memory;
pub use profile::{prepare, remove_experiments, remove_remains};
pub use sandbox::{NoSandbox, obstacle};

pub(super) const STAGE: LaunchStage = LaunchStage { name: "chromium", package: "chromium" };

/// The program names that are tried for Chromium.
const NAMES: [&str; 5] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// The path of Debian's Chromium. Debian's `chromium` is a script that executes it after 50 to 100 ms.
const DEBIAN: &str = "/usr/lib/chromium/chromium";

/// The address of a browser that accepts commands.
#[derive(Debug)]
pub struct Ready {
    /// The address of its DevTools.
    pub devtools: Devtools,
    /// The target id of its first page.
    pub page: String,
}

/// The first content of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The start page of the session.
    Page,
    /// An empty page; the tabs are restored afterwards.
    Nothing,
    /// The tabs that it had when it ended, as far as its profile knows them.
    Last,
}

/// The parameters for the start of a browser.
#[derive(Debug)]
pub struct Start<'a> {
    /// The session that owns the browser.
    pub session: SessionId,
    /// The specification of the session, with its proxy and start page.
    pub spec: &'a SessionSpec,
    /// The first content of the browser.
    pub first: First,
    /// The number of the display.
    pub display: u16,
    /// The file with the display's cookie.
    pub authority: &'a Path,
    /// The user data directory of the browser.
    pub profile: &'a Path,
    /// The directory for `HOME`.
    pub home: &'a Path,
    /// The directory for temporary files.
    pub temporary: &'a Path,
    /// The folder for its downloads.
    pub downloads: &'a Path,
    /// The folder in which runs put files for the browser.
    pub uploads: &'a Path,
    /// The folders of its extensions.
    pub extensions: &'a [PathBuf],
    /// The path of its log file.
    pub log: &'a Path,
    /// True if it runs without its sandbox.
    pub no_sandbox: bool,
    /// The network of the browser; the server's own if none.
    pub network: Option<Network<'a>>,
    /// The policies of the browser; those of the machine if none.
    pub policies: Option<&'a confine::spec::Policies>,
}

/// The network of a browser.
#[derive(Debug, Clone, Copy)]
pub struct Network<'a> {
    /// The egress program, which all traffic passes through.
    pub egress: &'a EgressIdentity,
    /// The namespace to join, if the network is separate.
    pub namespace: Option<&'a confine::spec::Network>,
}

impl Network<'_> {
    /// The egress program's directory, through which the server enters a separate network.
    fn inside(&self) -> Option<PathBuf> {
        self.namespace.map(|_namespace| self.egress.directory.clone())
    }
}

/// Returns the path of the browser's program: of `executable` if it is given, by its name.
pub fn locate(settings: &Settings, executable: Option<&str>) -> Result<PathBuf, Failure> {
    if let Some(name) = executable {
        let Some(set) = settings.executables.get(name) else {
            let message = format!("desktop.executables has no {name} any more");
            return Err(failure(STAGE.name, "executable_unknown", message));
        };
        return find(set, &settings.path).ok_or_else(|| STAGE.missing(set));
    }
    if let Some(set) = &settings.chromium {
        return find(set, &settings.path).ok_or_else(|| STAGE.missing(set));
    }
    let found = NAMES.iter().find_map(|name| find(Path::new(name), &settings.path));
    let debian = || find(Path::new(DEBIAN), "");
    match found {
        Some(script) if script == Path::new("/usr/bin/chromium") => Ok(debian().unwrap_or(script)),
        Some(found) => Ok(found),
        None => debian().ok_or_else(|| STAGE.missing(Path::new("chromium"))),
    }
}

/// Starts a browser. The caller gets the process before it is ready, see [`ready`].
pub fn spawn(
    path: &Path,
    start: &Start<'_>,
    settings: &Settings,
    runtime: &Handle,
) -> Result<Process, Failure> {
    let mut environment: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), settings.path.clone().into()),
        ("DISPLAY".into(), format!(":{}", start.display).into()),
        ("XAUTHORITY".into(), start.authority.into()),
        ("HOME".into(), start.home.into()),
        ("TMPDIR".into(), start.temporary.into()),
        ("LANG".into(), "C.UTF-8".into()),
        // Without an address, the library would start a bus that outlives the server.
        ("DBUS_SESSION_BUS_ADDRESS".into(), "disabled:".into()),
        // Without a value, an infobar above the page reports missing keys.
        ("GOOGLE_API_KEY".into(), "no".into()),
    ];
    let set = settings.chromium_environment.iter();
    environment.extend(set.map(|(name, value)| (name.into(), value.into())));
    // Later, so that the settings of the session take precedence over those of all.
    environment.extend(flags::environment(&start.spec.settings));
    let landlock = Landlock {
        read: [start.authority, start.uploads]
            .map(Into::into)
            .into_iter()
            .chain(start.extensions.iter().cloned())
            .collect(),
        write: [start.profile, start.home, start.downloads, start.temporary]
            .map(Into::into)
            .to_vec(),
        signals: true,
        // The browser may connect to the proxy only, even if it shares the machine's network.
        connect: start.network.map(|network| vec![network.egress.proxy.port()]),
        ..Landlock::default()
    };
    let mut confined = settings.confinement.of(ProgramKind::Chromium, path, landlock);
    if let (Some(confined), Some(network)) = (&mut confined, &start.network) {
        confined.network = network.namespace.cloned();
        confined.policies = start.policies.cloned();
    }
    let program = Program {
        confined,
        path: path.to_owned(),
        arguments: flags::all(start, settings),
        environment,
        session: start.session,
        records: beside(start.log),
        log: start.log.to_owned(),
        output: None,
        open_files: None,
    };
    Process::spawn(&program, runtime).map_err(|cause| STAGE.not_spawned(&cause))
}

/// Resolves when the browser has a page that can be driven.
pub async fn ready(
    process: &Process,
    start: &Start<'_>,
    settings: &Settings,
) -> Result<Ready, Failure> {
    let sign = async {
        // A program wrote the file, so the listener must be verified as a process of the session.
        let pid = process.identity().pid;
        let named =
            |text: &str| listening(text).filter(|devtools| listens(pid, devtools.address.port()));
        let mut devtools = file_says(&start.profile.join(profile::PORT_FILE), named).await;
        devtools.inside = start.network.and_then(|network| network.inside());
        first_page(&devtools).await.map(|page| Ready { devtools, page })
    };
    let deadline = settings.start_deadline();
    match STAGE.ready(process, deadline, sign).await? {
        Ok(ready) => Ok(ready),
        Err(message) => match process.gone_within(std::time::Duration::from_secs(1)).await {
            // The browser ended, and its exit status is the better explanation.
            true => Err(STAGE.exited(process, process.exited().await)),
            false => Err(Failure {
                log_tail: process.log_tail(),
                ..failure(STAGE.name, "chromium_not_ready", message)
            }),
        },
    }
}

/// Parses the file `DevToolsActivePort`: the port, and on the next line the path.
fn listening(text: &str) -> Option<Devtools> {
    let mut lines = text.lines();
    let port: u16 = lines.next()?.trim().parse().ok()?;
    let path = lines.next()?.trim();
    // The path ends in a UUID. The file is not written atomically.
    let (_, uuid) = path.strip_prefix('/')?.rsplit_once('/')?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    (uuid.len() == 36).then(|| Devtools { address, path: path.to_owned(), inside: None })
}

/// True if a process in the group of `leader` listens on `port`.
fn listens(leader: i32, port: u16) -> bool {
    listened_to(leader).contains(&port)
        || group_of(leader).into_iter().any(|pid| listened_to(pid).contains(&port))
}

/// Resolves with the target id of the first page, once the browser reports one.
async fn first_page(devtools: &Devtools) -> Result<String, String> {
    let text = |cause: super::cdp::CdpError| cause.to_string();
    let connection = Connection::open(devtools).await.map_err(text)?;
    let mut events = connection.events();
    let discover = connection.call(None, "Target.setDiscoverTargets", json!({ "discover": true }));
    let page = async {
        while let Some(event) = events.recv().await {
            if event.method.starts_with("Target.target")
                && event.params.pointer("/targetInfo/type").is_some_and(|kind| kind == "page")
            {
                let target = event.params.pointer("/targetInfo/targetId");
                return Ok(target.and_then(Value::as_str).unwrap_or_default().to_owned());
            }
        }
        Err("the browser closed the connection before it had a page".to_owned())
    };
    let (found, _discovering) = tokio::join!(page, discover);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_file_counts_when_it_is_complete() {
        let uuid = "0b8ed5ab-6f3a-4a0e-a3b0-2b8b8e9a7d01";
        let whole = format!("40123\n/devtools/browser/{uuid}");
        let found = listening(&whole).unwrap();
        assert_eq!(found.address, "127.0.0.1:40123".parse().unwrap());
        assert_eq!(found.path, format!("/devtools/browser/{uuid}"));
        for length in 0..whole.len() {
            assert_eq!(listening(&whole[..length]), None, "{length} bytes");
        }
    }
}
