//! A private `/dev/shm` for a program: it contains no data of other sessions, and filling it harms none.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::status::{ConfineError, Step, failed};

/// The size of a private `/dev/shm`, in MiB; a browser with many heavy pages needs some hundred.
pub const MOST_MIB: u64 = 1024;

const FOLDER: &str = "/dev/shm";

/// Mounts a private `/dev/shm` in a new mount namespace.
pub(super) fn separate() -> Result<(), ConfineError> {
    let wrong = |what: &'static str| {
        move |cause: nix::errno::Errno| {
            failed::<std::io::Error>(Step::SharedMemory, what)(cause.into())
        }
    };
    unshare(CloneFlags::CLONE_NEWNS).map_err(wrong("no mount namespace"))?;
    let nothing: Option<&str> = None;
    // Mounts in this namespace do not propagate elsewhere.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).map_err(wrong("mounts stay shared"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let options = format!("size={MOST_MIB}m,mode=1777");
    mount(Some("tmpfs"), FOLDER, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(wrong(FOLDER))
}
