//! The policies of a session's browser, in a private copy of the browser's folder below `/etc`.
//!
//! Chromium reads managed policies from a fixed folder of the machine. In the program's own mount
//! namespace, a small file system in memory takes the place of the folder above it. It has the files
//! of the machine, and one of the session. A policy that the machine sets takes precedence, because
//! the last file by name does.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::spec::Policies;
use super::status::{ConfineError, Step, failed};

/// The file of the session, which is the first by name.
const FILE: &str = "policies/managed/!session.json";

/// The most files that are copied, the largest one in bytes, and the most folders in one another.
const MOST_FILES: usize = 500;
const LARGEST_FILE: u64 = 1024 * 1024;
const DEEPEST: usize = 8;

/// The size of the file system in memory.
const SIZE: &str = "size=64m,mode=755";

/// Shows a program these policies. The program must have a mount namespace of its own.
pub(super) fn show(asked: &Policies) -> Result<(), ConfineError> {
    let folder = &asked.folder;
    let subject = |path: &Path| path.display().to_string();
    let wrong = |path: &Path| failed::<io::Error>(Step::Policies, subject(path));
    let policies = fs::read(&asked.file).map_err(wrong(&asked.file))?;
    let mut files = vec![(PathBuf::from(FILE), policies)];
    collect(folder, Path::new(""), &mut files, DEEPEST).map_err(wrong(folder))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let nothing: Option<&str> = None;
    mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some(SIZE))
        .map_err(|cause| wrong(folder)(cause.into()))?;
    for (name, bytes) in files {
        let path = folder.join(name);
        place(folder, &path, &bytes).map_err(wrong(&path))?;
    }
    let fixed = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(nothing, folder, nothing, fixed, Some(SIZE)).map_err(|cause| wrong(folder)(cause.into()))
}

/// Reads the files below `folder/name`. Links are followed, as the browser does.
fn collect(
    folder: &Path,
    name: &Path,
    files: &mut Vec<(PathBuf, Vec<u8>)>,
    depth: usize,
) -> io::Result<()> {
    for entry in fs::read_dir(folder.join(name))? {
        let name = name.join(entry?.file_name());
        // A link to nothing is no file for the browser either.
        let Ok(found) = fs::metadata(folder.join(&name)) else { continue };
        if found.is_dir() {
            let below = depth.checked_sub(1);
            let below = below.ok_or_else(|| io::Error::other("too many folders in one another"))?;
            collect(folder, &name, files, below)?;
        } else if found.is_file() && name != Path::new(FILE) {
            if files.len() >= MOST_FILES || found.len() > LARGEST_FILE {
                return Err(io::Error::other("too many files, or too large ones"));
            }
            let bytes = fs::read(folder.join(&name))?;
            files.push((name, bytes));
        }
    }
    Ok(())
}

/// Writes a file that every user may read, and the folders above it.
fn place(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let above = path.parent().unwrap_or(folder);
    DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    let new = above.ancestors().take_while(|above| *above != folder);
    for made in new {
        fs::set_permissions(made, fs::Permissions::from_mode(0o755))?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_folder_are_collected_with_those_that_links_name() {
        let folder = std::env::temp_dir().join(format!("greenroom-managed-{}", std::process::id()));
        fs::create_dir_all(folder.join("policies/managed")).unwrap();
        fs::write(folder.join("master_preferences"), "{}").unwrap();
        fs::write(folder.join("policies/managed/site.json"), "1").unwrap();
        fs::write(folder.join(FILE), "former").unwrap();
        std::os::unix::fs::symlink("site.json", folder.join("policies/managed/link.json")).unwrap();
        std::os::unix::fs::symlink("nothing", folder.join("dangling")).unwrap();
        let mut files = Vec::new();
        collect(&folder, Path::new(""), &mut files, DEEPEST).unwrap();
        files.sort();
        let names: Vec<_> = files.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        let expected =
            ["master_preferences", "policies/managed/link.json", "policies/managed/site.json"];
        assert_eq!(names, expected);

        // A folder that contains itself ends in an error.
        std::os::unix::fs::symlink(".", folder.join("itself")).unwrap();
        assert!(collect(&folder, Path::new(""), &mut Vec::new(), DEEPEST).is_err());
        let path = folder.join("a/b/c.json");
        place(&folder, &path, b"x").unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(folder.join("a").metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert!(place(&folder, &path, b"x").is_err(), "no file is replaced");
        fs::remove_dir_all(&folder).unwrap();
    }
}
