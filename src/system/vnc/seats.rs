//! The lifetime of a desktop's VNC server, controlled by its seats.
//!
//! ```text
//! idle --a seat is taken--> running --the last seat is released----> lingering --> idle
//!                            |   ^                                      |
//!                  it dies --+   +----------- a seat is taken ----------+
//! ```
//!
//! A server that dies while it has seats is restarted on the same port. Viewers whose connections
//! broke may have left before the death is noticed: then the next viewer starts it.
//!
//! A hang is noticed by viewers whose connections stall, and the server is checked only on their
//! request. Each check is a connection that takes x11vnc 0.2 s, during which all its viewers wait.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::direct::direct;
use super::password::Password;
use super::ports::Reservation;
use super::x11vnc::NotStarted;
use super::{STAGE, Server, segments, x11vnc};
use crate::domain::ids::SessionId;
use crate::domain::rfb::Dialect;
use crate::domain::session::{Failure, ProcessIdentity};
use crate::system::desktop::Directory;
use crate::system::failure::failure;
use crate::system::process::{Process, is_alive};
use crate::system::seam::{Repair, VncEndpoint, VncSeat, VncServer};
use crate::system::settings::Settings;

/// The longest time for x11vnc to end on request; occasionally it never does.
const GRACE: Duration = Duration::from_secs(1);

/// The delay before a restart; it doubles after each quick exit.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// The longest delay before a restart.
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// The run time after which an exit does not count as quick.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The session and the files of a VNC server.
#[derive(Debug, Clone)]
pub struct VncContext {
    /// The session that owns the server.
    pub session: SessionId,
    /// The display that the server shows.
    pub display: u16,
    pub password: Password,
    /// The directories of the session, with its keys, its flag and its log.
    pub directory: Directory,
}

impl VncContext {
    /// The file for the server's log.
    pub(super) fn log(&self) -> PathBuf {
        self.directory.log("x11vnc")
    }
}

/// A callback for each VNC server that runs, with its process and port.
pub type OnStarted = Box<dyn Fn(&ProcessIdentity, u16) + Send + Sync>;

/// A callback for each VNC server that died and was restarted.
pub type OnRepaired = Box<dyn Fn(Repair) + Send + Sync>;

/// The callbacks for events of the server.
pub struct VncCallbacks {
    /// Called when a server runs.
    pub on_started: OnStarted,
    /// Called when a server was restarted.
    pub on_repaired: OnRepaired,
}

impl std::fmt::Debug for VncCallbacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VncCallbacks").finish_non_exhaustive()
    }
}

/// The VNC server of one desktop. Clones share it.
#[derive(Debug, Clone)]
pub struct Seats(Arc<Inner>);

struct Inner {
    place: VncContext,
    settings: Arc<Settings>,
    runtime: Handle,
    closing: CancellationToken,
    /// Cancelled when this side detaches and the server keeps running.
    detach: CancellationToken,
    callbacks: VncCallbacks,
    /// The kind of hang for which the last server was ended, if it was.
    hung: parking_lot::Mutex<Option<&'static str>>,
    /// Notified by the holder of a seat that suspects a hang.
    doubts: Arc<Notify>,
    state: Mutex<State>,
    /// The started processes, whose remains must be removed; the last one may be alive.
    started: parking_lot::Mutex<Vec<Process>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("place", &self.place).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    reservation: Option<Reservation>,
    running: Option<Process>,
    seats: usize,
    /// The number of consecutive quick exits.
    quick_exits: u32,
    /// Rises with every seat, so that an older timer detects that it is out of date.
    taken: u64,
    /// The cause and duration of an outage.
    trouble: Option<Trouble>,
}

/// An unexpected death of the server.
#[derive(Debug)]
struct Trouble {
    cause: String,
    /// The time at which the death was noticed.
    since: Instant,
    tries: u32,
}

impl Seats {
    /// A server that does not run yet and will listen on the port of `reservation`.
    pub fn new(
        place: VncContext,
        reservation: Reservation,
        settings: Arc<Settings>,
        runtime: Handle,
        callbacks: VncCallbacks,
    ) -> Self {
        let state = State {
            reservation: Some(reservation),
            running: None,
            seats: 0,
            quick_exits: 0,
            taken: 0,
            trouble: None,
        };
        Self(Arc::new(Inner {
            place,
            settings,
            runtime,
            closing: CancellationToken::new(),
            detach: CancellationToken::new(),
            callbacks,
            hung: parking_lot::Mutex::default(),
            doubts: Arc::default(),
            state: Mutex::new(state),
            started: parking_lot::Mutex::default(),
        }))
    }

    /// Adopts a running server, in the state after its last seat was released. Not to be called
    /// after a seat was taken.
    pub fn adopt(&self, process: Process) {
        let Ok(mut state) = self.0.state.try_lock() else { return };
        self.0.started.lock().push(process.clone());
        // The server's clipboard setting differs from the current one: the next seat starts another.
        if !x11vnc::is_as_set(&process, &self.0.settings) {
            process.kill_now();
            return;
        }
        state.running = Some(process.clone());
        drop(state);
        self.0.runtime.spawn(Arc::clone(&self.0).keep(process));
        let seats = Arc::clone(&self.0);
        self.0.runtime.spawn(async move { seats.linger(0).await });
    }

    /// The log file of its processes.
    pub fn log(&self) -> PathBuf {
        self.0.place.log()
    }
}

impl Server for Seats {
    fn is_the_display(&self) -> bool {
        false
    }

    fn start(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let mut state = self.0.state.lock().await;
            self.0.run(&mut state).await.map(drop)
        })
    }

    fn reset(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut state = self.0.state.lock().await;
            for line in self.0.stop(&mut state).await {
                tracing::warn!(session.id = %self.0.place.session, "{line}");
            }
            if state.seats > 0
                && let Err(cause) = self.0.run(&mut state).await
            {
                tracing::warn!(session.id = %self.0.place.session, "{}", cause.message);
            }
        })
    }

    fn disconnect_direct(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let mut state = self.0.state.lock().await;
            let (Some(process), Some(reservation)) = (&state.running, &state.reservation) else {
                return Vec::new();
            };
            // One of a former version has read its password once.
            let reads_again = x11vnc::reads_password_again(process);
            let is_alone = direct(reservation.port()).is_ok_and(|clients| clients == 0);
            if process.has_exited() || (reads_again && is_alone) {
                return Vec::new();
            }
            process.kill_now();
            let mut left = self.0.stop(&mut state).await;
            if state.seats > 0
                && let Err(cause) = self.0.run(&mut state).await
            {
                left.push(cause.message);
            }
            left
        })
    }

    fn kill_if_stopped(&self) {
        for process in self.0.started.lock().iter().filter(|process| process.is_stopped()) {
            *self.0.hung.lock() = Some("was stopped and is killed");
            process.kill_now();
        }
    }

    fn numbers(&self) -> Vec<i32> {
        self.0.started.lock().iter().map(|process| process.identity().pid).collect()
    }

    fn detach(&self) {
        self.0.detach.cancel();
    }

    fn kill_now(&self) {
        self.0.closing.cancel();
        for process in self.0.started.lock().iter() {
            process.kill_now();
        }
    }

    fn close(&self) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            self.0.closing.cancel();
            let mut state = self.0.state.lock().await;
            let mut left = self.0.stop(&mut state).await;
            if let Some(reservation) = state.reservation.take() {
                let port = reservation.port();
                drop(reservation);
                if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    left.push(format!("a process still listens on port {port}"));
                }
            }
            left
        })
    }
}

impl Inner {
    async fn take(self: Arc<Self>) -> Result<VncSeat, Failure> {
        let mut state = self.state.lock().await;
        let port = self.run(&mut state).await?;
        state.seats += 1;
        state.taken += 1;
        drop(state);

        let given_back = CancellationToken::new();
        let guard = given_back.clone().drop_guard();
        let endpoint = VncEndpoint {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            password: self.place.password.text(),
            dialect: Dialect::X11VNC,
        };
        let seats = Arc::clone(&self);
        self.runtime.spawn(async move {
            given_back.cancelled().await;
            seats.release_seat().await;
        });
        Ok(VncSeat { endpoint, doubts: Arc::clone(&self.doubts), guard })
    }

    async fn release_seat(&self) {
        let mut state = self.state.lock().await;
        state.seats = state.seats.saturating_sub(1);
        let taken = state.taken;
        drop(state);
        self.linger(taken).await;
    }

    /// Ends the server if no seat has been taken since the count was `taken`.
    async fn linger(&self, taken: u64) {
        if self.settings.vnc_eager {
            return;
        }
        tokio::select! {
            () = self.closing.cancelled() => return,
            () = self.detach.cancelled() => return,
            () = tokio::time::sleep(self.settings.vnc_linger()) => {}
        }
        let mut state = self.state.lock().await;
        if state.seats == 0 && state.taken == taken {
            state.trouble = None;
            for line in self.stop(&mut state).await {
                tracing::warn!(session.id = %self.place.session, "{line}");
            }
        }
    }

    /// Restarts the server when `process` dies while there are seats.
    fn keep(self: Arc<Self>, process: Process) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let began = Instant::now();
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = self.detach.cancelled() => return,
                _exit = process.exited() => {}
                () = self.end_when_hung(&process) => {}
            }
            let is_other = |now: &Process| now.identity() != process.identity();
            loop {
                let mut state = self.state.lock().await;
                if state.seats == 0 || state.running.as_ref().is_some_and(is_other) {
                    return;
                }
                self.note_death(&mut state).await;
                state.quick_exits = if began.elapsed() < STABLE_AFTER {
                    state.quick_exits.saturating_add(1)
                } else {
                    1
                };
                let doubled = 2_u32.saturating_pow(state.quick_exits.saturating_sub(1));
                drop(state);
                let wait = RETRY_DELAY.saturating_mul(doubled).min(AGAIN_AT_MOST);
                tracing::warn!(
                    session.id = %self.place.session,
                    "the VNC server died; it is started again in {} ms", wait.as_millis()
                );
                tokio::select! {
                    () = self.closing.cancelled() => return,
                    () = self.detach.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                let mut state = self.state.lock().await;
                if state.seats == 0 || state.running.as_ref().is_some_and(is_other) {
                    return;
                }
                match self.run(&mut state).await {
                    Ok(_port) => return,
                    Err(cause) => {
                        tracing::warn!(session.id = %self.place.session, "{}", cause.message);
                    }
                }
            }
        })
    }

    /// Ends the server when a viewer suspects a hang and a check confirms it.
    async fn end_when_hung(&self, process: &Process) {
        loop {
            self.doubts.notified().await;
            let port = self.state.lock().await.reservation.as_ref().map(Reservation::port);
            let (Some(port), limit @ 1..) = (port, self.settings.hang_seconds) else { continue };
            if timeout(Duration::from_secs(limit), greets(port)).await.is_err() {
                *self.hung.lock() = Some("did not answer and was killed");
                process.kill_now();
                // Other pending doubts concern the same process.
                let _stale = self.doubts.notified().now_or_never();
                process.exited().await;
                return;
            }
        }
    }

    /// Records a death that was not recorded yet. A server that was ended on purpose is not
    /// recorded as running.
    async fn note_death(&self, state: &mut State) {
        let Some(process) = state.running.as_ref().filter(|process| process.has_exited()) else {
            return;
        };
        if state.trouble.is_none() {
            let exit = process.exited().await;
            let how = self.hung.lock().take().unwrap_or("ended unexpectedly");
            let cause = format!("{} {how}: {exit}", STAGE.name);
            state.trouble = Some(Trouble { cause, since: Instant::now(), tries: 0 });
        }
    }

    /// Returns the port once the server listens on it. Starts it if it does not run or has died.
    async fn run(self: &Arc<Self>, state: &mut State) -> Result<u16, Failure> {
        let closing = || failure(STAGE.name, "vnc_closing", "the desktop is closing".to_owned());
        if self.closing.is_cancelled() {
            return Err(closing());
        }
        // The process may be dead a moment before its exit is reported.
        if let Some(process) = state.running.as_ref().filter(|it| !is_alive(it.identity())) {
            let _told = timeout(GRACE, process.exited()).await;
        }
        let reservation = state.reservation.as_ref().ok_or_else(closing)?;
        if state.running.as_ref().is_some_and(|process| !process.has_exited()) {
            return Ok(reservation.port());
        }
        let ports = reservation.ports();
        self.note_death(state).await;
        if let Some(trouble) = &mut state.trouble {
            trouble.tries += 1;
        }
        loop {
            for line in self.stop(state).await {
                tracing::warn!(session.id = %self.place.session, "{line}");
            }
            let port = state.reservation.as_ref().ok_or_else(closing)?.port();
            let begun = parking_lot::Mutex::new(None);
            let start =
                x11vnc::start(&self.place, port, &self.settings, &self.runtime, |process| {
                    self.started.lock().push(process.clone());
                    *begun.lock() = Some(process.clone());
                });
            let outcome = tokio::select! {
                biased;
                () = self.closing.cancelled() => Err(NotStarted::Failed(closing())),
                outcome = start => outcome,
            };
            let process = begun.into_inner();
            match (outcome, process) {
                (Ok(()), Some(process)) => {
                    (self.callbacks.on_started)(process.identity(), port);
                    if let Some(Trouble { cause, since, tries }) = state.trouble.take() {
                        let lost = "the connections of viewers";
                        (self.callbacks.on_repaired)(Repair::new(
                            cause,
                            lost,
                            tries,
                            since.elapsed(),
                        ));
                    }
                    self.hung.lock().take(); // An exit that affected no viewer.
                    state.running = Some(process.clone());
                    self.runtime.spawn(Arc::clone(self).keep(process));
                    return Ok(port);
                }
                (Err(NotStarted::Busy), _) => {
                    let next = ports.reserve(Some(port)).ok_or_else(|| no_port_free(&ports))?;
                    tracing::warn!(
                        port,
                        next = next.port(),
                        "another program has taken a VNC port"
                    );
                    state.reservation = Some(next);
                }
                (Err(NotStarted::Failed(cause)), _) => {
                    for line in self.stop(state).await {
                        tracing::warn!(session.id = %self.place.session, "{line}");
                    }
                    return Err(cause);
                }
                (Ok(()), None) => return Err(closing()),
            }
        }
    }

    /// Ends the server, and removes the remains of all its processes.
    async fn stop(&self, state: &mut State) -> Vec<String> {
        state.running = None;
        let started = self.started.lock().clone();
        let mut left = Vec::new();
        for process in &started {
            if !process.stop(GRACE).await {
                left.push(format!("process {} does not end", process.identity().pid));
            }
        }
        let creators: Vec<i32> = started.iter().map(|process| process.identity().pid).collect();
        left.extend(segments::sweep(&creators, &self.settings.path).await);
        // Removed from the list last: if this future is dropped, the next call continues.
        self.started.lock().retain(|process| !creators.contains(&process.identity().pid));
        if let Some(reservation) = &mut state.reservation {
            reservation.hold();
        }
        if !started.is_empty() {
            // x11vnc removes the flag itself, unless it is killed.
            let _ = x11vnc::remove_flag(&self.place.directory.vnc_flag());
        }
        left
    }
}

/// Resolves when the server on `port` has sent its version (RFC 6143, section 7.1.1), or refuses.
async fn greets(port: u16) -> io::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.read_exact(&mut [0; 12]).await.map(drop)
}

/// The failure that every port of the range is in use.
pub(crate) fn no_port_free(ports: &super::Ports) -> Failure {
    let (first, last) = (ports.range().start(), ports.range().end());
    let message = format!("none of the ports {first} to {last} is free for a VNC server");
    let hint = "close a session, or widen `vnc_port_first` to `vnc_port_last`".to_owned();
    Failure { hint: Some(hint), ..failure(STAGE.name, "no_port_free", message) }
}

impl VncServer for Seats {
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>> {
        let work = self.0.runtime.spawn(Arc::clone(&self.0).take());
        Box::pin(async move {
            work.await.unwrap_or_else(|cause| {
                Err(failure(STAGE.name, "vnc_not_ready", format!("its start failed: {cause}")))
            })
        })
    }
}
