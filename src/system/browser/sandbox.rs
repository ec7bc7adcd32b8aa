//! Whether the machine allows Chromium's sandbox.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::system::process::{find, output};

/// Why Chromium cannot have its sandbox here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSandbox {
    /// Chromium refuses to run as root with it.
    Root,
    /// The kernel, or the container around us, allows no user namespaces.
    NoUserNamespaces,
}

impl fmt::Display for NoSandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "the server runs as root",
            Self::NoUserNamespaces => "user namespaces are not allowed here",
        })
    }
}

/// What keeps `chromium` from having its sandbox; none when nothing does.
pub async fn obstacle(chromium: &Path, path: &str) -> Option<NoSandbox> {
    if rustix::process::geteuid().is_root() {
        return Some(NoSandbox::Root);
    }
    if has_setuid_helper(chromium) {
        return None;
    }
    let Some(unshare) = find(Path::new("unshare"), path) else {
        return forbidden_by_a_limit().then_some(NoSandbox::NoUserNamespaces);
    };
    // Trying is the only way to know of seccomp filters and security modules.
    let arguments = ["--user", "--map-root-user", "true"].map(str::to_owned);
    let tried = output(&unshare, &arguments, path, Duration::from_secs(5)).await;
    tried.is_err().then_some(NoSandbox::NoUserNamespaces)
}

fn has_setuid_helper(chromium: &Path) -> bool {
    let helper = chromium.with_file_name("chrome-sandbox");
    fs::metadata(helper).is_ok_and(|file| file.permissions().mode() & 0o4000 != 0)
}

fn forbidden_by_a_limit() -> bool {
    let is =
        |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|text| text.trim() == value);
    is("/proc/sys/kernel/unprivileged_userns_clone", "0")
        || is("/proc/sys/user/max_user_namespaces", "0")
        || is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")
}
