//! Access to the cookies and the storage of a session's browser.
//!
//! The actor decides who has access. The values do not pass through it.

use actix::Context;
use serde_json::{Value, json};

use super::{Phase, Session, SessionError};
use crate::actors::ask::{Answering, Ask, Handle, answered};
use crate::domain::control;
use crate::domain::lease::LeaseHash;
use crate::domain::occupancy::Generation;
use crate::system::storage_state::Storage;

/// Opens the storage of the session's browser, to read it or to write it. Writing is refused while
/// the session is held, unless the holder asks, and while a person has control.
#[derive(Debug)]
pub struct OpenStorage {
    /// The generation and lease of a holder that asks.
    pub holder: Option<(Generation, LeaseHash)>,
    /// True if it is to be written.
    pub writes: bool,
}

impl Ask for OpenStorage {
    type Answer = Result<Storage, SessionError>;
    const KIND: &'static str = "open_storage";
    const AUDITED: bool = true;
    const NEEDS_BROWSER: bool = true;

    fn summary(&self) -> Value {
        let generation = self.holder.map(|(generation, _lease)| generation);
        json!({ "writes": self.writes, "generation": generation })
    }
}

impl Session {
    fn may_write_storage(
        &self,
        holder: Option<(Generation, LeaseHash)>,
    ) -> Result<(), SessionError> {
        self.holds_or_finds_vacant(holder)?;
        match self.watchers.control.user() {
            Some(user) => {
                let (label, until) = (user.label.clone(), user.expires_at());
                Err(control::Refusal::Held { label, until }.into())
            }
            None => Ok(()),
        }
    }
}

impl Handle<OpenStorage> for Session {
    fn handle(
        &mut self,
        OpenStorage { holder, writes }: OpenStorage,
        _: &mut Context<Self>,
    ) -> Answering<Result<Storage, SessionError>> {
        let storage = match &self.phase {
            Phase::Running { desktop } => desktop.storage(),
            Phase::Dormant | Phase::Starting { .. } | Phase::Recovering { .. } => {
                return answered(Err(SessionError::Starting));
            }
            Phase::Closing { .. } => return answered(Err(SessionError::Closing)),
        };
        if writes && let Err(refusal) = self.may_write_storage(holder) {
            return answered(Err(refusal));
        }
        answered(Ok(storage))
    }
}
