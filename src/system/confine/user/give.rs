//! The transfer of a directory to a session's user.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Uid};

use crate::system::beneath::{Tree, Walk};
use crate::system::confine::spec::User;

/// Changes the owner of a directory and its content to `user`. Symbolic links are not followed but
/// change their owner themselves. A file with several hard links is removed, because it may be
/// another user's file. Idempotent.
pub fn give(tree: &Tree, user: User) -> io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    let own = |descriptor: BorrowedFd<'_>| {
        let itself = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(descriptor, "", uid, gid, itself).map_err(io::Error::from)
    };
    let mut refused = Vec::new();
    tree.walk(&mut |entry: Walk<'_>| {
        let stat = rustix::fs::fstat(entry.descriptor)?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_folder && stat.st_nlink > 1 {
            refused.push(entry.path.to_owned());
            return Ok(());
        }
        own(entry.descriptor)
    })?;
    for path in refused {
        tree.remove_file(&path)?;
    }
    own(tree.as_fd())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};
    use std::path::Path;

    use super::*;

    #[test]
    fn links_are_given_and_not_followed_and_a_second_name_is_removed() {
        let root = std::env::temp_dir().join(format!("confine-give-{}", std::process::id()));
        fs::create_dir_all(root.join("own/folder")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        symlink("../secret", root.join("own/link")).unwrap();
        let before = fs::metadata(root.join("secret")).unwrap().uid();
        // Only root can give files to another user; an ordinary user gives them to itself.
        let uid = if before == 0 { 2_100_000_000 } else { before };
        let user = User { uid, gid: fs::metadata(root.join("secret")).unwrap().gid() };
        let own = Tree::open(&root.join("own")).unwrap().owned_by(Some(user));
        give(&own, user).unwrap();
        give(&own, user).unwrap();
        drop(own.create(Path::new("folder/file")).unwrap());
        own.make_folder(Path::new("folder/made")).unwrap();
        for path in ["own", "own/folder", "own/link", "own/folder/file", "own/folder/made"] {
            assert_eq!(fs::symlink_metadata(root.join(path)).unwrap().uid(), uid, "{path}");
        }
        fs::hard_link(root.join("secret"), root.join("own/folder/second")).unwrap();
        give(&own, user).unwrap();
        assert!(!root.join("own/folder/second").exists());
        assert_eq!(fs::metadata(root.join("secret")).unwrap().uid(), before);
        fs::remove_dir_all(&root).unwrap();
    }
}
