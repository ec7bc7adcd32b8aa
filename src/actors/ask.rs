//! The one way to speak to an actor.
//!
//! [`Address::ask`] puts a message into an actor's mailbox in an [`Envelope`], which says what
//! caused it and notes in the [`Journal`] when the actor took it up and what became of it. It is
//! the one caller of actix's `send`.
//!
//! An unanswered ask says nothing about the outcome, so every message is safe to repeat. The other
//! side of that: an actor that hands something out takes the `Receipt` of its message, and takes
//! back what it handed out when the answer was not heard.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, MailboxError, Message, ResponseFuture, WeakAddr};
use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use tokio::task_local;

use super::journal::{About, Journal, Name, OpenEntry, Outcome, Sent};
use super::receipt::{Hearing, Receipt};

task_local! {
    /// In whose handling the present code runs.
    static ORIGIN: Origin;
}

#[derive(Debug, Clone)]
struct Origin {
    actor: Name,
    message: i64,
    receipt: Receipt,
}

/// The receipt of the message that is being handled. Outside of a handler there is no asker to
/// miss the answer.
pub(super) fn receipt() -> Receipt {
    ORIGIN.try_with(|origin| origin.receipt.clone()).unwrap_or_default()
}

/// What a message says of itself, to its asker and to the journal.
pub trait Ask: Send + 'static {
    /// What the actor answers.
    type Answer: Answer + Send + 'static;

    /// Its name in the journal.
    const KIND: &'static str;

    /// Whether it changes state that lasts, and so belongs into the audit trail.
    const AUDITED: bool = false;

    /// Whether it takes something new into the server, which a server that is stopping refuses.
    const TAKES_NEW: bool = false;

    /// True if the browser of a session has to run for it, which is then started if it waits for its first use.
    const NEEDS_BROWSER: bool = false;

    /// How long an asker waits for the answer.
    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }

    /// What it is about.
    fn about(&self) -> About {
        About::default()
    }

    /// What the journal may know of it: no secrets, and short.
    fn summary(&self) -> Value {
        Value::Null
    }
}

/// What an answer says of the message's outcome.
pub trait Answer {
    /// How it went, and why if not well.
    fn outcome(&self) -> (Outcome, Option<String>);
}

impl Answer for () {
    fn outcome(&self) -> (Outcome, Option<String>) {
        (Outcome::Done, None)
    }
}

/// An error that knows whether it is a refusal, a failure or an unanswered ask.
pub trait Classified: std::error::Error {
    /// Which of the three.
    fn class(&self) -> Outcome;
}

impl<T, E: Classified> Answer for Result<T, E> {
    fn outcome(&self) -> (Outcome, Option<String>) {
        match self {
            Ok(_) => (Outcome::Done, None),
            Err(cause) => (cause.class(), Some(cause.to_string())),
        }
    }
}

/// Why nobody knows what became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The actor has ended.
    #[error("the actor has ended")]
    Gone,
    /// It did not answer in time.
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

/// An answer that may take its time.
pub type Answering<T> = LocalBoxFuture<'static, T>;

/// An answer that is known at once.
pub fn answered<T: 'static>(answer: T) -> Answering<T> {
    Box::pin(std::future::ready(answer))
}

/// An actor that answers messages of type `M`.
pub trait Handle<M: Ask>: Actor<Context = Context<Self>> {
    /// Decides on the state it finds, changes it, and returns: it never awaits.
    fn handle(&mut self, message: M, ctx: &mut Context<Self>) -> Answering<M::Answer>;
}

/// A message on its way.
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
    let origin = Origin { actor: entry.receiver().clone(), message: entry.id(), receipt };
    let answering = ORIGIN.sync_scope(origin.clone(), || actor.handle(message, ctx));
    Box::pin(ORIGIN.scope(origin, async move {
        let answer = answering.await;
        let (outcome, note) = answer.outcome();
        entry.ended(outcome, note);
        answer
    }))
}

/// Where an actor can be asked, by whom, and where that is recorded.
#[derive(Debug)]
pub struct Address<A: Actor> {
    inner: Addr<A>,
    name: Name,
    about: About,
    user: Name,
    journal: Arc<Journal>,
}

impl<A: Actor> Clone for Address<A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            name: self.name.clone(),
            about: self.about,
            user: self.user.clone(),
            journal: Arc::clone(&self.journal),
        }
    }
}

impl<A: Actor<Context = Context<A>>> Address<A> {
    /// The address of the actor `name`. What a message to it does not say of what it is about,
    /// `about` says.
    pub(super) fn new(inner: Addr<A>, name: Name, about: About, journal: Arc<Journal>) -> Self {
        let user = Name::from("server");
        Self { inner, name, about, user, journal }
    }

    /// The same address in the hands of `user`, who is the sender of what is asked outside the
    /// handling of a message.
    #[must_use]
    pub fn used_by(&self, user: &str) -> Self {
        Self { user: Name::from(user), ..self.clone() }
    }

    /// An address that does not keep the actor alive.
    pub fn downgrade(&self) -> WeakAddress<A> {
        WeakAddress {
            inner: self.inner.downgrade(),
            name: self.name.clone(),
            about: self.about,
            user: self.user.clone(),
            journal: Arc::clone(&self.journal),
        }
    }

    /// Asks, and resolves with the answer. The message is queued at once, not when first polled,
    /// so that two in a row keep their order.
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

    /// Passes a message on for the asker of the message that is being handled: the answer is heard
    /// when that asker has it.
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

    /// Tells, where nobody can wait for the answer: in a `drop`.
    pub(super) fn tell<M>(&self, message: M)
    where
        M: Ask,
        A: Handler<Envelope<M>>,
        A::Context: ToEnvelope<A, Envelope<M>>,
    {
        #[expect(clippy::disallowed_methods, reason = "a `drop` cannot wait")]
        self.inner.do_send(self.envelope(message, Receipt::default()));
    }

    fn envelope<M: Ask>(&self, message: M, receipt: Receipt) -> Envelope<M> {
        let origin = ORIGIN.try_with(Origin::clone).ok();
        let (sender, cause) = match origin {
            Some(Origin { actor, message, .. }) => (actor, Some(message)),
            None => (self.user.clone(), None),
        };
        let entry = self.journal.open(Sent {
            kind: M::KIND,
            sender,
            receiver: self.name.clone(),
            about: message.about().or(self.about),
            cause,
            summary: message.summary(),
            audited: M::AUDITED,
        });
        Envelope { message, entry, receipt }
    }
}

/// An [`Address`] that does not keep the actor alive: what points up holds these.
#[derive(Debug)]
pub struct WeakAddress<A: Actor> {
    inner: WeakAddr<A>,
    name: Name,
    about: About,
    user: Name,
    journal: Arc<Journal>,
}

impl<A: Actor> Clone for WeakAddress<A> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            name: self.name.clone(),
            about: self.about,
            user: self.user.clone(),
            journal: Arc::clone(&self.journal),
        }
    }
}

impl<A: Actor<Context = Context<A>>> WeakAddress<A> {
    /// The address, if the actor lives.
    pub fn upgrade(&self) -> Option<Address<A>> {
        Some(Address {
            inner: self.inner.upgrade()?,
            name: self.name.clone(),
            about: self.about,
            user: self.user.clone(),
            journal: Arc::clone(&self.journal),
        })
    }

    /// The same address in the hands of `user`.
    #[must_use]
    pub fn used_by(&self, user: &str) -> Self {
        Self { user: Name::from(user), ..self.clone() }
    }
}

impl<A: Actor<Context = Context<A>>> WeakAddress<A> {
    /// Asks as [`Address::ask`] does; an actor that has ended is [`Unanswered::Gone`].
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
