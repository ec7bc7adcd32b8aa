//! Traces of requests: spans from a request over the messages of actors to the commands of browsers and the
//! writes of the database, for a collector that speaks OTLP.
//!
//! ```text
//! request --> message --> message --> write
//!                   \--> start of a browser --> command, command, …
//! ```
//!
//! 1. Tracing is off unless a collector is configured. Then nothing is allocated, and the work that would be a
//!    span reads one variable of its task.
//! 2. A trace is decided on once, at its root: one that sampling leaves out has no spans at all.
//! 3. The trace of the current work is a variable of its task ([`current`]). A task of its own continues the
//!    trace of the task that started it only by [`carried`].
//! 4. A span is sent when it ends, into a queue that is bounded and never waited for. Spans that find it full are
//!    counted and lost.
//! 5. A span has names, numbers and ids. What clients, pages and browsers write gets into no span: no path, no
//!    query, no parameter, no text of an error.

mod context;
mod encoding;
mod export;
mod settings;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tokio::task_local;

pub use context::Remote;
pub use export::{Exporter, Figures, NotStarted, Unexported};
pub use settings::Settings;

use context::{SpanId, TraceId};
use export::Sink;

use crate::domain::about::About;
use crate::domain::ids::{OrganizationId, RunId, SessionId};

task_local! {
    static CURRENT: Trace;
}

/// The source of traces. It makes none if tracing is off.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Sink>>);

impl Traces {
    /// A trace without a root yet, of work that no request has caused; none if tracing is off.
    pub fn begin(&self) -> Option<Trace> {
        let sink = self.0.as_ref()?;
        if !sink.samples() {
            return Some(Trace::LeftOut);
        }
        Some(Trace::Under(Parent {
            sink: Arc::clone(sink),
            trace: TraceId::random(),
            span: None,
            about: About::default(),
        }))
    }

    /// The trace of a request; none if tracing is off. It continues the trace of the client, if that names one.
    /// The ratio of the settings decides whether there are spans of it, unless the settings leave
    /// that decision to the client.
    pub fn of_request(&self, traceparent: Option<&str>) -> Option<Trace> {
        let sink = self.0.as_ref()?;
        let remote = traceparent.and_then(Remote::parse);
        let is_sampled = match &remote {
            Some(remote) if sink.parent_decides => remote.is_sampled,
            Some(_) | None => sink.samples(),
        };
        if !is_sampled {
            return Some(Trace::LeftOut);
        }
        let (trace, span) = match remote {
            Some(Remote { trace, span, .. }) => (trace, Some(span)),
            None => (TraceId::random(), None),
        };
        let sink = Arc::clone(sink);
        Some(Trace::Under(Parent { sink, trace, span, about: About::default() }))
    }

    /// The figures of the export; none if tracing is off.
    pub fn figures(&self) -> Option<&Figures> {
        self.0.as_ref().map(|sink| &sink.figures)
    }
}

/// The trace to which work belongs.
#[derive(Debug, Clone)]
pub enum Trace {
    /// Sampling has left it out. The work in it begins no other trace.
    LeftOut,
    /// Spans are placed under this one.
    Under(Parent),
}

/// The span under which others are placed; the first of a trace has none.
#[derive(Debug, Clone)]
pub struct Parent {
    sink: Arc<Sink>,
    trace: TraceId,
    span: Option<SpanId>,
    about: About,
}

impl Trace {
    /// A span in this trace that begins now, about the subject of its parent; none if the trace has no spans.
    pub fn open(&self) -> Option<Open> {
        let Self::Under(parent) = self else { return None };
        let under = Parent { span: Some(SpanId::random()), ..parent.clone() };
        Some(Open { under, parent: parent.span })
    }

    /// Runs `work` in this trace.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }
}

/// The trace of the current work, if it belongs to one.
pub fn current() -> Option<Trace> {
    CURRENT.try_with(Trace::clone).ok()
}

/// The same work in the trace of the current work: for a task of its own, and for work that is polled elsewhere.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    within(current(), work)
}

/// The same work in this trace, if there is one.
pub async fn within<F: Future>(trace: Option<Trace>, work: F) -> F::Output {
    match trace {
        Some(trace) => CURRENT.scope(trace, work).await,
        None => work.await,
    }
}

/// Calls `work` in this trace, if there is one.
pub fn call_within<T>(trace: Option<Trace>, work: impl FnOnce() -> T) -> T {
    match trace {
        Some(trace) => CURRENT.sync_scope(trace, work),
        None => work(),
    }
}

/// The value of an attribute.
#[derive(Debug, Clone)]
pub enum Value {
    Number(i64),
    Yes(bool),
    Word(&'static str),
    Text(String),
    Shared(Arc<str>),
}

/// The side that a span shows of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server handles a request of a client.
    Server,
    /// The server calls a browser or the database.
    Client,
    /// The server calls a part of itself.
    Internal,
}

/// A span that has begun: its place in the trace.
#[derive(Debug)]
pub struct Open {
    under: Parent,
    parent: Option<SpanId>,
}

/// The content of a span at its end.
#[derive(Debug)]
pub struct Ended {
    pub name: Cow<'static, str>,
    pub kind: Kind,
    pub began: Instant,
    pub ended: Instant,
    /// True if the work failed.
    pub has_failed: bool,
    pub attributes: Vec<(&'static str, Value)>,
}

impl Open {
    /// Sets the subject, which the spans below have too. Missing fields are those of the parent.
    pub fn about(&mut self, about: About) {
        self.under.about = about.or(self.under.about);
    }

    /// The trace of work that this span has caused.
    pub fn trace(&self) -> Trace {
        Trace::Under(self.under.clone())
    }

    /// Sends the span. It is lost, and counted, if too many wait.
    pub fn end(&self, ended: Ended) {
        let Parent { sink, trace, span, about } = &self.under;
        let Some(id) = *span else { return };
        sink.send(Finished { trace: *trace, id, parent: self.parent, about: *about, ended });
    }
}

/// A span that has ended, on its way to the collector.
#[derive(Debug)]
struct Finished {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    about: About,
    ended: Ended,
}

/// A span around a piece of work. If it is dropped before its end, because the work was, the span says so.
#[derive(Debug)]
pub struct Span {
    open: Open,
    content: Option<Ended>,
}

impl Span {
    /// A span that begins now in the current trace; none if there is no trace.
    pub fn begin(
        kind: Kind,
        name: impl FnOnce() -> Cow<'static, str>,
        attributes: impl FnOnce() -> Vec<(&'static str, Value)>,
    ) -> Option<Self> {
        let open = CURRENT.try_with(Trace::open).ok().flatten()?;
        Some(Self::around(open, kind, name(), attributes()))
    }

    /// The span that begins now at this place of its trace.
    pub fn around(
        open: Open,
        kind: Kind,
        name: Cow<'static, str>,
        attributes: Vec<(&'static str, Value)>,
    ) -> Self {
        let now = Instant::now();
        let content = Ended { name, kind, began: now, ended: now, has_failed: false, attributes };
        Self { open, content: Some(content) }
    }

    /// The trace of work that this span has caused.
    pub fn trace(&self) -> Trace {
        self.open.trace()
    }

    /// Sets the subject, which the spans below have too.
    pub fn about(&mut self, about: About) {
        self.open.about(about);
    }

    /// Sets the name, which may be known at the end only.
    pub fn rename(&mut self, name: Cow<'static, str>) {
        if let Some(content) = &mut self.content {
            content.name = name;
        }
    }

    /// Adds an attribute to those that the span has.
    pub fn set(&mut self, key: &'static str, value: Value) {
        if let Some(content) = &mut self.content {
            content.attributes.push((key, value));
        }
    }

    /// Ends the span now, and sends it.
    pub fn end(mut self, has_failed: bool) {
        self.finish(has_failed);
    }

    fn finish(&mut self, has_failed: bool) {
        if let Some(content) = self.content.take() {
            self.open.end(Ended { ended: Instant::now(), has_failed, ..content });
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.set("greenroom.abandoned", Value::Yes(true));
        self.finish(false);
    }
}

/// Runs `work` as a span of the current trace about this subject, if there is one; what it causes is below that span.
pub async fn spanned<T>(
    name: &'static str,
    about: About,
    has_failed: impl FnOnce(&T) -> bool,
    work: impl Future<Output = T>,
) -> T {
    let Some(mut span) = Span::begin(Kind::Internal, || name.into(), Vec::new) else {
        return work.await;
    };
    span.about(about);
    let answer = span.trace().scope(work).await;
    span.end(has_failed(&answer));
    answer
}

/// The attributes of a subject.
fn of_subject(about: &About) -> impl Iterator<Item = (&'static str, String)> {
    let About { organization, session, run } = about;
    let organization = organization.as_ref().map(OrganizationId::to_string);
    let session = session.as_ref().map(SessionId::to_string);
    let run = run.as_ref().map(RunId::to_string);
    let named = [
        ("greenroom.organization.id", organization),
        ("greenroom.session.id", session),
        ("greenroom.run.id", run),
    ];
    named.into_iter().filter_map(|(key, id)| Some((key, id?)))
}

#[cfg(test)]
mod tests;
