//! The network namespace of a session, and the thread that runs in it.
//!
//! The process stays in the machine's network; one of its threads is in the session's network. A
//! socket belongs to the namespace of the thread that created it. Therefore that thread creates
//! sockets and the rest of the process uses them. An unprivileged process first enters a user
//! namespace, which then owns the network namespace; nothing else about the process changes.
//!
//! The first part of this module runs while the process is single-threaded.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{CapabilitySet, CapabilitySets};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

/// The namespace that the process enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A namespace that is created now.
    New,
    /// The namespace of a living process, which an earlier egress process created.
    Of(u32),
}

/// The ports that are bound within the namespace.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// The port of the proxy.
    pub proxy: u16,
    /// The port that leads to the server, if the session has one.
    pub server: Option<u16>,
}

/// The reasons for which a namespace is not available.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    #[error(
        "no user namespace: {0}; allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns) or run as root"
    )]
    User(nix::Error),
    #[error("the ids of the user namespace were not mapped: {0}")]
    Ids(io::Error),
    #[error(
        "no network namespace: {0}; CAP_SYS_ADMIN or a user namespace is needed (sysctl user.max_net_namespaces)"
    )]
    Network(nix::Error),
    #[error("the namespaces of process {pid} were not joined: {cause}")]
    Join { pid: u32, cause: io::Error },
    #[error("process {0} is in the machine's network namespace, not in a session's")]
    NotSeparate(u32),
    #[error(
        "the loopback interface was not enabled: {0}; CAP_NET_ADMIN is needed beside CAP_SYS_ADMIN"
    )]
    Loopback(io::Error),
    #[error("127.0.0.1:{port} in the session's network cannot be bound: {cause}")]
    Bind { port: u16, cause: io::Error },
    #[error("the thread of the namespace did not start: {0}")]
    Thread(io::Error),
}

/// A handle to a session's network, from outside.
#[derive(Debug)]
pub struct Inside {
    sockets: mpsc::Sender<oneshot::Sender<io::Result<OwnedFd>>>,
    /// The id of the thread; `/proc/<pid>/task/<id>/ns/net` is the namespace.
    pub thread: i32,
}

/// The handle and the listeners that the thread has created on its start.
#[derive(Debug)]
pub struct Started {
    pub inside: Inside,
    /// The listener of the proxy.
    pub proxy: TcpListener,
    /// The listener of the port that leads to the server.
    pub server: Option<TcpListener>,
}

/// Enters the user namespace and starts the thread in the network namespace.
///
/// # Errors
///
/// Fails when the namespaces cannot be created or joined, or a port is taken.
pub fn start(origin: Origin, ports: Ports) -> Result<Started, NamespaceError> {
    match origin {
        Origin::New => enter_new_user()?,
        Origin::Of(pid) => join_user(pid)?,
    }
    let (report, reported) = mpsc::channel();
    let (sockets, requests) = mpsc::channel();
    let live = move || {
        let made = enter(origin, ports);
        let is_up = made.is_ok();
        let sent = report.send(made.map(|(proxy, server)| {
            (proxy, server, rustix::thread::gettid().as_raw_nonzero().get())
        }));
        if is_up && sent.is_ok() {
            serve(&requests);
        }
    };
    let builder = thread::Builder::new().name("inside".to_owned()).stack_size(128 * 1024);
    builder.spawn(live).map_err(NamespaceError::Thread)?;
    let gone = || NamespaceError::Thread(io::ErrorKind::BrokenPipe.into());
    let (proxy, server, thread) = reported.recv().map_err(|_closed| gone())??;
    Ok(Started { inside: Inside { sockets, thread }, proxy, server })
}

/// Enters a new user namespace. A process with `CAP_SYS_ADMIN` needs none.
fn enter_new_user() -> Result<(), NamespaceError> {
    let held = rustix::thread::capabilities(None);
    if held.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN)) {
        return Ok(());
    }
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    unshare(CloneFlags::CLONE_NEWUSER).map_err(NamespaceError::User)?;
    let map = |file: &str, text: String| std::fs::write(file, text).map_err(NamespaceError::Ids);
    map("/proc/self/setgroups", "deny".to_owned())?;
    map("/proc/self/uid_map", format!("{user} {user} 1"))?;
    map("/proc/self/gid_map", format!("{group} {group} 1"))
}

fn join_user(pid: u32) -> Result<(), NamespaceError> {
    let wrong = |cause: io::Error| NamespaceError::Join { pid, cause };
    let path = format!("/proc/{pid}/ns/user");
    if is_same(&path, "/proc/self/ns/user").map_err(wrong)? {
        return Ok(());
    }
    let file = File::open(path).map_err(wrong)?;
    setns(file, CloneFlags::CLONE_NEWUSER).map_err(|error| wrong(error.into()))
}

fn is_same(one: &str, other: &str) -> io::Result<bool> {
    Ok(std::fs::metadata(one)?.ino() == std::fs::metadata(other)?.ino())
}

/// Runs at the start of the thread: from here on its sockets belong to the session's network.
fn enter(
    origin: Origin,
    ports: Ports,
) -> Result<(TcpListener, Option<TcpListener>), NamespaceError> {
    match origin {
        Origin::New => {
            unshare(CloneFlags::CLONE_NEWNET).map_err(NamespaceError::Network)?;
        }
        Origin::Of(pid) => {
            let wrong = |cause: io::Error| NamespaceError::Join { pid, cause };
            let path = format!("/proc/{pid}/ns/net");
            if is_same(&path, "/proc/thread-self/ns/net").map_err(wrong)? {
                return Err(NamespaceError::NotSeparate(pid));
            }
            let file = File::open(path).map_err(wrong)?;
            setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| wrong(error.into()))?;
        }
    }
    loopback_up().map_err(NamespaceError::Loopback)?;
    let bind = |port: u16| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        listener.map_err(|cause| NamespaceError::Bind { port, cause })
    };
    let listeners = (bind(ports.proxy)?, ports.server.map(bind).transpose()?);
    // The remaining work needs no privilege.
    give_up_capabilities().map_err(NamespaceError::Thread)?;
    Ok(listeners)
}

/// Drops the capabilities of the calling thread. One stays permitted but not effective: a process
/// of the same user without capabilities then cannot trace this one.
///
/// # Errors
///
/// Fails when the kernel refuses.
pub fn give_up_capabilities() -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let kept = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: held.permitted & CapabilitySet::NET_BIND_SERVICE,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, kept)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Creates sockets on request until the process ends.
fn serve(requests: &mpsc::Receiver<oneshot::Sender<io::Result<OwnedFd>>>) {
    while let Ok(reply) = requests.recv() {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = AddressFamily::INET;
        let made = rustix::net::socket_with(family, SocketType::STREAM, flags, None);
        let _ = reply.send(made.map_err(io::Error::from));
    }
}

impl Inside {
    /// Connects to a port of the session's loopback.
    ///
    /// # Errors
    ///
    /// Fails when nothing listens on the port.
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let (reply, made) = oneshot::channel();
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.sockets.send(reply).map_err(|_closed| ended())?;
        let socket = made.await.map_err(|_closed| ended())??;
        let socket = TcpSocket::from_std_stream(socket.into());
        let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// The flag that brings an interface up, and the index of the loopback interface, which is the
/// first in every namespace.
const IFF_UP: u32 = 1;
const LOOPBACK: u32 = 1;
const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;

/// Sets `IFF_UP` on the loopback interface (rtnetlink(7)).
fn loopback_up() -> io::Result<()> {
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32u32.to_ne_bytes()); // struct nlmsghdr
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend_from_slice(&1u32.to_ne_bytes()); // sequence
    message.extend_from_slice(&0u32.to_ne_bytes()); // port
    message.extend_from_slice(&[0, 0, 0, 0]); // struct ifinfomsg: family, padding, type
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes()); // mask of the flags

    let flags = SocketFlags::CLOEXEC;
    // Without a protocol argument the socket is `NETLINK_ROUTE`.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0u8; 1024];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let word = |at: usize| answer.get(at..at + 4).and_then(|word| word.try_into().ok());
    let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
    let code = word(16).map(i32::from_ne_bytes).filter(|_| length >= 20);
    match (kind, code) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        (_, _) => Err(io::ErrorKind::InvalidData.into()),
    }
}
