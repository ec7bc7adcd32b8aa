//! The location of the programs' directories, and the decision whether each session has its own user.
//!
//! A session's user must be able to traverse every parent of its directory. The data directory is
//! accessible to the server only, so programs of other users have their directories elsewhere.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::user::{Ability, Missing, Range};

/// The parent of programs' directories for servers whose data directory is closed.
const ELSEWHERE: &str = "/var/lib/greenroom-programs";

/// The mode bit that lets others traverse a directory.
const PASSES: u32 = 0o001;

/// The mode of the parent of programs' directories: others can traverse it, but not list it.
const MODE: u32 = 0o711;

/// The setting for the users of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserSetting {
    /// Each session has its own user if the server can change user.
    #[default]
    Auto,
    /// Programs run as the server's user.
    Off,
}

/// The settings that determine a placement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlacementSettings {
    /// The parent of programs' directories, if it is set.
    pub programs: Option<PathBuf>,
    /// The setting for the users of sessions.
    pub users: UserSetting,
    /// The range of uids.
    pub range: Range,
    /// True if programs join network namespaces. Programs of other users can join only those that
    /// belong to the server's own user namespace.
    pub joins: bool,
}

/// The location of the programs' directories and the users of sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// The parent of programs' directories; `programs` in the data directory if none.
    pub programs: Option<PathBuf>,
    /// The range of uids.
    pub range: Range,
    /// True if each new session gets its own user.
    pub assigns: bool,
    /// The reason for which new sessions get no user.
    pub no_users: Option<NoUsers>,
}

/// The reason for which sessions have no users of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoUsers {
    /// The setting disables them.
    Off,
    /// The server lacks the rights.
    Missing(Missing),
    /// Others cannot traverse this directory above the programs' directories.
    Closed(PathBuf),
}

impl fmt::Display for NoUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("`isolation.users` is off"),
            Self::Missing(missing) => missing.fmt(f),
            Self::Closed(folder) => write!(
                f,
                "other users cannot pass through {} (`chmod o+x`, or set `isolation.programs`)",
                folder.display()
            ),
        }
    }
}

impl Placement {
    /// Returns the placement for a server with this data directory. Changes nothing on the disk.
    pub fn find(data: &Path, wanted: &PlacementSettings) -> Self {
        let ability = match wanted.users {
            UserSetting::Off => Err(NoUsers::Off),
            UserSetting::Auto => match Ability::find(wanted.range) {
                Ok(ability) if wanted.joins && !ability.makes_namespaces => {
                    Err(NoUsers::Missing(Missing::Capabilities(vec!["CAP_SYS_ADMIN"])))
                }
                found => found.map(drop).map_err(NoUsers::Missing),
            },
        };
        Self::of(data, wanted, ability, Path::new(ELSEWHERE))
    }

    fn of(
        data: &Path,
        wanted: &PlacementSettings,
        ability: Result<(), NoUsers>,
        elsewhere: &Path,
    ) -> Self {
        let range = wanted.range;
        let without = |why| {
            let programs = wanted.programs.clone();
            Self { programs, range, assigns: false, no_users: Some(why) }
        };
        if let Err(why) = ability {
            return without(why);
        }
        let candidates = match &wanted.programs {
            Some(set) => vec![set.clone()],
            None => vec![data.join("programs"), elsewhere.join(name_of(data))],
        };
        let mut closed = None;
        for programs in candidates {
            match closed_parent(&programs, data) {
                None => {
                    let programs = Some(programs);
                    return Self { programs, range, assigns: true, no_users: None };
                }
                Some(folder) => closed = Some(folder),
            }
        }
        without(NoUsers::Closed(closed.unwrap_or_else(|| data.to_owned())))
    }

    /// The parent of programs' directories for a server with this data directory.
    pub fn programs(&self, data: &Path) -> PathBuf {
        self.programs.clone().unwrap_or_else(|| data.join("programs"))
    }

    /// Creates that directory. Others can traverse it if sessions have users.
    pub fn make(&self, data: &Path) -> io::Result<PathBuf> {
        let programs = self.programs(data);
        let mode = if self.assigns { MODE } else { 0o700 };
        let parent = programs.parent().filter(|parent| *parent == Path::new(ELSEWHERE));
        for folder in parent.into_iter().chain([programs.as_path()]) {
            DirBuilder::new().recursive(true).mode(mode).create(folder)?;
            // Without users for new sessions, existing sessions may still have theirs.
            if self.assigns {
                fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
            }
        }
        Ok(programs)
    }
}

/// The name for a data directory below [`ELSEWHERE`], which is short because socket paths are limited.
fn name_of(data: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let digits = blake3::hash(data.as_os_str().as_bytes()).to_hex();
    digits.chars().take(12).collect()
}

/// The first directory above `programs` that others cannot traverse. Missing directories count as
/// traversable, because they are created so, except the data directory.
fn closed_parent(programs: &Path, data: &Path) -> Option<PathBuf> {
    let mut above: Vec<_> = programs.ancestors().skip(1).collect();
    above.reverse();
    above
        .into_iter()
        .find(|folder| match fs::metadata(folder) {
            // The server makes this directory traversable in any case.
            Ok(_) if *folder == Path::new(ELSEWHERE) => false,
            Ok(found) => found.permissions().mode() & PASSES == 0,
            Err(_) => *folder == data,
        })
        .map(Path::to_owned)
}

/// The first directory above a program or directory, or above its link target, that other users
/// cannot traverse. Sessions' users cannot run such a program.
pub fn closed_above(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok();
    let paths = [real.as_deref(), Some(path)].into_iter().flatten();
    paths.map(|path| path.join("-")).find_map(|below| closed_parent(&below, Path::new("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_where_their_users_can_pass_or_have_no_users() {
        let root = std::env::temp_dir().join(format!("greenroom-place-{}", std::process::id()));
        let (data, elsewhere, closed) = (root.join("d"), root.join("e"), root.join("c"));
        for folder in [&data, &closed] {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
        }
        let wanted = PlacementSettings::default();
        let found =
            |wanted: &PlacementSettings, ability| Placement::of(&data, wanted, ability, &elsewhere);

        let place = found(&wanted, Ok(()));
        let programs = place.programs(&data);
        assert!(place.assigns && place.no_users.is_none());
        assert_eq!(programs.parent(), Some(elsewhere.as_path()), "the data directory is closed");
        assert_eq!(place.make(&data).unwrap(), programs);
        assert_eq!(programs.metadata().unwrap().permissions().mode() & 0o777, 0o711);

        let place = found(&wanted, Err(NoUsers::Off));
        assert_eq!((place.assigns, place.programs(&data)), (false, data.join("programs")));
        assert_eq!(place.no_users, Some(NoUsers::Off));

        let set = PlacementSettings { programs: Some(closed.join("a/b")), ..wanted.clone() };
        fs::write(closed.join("program"), "").unwrap();
        std::os::unix::fs::symlink(closed.join("program"), root.join("link")).unwrap();
        assert_eq!(closed_above(&root.join("link")), Some(closed.clone()));
        assert_eq!(closed_above(Path::new("/bin/sh")), None);
        let place = found(&set, Ok(()));
        assert_eq!((place.assigns, place.programs(&data)), (false, closed.join("a/b")));
        assert_eq!(place.no_users, Some(NoUsers::Closed(closed.clone())));

        fs::set_permissions(&data, fs::Permissions::from_mode(0o711)).unwrap();
        let place = found(&wanted, Ok(()));
        assert_eq!((place.assigns, place.programs(&data)), (true, data.join("programs")));
        fs::remove_dir_all(&root).unwrap();
    }
}
