//! Copying between streams through one shared buffer.
//!
//! The process has one thread, and each read is followed by its write before anything else runs.
//! Therefore one large buffer serves every connection. A connection keeps only the bytes that a
//! slow reader has not taken yet. An idle tunnel holds no buffer.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::framing::Framing;

const SHARED: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SHARED]);
}

/// The side at which copying failed.
#[derive(Debug)]
pub enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// One direction of a copy.
#[derive(Debug)]
pub struct Direction {
    /// Bytes that are read and not written yet.
    pending: BytesMut,
    framing: Framing,
    is_read: bool,
    /// The time of the last progress.
    pub active: Instant,
}

impl Direction {
    /// A copy of one body. The part of `leftover` that belongs to the body counts as read.
    pub fn new(framing: Framing, leftover: &mut BytesMut) -> Self {
        let mut direction =
            Self { pending: BytesMut::new(), framing, is_read: false, active: Instant::now() };
        let taken = direction.framing.take(leftover);
        direction.pending = leftover.split_to(taken.min(leftover.len()));
        direction.is_read = direction.framing.is_complete();
        direction
    }

    /// Moves bytes until the body has ended (`Ready`) or neither side can proceed. Bytes after the
    /// body go to `beyond`.
    pub fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        beyond: &mut BytesMut,
    ) -> Poll<Result<(), CopyError>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        loop {
            while self.pending.has_remaining() {
                let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending));
                let written = written.and_then(not_zero).map_err(CopyError::Write)?;
                self.pending.advance(written);
                self.active = Instant::now();
            }
            self.pending = BytesMut::new();
            if self.is_read {
                return Pin::new(&mut *to).poll_flush(cx).map_err(CopyError::Write);
            }
            let moved = BUFFER.with_borrow_mut(|buffer| self.pass(cx, from, to, buffer, beyond));
            ready!(moved)?;
        }
    }

    /// Does one read, and the writes that are possible at once.
    fn pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        buffer: &mut [u8],
        beyond: &mut BytesMut,
    ) -> Poll<Result<(), CopyError>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        let mut read = ReadBuf::new(buffer);
        match Pin::new(&mut *from).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(CopyError::Read(error))),
            // TLS buffers bytes internally until it is flushed.
            Poll::Pending => {
                return match Pin::new(&mut *to).poll_flush(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(CopyError::Write(error))),
                    Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                };
            }
        }
        let bytes = read.filled();
        if bytes.is_empty() {
            self.is_read = true;
            let ended = self.framing.ended();
            let error = || CopyError::Read(io::ErrorKind::UnexpectedEof.into());
            return Poll::Ready(if ended { Ok(()) } else { Err(error()) });
        }
        self.active = Instant::now();
        let taken = self.framing.take(bytes);
        let (mut bytes, rest) = bytes.split_at_checked(taken).unwrap_or((bytes, &[]));
        beyond.extend_from_slice(rest);
        self.is_read = self.framing.is_complete();
        if self.framing.is_broken() {
            return Poll::Ready(Err(CopyError::Read(io::ErrorKind::InvalidData.into())));
        }
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes) {
                Poll::Ready(written) => {
                    let written = written.and_then(not_zero).map_err(CopyError::Write)?;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Poll::Pending => {
                    self.pending.extend_from_slice(bytes);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn not_zero(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

/// Copies one body. Ends when the framing is complete, or with `UntilClose` at the end of the stream.
///
/// # Errors
///
/// Fails at the side that broke: its stream ended early, or nothing moved for `idle`.
pub async fn body<R, W>(
    from: &mut R,
    to: &mut W,
    framing: Framing,
    buffer: &mut BytesMut,
    idle: Duration,
) -> Result<(), CopyError>
where
    R: AsyncRead + Unpin + ?Sized,
    W: AsyncWrite + Unpin + ?Sized,
{
    let mut direction = Direction::new(framing, buffer);
    let timer = tokio::time::sleep(idle);
    tokio::pin!(timer);
    poll_fn(|cx| match direction.poll(cx, from, to, buffer) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => {
            ready!(poll_silence(timer.as_mut(), direction.active + idle, cx));
            Poll::Ready(Err(CopyError::Read(io::ErrorKind::TimedOut.into())))
        }
    })
    .await
}

/// Returns `Ready` once `due` has passed. The timer is reset only when it fires too early or too
/// late, so that a read does not touch the timer wheel each time.
fn poll_silence(mut timer: Pin<&mut Sleep>, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
    if timer.deadline().into_std() > due {
        timer.as_mut().reset(due.into());
    }
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= due {
            return Poll::Ready(());
        }
        timer.as_mut().reset(due.into());
    }
    Poll::Pending
}

/// The idle timeouts of a tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// The longest time without bytes in either direction.
    pub open: Duration,
    /// The same after one side has ended its half.
    pub half_closed: Duration,
}

/// Copies both ways until both sides have ended, one fails, or a timeout of `idle` passes. The end
/// of one side is forwarded to the other as a half-close.
pub async fn tunnel<A, B>(
    a: &mut A,
    b: &mut B,
    from_a: &mut BytesMut,
    from_b: &mut BytesMut,
    idle: Idle,
) where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut there = Direction::new(Framing::UntilClose, from_a);
    let mut back = Direction::new(Framing::UntilClose, from_b);
    let (mut there_done, mut back_done) = (false, false);
    let mut nothing = BytesMut::new();
    let timer = tokio::time::sleep(idle.open);
    tokio::pin!(timer);
    poll_fn(|cx| {
        if !there_done {
            match half(&mut there, cx, a, b, &mut nothing) {
                Poll::Ready(Ok(())) => there_done = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if !back_done {
            match half(&mut back, cx, b, a, &mut nothing) {
                Poll::Ready(Ok(())) => back_done = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        if there_done && back_done {
            return Poll::Ready(());
        }
        let limit = if there_done || back_done { idle.half_closed } else { idle.open };
        poll_silence(timer.as_mut(), there.active.max(back.active) + limit, cx)
    })
    .await;
}

/// Copies one direction of a tunnel, and forwards the end of its stream.
fn half<R, W>(
    direction: &mut Direction,
    cx: &mut Context<'_>,
    from: &mut R,
    to: &mut W,
    nothing: &mut BytesMut,
) -> Poll<Result<(), CopyError>>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    ready!(direction.poll(cx, from, to, nothing))?;
    match ready!(Pin::new(to).poll_shutdown(cx)) {
        // The other side is closed already; its remaining bytes are still copied.
        Ok(()) => Poll::Ready(Ok(())),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
        Err(error) => Poll::Ready(Err(CopyError::Write(error))),
    }
}
