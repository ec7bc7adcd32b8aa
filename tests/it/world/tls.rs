//! Sites whose certificate is of a private authority, `tests/tls/authority.pem`.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub const AUTHORITY: &str = include_str!("../../tls/authority.pem");
const SITE: &[u8] = include_bytes!("../../tls/site.pem");
const KEY: &[u8] = include_bytes!("../../tls/site.key");

/// A site, the connections that were begun to it, and the client certificate of
/// each connection that was established.
#[derive(Debug, Clone)]
pub struct TlsSite {
    pub url: String,
    begun: Arc<Mutex<u64>>,
    established: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl TlsSite {
    /// Starts a site. It asks for a certificate of the client if `issuer` is given, and requires one
    /// if `must`. The title of its page is the one that `title` makes of that certificate.
    pub async fn start(
        issuer: Option<&str>,
        must: bool,
        title: fn(Option<&[u8]>) -> &'static str,
    ) -> Self {
        let certificate = CertificateDer::from_pem_slice(SITE).unwrap();
        let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match issuer {
            None => config.with_no_client_auth(),
            Some(issuer) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(issuer.as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = if must { verifier } else { verifier.allow_unauthenticated() };
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = config.with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let site = Self { url, begun: Arc::default(), established: Arc::default() };
        let serving = site.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                *serving.begun.lock() += 1;
                let (acceptor, site) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(mut socket) = acceptor.accept(socket).await else { return };
                    let chain = socket.get_ref().1.peer_certificates().unwrap_or_default();
                    let client = chain.first().map(|certificate| certificate.to_vec());
                    site.established.lock().push(client.clone());
                    let mut request = Vec::new();
                    let mut piece = [0; 4096];
                    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                        match socket.read(&mut piece).await {
                            Ok(0) | Err(_) => return,
                            Ok(size) => request.extend_from_slice(&piece[..size]),
                        }
                    }
                    let title = title(client.as_deref());
                    let body = format!(
                        "<!doctype html><title>{title}</title><link rel=icon href='data:,'>"
                    );
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\
                         connection: close\r\n\r\n{body}"
                    );
                    let _ = socket.write_all(answer.as_bytes()).await;
                    let _ = socket.shutdown().await;
                });
            }
        });
        site
    }

    /// The number of connections that were begun.
    pub fn begun(&self) -> u64 {
        *self.begun.lock()
    }

    /// The client certificates of the connections that were established.
    pub fn established(&self) -> Vec<Option<Vec<u8>>> {
        self.established.lock().clone()
    }
}
