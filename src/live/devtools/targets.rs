//! The pages of a browser as discovery lists them, and the commands of discovery on them.
//!
//! A command of discovery is a command of a driver: it has the same rules ([`host`](super::host)), waits
//! or is refused while a person has control, and ends with its credential. The connection to the browser
//! is the server's own and lasts for one command.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::endpoint::TargetId;
use super::host::Judge;
use super::{Ground, over, running};
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{Drive, SessionError};
use crate::actors::views::SessionView;
use crate::domain::control::{OnTakeover, Refusal};
use crate::domain::ids::SessionId;
use crate::domain::session::DesktopIdentity;
use crate::live::bridge::Close;
use crate::live::state::Live;
use crate::service::resources::session::on_takeover;
use crate::system::cdp::{CdpError, Connection, Devtools};

/// The time that the browser has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time that a command waits for a person to release control, where drivers' commands are held.
const HELD: Duration = Duration::from_secs(25);

/// A page of the browser.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// The id of the page.
    #[serde(rename = "targetId")]
    pub id: TargetId,
    /// The title that the tab shows.
    #[serde(default)]
    pub title: String,
    /// The address of the page.
    #[serde(default)]
    pub url: String,
}

/// The reason why a request of discovery failed.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The session does not run, or refuses the driver.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The browser cannot be reached, or does not answer in time.
    #[error("the browser does not answer: {0}")]
    Unreachable(String),
    /// The rules for drivers' commands refuse the command.
    #[error("{0}")]
    Forbidden(String),
    /// The browser refused the command.
    #[error("the browser refused the command: {0}")]
    Failed(String),
    /// The browser has no such page.
    #[error("the browser has no page {0}")]
    Unknown(TargetId),
    /// The client's credential has ended before the command was sent.
    #[error("the credential has ended: {}", .0.reason)]
    Over(Close),
}

impl From<CdpError> for TargetError {
    fn from(cause: CdpError) -> Self {
        match cause {
            CdpError::Refused { message, .. } => Self::Failed(message),
            CdpError::NotConnected { .. } | CdpError::Busy { .. } | CdpError::Disconnected => {
                Self::Unreachable(cause.to_string())
            }
        }
    }
}

impl From<SessionError> for TargetError {
    fn from(cause: SessionError) -> Self {
        Self::Route(cause.into())
    }
}

/// Returns the result of `work`, unless the browser takes longer than [`PATIENCE`].
async fn in_time<T>(work: impl Future<Output = Result<T, TargetError>>) -> Result<T, TargetError> {
    let late = |_late| Err(TargetError::Unreachable("it took more than 10 s".to_owned()));
    timeout(PATIENCE, work).await.unwrap_or_else(late)
}

/// Returns the browser's answer to `Browser.getVersion`.
///
/// # Errors
///
/// [`TargetError::Unreachable`] if it does not answer in time.
pub async fn version(desktop: &DesktopIdentity) -> Result<Value, TargetError> {
    in_time(async {
        let connection = Connection::open(&Devtools::of(desktop)).await?;
        Ok(connection.call(None, "Browser.getVersion", json!({})).await?)
    })
    .await
}

/// Returns the pages of the browser, in its order. Workers, frames and extensions are left out.
///
/// # Errors
///
/// [`TargetError::Unreachable`] if the browser does not answer in time.
pub async fn pages(desktop: &DesktopIdentity) -> Result<Vec<Page>, TargetError> {
    in_time(async { pages_of(&Connection::open(&Devtools::of(desktop)).await?).await }).await
}

async fn pages_of(connection: &Connection) -> Result<Vec<Page>, TargetError> {
    let said = connection.call(None, "Target.getTargets", json!({})).await?;
    let found = said.get("targetInfos").and_then(Value::as_array);
    let is_page = |info: &&Value| info.get("type").and_then(Value::as_str) == Some("page");
    let pages = found.into_iter().flatten().filter(is_page);
    Ok(pages.filter_map(|info| Page::deserialize(info).ok()).collect())
}

/// Returns the page with this id.
///
/// # Errors
///
/// [`TargetError::Unknown`] if the browser has no such page.
pub(super) async fn page(desktop: &DesktopIdentity, id: &TargetId) -> Result<Page, TargetError> {
    find(pages(desktop).await?, id)
}

fn find(pages: Vec<Page>, id: &TargetId) -> Result<Page, TargetError> {
    let found = pages.into_iter().find(|page| page.id == *id);
    found.ok_or_else(|| TargetError::Unknown(id.clone()))
}

/// A command of discovery.
#[derive(Debug, Clone)]
pub enum Command {
    /// Opens a page at an address.
    Open(String),
    /// Closes a page of the browser.
    Close(TargetId),
    /// Brings a page to the front.
    Activate(TargetId),
}

impl Command {
    fn method(&self) -> &'static str {
        match self {
            Self::Open(_) => "Target.createTarget",
            Self::Close(_) => "Target.closeTarget",
            Self::Activate(_) => "Target.activateTarget",
        }
    }

    fn params(&self) -> Value {
        match self {
            Self::Open(url) => json!({ "url": url }),
            Self::Close(id) | Self::Activate(id) => json!({ "targetId": id.as_str() }),
        }
    }

    /// Executes the command, and returns the page that it was about.
    async fn execute(&self, connection: &Connection) -> Result<Page, TargetError> {
        let known = match self {
            Self::Open(_) => None,
            Self::Close(id) | Self::Activate(id) => Some(find(pages_of(connection).await?, id)?),
        };
        let done = connection.call(None, self.method(), self.params()).await?;
        match (known, self) {
            (Some(page), _) => Ok(page),
            (None, Self::Open(url)) => {
                let id = done.get("targetId").and_then(Value::as_str).unwrap_or_default();
                let id: TargetId = id
                    .parse()
                    .map_err(|_odd| TargetError::Failed("it named no page".to_owned()))?;
                let found = find(pages_of(connection).await?, &id);
                // The page may have closed itself already.
                Ok(found.unwrap_or(Page { id, title: String::new(), url: url.clone() }))
            }
            (None, Self::Close(id) | Self::Activate(id)) => Err(TargetError::Unknown(id.clone())),
        }
    }
}

/// A client that gives commands of discovery, and whose credential was checked.
#[derive(Debug)]
pub struct Commander {
    /// The session of the browser.
    pub session: SessionId,
    /// The view of the session.
    pub view: watch::Receiver<SessionView>,
    /// The credential that the client presented.
    pub ground: Ground,
}

/// Executes a command of discovery as a driver of the session, and returns the page that it was about.
///
/// # Errors
///
/// See [`TargetError`]. After [`TargetError::Unreachable`] the command may have been executed.
pub async fn command(
    live: &Live,
    commander: Commander,
    command: &Command,
) -> Result<Page, TargetError> {
    let Commander { session, mut view, ground } = commander;
    let organization = view.borrow().record.organization;
    let ends = over(view.clone(), ground, live.world.clock, live.closing.clone());
    let work = async {
        running(&mut view).await?;
        let drive = Route { organization, session, message: Drive };
        let _driving = live.registry.ask(drive).await.map_err(RouteError::from)??;
        check(live, session, command)?;
        released(live, &mut view).await?;
        let desktop = running(&mut view).await?;
        in_time(async { command.execute(&Connection::open(&Devtools::of(&desktop)).await?).await })
            .await
    };
    tokio::select! {
        biased;
        close = ends => Err(TargetError::Over(close)),
        done = work => done,
    }
}

/// Applies the rules for drivers' commands.
fn check(live: &Live, session: SessionId, command: &Command) -> Result<(), TargetError> {
    let rules = live.devtools.rules.clone();
    if !rules.hold() {
        return Ok(());
    }
    let judge = Judge::new(rules, live.world.directories.of(session).downloads(), Vec::new());
    let message = json!({ "id": 1, "method": command.method(), "params": command.params() });
    judge
        .refusal(message.to_string().as_bytes())
        .map_or(Ok(()), |why| Err(TargetError::Forbidden(why)))
}

/// Resolves when no person has control, as far as the session's `on_takeover` wants it.
async fn released(live: &Live, view: &mut watch::Receiver<SessionView>) -> Result<(), TargetError> {
    let wait = match on_takeover(&view.borrow().record, live) {
        OnTakeover::Share => return Ok(()),
        OnTakeover::Refuse => Duration::ZERO,
        OnTakeover::Hold => HELD,
    };
    let free = view.wait_for(|view| view.control.user().is_none());
    let has_ended = match timeout(wait, free).await {
        Ok(Ok(_free)) => return Ok(()),
        Ok(Err(_closed)) => true,
        Err(_late) => false,
    };
    let view = view.borrow();
    match view.control.user().filter(|_user| !has_ended) {
        Some(user) => {
            let refusal = Refusal::Held { label: user.label.clone(), until: user.expires_at() };
            Err(SessionError::Control(refusal).into())
        }
        None if has_ended => Err(SessionError::Closing.into()),
        None => Ok(()),
    }
}
