//! The way from the server into the session's network: `inside.sock` in the server's directory.
//!
//! The client writes `<key> <port>\n` and reads `ok\n`. With it comes the descriptor of a socket
//! that is connected to that port of the session's loopback (`SCM_RIGHTS`, unix(7)). On failure the
//! client reads `error <cause>\n`. The bytes of the connection do not pass through this process,
//! and the connection outlives it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::files::{self, Key};
use super::limits::Limits;
use super::namespace::Inside;

/// The longest request in bytes: the key, a space, a port and a line feed.
const LONGEST: usize = 80;

/// The longest answer in bytes.
const LONGEST_ANSWER: usize = 512;

/// The longest wait for the answer, which comes at once unless this process hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Accepts and serves clients until the process ends.
pub async fn serve(listener: UnixListener, key: Key, inside: Arc<Inside>, limits: Limits) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (key, inside) = (key.clone(), inside.clone());
        tokio::spawn(async move {
            let _ = tokio::time::timeout(limits.header, open(client, &key, &inside)).await;
            drop(place);
        });
    }
}

async fn open(mut client: UnixStream, key: &Key, inside: &Inside) -> io::Result<()> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") && line.len() < LONGEST {
        if client.read_buf(&mut line).await? == 0 {
            return Ok(());
        }
    }
    let asked = std::str::from_utf8(&line).ok().and_then(|line| key.opens(line.trim_end()));
    let port = match asked.map(str::parse::<u16>) {
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return client.write_all(b"error expected a port\n").await,
        None => return client.write_all(b"error the key is wrong\n").await,
    };
    match inside.dial(port).await {
        Ok(socket) => hand_over(&client, &socket).await,
        Err(error) => client.write_all(format!("error port {port}: {error}\n").as_bytes()).await,
    }
}

async fn hand_over(client: &UnixStream, socket: &TcpStream) -> io::Result<()> {
    client.writable().await?;
    client.try_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        message.push(SendAncillaryMessage::ScmRights(&descriptors));
        let text = [io::IoSlice::new(b"ok\n")];
        Ok(sendmsg(client.as_fd(), &text, &mut message, SendFlags::empty()).map(drop)?)
    })
}

/// Connects to a port of the loopback of the session whose egress program works in `directory`.
///
/// # Errors
///
/// Fails when the program is not there, does not answer within five seconds, or when nothing listens
/// on the port.
pub async fn connect(directory: &Path, port: u16) -> io::Result<TcpStream> {
    let asked = ask(directory, port);
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

async fn ask(directory: &Path, port: u16) -> io::Result<TcpStream> {
    let key = Key::read(directory)?;
    let mut door = files::socket(directory, files::DOOR).await?;
    door.write_all(format!("{} {port}\n", key.text()).as_bytes()).await?;
    let (text, descriptor) = answer(&door).await?;
    let Some(descriptor) = descriptor else {
        let text = String::from_utf8_lossy(&text);
        let cause = text.trim().strip_prefix("error ").unwrap_or("no answer").to_owned();
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, cause));
    };
    let stream = StdStream::from(descriptor);
    stream.set_nonblocking(true)?;
    // The peer is in another network, so it cannot be confused with a socket on this machine.
    let expected = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if stream.peer_addr()? != expected {
        return Err(io::ErrorKind::InvalidData.into());
    }
    TcpStream::from_std(stream)
}

async fn answer(door: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    loop {
        door.readable().await?;
        let received = door.try_io(Interest::READABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut text = vec![0; LONGEST_ANSWER];
            let received = {
                let mut slices = [io::IoSliceMut::new(&mut text)];
                let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
                recvmsg(door.as_fd(), &mut slices, &mut control, flags).map_err(
                    |errno| match errno {
                        Errno::AGAIN => io::ErrorKind::WouldBlock.into(),
                        errno => io::Error::from(errno),
                    },
                )?
            };
            text.truncate(received.bytes);
            let descriptor = control.drain().find_map(|message| {
                let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { return None };
                descriptors.next()
            });
            Ok((text, descriptor))
        });
        match received {
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}
