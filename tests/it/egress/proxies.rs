//! Upstream proxies that ask for credentials: small servers.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::origins::origin;
use super::support::read_head;

/// The only credentials: user, hunter2.
const BASIC: &str = "Proxy-Authorization: Basic dXNlcjpodW50ZXIy";

fn relay(mut one: TcpStream, mut other: TcpStream) {
    let (mut a, mut b) = (one.try_clone().unwrap(), other.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut a, &mut other);
        let _ = other.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut b, &mut one);
    let _ = one.shutdown(Shutdown::Write);
}

/// An HTTP proxy with a password, which answers requests itself.
pub fn http_upstream() -> u16 {
    origin(|mut stream| {
        let head = read_head(&mut stream);
        if !head.contains(BASIC) {
            let _ = stream.write_all(
                b"HTTP/1.1 407 Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            );
            return;
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        if head.starts_with("CONNECT") {
            let Ok(server) = TcpStream::connect(target) else { return };
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            return relay(stream, server);
        }
        let body = format!("upstream got {target}");
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    })
}

/// A SOCKS5 proxy with a password (RFC 1928, RFC 1929).
pub fn socks_upstream() -> u16 {
    origin(|mut stream| {
        let read = |count: usize, stream: &mut TcpStream| {
            let mut bytes = vec![0; count];
            stream.read_exact(&mut bytes).map(|()| bytes)
        };
        let Ok(hello) = read(2, &mut stream) else { return };
        let methods = read(hello[1].into(), &mut stream).unwrap();
        if !methods.contains(&2) {
            return drop(stream.write_all(&[5, 0xff]));
        }
        stream.write_all(&[5, 2]).unwrap();
        let name = read(2, &mut stream).unwrap();
        let name = read(name[1].into(), &mut stream).unwrap();
        let length = read(1, &mut stream).unwrap();
        let password = read(length[0].into(), &mut stream).unwrap();
        if (name.as_slice(), password.as_slice()) != (b"user", b"hunter2") {
            return drop(stream.write_all(&[1, 1]));
        }
        stream.write_all(&[1, 0]).unwrap();
        let request = read(4, &mut stream).unwrap();
        assert_eq!(request[3], 1, "an address");
        let at = read(6, &mut stream).unwrap();
        let port = u16::from_be_bytes([at[4], at[5]]);
        let server = TcpStream::connect((Ipv4Addr::new(at[0], at[1], at[2], at[3]), port)).unwrap();
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        relay(stream, server);
    })
}

/// An HTTP proxy over TLS, for one request in a tunnel.
pub fn tls_upstream(certificate: &Path, key: &Path) -> u16 {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    origin(move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let head = read_head(&mut stream);
        let Some(target) = head.split(' ').nth(1).filter(|_| head.contains(BASIC)) else { return };
        let mut server = TcpStream::connect(target).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let request = read_head(&mut stream);
        let _ = server.write_all(request.as_bytes());
        let answer = format!("{}{}", read_head(&mut server), read_head(&mut server));
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.flush();
    })
}
