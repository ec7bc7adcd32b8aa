//! The session and the run that the path of a request names, for log lines and traces.

use actix_web::HttpRequest;
use tracing::{Span, field};

use crate::domain::about::About;

/// The session and the run that the path names; of several, the first.
pub(super) fn of(request: &HttpRequest) -> About {
    let mut about = About::default();
    for (_, value) in request.match_info().iter() {
        about.session = about.session.or_else(|| value.parse().ok());
        about.run = about.run.or_else(|| value.parse().ok());
    }
    about
}

/// Adds them to the log lines of the request, whose span has fields for them.
pub(super) fn note(request: &HttpRequest) {
    let About { session, run, .. } = of(request);
    let span = Span::current();
    if let Some(session) = session {
        span.record("session.id", field::display(session));
    }
    if let Some(run) = run {
        span.record("run.id", field::display(run));
    }
}
