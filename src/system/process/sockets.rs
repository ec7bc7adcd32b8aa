//! The ports on which processes listen.

use std::collections::HashMap;
use std::fs;

use crate::system::proc::{listener, socket_inode};

/// The TCP ports on which a process listens, in its own network namespace.
pub fn listened_to(pid: i32) -> Vec<u16> {
    let mut listening = HashMap::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        listening.extend(text.lines().skip(1).filter_map(listener));
    }
    let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let sockets = open.filter_map(|entry| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        socket_inode(target.to_str()?)
    });
    let mut ports: Vec<u16> =
        sockets.filter_map(|inode: u64| listening.get(&inode).copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_found_by_the_process_that_listens_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(listened_to(own).contains(&port));
        drop(listener);
        assert!(!listened_to(own).contains(&port));
    }
}
