//! Copies of finished downloads in folders of clients of this machine.
//!
//! A folder belongs to the client if its owner is the user of the client's socket. It is opened
//! without following a symbolic link, and stays open while a file is written beneath it. Therefore
//! a replaced directory cannot redirect a copy.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::beneath::Tree;

/// The state of an established connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Returns the user of the socket at `client`, on this machine, that is connected to the server's `port`.
pub fn user_of(client: SocketAddr, port: u16) -> Option<u32> {
    let (own, mapped) = match client.ip().to_canonical() {
        IpAddr::V4(ip) => (words(&ip.octets()), Some(words(&ip.to_ipv6_mapped().octets()))),
        IpAddr::V6(ip) => (words(&ip.octets()), None),
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts = tables.into_iter().filter_map(|table| fs::read_to_string(table).ok());
    let addresses = [Some(own), mapped];
    let addresses: Vec<_> = addresses.into_iter().flatten().collect();
    texts.into_iter().find_map(|text| {
        addresses.iter().find_map(|ip| user_in(&text, &format!("{ip}:{:04X}", client.port()), port))
    })
}

/// An address in the kernel's format: words of four bytes, in the machine's byte order.
fn words(octets: &[u8]) -> String {
    let (words, _none_left) = octets.as_chunks::<4>();
    words.iter().map(|word| format!("{:08X}", u32::from_ne_bytes(*word))).collect()
}

/// Returns the user of the established connection between `local` and any address with `port`.
fn user_in(table: &str, local: &str, port: u16) -> Option<u32> {
    let remote = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is_ours = columns.next() == Some(local)
            && columns.next().is_some_and(|address| address.ends_with(&remote))
            && columns.next() == Some(ESTABLISHED);
        // Skips the columns of queues, timer and retransmissions.
        if is_ours { columns.nth(3)?.parse().ok() } else { None }
    })
}

/// A client's folder that is open.
#[derive(Debug)]
pub struct Folder {
    directory: OwnedFd,
    owner: u32,
    group: u32,
}

impl Folder {
    /// Opens a directory of `user` below one of `roots`. This blocks.
    ///
    /// # Errors
    ///
    /// Fails if it is a link or not a directory, belongs to another user, or is outside of `roots`.
    pub fn open(
        path: &Path,
        user: u32,
        roots: &[PathBuf],
        private: &[PathBuf],
    ) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&directory)?;
        if stat.st_uid != user {
            return Err(io::Error::other("it belongs to another user than the client's"));
        }
        let real = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
        let private =
            private.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        let private: Vec<PathBuf> = private.collect();
        let mut roots = roots.iter().filter_map(|root| fs::canonicalize(root).ok());
        // A private directory may be below a root, but is not part of it.
        let is_private = |path: &Path| private.iter().any(|private| path.starts_with(private));
        if !roots.any(|root| {
            real.starts_with(&root) && real != root && (is_private(&root) || !is_private(&real))
        }) {
            let why = "it is not in any of isolation.handover_directories";
            return Err(io::Error::other(why));
        }
        Ok(Self { directory, owner: stat.st_uid, group: stat.st_gid })
    }

    /// Copies a regular file with one link into the folder as `name`, readable for its owner only.
    /// This blocks.
    ///
    /// # Errors
    ///
    /// Fails if a file of this name exists; that file then stays unchanged.
    pub fn put(&self, source: &Path, name: &str) -> io::Result<()> {
        let (Some(parent), Some(file)) = (source.parent(), source.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut source = Tree::open(parent)?.file(Path::new(file))?;
        if name.contains('/') || matches!(name, "" | "." | "..") {
            return Err(io::Error::other("its name is not a valid file name"));
        }
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut target = File::from(rustix::fs::openat(&self.directory, name, flags, mode)?);
        let copied = io::copy(&mut source, &mut target).and_then(|_bytes| self.give(&target));
        if copied.is_err() {
            // A partial copy is useless. The folder's owner may have removed it already.
            let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
        }
        copied
    }

    /// Changes the file's owner to the folder's owner.
    fn give(&self, file: &File) -> io::Result<()> {
        if rustix::process::geteuid().as_raw() != self.owner {
            let (owner, group) = (Uid::from_raw(self.owner), Gid::from_raw(self.group));
            rustix::fs::fchown(file, Some(owner), Some(group))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn me() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn the_user_of_a_client_on_either_family_is_found_by_its_socket() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let client = client.local_addr().unwrap();
            assert_eq!(user_of(client, port), Some(me()), "{address}");
            assert_eq!(user_of(client, port.wrapping_add(1)), None, "another server's");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(user_of(address, address.port()), None, "it listens");
    }

    #[test]
    fn a_row_is_read_by_its_columns() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
             0: 0100007F:954D 0100007F:2253 01 00000000:00000000 00:00000000 00000000  1000  0 7\n\
             1: 0100007F:954E 0100007F:2253 06 00000000:00000000 00:00000000 00000000     0  0 8\n";
        assert_eq!(user_in(table, "0100007F:954D", 0x2253), Some(1000));
        assert_eq!(user_in(table, "0100007F:954E", 0x2253), None, "it has ended");
        assert_eq!(words(&[127, 0, 0, 1]).len(), 8);
    }

    #[test]
    fn a_file_is_handed_over_once_into_the_clients_own_folder_and_nowhere_else() {
        let root = std::env::temp_dir().join(format!("handover-{:016x}", rand::random::<u64>()));
        let place = |name: &str| root.join(name);
        for folder in ["roots/mine", "roots/empty", "roots/data/own", "elsewhere"] {
            fs::create_dir_all(place(folder)).unwrap();
        }
        fs::write(place("source"), "content").unwrap();
        symlink(place("source"), place("link")).unwrap();
        symlink(place("elsewhere"), place("roots/way")).unwrap();
        let roots = [place("roots"), place("gone")];
        let private = [place("roots/data")];

        let folder = Folder::open(&place("roots/mine"), me(), &roots, &private).unwrap();
        folder.put(&place("source"), "a.csv").unwrap();
        let made = place("roots/mine/a.csv");
        assert_eq!(fs::read_to_string(&made).unwrap(), "content");
        let metadata = made.metadata().unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.uid()), (0o600, me()));

        fs::write(&made, "the client's own").unwrap();
        folder.put(&place("source"), "a.csv").unwrap_err();
        assert_eq!(fs::read_to_string(&made).unwrap(), "the client's own");
        symlink(place("elsewhere/x"), place("roots/mine/x")).unwrap();
        folder.put(&place("source"), "x").unwrap_err();
        assert!(!place("elsewhere/x").exists());
        for name in ["", ".", "..", "../x", "b/c"] {
            folder.put(&place("source"), name).unwrap_err();
        }
        folder.put(&place("link"), "c").unwrap_err();
        folder.put(&place("roots"), "c").unwrap_err();
        fs::hard_link(place("source"), place("second")).unwrap();
        folder.put(&place("second"), "c").unwrap_err();
        assert!(!place("roots/mine/c").exists());

        for (path, user) in [
            ("roots/way", me()),
            ("elsewhere", me()),
            ("roots", me()),
            ("roots/../elsewhere", me()),
            ("roots/absent", me()),
            ("roots/data", me()),
            ("roots/data/own", me()),
            ("source", me()),
            ("roots/mine", me() + 1),
        ] {
            Folder::open(&place(path), user, &roots, &private).unwrap_err();
        }
        let within = [place("roots/data")];
        Folder::open(&place("roots/data/own"), me(), &within, &private).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }
}
