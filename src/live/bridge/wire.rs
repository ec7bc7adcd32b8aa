//! The socket of a viewer, below actix.
//!
//! actix copies each byte that it sends three times. Pictures are most of the server's traffic, so
//! they bypass it: after the handshake actix only reads from the connection, and bytes to the
//! viewer are written here. Large reads from the VNC server are moved by the kernel from socket to
//! socket with splice(2), without a copy to user space.

use std::any::Any;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, OwnedFd};

use actix_web::dev::Extensions;
use bytes::buf::Chain;
use bytes::{Buf as _, Bytes, BytesMut};
use rustix::net::SendFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::domain::websocket::server_head;

/// The maximum number of bytes to splice at once; the largest pipe that an unprivileged process may
/// have.
const MOST: usize = 1 << 20;

/// The socket of the connection on which a request came, kept as long as the connection.
struct Below(OwnedFd);

/// Remembers the socket of each connection, for [`accept`](super::accept). Pass it to
/// `HttpServer::on_connect`.
pub fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    let Some(tcp) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    match tcp.as_fd().try_clone_to_owned() {
        Ok(socket) => {
            extensions.insert(Below(socket));
        }
        Err(error) => tracing::warn!("a connection cannot carry a live view: {error}"),
    }
}

/// Returns the socket of the connection on which a request came, if it was remembered.
pub(super) fn below(request: &actix_web::HttpRequest) -> io::Result<OwnedFd> {
    let Below(socket) = request.conn_data().ok_or(io::ErrorKind::NotConnected)?;
    socket.try_clone()
}

/// A frame that is sent in part or not at all: its header and its payload.
pub(super) type Frame = Chain<Bytes, Bytes>;

/// The opcodes of RFC 6455, section 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn bits(self) -> u8 {
        match self {
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// Returns a whole unmasked message as one frame.
pub(super) fn frame(opcode: Opcode, payload: Bytes) -> Frame {
    Bytes::from(server_head(opcode.bits(), payload.len())).chain(payload)
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// The writing side of a viewer's socket.
#[derive(Debug)]
pub(super) struct Wire(TcpStream);

impl Wire {
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(TcpStream::from_std(socket.into())?))
    }

    /// Resolves when the socket may accept bytes.
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    /// Writes as much of a frame as the socket accepts. Returns true if that was all of it.
    pub(super) fn write(&self, frame: &mut Frame) -> io::Result<bool> {
        while frame.has_remaining() {
            let mut slices = [IoSlice::new(&[]); 2];
            let count = frame.chunks_vectored(&mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            match self.0.try_write_vectored(slices) {
                Ok(count) => frame.advance(count),
                Err(error) if would_block(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Splices what has arrived from the VNC server to the viewer, as one frame. After an error,
    /// bytes that were taken from the server may be lost.
    pub(super) fn splice(&self, from: &TcpStream) -> io::Result<Moved> {
        PIPE.with_borrow_mut(|kept| {
            // The pipe is put back only once it is empty: after a failure it is dropped with its
            // bytes.
            let Ok(pipe) = kept.take().map_or_else(Pipe::new, Ok) else {
                return Ok(Moved::Nothing);
            };
            let moved = match pipe.fill(from) {
                Ok(0) => Moved::Ended,
                Ok(length) => self.pass_on(&pipe, length)?,
                Err(error) if would_block(&error) => Moved::Nothing,
                Err(_broken) => Moved::Ended,
            };
            *kept = Some(pipe);
            Ok(moved)
        })
    }

    /// Splices `length` bytes from a pipe to the viewer, behind the header of a frame. Bytes that
    /// the socket does not accept are read into memory.
    fn pass_on(&self, pipe: &Pipe, length: usize) -> io::Result<Moved> {
        let mut head = Bytes::from(server_head(Opcode::Binary.bits(), length));
        let wrote = self.0.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::send(&self.0, &head, SendFlags::MORE | SendFlags::NOSIGNAL)?)
        });
        match wrote {
            Ok(count) => head.advance(count),
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        let mut left = length;
        while head.is_empty() && left > 0 {
            let wrote = self.0.try_io(Interest::WRITABLE, || pipe.empty_into(&self.0, left));
            match wrote {
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        let rest = pipe.read(left)?;
        Ok(Moved::Frame { length, rest: head.chain(rest) })
    }
}

/// The outcome of a splice.
pub(super) enum Moved {
    /// A frame of `length` bytes, and the rest that the viewer's socket did not accept.
    Frame { length: usize, rest: Frame },
    /// The server has sent nothing, or no pipe could be made: copying is still possible.
    Nothing,
    /// The VNC server has closed its side.
    Ended,
}

/// A pipe in which the kernel holds bytes between two sockets. It is empty between uses, so that
/// one serves all viewers of a worker.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

thread_local! {
    static PIPE: RefCell<Option<Pipe>> = const { RefCell::new(None) };
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Without the right to a pipe of this size, less is moved at once.
        let _as_it_is = rustix::pipe::fcntl_setpipe_size(&write, MOST);
        Ok(Self { read, write })
    }

    fn fill(&self, from: &TcpStream) -> io::Result<usize> {
        from.try_io(Interest::READABLE, || {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(rustix::pipe::splice(from, None, &self.write, None, MOST, flags)?)
        })
    }

    fn empty_into(&self, socket: &TcpStream, most: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        Ok(rustix::pipe::splice(&self.read, None, socket, None, most, flags)?)
    }

    fn read(&self, length: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(length);
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::read(&self.read, rest)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(bytes.freeze())
    }
}
