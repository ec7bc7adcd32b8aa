//! Sessions of older servers, which have one directory for both server and programs.
//!
//! Such a session is recognized by the profile in the server's directory. It is adopted unchanged.
//! Its folders are moved to the programs' directory at the next start of its browser. The profile
//! is moved last: until then, the session counts as one of an older server.

use std::io;
use std::path::Path;

use crate::system::beneath::Tree;
use crate::system::confine::spec::User;
use crate::system::confine::user::give;

/// The names of folders in the server's directory and in the programs'.
const MOVED: [(&str, &str); 3] =
    [("downloads", "downloads"), ("scratch", "uploads"), ("profile", "profile")];

/// Moves the folders of an older session from the server's directory `root` to the existing programs'
/// directory `own`, and makes the user their owner. Idempotent. Secrets stay where running programs have them until the session ends.
pub(super) fn move_out(root: &Path, own: &Path, user: Option<User>) -> io::Result<()> {
    for (from, to) in MOVED {
        let (from, to) = (root.join(from), own.join(to));
        let folder = match Tree::open(&from) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        if let Some(user) = user {
            give(&folder, user)?;
        }
        drop(folder);
        Tree::remove_all(&to)?;
        match std::fs::rename(&from, &to) {
            Err(cause) if cause.kind() == io::ErrorKind::CrossesDevices => copy(&from, &to, user)?,
            renamed => renamed?,
        }
    }
    Ok(())
}

/// Copies the regular files of a directory to another file system, and removes the originals.
fn copy(from: &Path, to: &Path, user: Option<User>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let source = Tree::open(from)?;
    let target = Tree::open(parent)?.owned_by(user).make_folder(Path::new(name))?;
    for path in source.files()? {
        let mut folder = target.folder(Path::new("."))?;
        for step in path.parent().into_iter().flat_map(Path::components) {
            folder = folder.make_folder(Path::new(step.as_os_str()))?;
        }
        let name = path.file_name().unwrap_or_default();
        io::copy(&mut source.file(&path)?, &mut folder.create(Path::new(name))?)?;
    }
    drop(source);
    Tree::remove_all(from)
}
