//! The only way to send a message to an actor.
//!
//! [`Address::ask`] puts a message into an actor's mailbox in an [`Envelope`]. The envelope names
//! the cause of the message. It records in the [`Journal`] when the actor starts to handle the
//! message, and the outcome. No other code calls actix's `send`.
//!
//! An unanswered ask leaves the outcome unknown, so every message is safe to repeat. Conversely, an
//! actor that hands something out takes the `Receipt` of its message. If the answer is not
//! received, it takes back what it handed out.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, MailboxError, Message, ResponseFuture, WeakAddr};
use futures_util::future::{BoxFuture, LocalBoxFuture};
use serde_json::Value;
use tokio::task_local;

use super::journal::{About, Draft, Journal, Name, OpenEntry, Outcome, Sent};
use super::receipt::{Hearing, Receipt};
use super::requester::Requester;
use crate::traces::{self, Trace};

task_local! {
    /// The origin of the current code: the actor, and the message that it handles.
    static ORIGIN: Origin;
}

#[derive(Debug, Clone)]
struct Origin {
    actor: Name,
    message: i64,
    receipt: Receipt,
    requester: Option<Arc<Requester>>,
    draft: Option<Draft>,
}

/// Returns the event of the audit trail about the message that is being handled; none if it is not audited.
pub(super) fn audit_draft() -> Option<Draft> {
    ORIGIN.try_with(|origin| origin.draft.clone()).ok().flatten()
}

/// Returns the receipt of the message that is being handled. Outside of a handler there is no asker
/// that could miss the answer.
pub(super) fn receipt() -> Receipt {
    ORIGIN.try_with(|origin| origin.receipt.clone()).unwrap_or_default()
}

/// A message to an actor, with the metadata that its asker and the journal need.
pub trait Ask: Send + 'static {
    /// The type of the actor's answer.
    type Answer: Answer + Send + 'static;

    /// The name of the message in the journal.
    const KIND: &'static str;

    /// True if the message changes persistent state, and so belongs in the audit trail.
    const AUDITED: bool = false;

    /// True if the message brings new work into the server, which a stopping server refuses.
    const TAKES_NEW: bool = false;

    /// True if the message needs the session's browser to run. A browser that waits for its first
    /// use is then started.
    const NEEDS_BROWSER: bool = false;

    /// The time that an asker waits for the answer.
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// The organization, session and run that the message concerns.
    fn about(&self) -> About {
        About::default()
    }

    /// A short summary for the journal, without secrets.
    fn summary(&self) -> Value {
        Value::Null
    }
}

/// An answer that knows the outcome of its message.
pub trait Answer {
    /// The outcome, and its reason unless the message succeeded.
    fn outcome(&self) -> (Outcome, Option<String>);
}

impl Answer for () {
    fn outcome(&self) -> (Outcome, Option<String>) {
        (Outcome::Done, None)
    }
}

/// An error that is a refusal, a failure or an unanswered ask.
pub trait Classified: std::error::Error {
    /// The class of the error, as an outcome.
    fn class(&self) -> Outcome;
}

impl<T, E: Classified> Answer for Result<T, E> {
    fn outcome(&self) -> (Outcome, Option<String>) {
        match self {
            Ok(_) => (Outcome::Done, None),
            Err(cause) => (cause.class(), Some(with_causes(cause))),
        }
    }
}

/// The text of an error, followed by those of its causes that it does not repeat.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

/// The reason why the outcome of a message is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("the actor has ended")]
    Gone,
    /// The actor did not answer in time.
    #[error("the actor did not answer in time")]
    Late,
}

impl From<MailboxError> for Unanswered {
    fn from(error: MailboxError) -> Self {
        match error {
            MailboxError::Closed => Self::Gone,
            MailboxError::Timeout => Self::Late,
        }
    }
}

impl Classified for Unanswered {
    fn class(&self) -> Outcome {
        Outcome::Unanswered
    }
}

/// An answer that an actor may give later.
pub type Answering<T> = LocalBoxFuture<'static, T>;

/// An answer that is available at once.
pub fn answered<T: 'static>(answer: T) -> Answering<T> {
    Box::pin(std::future::ready(answer))
}

/// An actor that answers messages of type `M`.
pub trait Handle<M: Ask>: Actor<Context = Context<Self>> {
    /// Decides on the current state, changes it, and returns: it never awaits.
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> Answering<M::Answer>;
}

/// A message on its way to an actor, with its journal entry and its receipt.
#[derive(Debug)]
pub struct Envelope<M> {
    message: M,
    entry: OpenEntry,
    receipt: Receipt,
}

impl<M: Ask> Message for Envelope<M> {
    type Result = M::Answer;
}

/// Opens an envelope. Each actor's `Handler<Envelope<M>>` calls this and nothing else.
pub(super) fn open<A, M>(
    actor: &mut A,
    Envelope { message, entry, receipt }: Envelope<M>,
    ctx: &mut Context<A>,
) -> ResponseFuture<M::Answer>
where
    A: Handle<M>,
    M: Ask,
{
    entry.started();
    let requester = entry.requester();
    let (receiver, draft) = (entry.receiver().clone(), entry.draft());
    let origin = Origin { actor: receiver, message: entry.id(), receipt, requester, draft };
    let trace = entry.trace();
    let answering = traces::call_within(trace.clone(), || {
        ORIGIN.sync_scope(origin.clone(), || actor.handle(message, ctx))
    });
    let handling = ORIGIN.scope(origin, async move {
        let answer = answering.await;
        let (outcome, note) = answer.outcome();
        entry.ended(outcome, note);
        answer
    });
    match trace {
        Some(trace) => Box::pin(trace.scope(handling)),
        None => Box::pin(handling),
    }
}

/// The name of an actor, the subject of its messages, and the user of its address, for the journal.
#[derive(Debug, Clone)]
struct Label {
    name: Name,
    about: About,
    user: Name,
    journal: Arc<Journal>,
    /// The trace of messages that are sent outside of every other trace.
    trace: Option<Trace>,
}

impl Label {
    fn used_by(&self, user: &str) -> Self {
        Self { user: Name::from(user), ..self.clone() }
    }
}

/// The address of an actor, together with its user and the journal that records messages to it.
#[derive(Debug)]
pub struct Address<A: Actor> {
    inner: Addr<A>,
    label: Label,
}

impl<A: Actor> Clone for Address<A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), label: self.label.clone() }
    }
}

impl<A: Actor<Context = Context<A>>> Address<A> {
    /// The address of the actor `name`. `about` fills in the subject fields that a message leaves
    /// empty.
    pub(super) fn new(inner: Addr<A>, name: Name, about: About, journal: Arc<Journal>) -> Self {
        let user = Name::from("server");
        Self { inner, label: Label { name, about, user, journal, trace: None } }
    }

    /// The same address on behalf of `user`. `user` is the sender of messages that are sent outside
    /// the handling of another message.
    #[must_use]
    pub fn used_by(&self, user: &str) -> Self {
        Self { inner: self.inner.clone(), label: self.label.used_by(user) }
    }

    /// An address that does not keep the actor alive.
    pub fn downgrade(&self) -> WeakAddress<A> {
        WeakAddress { inner: self.inner.downgrade(), label: self.label.clone() }
    }

    /// Sends the message, and resolves with the answer. The message is queued at once, not at the
    /// first poll, so that two in a row keep their order.
    pub fn ask<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Answer, Unanswered>> + Send + use<A, M>
    where
        M: Ask,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        self.ask_for(Receipt::default(), message)
    }

    /// Forwards a message for the asker of the message that is being handled. The answer counts as
    /// received when that asker has received it.
    pub(super) fn forward<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Answer, Unanswered>> + Send + use<A, M>
    where
        M: Ask,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        self.ask_for(receipt(), message)
    }

    fn ask_for<M>(
        &self,
        asker: Receipt,
        message: M,
    ) -> impl Future<Output = Result<M::Answer, Unanswered>> + Send + use<A, M>
    where
        M: Ask,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        let patience = message.patience();
        let hearing = Hearing::default();
        let envelope = self.envelope(message, hearing.receipt(asker));
        #[expect(clippy::disallowed_methods, reason = "the deadline is set here")]
        let request = self.inner.send(envelope).timeout(patience);
        async move {
            let answer = request.await?;
            hearing.heard();
            Ok(answer)
        }
    }

    /// Sends a message without waiting for the answer, for a `drop`, which cannot wait. The future of
    /// [`ask`](Self::ask) is no substitute: an actor skips a message whose asker has gone.
    pub fn notify<M>(&self, message: M)
    where
        M: Ask,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        #[expect(clippy::disallowed_methods, reason = "a `drop` cannot wait")]
        self.inner.do_send(self.envelope(message, Receipt::default()));
    }

    fn envelope<M: Ask>(&self, message: M, receipt: Receipt) -> Envelope<M> {
        let Label { name, about, user, journal, trace } = &self.label;
        let origin = ORIGIN.try_with(Origin::clone).ok();
        let (sender, cause, requester) = match origin {
            Some(Origin { actor, message, requester, .. }) => (actor, Some(message), requester),
            None => (user.clone(), None, Requester::current()),
        };
        let entry = journal.open(Sent {
            kind: M::KIND,
            sender,
            receiver: name.clone(),
            about: message.about().or(*about),
            cause,
            summary: message.summary(),
            audited: M::AUDITED,
            requester,
            trace: traces::current().or_else(|| trace.clone()),
        });
        Envelope { message, entry, receipt }
    }
}

/// An [`Address`] that does not keep the actor alive. References from an owned actor to its owner
/// are of this type.
#[derive(Debug)]
pub struct WeakAddress<A: Actor> {
    inner: WeakAddr<A>,
    label: Label,
}

impl<A: Actor> Clone for WeakAddress<A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), label: self.label.clone() }
    }
}

impl<A: Actor<Context = Context<A>>> WeakAddress<A> {
    /// The address, if the actor is still alive.
    pub fn upgrade(&self) -> Option<Address<A>> {
        Some(Address { inner: self.inner.upgrade()?, label: self.label.clone() })
    }

    /// The same address on behalf of `user`.
    #[must_use]
    pub fn used_by(&self, user: &str) -> Self {
        Self { inner: self.inner.clone(), label: self.label.used_by(user) }
    }

    /// The same address for an actor whose messages belong to `trace`, unless it sends them in another.
    #[must_use]
    pub(super) fn within(self, trace: Option<Trace>) -> Self {
        Self { inner: self.inner, label: Label { trace, ..self.label } }
    }

    /// Sends a message as [`Address::ask`] does; an actor that has ended is [`Unanswered::Gone`].
    pub fn ask<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Answer, Unanswered>> + Send + use<A, M>
    where
        M: Ask,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        let asking = self.upgrade().map(|address| address.ask(message));
        async move {
            match asking {
                Some(asking) => asking.await,
                None => Err(Unanswered::Gone),
            }
        }
    }
}

/// A reference to an actor of any type that answers `M`. An actor that is given one per message
/// does not depend on the type of the actor that it asks.
pub trait Asks<M: Ask>: std::fmt::Debug + Send + Sync + 'static {
    /// Sends a message as [`Address::ask`] does.
    fn ask(&self, message: M) -> BoxFuture<'static, Result<M::Answer, Unanswered>>;
}

impl<A, M> Asks<M> for WeakAddress<A>
where
    M: Ask,
    A: Actor<Context = Context<A>> + std::fmt::Debug + Handler<Envelope<M>>,
    A::Context: ToEnvelope<A, Envelope<M>>,
{
    fn ask(&self, message: M) -> BoxFuture<'static, Result<M::Answer, Unanswered>> {
        Box::pin(Self::ask(self, message))
    }
}
