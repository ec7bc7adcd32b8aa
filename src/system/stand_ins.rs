//! Stand-ins for desktops: no program, no display, no browser.
//!
//! A server with stand-ins is used to measure the server itself, with more sessions than the machine has room
//! for browsers. Everything above the desktops is as always: actors, rows, requests. A stand-in starts at once,
//! never dies, and shows an even picture. It has no DevTools and no VNC server.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use futures_util::future::{BoxFuture, pending, ready};
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::capture;
use super::input::Devices;
use super::seam::{
    AdoptError, CaptureError, Copies, Death, Desktop, Files, Following, Format, Launch,
    LaunchError, Order, PackAtEnd, PackedProfile, Picture, Reel, Repair, RestartFailed, Restarted,
    Sanitized, Screen, VncSeat, VncServer,
};
use crate::domain::ids::SessionId;
use crate::domain::sanitizing::Cleared;
use crate::domain::session::{DesktopIdentity, Failure, ProcessIdentity, Size, StartKind};

/// The display of every stand-in: a number that no X server has.
const DISPLAY: u16 = u16::MAX;

/// The launcher of stand-ins.
#[derive(Debug, Clone, Copy)]
pub struct StandIns;

impl StandIns {
    fn desktop(order: &Order) -> Box<dyn Desktop> {
        Box::new(StandIn {
            identity: identity(),
            size: order.spec.size,
            rotation: Arc::new(AtomicI64::new(order.spec.rotation)),
            at_end: None,
        })
    }
}

impl Launch for StandIns {
    fn launch(
        &self,
        order: Order,
        _call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, LaunchError>> {
        Box::pin(ready(Ok(Self::desktop(&order))))
    }

    fn adopt(&self, order: Order) -> BoxFuture<'static, Result<Box<dyn Desktop>, AdoptError>> {
        Box::pin(ready(Ok(Self::desktop(&order))))
    }

    fn sweep(&self, _session: SessionId, _files: Files) -> BoxFuture<'static, Vec<String>> {
        Box::pin(ready(Vec::new()))
    }
}

/// The identity of every stand-in. Its processes are of no boot of any machine, so a server with real desktops
/// that finds the row takes them for ended ones.
fn identity() -> DesktopIdentity {
    let process = ProcessIdentity { pid: 0, start_time: 0, boot_id: "stand-in".to_owned() };
    DesktopIdentity {
        display_number: DISPLAY,
        vnc_port: 0,
        devtools: ([127, 0, 0, 1], 0).into(),
        devtools_path: String::new(),
        xvfb: process.clone(),
        vnc: None,
        chromium: process,
        egress: None,
        files: None,
        sandbox: None,
        start: Some(StartKind::Cold),
    }
}

fn absent(what: &str) -> Failure {
    Failure::new("stand_in", format!("a stand-in for a desktop has no {what}"))
}

#[derive(Debug)]
struct StandIn {
    identity: DesktopIdentity,
    size: Size,
    rotation: Arc<AtomicI64>,
    at_end: Option<PackAtEnd>,
}

impl Desktop for StandIn {
    fn identity(&self) -> &DesktopIdentity {
        &self.identity
    }

    fn death(&self) -> BoxFuture<'static, Death> {
        Box::pin(pending())
    }

    fn repairs(&self) -> BoxFuture<'static, Repair> {
        Box::pin(pending())
    }

    fn restart(
        self: Box<Self>,
        _call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Restarted, RestartFailed>> {
        Box::pin(ready(Ok(Restarted { desktop: self, lost: String::new(), is_cleared: false })))
    }

    fn equip(
        mut self: Box<Self>,
        order: Order,
        _call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, RestartFailed>> {
        self.size = order.spec.size;
        self.identity.start = Some(StartKind::Warm);
        let desktop: Box<dyn Desktop> = self;
        Box::pin(ready(Ok(desktop)))
    }

    fn sanitize(
        self: Box<Self>,
        _call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Sanitized, RestartFailed>> {
        let cleared = Cleared::counted(Some(0), Some(0), 0, 0);
        Box::pin(ready(Ok(Sanitized { desktop: self, cleared })))
    }

    fn set_used(&self, _used: bool) {}

    fn screen(&self) -> Arc<dyn Screen> {
        Arc::new(EvenScreen(self.size))
    }

    fn copies(&self) -> Copies {
        let (_, texts) = watch::channel(String::new());
        Copies { texts, guard: CancellationToken::new().drop_guard() }
    }

    fn devices(&self) -> Devices {
        Devices::new(DISPLAY, [0; 16])
    }

    fn rotation(&self) -> i64 {
        self.rotation.load(Ordering::SeqCst)
    }

    fn rotate_vnc(&self, rotation: i64) -> BoxFuture<'static, Result<SecretString, Failure>> {
        self.rotation.store(rotation, Ordering::SeqCst);
        Box::pin(ready(Err(absent("VNC server"))))
    }

    fn vnc(&self) -> Arc<dyn VncServer> {
        Arc::new(NoVnc)
    }

    fn pack_profile(&self, _into: PathBuf) -> BoxFuture<'static, Result<PackedProfile, Failure>> {
        Box::pin(ready(Err(absent("profile"))))
    }

    fn pack_at_end(&mut self, request: PackAtEnd) {
        self.at_end = Some(request);
    }

    fn shut_down(self: Box<Self>) -> BoxFuture<'static, Vec<String>> {
        Box::pin(async move {
            if let Some(PackAtEnd { then, .. }) = self.at_end {
                then(Err(absent("profile"))).await;
            }
            Vec::new()
        })
    }
}

/// A display of one colour, on which nothing moves.
#[derive(Debug)]
struct EvenScreen(Size);

impl Screen for EvenScreen {
    fn shot(&self, format: Format) -> BoxFuture<'static, Result<Picture, CaptureError>> {
        let size = self.0;
        Box::pin(async move {
            let encoded = tokio::task::spawn_blocking(move || {
                let pixels = usize::from(size.width()) * usize::from(size.height());
                capture::encode(&[0x40, 0x30, 0x20, 0].repeat(pixels), size, format)
            });
            let cause = |cause: tokio::task::JoinError| CaptureError { cause: cause.to_string() };
            let bytes = Bytes::from(encoded.await.map_err(cause)??);
            Ok(Picture { number: 1, taken_at: Utc::now(), size, format, bytes })
        })
    }

    fn follow(&self, _keep: Option<PathBuf>) -> Following {
        let (_, pictures) = watch::channel(None);
        Following { pictures, guard: CancellationToken::new().drop_guard() }
    }

    fn film(&self, _interval: Duration) -> Reel {
        let (_, frames) = mpsc::channel(1);
        Reel { frames, guard: CancellationToken::new().drop_guard() }
    }
}

#[derive(Debug)]
struct NoVnc;

impl VncServer for NoVnc {
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>> {
        Box::pin(ready(Err(absent("VNC server"))))
    }
}
