//! Where the control groups of sessions may be made.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Group, Settings};
use crate::domain::ids::SessionId;
use crate::system::leaks::GROUP;
use crate::system::proc::control_group;

/// What limits are made of, where the machine has them.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The group of the server itself, where that must not be in the one that it divides.
const OWN: &str = "server";

/// The group that is divided where the server is in the root group.
const BELOW_ROOT: &str = "greenroom";

/// Why sessions have no limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlimited(String);

impl fmt::Display for Unlimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The control group below which each session has its own.
#[derive(Debug, Clone)]
pub struct Subtree {
    base: PathBuf,
    settings: Settings,
    /// Those of [`CONTROLLERS`] that are in force.
    controllers: Vec<&'static str>,
}

impl Subtree {
    /// Finds the place and makes it ready: the server may move itself into a group of its own.
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

    /// Whether there would be a place, without any change. For `greenroom doctor`.
    pub fn look(settings: &Settings) -> Result<String, Unlimited> {
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

    /// The directory.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What is limited here: `memory`, `cpu`, `pids`. Without any, sessions have groups that count
    /// processor time and end them whole, and no limits.
    pub fn controllers(&self) -> &[&'static str] {
        &self.controllers
    }

    /// The group of a session, with its limits; made if it is not there.
    pub fn group(&self, session: SessionId) -> io::Result<Group> {
        let group = Group::at(self.base.join(format!("{GROUP}{session}")));
        group.make(&self.settings)?;
        Ok(group)
    }

    /// Gives a group that a former server has made the limits of this one.
    pub fn limit_again(&self, group: &Group) -> io::Result<()> {
        group.make(&self.settings)
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Of [`CONTROLLERS`], those that a file of a group lists.
fn controllers(group: &Path, file: &str) -> Vec<&'static str> {
    let text = fs::read_to_string(group.join(file)).unwrap_or_default();
    CONTROLLERS.into_iter().filter(|name| text.split_whitespace().any(|has| has == *name)).collect()
}

/// A group in which something can be limited. Entering one takes a program some 10 ms, which nothing
/// else is worth unless somebody has asked for it.
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

/// The directory of the group in which this process is.
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

/// The group that can be divided: no process may be in it, unless it is the root of all.
fn divided(own: &Path) -> Result<PathBuf, Unlimited> {
    let failed =
        |what: &str, cause: io::Error| Unlimited(format!("{what} {}: {cause}", own.display()));
    // Only the root group has no type.
    if !own.join("cgroup.type").exists() {
        let base = own.join(BELOW_ROOT);
        for controller in controllers(own, "cgroup.controllers") {
            // Another system's, perhaps: what is not enabled below is not limited.
            let _ = fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        fs::create_dir_all(&base).map_err(|cause| failed("cannot make a group in", cause))?;
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
            "the server is not alone in its control group {group}: it needs one of its own, as \
             `Delegate=yes` in its unit gives it"
        )));
    }
    if inside.lines().any(|pid| pid == mine) {
        let room = own.join(OWN);
        fs::create_dir_all(&room).map_err(|cause| failed("cannot make a group in", cause))?;
        fs::write(room.join("cgroup.procs"), &mine)
            .map_err(|cause| failed("the server cannot move within", cause))?;
    }
    Ok(own.to_owned())
}
