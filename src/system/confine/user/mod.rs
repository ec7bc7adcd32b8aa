//! A user for each session: the numbers, the record of the sessions that have one, and the change of
//! a process to it.

mod ability;
mod give;
mod range;
mod users;

use std::io;

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

pub use ability::{Ability, Missing};
pub use give::give;
pub use range::{DEFAULT, Range, RangeError};
pub use users::{InUse, UserError, Users};

use super::spec::User;
use super::status::{ConfineError, Step, failed};

/// Makes this thread, the only one, run as `user`, and gives up every capability: also those of root,
/// and those that a service manager gave to an ordinary user, which no change of the user takes away.
/// With one of them a program could read the memory of processes that Landlock keeps from it.
pub(super) fn change(user: Option<User>) -> Result<(), ConfineError> {
    if let Some(User { uid, gid }) = user {
        let subject = || format!("the user {uid} cannot be had");
        if uid == 0 || gid == 0 {
            return Err(failed(Step::User, subject())(io::Error::from(
                io::ErrorKind::InvalidInput,
            )));
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::thread::set_thread_groups(&[]).map_err(failed(Step::User, subject()))?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed(Step::User, subject()))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed(Step::User, subject()))?;
    }
    let given_up = || failed::<Errno>(Step::User, "capabilities cannot be given up");
    match rustix::thread::clear_ambient_capability_set() {
        // Kernels before 4.3 have none.
        Ok(()) | Err(Errno::INVAL) => (),
        Err(cause) => return Err(given_up()(cause)),
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(given_up())
}
