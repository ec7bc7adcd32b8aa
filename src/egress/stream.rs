//! Streams to targets: one type for all kinds, which counts bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::usage::Usage;

/// A stream of bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream whose bytes are added to the usage of the session.
pub struct Counted {
    inner: Box<dyn Duplex>,
    usage: Option<Arc<Usage>>,
}

impl Counted {
    /// Wraps a stream and counts its bytes from here on.
    pub fn new(inner: Box<dyn Duplex>, usage: Arc<Usage>) -> Self {
        Self { inner, usage: Some(usage) }
    }

    /// Wraps a stream without counting: it counts already, or its bytes stay on this machine.
    pub fn whole(inner: Box<dyn Duplex>) -> Self {
        Self { inner, usage: None }
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if let Some(usage) = &this.usage {
            usage.received(buffer.filled().len().saturating_sub(before));
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_write(cx, bytes);
        if let (Poll::Ready(Ok(count)), Some(usage)) = (&polled, &this.usage) {
            usage.sent(*count);
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
