//! A fake desktop without processes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::egress::{FakeEgress, FakeWay};
use super::failure;
use super::screen::{FakeScreen, FakeVnc};
use crate::domain::egress::EgressAsked;
use crate::domain::sanitizing::Cleared;
use crate::domain::session::{DesktopIdentity, Failure, StartKind};
use crate::system::desktop::{
    Copies, Death, Desktop, Egress, Order, PackAtEnd, PackedProfile, Repair, RestartFailed,
    Restarted, Sanitized, Screen, VncServer,
};
use crate::system::input::Devices;

#[derive(Debug)]
pub(super) struct FakeDesktop {
    pub(super) identity: DesktopIdentity,
    pub(super) up: Duration,
    pub(super) down: Duration,
    pub(super) alive: Arc<AtomicUsize>,
    pub(super) kill: Arc<Notify>,
    pub(super) close: Arc<Notify>,
    pub(super) unrevived: Arc<AtomicUsize>,
    pub(super) unequipped: Arc<AtomicBool>,
    pub(super) sanitized: Arc<AtomicUsize>,
    pub(super) marked: Arc<AtomicBool>,
    pub(super) packing: Arc<Mutex<Duration>>,
    pub(super) rotation: Arc<AtomicI64>,
    pub(super) egress: Option<Arc<FakeEgress>>,
    pub(super) at_end: Option<PackAtEnd>,
}

/// A file that stands for an archive.
fn packed(into: PathBuf) -> Result<PackedProfile, Failure> {
    std::fs::write(&into, b"profile").map_err(|cause| failure(&cause.to_string()))?;
    let checksum = "0123456789abcdef".to_owned();
    Ok(PackedProfile { file: into, bytes: 7, checksum, browser_version: None })
}

impl Desktop for FakeDesktop {
    fn identity(&self) -> &DesktopIdentity {
        &self.identity
    }

    fn death(&self) -> BoxFuture<'static, Death> {
        let (kill, close) = (Arc::clone(&self.kill), Arc::clone(&self.close));
        Box::pin(async move {
            tokio::select! {
                () = kill.notified() => failure("chromium_died").into(),
                () = close.notified() => {
                    Death { failure: failure("chromium_closed"), orderly: true }
                }
            }
        })
    }

    fn repairs(&self) -> BoxFuture<'static, Repair> {
        Box::pin(std::future::pending())
    }

    fn restart(
        mut self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Restarted, RestartFailed>> {
        Box::pin(async move {
            tokio::select! {
                () = sleep(self.up) => {}
                () = call_off.cancelled() => {
                    let failure = failure("recovery_called_off");
                    return Err(RestartFailed { failure, desktop: Some(self) });
                }
            }
            let fails = self
                .unrevived
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if fails {
                return Err(RestartFailed {
                    failure: failure("chromium_exited"),
                    desktop: Some(self),
                });
            }
            self.identity.devtools.set_port(self.identity.devtools.port() + 1);
            let is_cleared = self.marked.load(Ordering::SeqCst);
            Ok(Restarted { desktop: self, lost: String::new(), is_cleared })
        })
    }

    fn equip(
        mut self: Box<Self>,
        order: Order,
        _call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Box<dyn Desktop>, RestartFailed>> {
        self.identity.start = Some(StartKind::Warm);
        if let Some(egress) = &self.egress {
            egress.policies.lock().push(EgressAsked::from(&order));
        }
        let fails = self.unequipped.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            if fails {
                let failure = failure("desktop_died");
                return Err(RestartFailed { failure, desktop: Some(self) });
            }
            let desktop: Box<dyn Desktop> = self;
            Ok(desktop)
        })
    }

    fn sanitize(
        mut self: Box<Self>,
        call_off: CancellationToken,
    ) -> BoxFuture<'static, Result<Sanitized, RestartFailed>> {
        Box::pin(async move {
            tokio::select! {
                () = sleep(self.up) => {}
                () = call_off.cancelled() => {
                    let failure = failure("recovery_called_off");
                    return Err(RestartFailed { failure, desktop: Some(self) });
                }
            }
            let fails = self
                .unrevived
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            if fails {
                return Err(RestartFailed {
                    failure: failure("chromium_exited"),
                    desktop: Some(self),
                });
            }
            self.sanitized.fetch_add(1, Ordering::SeqCst);
            self.identity.devtools.set_port(self.identity.devtools.port() + 1);
            Ok(Sanitized { desktop: self, cleared: Cleared::counted(Some(3), Some(2), 1, 0) })
        })
    }

    fn rotation(&self) -> i64 {
        self.rotation.load(Ordering::SeqCst)
    }

    fn rotate_vnc(&self, rotation: i64) -> BoxFuture<'static, Result<SecretString, Failure>> {
        let (present, takes) = (Arc::clone(&self.rotation), self.down);
        Box::pin(async move {
            sleep(takes).await;
            present.store(rotation, Ordering::SeqCst);
            Ok(format!("secret{rotation}").into())
        })
    }

    fn set_used(&self, _: bool) {}

    fn screen(&self) -> Arc<dyn Screen> {
        Arc::new(FakeScreen)
    }

    fn copies(&self) -> Copies {
        let (_, texts) = watch::channel(String::new());
        Copies { texts, guard: CancellationToken::new().drop_guard() }
    }

    fn devices(&self) -> Devices {
        Devices::recorded().0
    }

    fn egress(&self) -> Option<Arc<dyn Egress>> {
        let way = self.egress.clone().map(FakeWay)?;
        Some(Arc::new(way))
    }

    fn pack_profile(&self, into: PathBuf) -> BoxFuture<'static, Result<PackedProfile, Failure>> {
        let takes = *self.packing.lock();
        Box::pin(async move {
            sleep(takes).await;
            packed(into)
        })
    }

    fn pack_at_end(&mut self, request: PackAtEnd) {
        self.at_end = Some(request);
    }

    fn vnc(&self) -> Arc<dyn VncServer> {
        Arc::new(FakeVnc)
    }

    fn shut_down(mut self: Box<Self>) -> BoxFuture<'static, Vec<String>> {
        Box::pin(async move {
            sleep(self.down).await;
            if let Some(PackAtEnd { into, then }) = self.at_end.take() {
                then(packed(into)).await;
            }
            self.alive.fetch_sub(1, Ordering::SeqCst);
            Vec::new()
        })
    }
}
