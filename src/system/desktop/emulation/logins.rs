//! The answers to sites that ask for HTTP authentication.
//!
//! A connection of its own watches the whole browser (`Fetch` of the browser, not of a target), so
//! new tabs, popups, workers and other contexts are included, and none waits to be attached to. The
//! browser asks this connection before it asks those of drivers, whose routes and logins for other
//! origins work as usual. Requests to the origins of the logins pass through it unchanged; no other
//! request does. Without logins there is no connection.
//!
//! A page that was open before a login was given asks with it after its next navigation. The browser
//! remembers an accepted login until it ends.

use std::collections::VecDeque;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{APPLYING, CONNECTING, RETRY_DELAY};
use crate::domain::http_credentials::HttpCredential;
use crate::system::cdp::{CdpError, CdpEvent, Connection, Devtools};

/// The most requests whose first answer is remembered.
const MOST_TRIED: usize = 4_096;

/// The logins that a browser should have.
#[derive(Debug, Clone)]
struct Wanted {
    credentials: Vec<HttpCredential>,
    /// Rises with each change.
    number: u64,
}

/// The logins of a running browser.
#[derive(Debug)]
pub(super) struct Logins {
    wanted: watch::Sender<Wanted>,
    applied: watch::Receiver<u64>,
}

impl Logins {
    /// Returns the logins, and the work that answers with them.
    pub(super) fn start(
        devtools: Devtools,
        credentials: Vec<HttpCredential>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (wanted, wants) = watch::channel(Wanted { credentials, number: 1 });
        let (applies, applied) = watch::channel(0);
        (Self { wanted, applied }, serve(devtools, wants, applies))
    }

    /// Replaces the logins, for pages that are loaded from now on.
    pub(super) fn apply(&self, credentials: &[HttpCredential]) {
        self.wanted.send_if_modified(|wanted| {
            let changes = wanted.credentials != credentials;
            if changes {
                let credentials = credentials.to_vec();
                *wanted = Wanted { credentials, number: wanted.number + 1 };
            }
            changes
        });
    }

    /// Resolves when the browser asks for the present logins, or after some seconds.
    pub(super) fn in_force(&self) -> BoxFuture<'static, ()> {
        let (mut applied, number) = (self.applied.clone(), self.wanted.borrow().number);
        Box::pin(async move {
            let in_force = applied.wait_for(|applied| *applied >= number);
            if timeout(APPLYING, in_force).await.is_err() {
                warn!("the browser has not taken the logins of the session yet");
            }
        })
    }
}

async fn serve(
    devtools: Devtools,
    mut wanted: watch::Receiver<Wanted>,
    applied: watch::Sender<u64>,
) {
    loop {
        let Wanted { credentials, number } = wanted.borrow_and_update().clone();
        if credentials.is_empty() {
            applied.send_replace(number);
            if wanted.changed().await.is_err() {
                return;
            }
            continue;
        }
        let followed = match timeout(CONNECTING, Connection::open(&devtools)).await {
            Ok(Ok(connection)) => follow(&connection, &mut wanted, &applied).await,
            Ok(Err(cause)) => Err(cause),
            Err(_late) => Err(CdpError::Disconnected),
        };
        match followed {
            Ok(()) => {}
            Err(cause @ CdpError::Refused { .. }) => {
                warn!(error = %cause, "this browser takes no logins for HTTP authentication");
                applied.send_replace(number);
                if wanted.changed().await.is_err() {
                    return;
                }
            }
            Err(cause) => {
                debug!(error = %cause, "the logins of a browser are not in force");
                sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Answers with the logins. Returns when there are none any more.
async fn follow(
    connection: &Connection,
    wanted: &mut watch::Receiver<Wanted>,
    applied: &watch::Sender<u64>,
) -> Result<(), CdpError> {
    let mut events = connection.events();
    let mut answers = Answers::default();
    loop {
        let Wanted { credentials, number } = wanted.borrow_and_update().clone();
        if credentials.is_empty() {
            // The browser forgets the patterns with the connection.
            return Ok(());
        }
        answers.credentials = usable(credentials);
        let enabled = connection.call(None, "Fetch.enable", answers.patterns());
        timeout(CONNECTING, enabled).await.unwrap_or(Err(CdpError::Disconnected))?;
        applied.send_replace(number);
        loop {
            tokio::select! {
                event = events.recv() => {
                    let event = event.ok_or(CdpError::Disconnected)?;
                    let Some((method, params)) = answers.to(&event) else { continue };
                    let call = connection.call(None, method, params);
                    // A request that gets no answer would wait until the connection ends.
                    if let Some(Err(cause)) = call.now_or_never() {
                        return Err(cause);
                    }
                }
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_dropped) => return Ok(()),
                },
            }
        }
    }
}

/// Removes the logins whose passwords cannot be opened.
fn usable(mut credentials: Vec<HttpCredential>) -> Vec<HttpCredential> {
    credentials.retain(|credential| {
        if credential.is_lost() {
            warn!(
                "the password for {} was sealed with another secret: restore the file `secret` of the \
                 data directory that sealed it, or give the login anew",
                credential.origin
            );
        }
        !credential.is_lost()
    });
    credentials
}

/// The logins, and the requests that were answered with one.
#[derive(Debug, Default)]
struct Answers {
    credentials: Vec<HttpCredential>,
    tried: VecDeque<String>,
}

impl Answers {
    /// Returns the parameters by which the browser asks for these logins.
    fn patterns(&self) -> Value {
        let origins = self.credentials.iter().map(|credential| &credential.origin);
        let patterns = origins.map(|origin| json!({ "urlPattern": format!("{origin}/*") }));
        json!({ "handleAuthRequests": true, "patterns": patterns.collect::<Vec<_>>() })
    }

    /// Returns the command that answers an event; none for another event.
    fn to(&mut self, event: &CdpEvent) -> Option<(&'static str, Value)> {
        let text =
            |path: &str| event.params.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let request = text("/requestId");
        match event.method.as_str() {
            "Fetch.requestPaused" => {
                Some(("Fetch.continueRequest", json!({ "requestId": request })))
            }
            "Fetch.authRequired" => {
                let is_site = text("/authChallenge/source") == "Server";
                let origin = text("/authChallenge/origin");
                let known = self.credentials.iter().find(|it| is_site && it.origin == origin);
                let answer = match known {
                    None => json!({ "response": "Default" }),
                    // The login was refused, and the page shows the refusal.
                    Some(_) if self.tried.iter().any(|tried| tried == request) => {
                        self.tried.retain(|tried| tried != request);
                        json!({ "response": "CancelAuth" })
                    }
                    Some(HttpCredential { username, password, .. }) => {
                        if self.tried.len() >= MOST_TRIED {
                            self.tried.pop_front();
                        }
                        self.tried.push_back(request.to_owned());
                        let password = password.expose();
                        json!({
                            "response": "ProvideCredentials", "username": username, "password": password,
                        })
                    }
                };
                let params = json!({ "requestId": request, "authChallengeResponse": answer });
                Some(("Fetch.continueWithAuth", params))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        let credential = |origin: &str, password: &str| HttpCredential {
            origin: origin.to_owned(),
            username: "ann".to_owned(),
            password: password.into(),
        };
        let credentials = usable(vec![
            credential("https://a.example", "pw"),
            credential("https://b.example", "sealed:v1:x"),
        ]);
        Answers { credentials, ..Answers::default() }
    }

    fn asked(answers: &mut Answers, request: &str, source: &str, origin: &str) -> Value {
        let params = json!({
            "requestId": request, "authChallenge": { "source": source, "origin": origin },
        });
        let method = "Fetch.authRequired".to_owned();
        let (method, params) = answers.to(&CdpEvent { session: None, method, params }).unwrap();
        assert_eq!((method, &params["requestId"]), ("Fetch.continueWithAuth", &json!(request)));
        params["authChallengeResponse"].clone()
    }

    #[test]
    fn a_login_is_given_once_to_its_origin_and_to_no_proxy() {
        let mut answers = answers();
        let login =
            json!({ "response": "ProvideCredentials", "username": "ann", "password": "pw" });
        let default = json!({ "response": "Default" });
        assert_eq!(asked(&mut answers, "1", "Server", "https://a.example"), login);
        assert_eq!(asked(&mut answers, "2", "Server", "https://a.example"), login);
        let refused = asked(&mut answers, "1", "Server", "https://a.example");
        assert_eq!(refused, json!({ "response": "CancelAuth" }));
        for (source, origin) in [
            ("Proxy", "https://a.example"),
            ("Server", "http://a.example"),
            ("Server", "https://a.example:8443"),
            ("Server", "https://b.example"),
            ("Server", ""),
        ] {
            assert_eq!(asked(&mut answers, "3", source, origin), default, "{source} {origin}");
        }
    }

    #[test]
    fn the_browser_asks_for_the_origins_of_logins_only() {
        let patterns = answers().patterns();
        assert_eq!(patterns["patterns"], json!([{ "urlPattern": "https://a.example/*" }]));
        let params = json!({ "requestId": "7", "request": { "headers": { "a": "b" } } });
        let paused = CdpEvent { session: None, method: "Fetch.requestPaused".to_owned(), params };
        let unchanged = ("Fetch.continueRequest", json!({ "requestId": "7" }));
        assert_eq!(answers().to(&paused), Some(unchanged));
    }

    #[test]
    fn the_requests_that_are_remembered_are_bounded() {
        let mut answers = answers();
        for number in 0..=MOST_TRIED {
            asked(&mut answers, &number.to_string(), "Server", "https://a.example");
        }
        assert_eq!(answers.tried.len(), MOST_TRIED);
    }
}
