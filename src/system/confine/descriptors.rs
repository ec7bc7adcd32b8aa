//! Inherited descriptors. The server opens its own with `CLOEXEC`, but the parent of the server may
//! have left others open.

use std::fs;
use std::fs::File;

use rustix::io::Errno;

use super::status::{ConfineError, Step, failed};

const FOLDER: &str = "/proc/self/fd";

/// Closes every descriptor above 2 that is not in `keep`, and opens `/dev/null` as standard input.
/// No value in this process may own one of the closed descriptors.
pub(super) fn close_all_but(keep: &[i32]) -> Result<(), ConfineError> {
    let null = File::open("/dev/null").map_err(failed(Step::Descriptors, "/dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(failed(Step::Descriptors, "standard input"))?;
    drop(null);
    // Listed completely before the first is closed, because the listing needs a descriptor itself.
    let open: Vec<i32> = fs::read_dir(FOLDER)
        .map_err(failed(Step::Descriptors, FOLDER))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for number in open.into_iter().filter(|number| *number > 2 && !keep.contains(number)) {
        match nix::unistd::close(number) {
            // The descriptor of the listing, which is closed by now.
            Ok(()) | Err(nix::errno::Errno::EBADF) => (),
            Err(cause) => {
                let cause = Errno::from_raw_os_error(cause.into_raw());
                return Err(failed(Step::Descriptors, number)(cause));
            }
        }
    }
    Ok(())
}

trait Raw {
    fn into_raw(self) -> i32;
}

impl Raw for nix::errno::Errno {
    fn into_raw(self) -> i32 {
        std::io::Error::from(self).raw_os_error().unwrap_or_default()
    }
}
