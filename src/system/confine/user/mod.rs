//! A user for each session: the range of uids, the record of assigned users, and the change of a
//! process to its user.

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

/// Makes this thread, the only one, run as `user` and drops every capability. That includes those
/// of root, and ambient ones that a service manager granted to an ordinary user, which survive a
/// change of the user. With such a capability a program could read the memory of processes that
/// Landlock protects.
pub(super) fn change(user: Option<User>) -> Result<(), ConfineError> {
    if let Some(User { uid, gid }) = user {
        let subject = || format!("the program cannot become user {uid}");
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
    let given_up = || failed::<Errno>(Step::User, "capabilities cannot be dropped");
    match rustix::thread::clear_ambient_capability_set() {
        // Kernels before 4.3 have no ambient capabilities.
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
