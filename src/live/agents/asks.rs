//! Requests of agents to people: to take control of the page, do what the agent cannot, and return control.

use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::actors::clock::Clock;
use crate::actors::tickets::Ticket;
use crate::actors::views::SessionView;
use crate::domain::ids::ViewerId;

/// The most requests that are remembered for one occupancy; the oldest one is forgotten first.
const MOST: usize = 100;

/// The progress of a request to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// No person has taken control since the request.
    Waiting,
    /// A person has control now.
    InControl,
    /// A person had control, and has returned it.
    Returned,
    /// The link has expired or was revoked before a person took control.
    Expired,
    /// The session has ended.
    Ended,
}

/// The requests to people that were made for one occupancy.
#[derive(Debug, Clone, Default)]
pub struct Asks {
    progress: Arc<Mutex<IndexMap<ViewerId, watch::Receiver<Answered>>>>,
}

impl Asks {
    /// Follows a new request, which came with this ticket, until it is answered or forgotten. Any person who takes
    /// control answers it, because the agent asked for what is done and not for who does it.
    pub fn follow(&self, ticket: Ticket, mut view: watch::Receiver<SessionView>, clock: Clock) {
        let (progress, follower) = watch::channel(Answered::Waiting);
        {
            let mut known = self.progress.lock();
            if known.len() >= MOST {
                known.shift_remove_index(0);
            }
            known.insert(ticket.id, follower);
        }
        tokio::spawn(async move {
            let has_control = |view: &SessionView| view.control.user().is_some();
            let taken = tokio::select! {
                taken = view.wait_for(has_control) => taken.map_or(Answered::Ended, |_taken| Answered::InControl),
                _has_expired = ticket.ended(clock) => Answered::Expired,
                () = progress.closed() => return,
            };
            progress.send_replace(taken);
            if taken == Answered::InControl {
                let returned = tokio::select! {
                    returned = view.wait_for(|view| !has_control(view) && !view.closing) => returned.is_ok(),
                    () = progress.closed() => return,
                };
                progress.send_replace(if returned { Answered::Returned } else { Answered::Ended });
            }
            progress.closed().await; // Readers see the last value until it is forgotten.
        });
    }

    /// Returns the progress of a request; none for an unknown one, such as of a former server.
    pub fn progress(&self, id: ViewerId) -> Option<watch::Receiver<Answered>> {
        self.progress.lock().get(&id).cloned()
    }
}
