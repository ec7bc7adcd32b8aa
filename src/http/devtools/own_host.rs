//! Host names of sessions, for clients that drop the path of an address.
//!
//! `pbs-1.DOMAIN` is the session `pbs_1`: what comes to that name is served as if it came below
//! `/v1/browser_sessions/pbs_1/cdp`. The name is no secret, and each request needs a credential as
//! anywhere. A request with an `Origin` comes from a page and is refused, as Chromium's own server does:
//! a page at that name would otherwise be of one origin with the session.

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::http::{StatusCode, Uri};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpRequest};
use url::Url;

use crate::domain::ids::SessionId;
use crate::http::Settings;
use crate::http::problem::Problem;
use crate::service::address::{base_url, socket_url};

/// The domain below which each session has a name, in lower case; none if sessions have no names.
#[derive(Debug, Clone)]
pub struct SessionDomain {
    domain: Option<String>,
    /// The scheme of addresses, where no trusted proxy names another.
    scheme: String,
}

impl SessionDomain {
    /// Returns the domain of the settings; on loopback it is `localhost`, whose names need no DNS.
    pub fn of(settings: &Settings) -> Self {
        let local = || match settings.listen.ip().to_canonical() {
            IpAddr::V4(ip) if ip.is_loopback() => Some("localhost".to_owned()),
            IpAddr::V6(ip) if ip.is_loopback() => Some("localhost".to_owned()),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        };
        let domain = settings.session_domain.as_ref().map(|it| it.to_ascii_lowercase());
        let scheme = settings.public_url.as_ref().map_or("http", Url::scheme).to_owned();
        Self { domain: domain.or_else(local), scheme }
    }

    /// Returns the session that a `Host` names.
    fn session(&self, host: &str) -> Option<SessionId> {
        let name = host.split(':').next()?.to_ascii_lowercase();
        let label = name.strip_suffix(self.domain.as_deref()?)?.strip_suffix('.')?;
        label.replacen('-', "_", 1).parse().ok()
    }
}

/// The start of the addresses of sockets at the host name of a session.
#[derive(Debug, Clone)]
struct OwnHost(String);

/// Returns the start of the addresses of sockets, if the request came to the host name of a session.
pub(super) fn own_host(request: &HttpRequest) -> Option<String> {
    request.extensions().get::<OwnHost>().map(|OwnHost(start)| start.clone())
}

/// A middleware that leads what comes to the host name of a session to the session's DevTools.
pub async fn lead(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let domain = request.app_data::<Data<SessionDomain>>().cloned();
    let named = domain.zip(host).and_then(|(domain, host)| {
        domain.session(&host).map(|session| (session, host, domain.scheme.clone()))
    });
    let Some((session, host, scheme)) = named else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    if request.headers().contains_key(ORIGIN) {
        return Ok(request.error_response(from_page()));
    }
    let below = request.uri().path().trim_end_matches('/');
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("/v1/browser_sessions/{session}/cdp{below}{query}").parse::<Uri>();
    let uri = match uri {
        Ok(uri) => uri,
        Err(cause) => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_request", cause.to_string());
            return Ok(request.error_response(problem));
        }
    };
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
    let scheme =
        base_url().and_then(|base| Some(base.split_once("://")?.0.to_owned())).unwrap_or(scheme);
    request.extensions_mut().insert(OwnHost(socket_url(&format!("{scheme}://{host}"))));
    Ok(next.call(request).await?.map_into_boxed_body())
}

/// The answer to a page of a browser.
pub(super) fn from_page() -> Problem {
    let detail = "this address takes no requests of pages, which have an Origin";
    Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_names_a_session_by_its_first_label_alone() {
        let of = |domain: Option<&str>, listen: &str| {
            let session_domain = domain.map(str::to_owned);
            let listen = listen.parse().unwrap();
            SessionDomain::of(&Settings { session_domain, listen, ..Settings::default() })
        };
        let local = of(None, "127.0.0.1:1");
        let session = "pbs_123".parse().ok();
        for host in ["pbs-123.localhost", "PBS-123.LocalHost:8787", "pbs_123.localhost"] {
            assert_eq!(local.session(host), session, "{host}");
        }
        for host in [
            "localhost",
            ".localhost",
            "pbs-123",
            "pbs-123localhost",
            "a.pbs-123.localhost",
            "pbs-123.localhost.example",
            "pbs-123.example.com",
            "app.localhost",
            "pbs-12a.localhost",
        ] {
            assert_eq!(local.session(host), None, "{host}");
        }
        let public = of(Some("Browsers.example.com"), "0.0.0.0:1");
        assert_eq!(public.session("pbs-123.browsers.example.com"), session);
        assert_eq!(public.session("pbs-123.localhost"), None);
        assert_eq!(of(None, "0.0.0.0:1").session("pbs-123.localhost"), None);
    }
}
