//! Fakes of the screen and of the VNC server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::domain::rfb::Dialect;
use crate::domain::session::{Failure, Size};
use crate::system::desktop::{
    CaptureError, Following, Format, Picture, Reel, Screen, VncEndpoint, VncSeat, VncServer,
};

#[derive(Debug)]
pub(super) struct FakeScreen;

impl Screen for FakeScreen {
    fn shot(&self, format: Format) -> BoxFuture<'static, Result<Picture, CaptureError>> {
        Box::pin(async move {
            let (size, bytes) = (Size::default(), Bytes::from_static(b"picture"));
            Ok(Picture { number: 1, taken_at: chrono::Utc::now(), size, format, bytes })
        })
    }

    fn follow(&self, _: Option<PathBuf>) -> Following {
        let (_, pictures) = watch::channel(None);
        Following { pictures, guard: CancellationToken::new().drop_guard() }
    }

    fn film(&self, _: Duration) -> Reel {
        let (_, frames) = mpsc::channel(1);
        Reel { frames, guard: CancellationToken::new().drop_guard() }
    }
}

#[derive(Debug)]
pub(super) struct FakeVnc;

impl VncServer for FakeVnc {
    fn take_seat(&self) -> BoxFuture<'static, Result<VncSeat, Failure>> {
        Box::pin(async {
            let address = "127.0.0.1:5900".parse().unwrap();
            let endpoint =
                VncEndpoint { address, password: "secret".into(), dialect: Dialect::X11VNC };
            Ok(VncSeat {
                endpoint,
                doubts: Arc::default(),
                guard: CancellationToken::new().drop_guard(),
            })
        })
    }
}
