//! The DevTools of a session: the path between a driver and the browser.
//!
//! The server makes its own handshake with the browser, because Chromium refuses those that carry
//! an `Origin` or a foreign `Host`. After it the browser's bytes are passed on unchanged. A
//! driver's commands are read: those that reach beyond the page are refused or rewritten (`host`),
//! and those that act on it wait while a person has control (`takeover`). Messages must not be
//! compressed to be readable, so no extension is negotiated.
//!
//! A driver that comes by a lease or a ticket is disconnected when that ends; the browser stays. At
//! most `sessions.max_drivers` are connected to one session at once.

mod commands;
mod downward;
mod endpoint;
mod ground;
mod handover;
mod handshake;
mod host;
mod judging;
mod message;
mod ports;
mod room;
mod takeover;
mod targets;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::SEC_WEBSOCKET_ACCEPT;
use actix_web::web::Payload;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::downward::Downward;
pub use self::endpoint::{Endpoint, NotATargetId, TargetId};
pub use self::ground::{Ground, Lease};
use self::handover::{Handover, Places};
use self::handshake::reach;
pub use self::handshake::{Protocol, protocol};
use self::host::Judge;
pub use self::host::{CommandPattern, NoPattern, Rules};
pub use self::ports::{PORT_PEER, PORT_SECRET, PortError, PortRequest, SessionPorts, open_port};
pub use self::room::Room;
use self::takeover::{Ended, MOST_ANSWERS, Upward};
pub use self::targets::{Command, Commander, Page, TargetError, command, pages, version};
use super::bridge::{Close, CloseCode};
use super::state::Live;
use crate::actors::clock::Clock;
use crate::actors::quotas::QuotaPermit;
use crate::actors::registry::{Route, RouteError};
use crate::actors::requester::Requester;
use crate::actors::session::{Drive, SessionError};
use crate::actors::tickets::Unusable;
use crate::actors::views::SessionView;
use crate::domain::ids::SessionId;
use crate::domain::session::{DesktopIdentity, SessionStatus};
use crate::service::resources::session::on_takeover;
use crate::system::confine::spec::User;

/// The time that a session may take to notice that its browser is gone.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(5);

/// The time to wait for a session that is starting or recovering.
const STARTING: Duration = Duration::from_secs(45);

/// The time that the client has to take the close frame, and to answer it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The rules and limits that the drivers of all sessions share.
#[derive(Debug, Clone)]
pub struct DevTools {
    /// The rules for drivers' commands.
    pub rules: Rules,
    /// The memory for unfinished commands.
    pub room: Room,
    /// The directories below which drivers on this machine may have folders for downloads.
    pub folders: Vec<PathBuf>,
    /// True if clients on this machine may have ports of sessions.
    pub opens_ports: bool,
    /// The open ports of sessions.
    pub ports: SessionPorts,
}

/// Returns the desktop of a running session; waits for one that is starting.
///
/// # Errors
///
/// [`SessionError::Starting`] if that takes too long, [`SessionError::Closing`] if it has ended.
pub async fn running(
    view: &mut watch::Receiver<SessionView>,
) -> Result<DesktopIdentity, RouteError> {
    let coming = [SessionStatus::Created, SessionStatus::Retry];
    let settled = view.wait_for(|view| !coming.contains(&view.record.status));
    if timeout(STARTING, settled).await.is_err() {
        return Err(RouteError::Session(SessionError::Starting));
    }
    let (desktop, status) = {
        let view = view.borrow();
        (view.record.desktop.clone(), view.record.status)
    };
    match desktop {
        Some(desktop) if !status.is_final() => Ok(desktop),
        Some(_) | None => Err(RouteError::Session(SessionError::Closing)),
    }
}

/// A driver whose credentials were checked.
#[derive(Debug)]
pub struct Driver {
    /// The session to drive.
    pub session: SessionId,
    /// The view of the session.
    pub view: watch::Receiver<SessionView>,
    /// The credential that the driver presented.
    pub ground: Ground,
    /// The WebSocket of the browser that it connects to.
    pub endpoint: Endpoint,
    /// The driver's address, and the port of this machine that it is connected to, if it is
    /// on this machine itself.
    pub local: Option<(SocketAddr, u16)>,
    /// The driver's place in the quota of the session's organization.
    pub place: QuotaPermit,
    /// Canceled when the driver is not connected, or no longer; none if nothing waits for that.
    pub ended: Option<DropGuard>,
}

/// The reason why a driver was not connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The session does not run, or rejects the driver.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The browser cannot be reached.
    #[error("the browser does not answer: {0}")]
    Unreachable(std::io::Error),
    /// The driver's ticket was used or has ended.
    #[error("the ticket cannot be used any more")]
    Ticket(Unusable),
    /// The page to connect to is not there.
    #[error(transparent)]
    Target(#[from] TargetError),
}

impl From<SessionError> for ConnectError {
    fn from(cause: SessionError) -> Self {
        Self::Route(cause.into())
    }
}

/// Connects a driver to the browser: answers its handshake, which has this `Sec-WebSocket-Key`, and
/// passes on what follows until either side disconnects or the driver's credential ends.
///
/// # Errors
///
/// See [`ConnectError`]; then nothing is left behind.
pub async fn connect(
    live: &Live,
    driver: Driver,
    key: &str,
    payload: Payload,
) -> Result<HttpResponse, ConnectError> {
    let Driver { session: id, mut view, ground, endpoint, local: client, place, ended } = driver;
    let organization = view.borrow().record.organization;
    let desktop = running(&mut view).await?;
    // Sent before the browser is contacted: sessions check a browser for hangs only while a driver
    // or viewer wants it.
    let drive = Route { organization, session: id, message: Drive };
    let driving = live.registry.ask(drive).await.map_err(RouteError::from)??;
    let rule = on_takeover(&view.borrow().record, live);
    if let Endpoint::Page(page) = &endpoint {
        // Chromium would also open a worker or an extension by its id.
        targets::page(&desktop, page).await?;
    }
    let upstream = match reach(&desktop, &endpoint, key).await {
        Ok(upstream) => upstream,
        // The browser may have died a moment ago, and the session may be about to notice and
        // restart it.
        Err(cause) => {
            let notices = view.wait_for(|view| view.record.status != SessionStatus::Running);
            if timeout(NOTICE_TIMEOUT, notices).await.is_err() {
                return Err(ConnectError::Unreachable(cause));
            }
            let desktop = running(&mut view).await?;
            reach(&desktop, &endpoint, key).await.map_err(ConnectError::Unreachable)?
        }
    };

    // Last, so that the use counts only if the driver is admitted: of several at once, the first.
    if let Ground::Ticket(ticket) = &ground {
        let taken = live.world.views.tickets.take(ticket.id, live.world.clock.now());
        taken.map_err(ConnectError::Ticket)?.keep();
    }

    let (from_browser, to_browser) = upstream.socket.into_split();
    let (left, parted) = (CancellationToken::new(), CancellationToken::new());
    let (answers, answered) = mpsc::channel(MOST_ANSWERS);
    let own_folder = match &ground {
        Ground::Pass { folder, .. } => Some(folder.clone()),
        Ground::Key(_) | Ground::Lease(..) | Ground::Ticket(_) => None,
    };
    let (host, handover) = judge_for(live, id, own_folder, client);
    let share = live.devtools.room.share();
    let upward = Upward::new(to_browser, host, share, rule, view.clone(), answers);
    let (say_over, is_over) = mpsc::channel(1);
    let passing = Passing {
        upward,
        over: over(view, ground, live.world.clock, live.closing.clone()),
        say_over,
        left: left.clone(),
        parted: parted.clone().drop_guard(),
        drives: (driving, place, ended),
    };
    actix_web::rt::spawn(Requester::carried(passing.run(payload)));
    let down = Downward {
        early: upstream.early,
        from_browser,
        handover,
        answers: answered,
        over: is_over,
        _left: left.drop_guard(),
        parted,
    };
    let down = down.stream();
    let mut response = HttpResponse::SwitchingProtocols();
    response.upgrade("websocket").insert_header((SEC_WEBSOCKET_ACCEPT, upstream.accept));
    Ok(response.streaming(down))
}

/// Resolves with the reason when a driver's admission ends: its credential is no longer valid, or
/// the session ends, or the server stops.
async fn over(
    mut view: watch::Receiver<SessionView>,
    ground: Ground,
    clock: Clock,
    closing: CancellationToken,
) -> Close {
    let (key, lease, pass, ticket) = match ground {
        Ground::Key(key) => (Some(key), None, None, None),
        Ground::Lease(lease, key) => (key, Some(lease), None, None),
        Ground::Pass { over, .. } => (None, None, Some(over), None),
        Ground::Ticket(ticket) => (None, None, None, Some(ticket)),
    };
    let ticket = async {
        match ticket {
            Some(ticket) => ticket.ended(clock).await,
            None => std::future::pending().await,
        }
    };
    let key = async {
        match key {
            Some(key) => key.revoked().await,
            None => std::future::pending().await,
        }
    };
    let pass = async {
        match pass {
            Some(over) => over.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let lost = |view: &SessionView| lease.as_ref().is_some_and(|lease| lease.check(view).is_err());
    let ends = |view: &SessionView| view.closing || view.record.status.is_final();
    tokio::select! {
        view = view.wait_for(|view| ends(view) || lost(view)) => match view {
            Ok(view) if !ends(&view) => Close::new(CloseCode::OccupancyLost, "occupancy-lost"),
            // A closed channel also means that the session has ended.
            Ok(_) | Err(_) => Close::new(CloseCode::Normal, "browser-closed"),
        },
        () = pass => Close::new(CloseCode::Policy, "pass-expired"),
        has_expired = ticket => {
            let word = if has_expired { "ticket-expired" } else { "ticket-revoked" };
            Close::new(CloseCode::Policy, word)
        }
        () = key => Close::new(CloseCode::Policy, "key-revoked"),
        () = closing.cancelled() => Close::new(CloseCode::GoingAway, "the server is stopping"),
    }
}

/// Returns the judge of the commands on this connection and, if the driver is on this machine, the
/// handover of its finished downloads; neither without rules. A block's program has its own folder,
/// which holds one for temporary files.
fn judge_for(
    live: &Live,
    id: SessionId,
    own_folder: Option<PathBuf>,
    client: Option<(SocketAddr, u16)>,
) -> (Option<Judge>, Option<Arc<Handover>>) {
    let rules = live.devtools.rules.clone();
    if !rules.hold() {
        return (None, None);
    }
    let directories = &live.world.directories;
    let directory = directories.of(id);
    let handover = client.map(|client| {
        let server = User::own().uid;
        let user = directory.user().map_or(server, |user| user.uid);
        let places = Places {
            roots: live.devtools.folders.clone(),
            private: vec![directories.data().to_owned(), directories.programs().to_owned()],
            code: own_folder.map(|folder| (folder, [user, server])),
        };
        Handover::new(client, directory.downloads(), places)
    });
    let sources = vec![directory.downloads(), directory.uploads()];
    let judge = Judge::new(rules, directory.downloads(), sources).handing_over(handover.clone());
    (Some(judge), handover)
}

/// The direction from the client to the browser.
struct Passing<F> {
    upward: Upward,
    /// Resolves when the client's admission ends.
    over: F,
    /// Gets the close code and reason when the admission ends.
    say_over: mpsc::Sender<Close>,
    /// Canceled when the client has left.
    left: CancellationToken,
    parted: DropGuard,
    /// Notifies the session that one driver fewer is connected, frees its place within the quota, and
    /// notifies the caller who waits for the end of the connection.
    drives: (DropGuard, QuotaPermit, Option<DropGuard>),
}

impl<F: Future<Output = Close>> Passing<F> {
    /// Runs until either direction or the client's admission ends. After the end of the admission
    /// it waits for the client to take the close frame; nothing that the client sends then reaches
    /// the browser.
    async fn run(self, mut payload: Payload) {
        let Self { mut upward, over, say_over, left, parted, drives } = self;
        let passing = async {
            loop {
                let passed = tokio::select! {
                    chunk = payload.next() => match chunk {
                        Some(Ok(chunk)) => upward.take(chunk).await,
                        Some(Err(_)) | None => return None,
                    },
                    () = upward.changed() => upward.release_held().await,
                    ended = upward.stalled() => Err(ended),
                };
                match passed {
                    Ok(()) => {}
                    Err(Ended::Lost) => return None,
                    Err(Ended::By(close)) => return Some(close),
                }
            }
        };
        let close = tokio::select! {
            biased;
            () = left.cancelled() => None,
            close = over => Some(close),
            close = passing => close,
        };
        if let Some(close) = close {
            let _ = say_over.send(close).await; // The client may have left.
            let leaving = async { while let Some(Ok(_)) = payload.next().await {} };
            let _late = timeout(CLOSE_TIMEOUT, leaving).await;
        }
        upward.finish().await;
        drop((parted, drives)); // After the last command.
    }
}
