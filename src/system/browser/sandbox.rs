//! Detection of whether the machine allows Chromium's sandbox.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use crate::system::process::{find, output};

/// The reason for which Chromium cannot use its sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSandbox {
    /// Chromium refuses to run as root with its sandbox.
    Root,
    /// The kernel, or the surrounding container, allows no user namespaces.
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

/// Returns the reason for which `chromium` cannot use its sandbox, if there is one. With `has_user`
/// it runs as another user than the server.
pub async fn obstacle(chromium: &Path, path: &str, has_user: bool) -> Option<NoSandbox> {
    if !has_user && rustix::process::geteuid().is_root() {
        return Some(NoSandbox::Root);
    }
    // Confined programs gain no privileges from a setuid program.
    if !has_user && has_setuid_helper(chromium) {
        return None;
    }
    // The limits apply to unprivileged users; the server may be privileged.
    if has_user && forbidden_by_a_limit() {
        return Some(NoSandbox::NoUserNamespaces);
    }
    let Some(unshare) = find(Path::new("unshare"), path) else {
        return forbidden_by_a_limit().then_some(NoSandbox::NoUserNamespaces);
    };
    // Only a trial detects seccomp filters and security modules.
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
