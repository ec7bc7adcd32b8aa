//! Checks of the machine's support for desktops, for `greenroom doctor`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use super::browser;
use super::confine;
use super::confine::place::NoUsers;
use super::desktop::client_certificates;
use super::egress::{self, Mode};
use super::film;
use super::limits;
use super::process::{find, output};
use super::settings::{Sandbox, Settings, VncProgram};

const PATIENCE: Duration = Duration::from_secs(10);

/// The shared memory in bytes below which Chromium becomes slow and unstable.
const SHARED_MEMORY: u64 = 64 * 1024 * 1024;

/// The open files that are needed: each desktop costs the server a few, and each viewer two.
const OPEN_FILES: u64 = 4_096;

/// The least number of inotify instances; each desktop needs one during its start.
const INOTIFY: u64 = 64;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The machine is in order.
    Ok,
    /// Desktops start, but with reduced features.
    Warning,
    /// No desktop can start.
    Failed,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stable name for programs, such as `xvfb` or `sandbox`.
    pub name: &'static str,
    /// The result of the check.
    pub verdict: Verdict,
    /// The findings, as a text for people.
    pub found: String,
    /// The remedy, if the check is not in order.
    pub hint: Option<String>,
}

impl Check {
    fn new(name: &'static str, found: String, bad: Option<(Verdict, &str)>) -> Self {
        let (verdict, hint) = match bad {
            Some((verdict, hint)) => (verdict, Some(hint.to_owned())),
            None => (Verdict::Ok, None),
        };
        Self { name, verdict, found, hint }
    }
}

/// Checks whether sessions can be limited, and whether there is room for one now.
pub fn limits(settings: &limits::Settings, data: &Path) -> [Check; 2] {
    let hint = "run the server in a control group of its own: `Delegate=yes` in its systemd unit";
    let groups = match limits::Subtree::detect(settings) {
        Ok(found) => Check::new("limits", found, None),
        Err(why) => {
            let found = format!("sessions have no limits: {why}");
            Check::new("limits", found, Some((Verdict::Warning, hint)))
        }
    };
    let there = data.ancestors().find(|path| path.exists()).unwrap_or(data);
    let room = match limits::room(settings, there, 1) {
        Ok(()) => Check::new("room", "for another session".to_owned(), None),
        Err(none) => {
            let hint = format!("make room, or see `{}`", none.setting);
            Check::new("room", none.to_string(), Some((Verdict::Warning, &hint)))
        }
    };
    [groups, room]
}

/// Returns the Debian packages of the programs without which no session starts and that are missing.
pub fn missing_packages(settings: &Settings) -> Vec<&'static str> {
    let (display, package) = match settings.vnc_server {
        VncProgram::X11vnc => (&settings.xvfb, "xvfb"),
        VncProgram::Tigervnc => (&settings.tigervnc, "tigervnc-standalone-server"),
    };
    let display = find(display, &settings.path).is_none().then_some(package);
    let browser = browser::locate(settings, None).is_err().then_some("chromium");
    display.into_iter().chain(browser).collect()
}

/// Runs all checks. It starts programs for their versions, and changes nothing.
pub async fn checks(settings: &Settings, films: &film::Settings) -> Vec<Check> {
    let is_within = settings.vnc_server == VncProgram::Tigervnc;
    let display = async { if is_within { tigervnc(settings).await } else { xvfb(settings).await } };
    let beside = async { if is_within { None } else { Some(x11vnc(settings).await) } };
    let (display, x11vnc, (chromium, sandbox)) = tokio::join!(display, beside, chromium(settings));
    let machine = [
        files(settings),
        users(settings),
        network(settings).await,
        shared_memory(),
        inotify(),
        open_files(),
        sockets(),
    ];
    let programs = [display].into_iter().chain(x11vnc);
    programs
        .chain([
            chromium,
            sandbox,
            ffmpeg(settings, films).await,
            ipcrm(settings),
            nss(settings),
            fonts(settings).await,
        ])
        .chain(machine)
        .collect()
}

/// The level at which programs are confined to the files of their session.
fn files(settings: &Settings) -> Check {
    if !settings.confinement.is_on() {
        let found = "none: programs run with all rights of the server's user".to_owned();
        return Check::new(
            "isolation",
            found,
            Some((Verdict::Warning, "set `isolation.files` to `landlock`")),
        );
    }
    match confine::landlock::abi() {
        0 => {
            let hint =
                "use a kernel with Landlock: 5.13 or later, with `landlock` in its `lsm` list";
            let found = "none: the kernel has no Landlock".to_owned();
            Check::new("isolation", found, Some((Verdict::Warning, hint)))
        }
        abi => Check::new("isolation", format!("files by Landlock (ABI {abi})"), None),
    }
}

/// The separation of sessions' networks.
async fn network(settings: &Settings) -> Check {
    let name = "network";
    let warning =
        |found: String, hint: &str| Check::new(name, found, Some((Verdict::Warning, hint)));
    let Some(launcher) = settings.confinement.launcher() else {
        let found = "none: pages reach what the server reaches, other sessions' browsers too";
        return warning(found.to_owned(), "set `isolation.network` to `namespace`");
    };
    match settings.network.mode {
        Mode::Off => {
            let found = "none: pages reach what the server reaches, other sessions' browsers too";
            warning(found.to_owned(), "set `isolation.network` to `namespace`")
        }
        Mode::Proxy => {
            let found = "proxied: programs are asked to use the session's proxy".to_owned();
            warning(found, "set `isolation.network` to `namespace`")
        }
        Mode::Namespace => match egress::available(launcher).await {
            Ok(()) => Check::new(name, "enforced: a namespace for each session".to_owned(), None),
            Err(cause) => {
                let hint = "allow unprivileged user namespaces, or run the server with \
                            CAP_SYS_ADMIN";
                warning(format!("proxied, because there is no namespace: {cause}"), hint)
            }
        },
    }
}

/// The location of the programs' directories, and whether each session has a user.
fn users(settings: &Settings) -> Check {
    let placement = &settings.placement;
    match &placement.no_users {
        None if placement.assigns => {
            let programs = placement.programs.as_deref().unwrap_or(Path::new("the data directory"));
            let users = placement.range;
            Check::new("users", format!("{users}, in {}", programs.display()), None)
        }
        None => Check::new("users", "none".to_owned(), None),
        // The server's rights are the operator's choice, and Landlock works without them.
        Some(why @ (NoUsers::Off | NoUsers::Missing(_))) => {
            Check::new("users", format!("none for sessions: {why}"), None)
        }
        Some(why @ NoUsers::Closed(_)) => {
            let hint = "let other users pass through it, or set `isolation.programs` to a directory \
                        through whose parents they can";
            let found = format!("none for sessions: {why}");
            Check::new("users", found, Some((Verdict::Warning, hint)))
        }
    }
}

const XVFB: &str = "install the Debian package `xvfb`, or run `scripts/setup`";
const X11VNC: &str = "install the Debian package `x11vnc`, or run `scripts/setup`";
const CHROMIUM: &str = "install the Debian package `chromium`, or run `scripts/setup`";

const TIGERVNC: &str =
    "install the Debian package `tigervnc-standalone-server`, or run `scripts/setup`";

/// The X server, if the setting `vnc_server` requires one that is a VNC server as well.
async fn tigervnc(settings: &Settings) -> Check {
    // Xtigervnc reports its version on standard error only.
    match find(&settings.tigervnc, &settings.path) {
        Some(path) => Check::new("tigervnc", path.display().to_string(), None),
        None => Check::new("tigervnc", "missing".to_owned(), Some((Verdict::Failed, TIGERVNC))),
    }
}

async fn xvfb(settings: &Settings) -> Check {
    // Xvfb has no argument that prints its version and exits with success.
    match find(&settings.xvfb, &settings.path) {
        Some(path) => Check::new("xvfb", path.display().to_string(), None),
        None => Check::new("xvfb", "missing".to_owned(), Some((Verdict::Failed, XVFB))),
    }
}

async fn x11vnc(settings: &Settings) -> Check {
    let Some(path) = find(&settings.x11vnc, &settings.path) else {
        let bad = Some((Verdict::Warning, X11VNC));
        return Check::new("x11vnc", "missing: sessions cannot be watched".to_owned(), bad);
    };
    version("x11vnc", &path, "-version", settings, (Verdict::Warning, X11VNC)).await
}

async fn chromium(settings: &Settings) -> (Check, Check) {
    let bad = (Verdict::Failed, CHROMIUM);
    let path = match browser::locate(settings, None) {
        Ok(path) => path,
        Err(failure) => {
            let unknown = "unknown: there is no browser".to_owned();
            return (
                Check::new("chromium", failure.message, Some(bad)),
                Check::new("sandbox", unknown, Some(bad)),
            );
        }
    };
    let found = version("chromium", &path, "--version", settings, bad).await;
    let has_user = settings.placement.assigns && settings.confinement.is_on();
    let hint = "run the server as a user of its own, and allow user namespaces";
    let sandbox = match settings.sandbox {
        Sandbox::Off => ("off by the setting `sandbox`".to_owned(), true),
        Sandbox::On | Sandbox::Auto => {
            match browser::obstacle(&path, &settings.path, has_user).await {
                Some(obstacle) => (format!("not available: {obstacle}"), true),
                None => ("available".to_owned(), false),
            }
        }
    };
    let (text, is_off) = sandbox;
    (found, Check::new("sandbox", text, is_off.then_some((Verdict::Warning, hint))))
}

async fn version(
    name: &'static str,
    path: &Path,
    argument: &str,
    settings: &Settings,
    bad: (Verdict, &str),
) -> Check {
    match output(path, &[argument.to_owned()], &settings.path, PATIENCE).await {
        Ok(text) => {
            let line = text.lines().next().unwrap_or_default().trim();
            Check::new(name, format!("{line} ({})", path.display()), None)
        }
        Err(cause) => Check::new(name, format!("{}: {cause}", path.display()), Some(bad)),
    }
}

const FFMPEG: &str = "install the Debian package `ffmpeg`, or run `scripts/setup`";

async fn ffmpeg(settings: &Settings, films: &film::Settings) -> Check {
    let Some(path) = find(&films.ffmpeg, &settings.path) else {
        let bad = Some((Verdict::Warning, FFMPEG));
        return Check::new("ffmpeg", "missing: nothing can be recorded".to_owned(), bad);
    };
    version("ffmpeg", &path, "-version", settings, (Verdict::Warning, FFMPEG)).await
}

fn ipcrm(settings: &Settings) -> Check {
    let hint = "install the Debian package `util-linux`";
    match find(Path::new("ipcrm"), &settings.path) {
        Some(path) => Check::new("ipcrm", path.display().to_string(), None),
        None => Check::new("ipcrm", "missing".to_owned(), Some((Verdict::Warning, hint))),
    }
}

/// The tools that give browsers their client certificates.
fn nss(settings: &Settings) -> Check {
    let (name, package) = ("client_certificates", client_certificates::PACKAGE);
    let hint = format!("install the Debian package `{package}`, or run `scripts/setup`");
    let mut paths = Vec::new();
    for tool in client_certificates::TOOLS {
        let Some(path) = find(Path::new(tool), &settings.path) else {
            let found =
                format!("{tool} is missing: sessions with client certificates do not start");
            return Check::new(name, found, Some((Verdict::Warning, &hint)));
        };
        paths.push(path.display().to_string());
    }
    Check::new(name, paths.join(", "), None)
}

/// Scripts that need their own font: name, fontconfig pattern and Debian package.
const FONTS: [(&str, &str, &str); 4] = [
    ("Japanese", ":lang=ja", "fonts-noto-cjk"),
    ("Chinese", ":lang=zh-cn", "fonts-noto-cjk"),
    ("Korean", ":lang=ko", "fonts-noto-cjk"),
    ("emoji", ":lang=und-zsye", "fonts-noto-color-emoji"),
];

/// Checks fonts for scripts that are displayed as boxes without them.
async fn fonts(settings: &Settings) -> Check {
    let Some(path) = find(Path::new("fc-list"), &settings.path) else {
        let bad = Some((Verdict::Warning, "install the Debian package `fontconfig`"));
        return Check::new("fonts", "unknown: fc-list is missing".to_owned(), bad);
    };
    let (mut shown, mut missing, mut packages) = (Vec::new(), Vec::new(), Vec::new());
    for (script, pattern, package) in FONTS {
        let arguments = [pattern.to_owned(), "family".to_owned()];
        match output(&path, &arguments, &settings.path, PATIENCE).await {
            Ok(found) if !found.trim().is_empty() => shown.push(script),
            Ok(_) | Err(_) => {
                missing.push(script);
                if !packages.contains(&package) {
                    packages.push(package);
                }
            }
        }
    }
    if missing.is_empty() {
        return Check::new("fonts", shown.join(", "), None);
    }
    let hint = format!("install {}, or run `scripts/setup`", packages.join(" and "));
    let found = format!("none for {}: pages show boxes", missing.join(", "));
    Check::new("fonts", found, Some((Verdict::Warning, &hint)))
}

fn shared_memory() -> Check {
    let hint = "mount a larger tmpfs at /dev/shm; with Docker, `--shm-size=1g`";
    let bad = Some((Verdict::Warning, hint));
    match browser::free_shared_memory() {
        Some(bytes) => {
            let found = format!("{} MiB free in /dev/shm", bytes / (1024 * 1024));
            Check::new("shared_memory", found, bad.filter(|_| bytes < SHARED_MEMORY))
        }
        None => Check::new("shared_memory", "/dev/shm is missing".to_owned(), bad),
    }
}

fn inotify() -> Check {
    let file = "/proc/sys/fs/inotify/max_user_instances";
    let limit: u64 =
        fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let bad = (Verdict::Warning, "raise the sysctl fs.inotify.max_user_instances");
    Check::new("inotify", format!("{limit} instances"), (limit < INOTIFY).then_some(bad))
}

fn open_files() -> Check {
    let limit = getrlimit(Resource::Nofile).current;
    let found = limit.map_or("no limit".to_owned(), |limit| format!("{limit} open files"));
    let bad = (Verdict::Warning, "raise the limit: `LimitNOFILE=` in the unit, or `ulimit -n`");
    Check::new("open_files", found, limit.is_some_and(|limit| limit < OPEN_FILES).then_some(bad))
}

/// Checks the directory of displays' sockets. Xvfb creates it as root only.
fn sockets() -> Check {
    use rustix::fs::{Access, access};
    let folder = Path::new("/tmp/.X11-unix");
    let place = if folder.exists() { folder } else { Path::new("/tmp") };
    let is_writable = access(place, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let bad = (Verdict::Failed, "as root: `mkdir -p -m 1777 /tmp/.X11-unix`");
    let found = format!("{} is {}writable", place.display(), if is_writable { "" } else { "not " });
    if is_writable && fs::metadata(place).is_ok_and(|it| it.permissions().mode() & 0o1000 == 0) {
        let hint = "as root: `chmod 1777 /tmp/.X11-unix`";
        let found = format!("{found}, and each user can remove the sockets of others");
        return Check::new("x11_sockets", found, Some((Verdict::Warning, hint)));
    }
    Check::new("x11_sockets", found, (!is_writable).then_some(bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_missing_is_said_with_the_way_out() {
        let settings = Settings { xvfb: "no-such-xvfb".into(), ..Settings::default() };
        let films = film::Settings { ffmpeg: "no-such-ffmpeg".into(), ..Default::default() };
        let checks = checks(&settings, &films).await;
        let of = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(of("xvfb").verdict, Verdict::Failed);
        assert!(of("xvfb").hint.as_deref().unwrap().contains("scripts/setup"));
        assert_eq!(of("chromium").verdict, Verdict::Ok, "{:?}", of("chromium"));
        assert!(of("chromium").found.contains("Chromium"), "{:?}", of("chromium"));
        assert_eq!(of("x11vnc").verdict, Verdict::Ok, "{:?}", of("x11vnc"));
        assert_eq!(of("ffmpeg").verdict, Verdict::Warning, "{:?}", of("ffmpeg"));
        assert_eq!(
            of("client_certificates").verdict,
            Verdict::Ok,
            "{:?}",
            of("client_certificates")
        );
        let bare = nss(&Settings { path: "/nonexistent".to_owned(), ..Settings::default() });
        assert_eq!(bare.verdict, Verdict::Warning);
        assert!(bare.hint.as_deref().unwrap().contains("libnss3-tools"), "{bare:?}");
        let fonts = of("fonts");
        let is_whole = fonts.found == "Japanese, Chinese, Korean, emoji";
        assert_eq!(is_whole, fonts.verdict == Verdict::Ok, "{fonts:?}");
        assert_eq!(is_whole, fonts.hint.is_none(), "{fonts:?}");
    }

    #[test]
    fn the_packages_of_missing_programs_are_named() {
        assert_eq!(missing_packages(&Settings::default()), Vec::<&str>::new());
        let none = Settings {
            xvfb: "no-such-xvfb".into(),
            tigervnc: "no-such-xtigervnc".into(),
            chromium: Some("no-such-chromium".into()),
            ..Settings::default()
        };
        assert_eq!(missing_packages(&none), ["xvfb", "chromium"]);
        let within = Settings { vnc_server: VncProgram::Tigervnc, ..none };
        assert_eq!(missing_packages(&within), ["tigervnc-standalone-server", "chromium"]);
    }

    #[tokio::test]
    async fn where_the_display_is_the_vnc_server_that_is_what_is_looked_for() {
        let settings = Settings { vnc_server: VncProgram::Tigervnc, ..Settings::default() };
        let checks = checks(&settings, &film::Settings::default()).await;
        let of = |name: &str| checks.iter().find(|check| check.name == name);
        assert_eq!(of("tigervnc").unwrap().verdict, Verdict::Ok);
        assert_eq!(of("ffmpeg").unwrap().verdict, Verdict::Ok);
        assert_eq!((of("xvfb"), of("x11vnc")), (None, None));
    }
}
