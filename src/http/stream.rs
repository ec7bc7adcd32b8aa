//! `/v1/stream/…`: live pictures of sessions, control and input, over WebSockets.
//!
//! This module admits viewers; [`live`](crate::live) serves their sockets. A rejected viewer is first
//! accepted, and then closed with a code after a delay, because the compatible API's viewers
//! reconnect at once. Only an exceeded quota is answered before the handshake.

use std::sync::Arc;

use actix_web::web::{Data, Path, Payload, ServiceConfig, get};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use tracing::{Instrument as _, info_span};

use super::body::parse_query;
use super::caller::Visitor;
use super::front::Front;
use super::problem::Problem;
use crate::actors::quotas::QuotaPermit;
use crate::actors::requester::Requester;
use crate::actors::session::{Join, ViewerKind, Watch};
use crate::domain::quota::Quota;
use crate::live::bridge::{self, Close, CloseCode, Socket};
use crate::live::viewer::Viewer;
use crate::live::{input, messages, pictures, vnc};
use crate::service::core::Streaming;

/// Adds the routes under both prefixes of the compatible API.
pub fn routes(config: &mut ServiceConfig) {
    for prefix in ["/v1", "/api/v1"] {
        let of = "{what:browser_session|workflow_run}/{id}";
        config
            .route(&format!("{prefix}/stream/vnc/{of}"), get().to(to_display))
            .route(&format!("{prefix}/stream/messages/{of}"), get().to(to_messages))
            .route(&format!("{prefix}/stream/cdp_input/{of}"), get().to(to_input))
            .route(
                &format!("{prefix}/stream/{{what:browser_sessions|workflow_runs}}/{{id}}"),
                get().to(to_pictures),
            );
    }
}

/// The subject in a path: `browser_session` or `workflow_run`, and its id.
type Named = Path<(String, String)>;

/// The credentials of a viewer, or the answer to wrong ones.
type Credentials = Result<Visitor, Problem>;

/// The reason why a viewer is not admitted.
enum Rejection {
    /// An answer before the handshake.
    Answer(Problem),
    /// A close code after it.
    Close(Close),
}

impl From<Problem> for Rejection {
    /// Converts the answer to wrong credentials. A failed look-up is not reported as invalid
    /// credentials.
    fn from(problem: Problem) -> Self {
        if problem.quota.is_some() {
            return Self::Answer(problem);
        }
        Self::Close(if problem.status.is_server_error() {
            Close::new(CloseCode::TryAgainLater, problem.code)
        } else {
            Close::new(CloseCode::Protocol, "Invalid credentials")
        })
    }
}

impl From<Close> for Rejection {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// A handshake whose client is to be admitted as a viewer.
struct Handshake {
    request: HttpRequest,
    payload: Payload,
}

impl Handshake {
    /// Accepts the handshake, and serves the socket in a task. The viewer's place in the quota is
    /// kept until the task ends.
    fn accept<S>(
        self,
        place: QuotaPermit,
        span: tracing::Span,
        serve: impl FnOnce(Socket) -> S,
    ) -> Result<HttpResponse, actix_web::Error>
    where
        S: Future<Output = ()> + 'static,
    {
        let (response, socket) = bridge::accept(&self.request, self.payload)?;
        let serving = serve(socket);
        let serving = async move {
            serving.await;
            drop(place);
        };
        // Not in the trace of the request, which ends long before.
        actix_web::rt::spawn(Requester::carried(serving).instrument(span));
        Ok(response)
    }

    /// Answers a viewer that is not admitted.
    fn reject(self, rejection: Rejection) -> Result<HttpResponse, actix_web::Error> {
        match rejection {
            Rejection::Answer(problem) => Err(problem.into()),
            Rejection::Close(close) => bridge::refuse(&self.request, self.payload, close),
        }
    }
}

/// Returns the viewer with these credentials.
fn viewer_of(front: &Front, visitor: Visitor) -> Viewer {
    let Visitor { organization, visit, until, key, .. } = visitor;
    let key = front.keys.watch(key);
    Viewer { live: Arc::clone(&front.live), organization, visit, until, key }
}

/// Admits a viewer whose client must be named.
fn named_viewer(
    front: &Front,
    credentials: Credentials,
) -> Result<(Viewer, QuotaPermit), Rejection> {
    let visitor = credentials?;
    if visitor.visit.client.is_none() {
        return Err(Close::new(CloseCode::Protocol, "client_id is missing").into());
    }
    let place = placed(front, &visitor, Quota::EventStreams)?;
    Ok((viewer_of(front, visitor), place))
}

/// Takes a place in the quota of the viewer's organization.
fn placed(front: &Front, visitor: &Visitor, quota: Quota) -> Result<QuotaPermit, Rejection> {
    let place = front.place(visitor.organization, quota);
    place.map_err(|exceeded| Rejection::Answer(exceeded.into()))
}

/// `WS /v1/stream/vnc/…`: a session's display, over RFB.
async fn to_display(
    credentials: Credentials,
    path: Named,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, actix_web::Error> {
    let handshake = Handshake { request, payload };
    let (what, id) = path.into_inner();
    let admitted = async {
        let visitor = credentials?;
        let place = placed(&front, &visitor, Quota::Viewers)?;
        let viewer = viewer_of(&front, visitor);
        let session = viewer.session_of(&what, &id)?;
        let watching = viewer.ask(session, Watch { visit: viewer.visit.clone() }).await?;
        Ok::<_, Rejection>((viewer, place, watching))
    };
    let (viewer, place, watching) = match admitted.await {
        Ok(admitted) => admitted,
        Err(rejection) => return handshake.reject(rejection),
    };
    let span = info_span!("viewer", session.id = %id);
    handshake.accept(place, span, |socket| vnc::serve(socket, viewer, watching))
}

/// `WS /v1/stream/messages/…`: control, the clipboard and tabs, as JSON messages.
async fn to_messages(
    credentials: Credentials,
    path: Named,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, actix_web::Error> {
    let handshake = Handshake { request, payload };
    let (what, id) = path.into_inner();
    let admitted = async {
        let (viewer, place) = named_viewer(&front, credentials)?;
        let session = viewer.session_of(&what, &id)?;
        let message = Join { visit: viewer.visit.clone(), kind: ViewerKind::Messages };
        let connected = viewer.ask(session, message).await?;
        Ok::<_, Rejection>((viewer, place, session, connected))
    };
    let (viewer, place, session, connected) = match admitted.await {
        Ok(admitted) => admitted,
        Err(rejection) => return handshake.reject(rejection),
    };
    let span = info_span!("messages", session.id = %session);
    handshake.accept(place, span, |socket| messages::serve(socket, viewer, session, connected))
}

/// `WS /v1/stream/cdp_input/…`: input of a person in control, over DevTools.
async fn to_input(
    credentials: Credentials,
    path: Named,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, actix_web::Error> {
    let handshake = Handshake { request, payload };
    let (what, id) = path.into_inner();
    let (viewer, place) = match named_viewer(&front, credentials) {
        Ok(admitted) => admitted,
        Err(rejection) => return handshake.reject(rejection),
    };
    let span = info_span!("input", subject = %id);
    handshake.accept(place, span, |socket| async move {
        input::serve(socket, viewer, &what, &id).await;
    })
}

/// The query parameters of a stream of pictures.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params {
    force_cdp: bool,
}

/// `WS /v1/stream/browser_sessions/…` and `…/workflow_runs/…`: pictures as JSON frames.
async fn to_pictures(
    credentials: Credentials,
    path: Named,
    request: HttpRequest,
    payload: Payload,
    front: Data<Front>,
) -> Result<HttpResponse, actix_web::Error> {
    let (what, id) = path.into_inner();
    let params: Params = parse_query(request.query_string()).unwrap_or_default();
    let handshake = Handshake { request, payload };
    let visitor = match credentials {
        Ok(visitor) => visitor,
        Err(problem) if problem.quota.is_some() => return handshake.reject(problem.into()),
        Err(_wrong) => return reject_in_words(handshake),
    };
    let page_only = params.force_cdp || front.streaming == Streaming::Cdp;
    if what == "browser_sessions" && !page_only {
        return handshake.reject(Close::new(CloseCode::UseVnc, "use-vnc-streaming").into());
    }
    let place = match placed(&front, &visitor, Quota::Viewers) {
        Ok(place) => place,
        Err(rejection) => return handshake.reject(rejection),
    };
    let viewer = viewer_of(&front, visitor);
    let span = info_span!("pictures", subject = %id);
    handshake.accept(place, span, |socket| pictures::serve(socket, viewer, what, id, page_only))
}

/// Rejects a viewer as the compatible API does: with a text message, and then a close.
fn reject_in_words(handshake: Handshake) -> Result<HttpResponse, actix_web::Error> {
    let (response, socket) = bridge::accept(&handshake.request, handshake.payload)?;
    let word = "Invalid credential provided".to_owned();
    let close = Close::new(CloseCode::Normal, "invalid-credential");
    actix_web::rt::spawn(bridge::reject_accepted(socket, Some(word), close));
    Ok(response)
}
