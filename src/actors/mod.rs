//! The actors, each with the state and the resources that it owns.
//!
//! There is one [`registry::Registry`], a [`session::Session`] for each browser session, and a
//! [`run::Run`] for each workflow run. Other code [asks](ask) an actor with a message, and every
//! message is recorded in the [journal]. Code that only reads state uses the [views] instead, and
//! involves no mailbox.

pub mod ask;
pub mod clock;
pub mod downloads;
pub mod draining;
pub mod events;
pub mod films;
pub mod journal;
pub mod lanes;
pub mod ledger;
pub mod passes;
pub mod pool;
pub mod profiles;
pub mod quotas;
mod receipt;
pub mod refusals;
mod registration;
pub mod registry;
pub mod requester;
pub mod run;
pub mod secrets;
pub mod session;
mod settings;
mod storing;
#[cfg(test)]
mod testing;
pub mod tickets;
pub mod traffic;
pub mod under_way;
pub mod views;
pub mod world;

pub use self::settings::Settings;

/// Implements actix's `Handler` for the envelopes of every message that an actor handles.
macro_rules! opens_envelopes {
    ($actor:ty) => {
        impl<M> actix::Handler<$crate::actors::ask::Envelope<M>> for $actor
        where
            M: $crate::actors::ask::Ask,
            Self: $crate::actors::ask::Handle<M>,
        {
            type Result = actix::ResponseFuture<M::Answer>;

            fn handle(
                &mut self,
                envelope: $crate::actors::ask::Envelope<M>,
                ctx: &mut actix::Context<Self>,
            ) -> Self::Result {
                $crate::actors::ask::open(self, envelope, ctx)
            }
        }
    };
}
pub(crate) use opens_envelopes;
