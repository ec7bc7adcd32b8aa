//! The connection to the VNC server, up to its `ServerInit`.

use bytes::{Buf as _, Bytes, BytesMut};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Endpoint, Why};
use crate::domain::rfb::{Connecting, Step, VERSION};

/// A VNC server that has accepted our handshake.
pub(super) struct Connected {
    pub(super) stream: TcpStream,
    /// `ServerInit`, and any bytes that came with it.
    pub(super) first: Bytes,
}

pub(super) async fn connect(endpoint: &Endpoint) -> Result<Connected, Why> {
    let mut stream = TcpStream::connect(endpoint.address).await.map_err(Why::Unreachable)?;
    stream.set_nodelay(true).map_err(Why::Unreachable)?;
    let gone = |_io| Why::UpstreamClosed;
    stream.write_all(&VERSION).await.map_err(gone)?;

    let mut handshake = Connecting::new(endpoint.password.expose_secret().as_bytes());
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        let mut input: &[u8] = &buffer;
        let step = handshake.next(&mut input).map_err(Why::Refused)?;
        let rest = input.len();
        buffer.advance(buffer.len().saturating_sub(rest));
        match step {
            Step::More => {
                if stream.read_buf(&mut buffer).await.map_err(gone)? == 0 {
                    return Err(Why::UpstreamClosed);
                }
            }
            Step::Send(bytes) => stream.write_all(&bytes).await.map_err(gone)?,
            Step::Done(init) => {
                let mut first = Vec::new();
                init.encode(&mut first);
                first.extend_from_slice(&buffer);
                return Ok(Connected { stream, first: first.into() });
            }
        }
    }
}
