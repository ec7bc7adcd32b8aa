//! The upstream proxy of a session: its address, credentials and handshake.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use url::Url;

use super::head::{ResponseHead, read_head};
use super::refusal::Failure;
use super::stream::Duplex;
use super::target::Target;

/// The protocol of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    Socks5,
}

/// The side that resolves names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolve {
    /// The upstream if it is at a public address, otherwise this process: an upstream in the
    /// private network could reach the private network by any name.
    Auto,
    /// The upstream: the policy knows only the name of a target.
    Remote,
    /// This process: the upstream gets checked addresses.
    Local,
}

/// An upstream proxy with its credentials.
#[derive(Clone)]
pub struct Upstream {
    /// The protocol of the upstream.
    pub scheme: Scheme,
    /// The host and port on which the upstream listens.
    pub target: Target,
    /// The side that resolves names.
    pub resolve: Resolve,
    username: String,
    password: SecretString,
}

/// The upstream in a policy file. Credentials are in the URL, percent-encoded, or in fields of their own.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    url: SecretString,
    username: Option<String>,
    password: Option<SecretString>,
    resolve: Option<Resolve>,
}

/// An invalid upstream. The URL is not repeated, because it may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    #[error("the URL does not parse; write `scheme://host:port`")]
    Url,
    #[error("the scheme is not one of http, https, socks5")]
    Scheme,
    #[error("the URL has no host")]
    Host,
    #[error("a path, query or fragment has no meaning in the URL")]
    Path,
    #[error(
        "the credentials are longer than 255 bytes, or have control characters, no name or a `%` \
         that is no escape; write `%` as `%25`"
    )]
    Credentials,
}

impl TryFrom<Document> for Upstream {
    type Error = UpstreamError;

    fn try_from(document: Document) -> Result<Self, UpstreamError> {
        let url = Url::parse(document.url.expose_secret()).ok().ok_or(UpstreamError::Url)?;
        let (scheme, port) = match url.scheme() {
            "http" => (Scheme::Http, 80),
            "https" => (Scheme::Https, 443),
            "socks5" | "socks5h" => (Scheme::Socks5, 1080),
            _ => return Err(UpstreamError::Scheme),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(UpstreamError::Path);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(UpstreamError::Host)?;
        let target = Target::new(host, url.port().unwrap_or(port)).ok_or(UpstreamError::Host)?;
        let decode = |text: &str| percent_decode(text).ok_or(UpstreamError::Credentials);
        let username = match document.username {
            Some(username) => username,
            None => decode(url.username())?,
        };
        let password = match (document.password, url.password()) {
            (Some(password), _) => password,
            (None, Some(password)) => SecretString::from(decode(password)?),
            (None, None) => SecretString::from(String::new()),
        };
        let is_wrong = |text: &str| text.len() > 255 || text.chars().any(char::is_control);
        let is_nameless = username.is_empty() && !password.expose_secret().is_empty();
        if is_wrong(&username) || is_wrong(password.expose_secret()) || is_nameless {
            return Err(UpstreamError::Credentials);
        }
        let resolve = document.resolve.unwrap_or(Resolve::Auto);
        Ok(Self { scheme, target, resolve, username, password })
    }
}

/// Decodes a percent-encoded text; none if a `%` has no two digits after it, or the result is not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let is_escape = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !text.split('%').skip(1).all(is_escape) {
        return None;
    }
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

impl PartialEq for Upstream {
    fn eq(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.target == other.target
            && self.resolve == other.resolve
            && self.username == other.username
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upstream({:?} {})", self.scheme, self.target)
    }
}

impl Upstream {
    /// The value of `Proxy-Authorization`, if there are credentials.
    pub fn authorization(&self) -> Option<String> {
        (!self.username.is_empty()).then(|| {
            let pair = format!("{}:{}", self.username, self.password.expose_secret());
            format!("Basic {}", STANDARD.encode(pair))
        })
    }

    /// True if the upstream accepts requests for `http` pages directly, without a tunnel.
    pub fn takes_requests(&self) -> bool {
        match self.scheme {
            Scheme::Http | Scheme::Https => true,
            Scheme::Socks5 => false,
        }
    }

    /// Wraps the connection to the upstream in TLS if its scheme requires it.
    ///
    /// # Errors
    ///
    /// Fails when the certificate is not trusted or the peer does not speak TLS.
    pub async fn secure(&self, tcp: TcpStream, tls: &Tls) -> Result<Box<dyn Duplex>, Failure> {
        match self.scheme {
            Scheme::Http | Scheme::Socks5 => Ok(Box::new(tcp)),
            Scheme::Https => tls.connect(&self.target.name, tcp).await,
        }
    }

    /// Requests a tunnel to a target. The buffer holds bytes that came after the response.
    ///
    /// # Errors
    ///
    /// Fails when the upstream rejects the credentials or the target, or its response is invalid.
    pub async fn tunnel(
        &self,
        stream: Box<dyn Duplex>,
        target: &Target,
    ) -> Result<(Box<dyn Duplex>, BytesMut), Failure> {
        match self.scheme {
            Scheme::Http | Scheme::Https => self.tunnel_http(stream, target).await,
            Scheme::Socks5 => {
                let password = self.password.expose_secret();
                super::socks::connect(stream, target, &self.username, password)
                    .await
                    .map(|stream| (stream, BytesMut::new()))
            }
        }
    }

    async fn tunnel_http(
        &self,
        mut stream: Box<dyn Duplex>,
        target: &Target,
    ) -> Result<(Box<dyn Duplex>, BytesMut), Failure> {
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(value) = self.authorization() {
            request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
        }
        request.push_str("\r\n");
        // The upstream had accepted the TCP connection.
        let closed = |_: std::io::Error| {
            Failure::UpstreamProtocol("the upstream proxy closed the connection".to_owned())
        };
        stream.write_all(request.as_bytes()).await.map_err(closed)?;
        let mut buffer = BytesMut::new();
        let head = read_head::<ResponseHead, _>(&mut stream, &mut buffer).await;
        let head = head.map_err(|error| Failure::UpstreamProtocol(error.to_string()))?;
        match head.status {
            200..=299 => Ok((stream, buffer)),
            407 | 401 => Err(Failure::UpstreamCredentials),
            status => Err(Failure::UpstreamRefused(format!("status {status}"))),
        }
    }
}

/// The TLS client, created on the first use of an `https` upstream: the machine's certificates take
/// memory that most sessions do not need.
#[derive(Debug, Default)]
pub struct Tls {
    config: Mutex<Option<Arc<rustls::ClientConfig>>>,
}

impl Tls {
    fn config(&self) -> Result<Arc<rustls::ClientConfig>, Failure> {
        let mut kept = self.config.lock();
        if let Some(config) = kept.as_ref() {
            return Ok(config.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::UpstreamProtocol(error.to_string()))?;
        let config = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        *kept = Some(config.clone());
        Ok(config)
    }

    /// Opens a TLS connection to a host whose certificate the machine trusts.
    ///
    /// # Errors
    ///
    /// Fails when the certificate is not trusted or the peer does not speak TLS.
    pub async fn connect(&self, host: &str, tcp: TcpStream) -> Result<Box<dyn Duplex>, Failure> {
        let wrong = |error: &dyn fmt::Display| Failure::UpstreamProtocol(error.to_string());
        let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(&error))?;
        let connector = tokio_rustls::TlsConnector::from(self.config()?);
        let stream = connector.connect(name, tcp).await.map_err(|error| wrong(&error))?;
        Ok(Box::new(stream))
    }
}

/// The longest handshake with an upstream, after the TCP connection is open.
pub const HANDSHAKE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> Result<Upstream, UpstreamError> {
        serde_json::from_str::<Document>(text).unwrap().try_into()
    }

    #[test]
    fn credentials_come_from_the_url_or_beside_it() {
        let of = |text: &str| upstream(text).unwrap().authorization();
        let expected = Some(format!("Basic {}", STANDARD.encode("us er:p@:ss")));
        assert_eq!(of(r#"{"url": "http://us%20er:p%40%3Ass@proxy.example:1"}"#), expected);
        assert_eq!(
            of(r#"{"url": "https://proxy.example", "username": "us er", "password": "p@:ss"}"#),
            expected
        );
        assert_eq!(of(r#"{"url": "http://proxy.example"}"#), None);
        for name in ["u%", "u%4", "u%+1r", "u%zzr", "u%ffr", "u%0ar"] {
            let found = upstream(&format!(r#"{{"url": "http://{name}:p@proxy.example"}}"#));
            assert_eq!(found, Err(UpstreamError::Credentials), "{name}");
        }
    }

    #[test]
    fn ports_have_the_default_of_the_scheme() {
        for (url, expected) in [
            ("http://proxy.example", "proxy.example:80"),
            ("https://proxy.example", "proxy.example:443"),
            ("socks5://proxy.example", "proxy.example:1080"),
            ("socks5h://[2001:db8::1]:9", "[2001:db8::1]:9"),
        ] {
            let found = upstream(&format!(r#"{{"url": "{url}"}}"#)).unwrap();
            assert_eq!(found.target.to_string(), expected);
        }
        assert_eq!(upstream(r#"{"url": "http://a/b"}"#), Err(UpstreamError::Path));
        assert_eq!(upstream(r#"{"url": "socks4://a"}"#), Err(UpstreamError::Scheme));
    }
}
