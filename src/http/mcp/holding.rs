//! Taking and holding of sessions by handles.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::call::Call;
use super::handle::{Handle, lapsed};
use super::queue::{QueueEntry, Waiting};
use crate::actors::registry::Route;
use crate::actors::session::{Grant, Release};
use crate::actors::views::SessionView;
use crate::domain::ids::SessionId;
use crate::domain::lease::LeaseToken;
use crate::domain::occupancy::{Occupant, RunnableId, RunnableType};
use crate::http::caller::{Driver, refused};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::sessions::begin::{Taker, Wanted};
use crate::live::agents::Occupancy;
use crate::live::devtools::Lease;

/// The time for which a place in the queue is kept while the agent does not ask again.
const UNATTENDED: Duration = Duration::from_secs(90);

/// The progress of an agent that wants to hold a browser.
#[derive(Debug)]
pub(super) enum Opening {
    /// The agent holds the browser.
    Held(Grant),
    /// The agent waits in the queue.
    Pending,
}

impl Call {
    /// The client as a holder of sessions.
    async fn driver(&self) -> Result<Driver, ApiError> {
        let client = &self.client;
        let signer = match &client.bearer {
            Some(bearer) => Some(bearer.caller.signer),
            None => self.front().keys.signer(client.organization, client.key).await?,
        };
        let signer = signer.ok_or_else(refused)?;
        let ticket = client.ticket.clone();
        Ok(Driver {
            organization: client.organization,
            key: client.key,
            signer: Some(signer),
            ticket,
        })
    }

    async fn token(
        &self,
        handle: &Handle,
        driver: &Driver,
        view: &watch::Receiver<SessionView>,
    ) -> Result<LeaseToken, ApiError> {
        let signer = driver.signer.ok_or_else(refused)?;
        let rotation = view.borrow().record.spec.rotation;
        // No ticket gets the lease of its key or of another ticket, and no client one that a rotation has ended.
        let ticket = driver.ticket.as_ref().map(|ticket| ticket.id.to_string()).unwrap_or_default();
        let named = format!("{ticket}\0mcp\0{}\0rotation {rotation}", handle.suffix());
        let occupant: RunnableId = "mcp".parse().map_err(|_never| refused())?;
        Ok(signer.lease_for(handle.session, &occupant, &named, 0))
    }

    /// Takes a session for a handle, or waits for it in the queue until the call ends; the place in the queue is
    /// kept while the agent asks again.
    pub async fn open(
        &self,
        handle: &Handle,
        label: &str,
        patience: Duration,
    ) -> Result<Opening, ApiError> {
        self.check_session(handle.session)?;
        let view = self.view(handle.session).await?;
        if let Ok(held) = self.occupancy(handle).await {
            return self.renew(&held).await.map(Opening::Held);
        }
        let driver = self.driver().await?;
        let place = QueueEntry {
            key: driver.key,
            ticket: driver.ticket.as_ref().map(|ticket| ticket.id),
            handle: handle.clone(),
        };
        let queue = &self.front().mcp.queue;
        // An agent that waits already goes on waiting, also if it does not say so again.
        if let Some(waiting) = queue.place(&place) {
            return self.wait(&place, waiting).await;
        }
        let lease = self.token(handle, &driver, &view).await?;
        let name = format!("{}.{}", visible(label), handle.tag());
        let runnable_id: RunnableId = name.parse().map_err(|_never| refused())?;
        let occupant = Occupant { runnable_type: RunnableType::External, runnable_id };
        let ttl = self.idle();
        let wanted = Wanted { session: handle.session, occupant, lease, ttl, patience };
        if patience.is_zero() {
            return taken(self.front(), &driver, wanted).await.map(Opening::Held);
        }
        let waiting = self.join(&place, label, driver, wanted);
        self.wait(&place, waiting).await
    }

    /// Waits for the outcome of a place in the queue until the call ends.
    async fn wait(&self, place: &QueueEntry, waiting: Waiting) -> Result<Opening, ApiError> {
        let mut outcome = waiting.outcome.clone();
        waiting.asked.send_replace(Instant::now());
        let decided = timeout_at(self.deadline, outcome.wait_for(Option::is_some)).await;
        let Ok(decided) = decided.map(|it| it.ok().and_then(|outcome| outcome.clone())) else {
            return Ok(Opening::Pending);
        };
        self.front().mcp.queue.leave(place, &waiting);
        match decided {
            Some(granted) => Ok(Opening::Held(granted?)),
            None => Err(lapsed(&place.handle).into()),
        }
    }

    /// Returns the handle with which this client waits for a session under this label, if it does.
    pub fn waiting_handle(&self, session: SessionId, label: &str) -> Option<Handle> {
        let ticket = self.client.ticket.as_ref().map(|ticket| ticket.id);
        self.front().mcp.queue.find(|QueueEntry { key, ticket: by, handle }, waiting| {
            *key == self.client.key
                && *by == ticket
                && handle.session == session
                && waiting.label == label
        })
    }

    /// Returns the occupancy that a handle names, if it holds its session.
    ///
    /// # Errors
    ///
    /// 409 `handle_lapsed` if it does not, with the present holder; 404 and 410 without the session.
    pub async fn occupancy(&self, handle: &Handle) -> Result<Occupancy, ApiError> {
        self.check_session(handle.session)?;
        let view = self.view(handle.session).await?;
        let driver = self.driver().await?;
        let token = self.token(handle, &driver, &view).await?;
        let lease =
            view.borrow().record.occupancy.holder().map(|held| (held.generation, held.lease));
        match lease {
            Some((generation, hash)) if hash == token.hash() => Ok(Occupancy {
                session: handle.session,
                lease: Lease::new(generation, token),
                view,
                key: self.front().keys.watch(driver.key),
                ticket: driver.ticket,
            }),
            Some(_) | None => Err(lapsed(handle).into()),
        }
    }

    /// Joins the queue of a session. A place, and a grant, that nobody asks about for 90 s is given up.
    fn join(&self, place: &QueueEntry, label: &str, driver: Driver, wanted: Wanted) -> Waiting {
        let (decide, outcome) = watch::channel(None);
        let (asked, mut attended) = watch::channel(Instant::now());
        let waiting = Waiting { label: label.to_owned(), outcome, asked: Arc::new(asked) };
        let own = waiting.clone();
        let queue = &self.front().mcp.queue;
        queue.add(place.clone(), waiting.clone());
        let (queue, place, front) = (queue.clone(), place.clone(), self.client.front.clone());
        let lease = wanted.lease.hash();
        self.front().world.runtime.spawn(async move {
            let mut unattended = pin!(async {
                loop {
                    let at = *attended.borrow_and_update() + UNATTENDED;
                    tokio::select! {
                        () = sleep_until(at) => return,
                        Ok(()) = attended.changed() => {}
                    }
                }
            });
            let granted = tokio::select! {
                granted = taken(&front, &driver, wanted) => granted.map_err(Problem::from),
                () = &mut unattended => return queue.leave(&place, &own),
            };
            let generation = granted.as_ref().ok().map(|grant| grant.generation);
            decide.send_replace(Some(granted));
            unattended.await;
            let is_unread =
                queue.place(&place).is_some_and(|it| Arc::ptr_eq(&it.asked, &own.asked));
            queue.leave(&place, &own);
            if let (true, Some(generation)) = (is_unread, generation) {
                let message = Release { generation, lease, run: None };
                let (organization, session) = (driver.organization, place.handle.session);
                let route = Route { organization, session, message };
                let _lapses_otherwise = front.registry.ask(route).await;
            }
        });
        waiting
    }
}

/// Returns the name of an agent as a holder may have it: visible ASCII characters, at most 100.
fn visible(label: &str) -> String {
    let letters = label.trim().chars().take(100);
    let name: String = letters.map(|it| if it.is_ascii_graphic() { it } else { '-' }).collect();
    if name.is_empty() { "agent".to_owned() } else { name }
}

/// Takes a session, and remembers the credential with which it was taken.
async fn taken(front: &Front, driver: &Driver, wanted: Wanted) -> Result<Grant, ApiError> {
    let (session, lease) = (wanted.session, wanted.lease.clone());
    let taker = Taker::from(driver);
    let grant = taker.take(front, wanted).await?;
    taker.took(front, session, &lease);
    Ok(grant)
}
