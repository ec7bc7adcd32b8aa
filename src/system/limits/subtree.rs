//! The location of sessions' control groups.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Group, Settings};
use crate::domain::ids::SessionId;
use crate::system::leaks::GROUP;
use crate::system::proc::control_group;

/// The controllers that implement the limits, if the machine has them.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The name of the server's own group, into which it moves out of the divided group.
const OWN: &str = "server";

/// The name of the group that is divided if the server is in the root group.
const BELOW_ROOT: &str = "greenroom";

/// The reason for which sessions have no limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlimited(String);

impl fmt::Display for Unlimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The control group that contains the group of each session.
#[derive(Debug, Clone)]
pub struct Subtree {
    base: PathBuf,
    settings: Settings,
    /// The controllers of [`CONTROLLERS`] that are in force.
    controllers: Vec<&'static str>,
}

impl Subtree {
    /// Locates the group and prepares it. The server may move itself into a separate group.
    pub fn open(settings: &Settings) -> Result<Self, Unlimited> {
        if !settings.enabled {
            return Err(Unlimited("`limits.enabled` is off".to_owned()));
        }
        let base = match &settings.control_group {
            Some(given) => given.clone(),
            None => limiting(own()?)?,
        };
        Self::of(base, settings)
    }

    /// Checks whether there is a usable group, without any change. For `greenroom doctor`.
    pub fn detect(settings: &Settings) -> Result<String, Unlimited> {
        if !settings.enabled {
            return Err(Unlimited("`limits.enabled` is off".to_owned()));
        }
        let base = match &settings.control_group {
            Some(given) => given.clone(),
            None => own()?,
        };
        writable(&base)?;
        let there = controllers(&base, "cgroup.controllers");
        match there.is_empty() {
            true => Err(no_controllers(&base)),
            false => Ok(format!("{} in {}", there.join(", "), base.display())),
        }
    }

    pub(super) fn of(given: PathBuf, settings: &Settings) -> Result<Self, Unlimited> {
        writable(&given)?;
        let base = divided(&given)?;
        let failed =
            |what: &str, cause: io::Error| Unlimited(format!("{what} {}: {cause}", base.display()));
        let controllers = controllers(&base, "cgroup.controllers");
        for controller in &controllers {
            let enable = fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"));
            enable.map_err(|cause| failed(&format!("cannot divide {controller} in"), cause))?;
        }
        Ok(Self { base, settings: settings.clone(), controllers })
    }

    /// The directory of the group.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The controllers in force: `memory`, `cpu`, `pids`. Without any, sessions have no limits;
    /// their groups only count processor time and end them as a whole.
    pub fn controllers(&self) -> &[&'static str] {
        &self.controllers
    }

    /// The group of a session with its limits, created if it does not exist.
    pub fn group(&self, session: SessionId) -> io::Result<Group> {
        let group = Group::at(self.base.join(format!("{GROUP}{session}")));
        group.make(&self.settings)?;
        Ok(group)
    }

    /// Applies the limits to a group that a previous server has created.
    pub fn limit_again(&self, group: &Group) -> io::Result<()> {
        group.make(&self.settings)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The controllers of [`CONTROLLERS`] that a file of a group lists.
fn controllers(group: &Path, file: &str) -> Vec<&'static str> {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    CONTROLLERS.into_iter().filter(|name| text.split_whitespace().any(|has| has == *name)).collect()
}

/// Returns a group only if it can limit something. Joining a group costs a program some 10 ms,
/// which is not worth it otherwise, unless a group is configured.
fn limiting(group: PathBuf) -> Result<PathBuf, Unlimited> {
    if controllers(&group, "cgroup.controllers").is_empty() {
        return Err(no_controllers(&group));
    }
    Ok(group)
}

fn no_controllers(group: &Path) -> Unlimited {
    let group = group.display();
    Unlimited(format!("none of {} is delegated to {group}", CONTROLLERS.join(", ")))
}

/// The directory of this process's control group.
pub(super) fn own() -> Result<PathBuf, Unlimited> {
    control_group(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
        .ok_or_else(|| Unlimited("the machine has no cgroup2 file system".to_owned()))
}

fn writable(group: &Path) -> Result<(), Unlimited> {
    use rustix::fs::{Access, access};
    let needed = ["", "cgroup.procs", "cgroup.subtree_control"].map(|name| group.join(name));
    for file in needed {
        if let Err(cause) = access(&file, Access::WRITE_OK) {
            let file = file.display();
            return Err(Unlimited(format!("{file} is not the server's to write: {cause}")));
        }
    }
    Ok(())
}

/// Returns the group that can be divided. It must contain no process, unless it is the root group.
fn divided(own: &Path) -> Result<PathBuf, Unlimited> {
    let failed =
        |what: &str, cause: io::Error| Unlimited(format!("{what} {}: {cause}", own.display()));
    // Only the root group has no file `cgroup.type`.
    if !own.join("cgroup.type").exists() {
        let base = own.join(BELOW_ROOT);
        for controller in controllers(own, "cgroup.controllers") {
            // The root may belong to another system. Controllers that cannot be enabled do not limit.
            let _ = fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        fs::create_dir_all(&base).map_err(|cause| failed("cannot create a group in", cause))?;
        return Ok(base);
    }
    if own.file_name().is_some_and(|name| name == OWN)
        && let Some(parent) = own.parent()
        && writable(parent).is_ok()
    {
        return Ok(parent.to_owned());
    }
    let inside = fs::read_to_string(own.join("cgroup.procs"))
        .map_err(|cause| failed("cannot read", cause))?;
    let mine = std::process::id().to_string();
    let others = inside.lines().filter(|pid| *pid != mine).count();
    if others > 0 {
        let group = own.display();
        return Err(Unlimited(format!(
            "the server shares its control group {group}, and needs one of its own: set \
             `Delegate=yes` in its unit"
        )));
    }
    if inside.lines().any(|pid| pid == mine) {
        let room = own.join(OWN);
        fs::create_dir_all(&room).map_err(|cause| failed("cannot create a group in", cause))?;
        fs::write(room.join("cgroup.procs"), &mine)
            .map_err(|cause| failed("the server cannot move within", cause))?;
    }
    Ok(own.to_owned())
}
