//! Start and end of the process.
//!
//! Order: directory, lock, namespaces (while there is one thread), privileges, Unix sockets, files,
//! `egress.json`. The last file signals readiness.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::files::{self, CONTROL, DOOR, Key, PORT, READY, STATUS};
use super::limits::Limits;
use super::namespace::{Inside, NamespaceError, Origin, Ports, give_up_capabilities};
use super::proxy::Admit;
use super::{Shared, control, door, gateway, namespace, peer, proxy};
use crate::domain::sealing::Vault;

/// The proxy's port in a session's network.
pub const PROXY_PORT: u16 = 3128;

/// The port in a session's network that leads to the server.
pub const GATEWAY_PORT: u16 = 3129;

/// The separation of the session's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A network namespace: all traffic leaves through the proxy.
    Enforced,
    /// A proxy on the machine's loopback, for one user.
    Proxied,
}

/// The arguments of the process.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server's directory for this program, see [`files`].
    pub directory: PathBuf,
    /// The separation to start with.
    pub level: Level,
    /// The proxy's port; 0 takes that of the previous process, or any free one.
    pub proxy_port: u16,
    /// The port that leads to the server, and the prefix of permitted paths.
    pub gateway: Option<(u16, String)>,
    /// A living process of the session whose namespaces are joined.
    pub join: Option<u32>,
    /// The user whose connections are accepted at the level `proxied`.
    pub client_user: Option<u32>,
    /// The key that opens the upstream's address in the policy file.
    pub vault: Option<Vault>,
    /// The most concurrent client connections.
    pub connections: usize,
    /// The longest wait for a target or an upstream to accept a connection.
    pub connect: Duration,
}

/// The content of `egress.json`, written when everything listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The process that listens.
    pub pid: u32,
    /// The start time of the process in clock ticks since boot, as in `/proc/<pid>/stat`.
    pub started: u64,
    /// The separation in force.
    pub level: Level,
    /// The address of the proxy; inside the session's network at the level `enforced`.
    pub proxy: SocketAddr,
    /// True if the process can open sealed policies.
    #[serde(default)]
    pub opens: bool,
    /// The address of the port that leads to the server.
    pub gateway: Option<SocketAddr>,
    /// The user namespace to join first, if it differs from that of the joining process.
    pub user_namespace: Option<PathBuf>,
    /// The network namespace to join, at the level `enforced`.
    pub network_namespace: Option<PathBuf>,
}

/// A failed start. The message says how to resolve it.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("another egress process works in this directory")]
    Running,
    #[error("the level `proxied` needs the user whose connections are accepted")]
    NoClientUser,
    #[error("127.0.0.1:{port} cannot be bound: {cause}")]
    Bind { port: u16, cause: io::Error },
    #[error("{what}: {cause}")]
    Io { what: &'static str, cause: io::Error },
}

fn doing(what: &'static str) -> impl FnOnce(io::Error) -> LaunchError {
    move |cause| LaunchError::Io { what, cause }
}

/// Runs until a signal ends it. The process must be single-threaded when it calls this. `confine`
/// is called once everything is open, and restricts the process to its own files.
///
/// # Errors
///
/// Fails when the directory, the lock, a namespace, a port or a socket is not available.
pub fn run(
    settings: &Settings,
    confine: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), LaunchError> {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // From here on every name is relative, because a socket path is limited to 107 bytes.
    std::env::set_current_dir(&settings.directory).map_err(doing("the directory"))?;
    let directory = Path::new(".");
    let key = Key::read(directory).map_err(doing("the key of the sockets"))?;
    let lock = File::create(directory.join("egress.lock")).map_err(doing("the lock file"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(LaunchError::Running);
    }
    remove(&directory.join(READY)).map_err(doing("the former egress.json"))?;

    let server_user = user_namespace().map_err(doing("the user namespace"))?;
    let (listeners, inside) = listen(settings, directory)?;
    let own_user = user_namespace().map_err(doing("the user namespace"))?;
    raise_descriptors();
    give_up_capabilities().map_err(doing("privileges were not dropped"))?;
    let sockets = Sockets::bind(directory, settings.level).map_err(doing("the sockets by path"))?;
    let mut ready = ready(settings, &listeners, inside.as_ref()).map_err(doing("addresses"))?;
    if own_user == server_user {
        ready.user_namespace = None; // A process cannot join the namespace that it is in.
    }
    let own = std::env::current_dir().map_err(doing("the directory"))?;
    confine(&own).map_err(doing("the process was not confined"))?;

    let runtime = runtime().map_err(doing("the runtime"))?;
    let limits = Limits {
        connections: settings.connections,
        connect: settings.connect,
        ..Limits::default()
    };
    let shared = Shared::new(directory, limits, settings.vault);
    let served = Served { settings, shared, key, ready: &ready };
    let ended = runtime.block_on(serve(served, listeners, inside, sockets));
    runtime.shutdown_timeout(Duration::from_millis(100));
    for name in [READY, DOOR, CONTROL] {
        let _ = remove(&directory.join(name));
    }
    ended.map_err(doing("the listeners"))
}

/// Tests whether a namespace can be created. The process must be single-threaded.
///
/// # Errors
///
/// Fails with the cause and the machine's setting that prevents it.
pub fn try_namespace() -> Result<(), LaunchError> {
    let ports = Ports { proxy: PROXY_PORT, server: None };
    namespace::start(Origin::New, ports).map(drop).map_err(Into::into)
}

/// Builds the runtime. Name resolution uses blocking threads, which are few and short-lived.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(8)
        .thread_stack_size(256 * 1024)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
}

/// The TCP listeners of the process.
struct Listeners {
    proxy: TcpListener,
    gateway: Option<TcpListener>,
}

fn listen(
    settings: &Settings,
    directory: &Path,
) -> Result<(Listeners, Option<Inside>), LaunchError> {
    match settings.level {
        Level::Enforced => {
            let origin = settings.join.map_or(Origin::New, Origin::Of);
            let server = settings.gateway.as_ref().map(|(port, _)| *port);
            let ports = Ports { proxy: settings.proxy_port, server };
            let started = namespace::start(origin, ports)?;
            let listeners = Listeners { proxy: started.proxy, gateway: started.server };
            Ok((listeners, Some(started.inside)))
        }
        Level::Proxied => {
            if settings.client_user.is_none() {
                return Err(LaunchError::NoClientUser);
            }
            let known = std::fs::read_to_string(directory.join(PORT)).ok();
            let known = known.and_then(|text| text.trim().parse().ok());
            let port = match settings.proxy_port {
                0 => known.unwrap_or_default(),
                port => port,
            };
            let bind = |port: u16| {
                TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                    .map_err(|cause| LaunchError::Bind { port, cause })
            };
            let proxy = bind(port)?;
            let taken = proxy.local_addr().map_err(doing("addresses"))?.port();
            // The browser knows the port, so it must survive any end of this process.
            files::replace(&directory.join(PORT), taken.to_string().as_bytes())
                .map_err(doing("the file of the port"))?;
            // Every user of the machine could connect to a gateway, so there is none.
            Ok((Listeners { proxy, gateway: None }, None))
        }
    }
}

/// Raises the limit of open descriptors, because a tunnel takes two.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The Unix socket listeners of the process.
struct Sockets {
    /// The listener of the way into the session's network, if it has one.
    door: Option<UnixListener>,
    control: UnixListener,
}

impl Sockets {
    fn bind(directory: &Path, level: Level) -> io::Result<Self> {
        let bind = |name: &str| {
            let path = directory.join(name);
            remove(&path)?;
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            Ok::<_, io::Error>(listener)
        };
        let door = match level {
            Level::Enforced => Some(bind(DOOR)?),
            Level::Proxied => None,
        };
        Ok(Self { door, control: bind(CONTROL)? })
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn ready(settings: &Settings, listeners: &Listeners, inside: Option<&Inside>) -> io::Result<Ready> {
    let pid = std::process::id();
    let gateway = listeners.gateway.as_ref().map(TcpListener::local_addr).transpose()?;
    let path = |text: String| PathBuf::from(text);
    Ok(Ready {
        pid,
        started: started()?,
        level: settings.level,
        proxy: listeners.proxy.local_addr()?,
        opens: settings.vault.is_some(),
        gateway,
        user_namespace: inside.map(|_| path(format!("/proc/{pid}/ns/user"))),
        network_namespace: inside
            .map(|inside| path(format!("/proc/{pid}/task/{}/ns/net", inside.thread))),
    })
}

/// The inode number of this process's user namespace.
fn user_namespace() -> io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata("/proc/self/ns/user")?))
}

fn started() -> io::Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let field = after_name.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

struct Served<'a> {
    settings: &'a Settings,
    shared: Arc<Shared>,
    key: Key,
    ready: &'a Ready,
}

async fn serve(
    served: Served<'_>,
    listeners: Listeners,
    inside: Option<Inside>,
    sockets: Sockets,
) -> io::Result<()> {
    let Served { settings, shared, key, ready } = served;
    let directory = Path::new(".");
    let limits = shared.limits;
    shared.reload();
    shared.usage.touch();

    let admit: Option<Admit> = match settings.level {
        Level::Enforced => None,
        Level::Proxied => {
            let user = settings.client_user;
            Some(Box::new(move |theirs, ours| peer::user_of(theirs, ours) == user))
        }
    };
    tokio::spawn(proxy::serve(tcp(listeners.proxy)?, shared.clone(), admit));
    if let (Some(listener), Some((_, prefix))) = (listeners.gateway, &settings.gateway) {
        let server = directory.join(files::SERVER);
        let gateway = gateway::Gateway { server, prefix: prefix.clone() };
        tokio::spawn(gateway::serve(tcp(listener)?, gateway, limits));
    }
    let unix = tokio::net::UnixListener::from_std;
    if let (Some(inside), Some(door)) = (inside.map(Arc::new), sockets.door) {
        tokio::spawn(door::serve(unix(door)?, key.clone(), inside, limits));
    }
    tokio::spawn(control::serve(unix(sockets.control)?, key, shared.clone()));
    let state = shared.clone();
    let status_path = directory.join(STATUS);
    let written = shared.clone();
    let path = status_path.clone();
    tokio::spawn(async move { written.usage.keep_written(path, || state.policy.state()).await });

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    files::write(&directory.join(READY), ready)?;
    tracing::info!("the egress proxy listens on {}", ready.proxy);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => drop(shared.reload()),
        }
    }
    files::write(&status_path, &shared.usage.status(shared.policy.state()))
}

fn tcp(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}
