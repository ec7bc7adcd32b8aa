//! The network of a program: the namespace that its session's egress program holds.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::spec::Network;
use super::status::{ConfineError, Step, failed};

/// Joins a network namespace. An unprivileged process first joins the user namespace that owns it,
/// in which its uid is mapped to itself. So the program keeps its user and has no capability after
/// its execution, and Chromium sets up its own sandbox as usual.
pub(super) fn join(asked: &Network) -> Result<(), ConfineError> {
    // Opened first: from within a user namespace, the files of another process may be inaccessible.
    let network = open(&asked.network)?;
    if let Some(user) = &asked.user {
        enter(&open(user)?, LinkNameSpaceType::User, user)?;
    }
    enter(&network, LinkNameSpaceType::Network, &asked.network)
}

fn open(path: &Path) -> Result<File, ConfineError> {
    File::open(path).map_err(failed(Step::Network, path.display()))
}

fn enter(file: &File, kind: LinkNameSpaceType, path: &Path) -> Result<(), ConfineError> {
    let joined = move_into_link_name_space(file.as_fd(), Some(kind));
    joined.map_err(failed(Step::Network, format!("{} cannot be joined", path.display())))
}
