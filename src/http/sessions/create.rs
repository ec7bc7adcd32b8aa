//! `POST /v1/browser_sessions`: makes a session, and answers when its browser is ready.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;
use utoipa::ToSchema;

use super::settings::{Chosen, MOST_EXTENSIONS};
use super::{SessionResource, recordings, settings, storage_state};
use crate::actors::ask::Address;
use crate::actors::registry::{Create, Created, Registry, RegistryError, Route, Start};
use crate::actors::session::{Close, ENDS_VACANT, STORAGE_STATE};
use crate::actors::views::SessionView;
use crate::db;
use crate::db::store::StoreError;
use crate::domain::browser_settings::{BrowserSettings, SettingsPatch};
use crate::domain::control::OnTakeover;
use crate::domain::film::Asked;
use crate::domain::ids::{OrganizationId, ProfileId, SessionId};
use crate::domain::labels::{Name, Tags};
use crate::domain::occupancy::Generation;
use crate::domain::profile::{ProfileAccess, ProfileRecord, ProfileUse};
use crate::domain::session::{SessionSpec, SessionStatus, Size};
use crate::http::body::{RawBody, beside, parse};
use crate::http::caller::Caller;
use crate::http::counting;
use crate::http::egress::EgressRequest;
use crate::http::error::{ApiError, failed_start};
use crate::http::front::Front;
use crate::http::idempotency::{Named, Once};
use crate::http::problem::{Detail, Problem};
use crate::http::proxy;
use crate::http::validation::{Fields, PathStep};
use crate::http::warnings::Warnings;
use crate::service::profiles;
use crate::system::storage_state::StorageState;

/// The request for a session. The first fields are the compatible API's; the last are ours.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = SessionRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    url: Option<String>,
    timeout: Option<i64>,
    proxy_location: Value,
    proxy_session_id: Option<String>,
    /// The ids of uploaded extensions, and names in the setting `desktop.extensions`.
    extensions: Option<Vec<String>>,
    /// The name of a browser in the setting `desktop.executables`, or `chromium`.
    browser_type: Option<String>,
    /// The profile from which the session starts, `bp_…`. It is stored as a new version when the
    /// session ends, unless another session may write to it.
    browser_profile_id: Option<String>,
    /// True to store the profile when the session ends: as a version of `browser_profile_id`, else as
    /// a new profile, whose id the answer has.
    generate_browser_profile: bool,
    /// The permission for the profile: `auto` to write to it unless another session does, `write` to
    /// be refused then, `copy` to never write to it.
    #[schema(value_type = Option<String>)]
    browser_profile_access: Option<AccessWish>,
    needs_live_view: bool,
    /// A name, unique among the organization's sessions that have not ended.
    name: Option<String>,
    /// Tags, by which sessions are listed: at most 20 of up to 64 characters.
    tags: Vec<String>,
    width: Option<u32>,
    height: Option<u32>,
    timeout_seconds: Option<u64>,
    start_url: Option<String>,
    wait_seconds: Option<u64>,
    /// The effect of a person's control on drivers' commands: `hold`, `refuse` or `share`.
    #[schema(value_type = Option<String>)]
    on_takeover: Option<OnTakeover>,
    /// True for a recording of the session, or its options: `{frame_rate, width, format}`.
    #[schema(value_type = Option<Object>)]
    record: Option<Asked>,
    /// The targets that the session's programs may reach, and a proxy: `{allow, deny, upstream}`.
    /// Rules are a host, `*.host`, an address or a network, each with ports if wanted:
    /// `intra.example:8080`, `10.0.0.0/8:80,443`.
    #[schema(value_type = Option<Object>)]
    egress: Option<EgressRequest>,
    /// True to clear each occupant's data before the next one begins, see `POST …/sanitize`.
    sanitize_on_release: bool,
    /// Cookies and storage that the browser gets before its start page, in the form of Playwright's
    /// `storageState`; see `PUT …/storage_state`.
    #[schema(value_type = Option<Object>)]
    storage_state: Option<StorageState>,
    /// The browser as pages see it: `{locale, timezone, geolocation: {latitude, longitude,
    /// accuracy}, user_agent, color_scheme, device_scale_factor, mobile: {width, height},
    /// flags, http_credentials: [{origin, username, password}], ca_certificates: [PEM],
    /// client_certificates: [{origin, pfx_base64, passphrase} or {origin, cert_pem, key_pem}],
    /// policies: {name: value}}`. No answer has a password or a key.
    #[schema(value_type = Option<Object>)]
    settings: Option<SettingsPatch>,
    /// True to end the session when its holder has left.
    #[serde(skip)]
    ends_vacant: bool,
}

/// The options of a session that a client makes by connecting to it.
#[derive(Debug, Clone, Default)]
pub struct Connecting {
    /// As the fields of a [`Request`] with these names.
    pub name: Option<String>,
    pub browser_profile_id: Option<String>,
    pub tags: Vec<String>,
    pub start_url: Option<String>,
    pub timeout: Option<i64>,
    pub timeout_seconds: Option<u64>,
    /// True to end the session when its holder has left.
    pub ends_vacant: bool,
}

impl From<Connecting> for Request {
    fn from(connecting: Connecting) -> Self {
        let Connecting { name, browser_profile_id, tags, start_url, .. } = connecting;
        let Connecting { timeout, timeout_seconds, ends_vacant, .. } = connecting;
        Self {
            name,
            browser_profile_id,
            tags,
            start_url,
            timeout,
            timeout_seconds,
            ends_vacant,
            ..Self::default()
        }
    }
}

/// The default time to wait for the browser, in seconds. Clients of the compatible API time out
/// after 60 s.
const WAIT_SECONDS: u64 = 45;

/// Makes a session, and answers when its browser is ready.
#[utoipa::path(
    post,
    path = "/v1/browser_sessions",
    tag = "Browser sessions",
    params(("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key create one session")),
    request_body = Request,
    responses(
        (status = 200, description = "The session", body = SessionResource),
        (status = 404, description = "There is no such browser profile"),
        (status = 409, description = "Another session has the name; The key was used for another request, or for a request in progress; or another session writes to the profile"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 424, description = "The browser could not be started"),
        (status = 429, description = "The limit of sessions, or of browser profiles, is reached"),
    ),
)]
pub async fn create(
    caller: Caller,
    RawBody(body): RawBody,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let once = Once::of(caller, &request, "POST /v1/browser_sessions", &body, &front)?;
    let asked = beside(body, |bytes| {
        let mut asked: Request = parse(bytes).map_err(without_state)?;
        let state = asked.storage_state.take();
        let state =
            state.map(|state| storage_state::checked(state, "storage_state")).transpose()?;
        Ok((asked, state.map(Arc::new)))
    });
    let (mut asked, state) = asked.await?;
    settings::open(&mut asked.settings, &front).await?;
    once.answer(async move |named| make(&front, caller, &asked, state.as_ref(), named).await).await
}

/// Returns a problem that repeats no value of a storage state in a field `storage_state`.
pub fn without_state(problem: Problem) -> Problem {
    let is_state =
        |step: &PathStep| matches!(step, PathStep::Name(name) if name == "storage_state");
    let is_about_state = match &problem.detail {
        Detail::Fields(fields) => fields.iter().any(|field| field.loc.iter().any(is_state)),
        Detail::Text(_) => false,
    };
    if is_about_state { storage_state::without_values(problem) } else { problem }
}

/// Makes a session of a request in JSON, without a storage state and without an idempotency key.
///
/// # Errors
///
/// Those of `POST /v1/browser_sessions`.
pub async fn from_json(
    front: &Front,
    caller: Caller,
    request: Value,
) -> Result<SessionResource, ApiError> {
    let request: Request = parse(request.to_string().as_bytes())?;
    make(front, caller, &request, None, None).await
}

async fn make(
    front: &Front,
    caller: Caller,
    request: &Request,
    storage_state: Option<&Arc<StorageState>>,
    named: Option<Named<SessionId>>,
) -> Result<SessionResource, ApiError> {
    let (view, warning) = made(front, caller, request, storage_state, named).await?;
    if let Some(failure) = &view.record.failure {
        let problem = failed_start(failure).with("browser_session_id", view.record.id);
        return Err(problem.into());
    }
    Ok(SessionResource { warning, ..SessionResource::of(&view, front) })
}

/// Makes a session, and waits until its browser is ready or has failed. Returns its view, and a warning
/// about values that were not granted.
///
/// # Errors
///
/// Those of [`create`], but for a browser that could not be started.
pub(in crate::http) async fn made(
    front: &Front,
    caller: Caller,
    request: &Request,
    storage_state: Option<&Arc<StorageState>>,
    named: Option<Named<SessionId>>,
) -> Result<(SessionView, Option<String>), ApiError> {
    let wait = Duration::from_secs(request.wait_seconds.unwrap_or(WAIT_SECONDS).min(WAIT_SECONDS));
    // Before anything is asked of others. A session that was made before is found again.
    if named.as_ref().is_none_or(|named| !named.again) {
        front.world.quotas.check_session(&front.world.views, caller.organization)?;
        if request.generate_browser_profile && request.browser_profile_id.is_none() {
            profiles::check_room(front, caller.organization).await?;
        }
    }
    if let Some(params) = request.record.and_then(Asked::options) {
        recordings::check(&params, "record", front)?;
        front.check_storage(caller.organization).await?;
    }
    let extensions = Chosen::read(request.extensions.as_deref(), front, caller).await?;
    let (mut spec, warning) = request.spec(front, extensions)?;
    if storage_state.is_some()
        && let Value::Object(echo) = &mut spec.echo
    {
        echo.insert(STORAGE_STATE.to_owned(), true.into());
    }
    if request.ends_vacant
        && let Value::Object(echo) = &mut spec.echo
    {
        echo.insert(ENDS_VACANT.to_owned(), true.into());
    }
    let organization = caller.organization;
    spec.profile = request.profile(front, organization).await?;
    if let Some(name) = &spec.name
        && named.as_ref().is_none_or(|named| !named.again)
    {
        refuse_taken(front, organization, name, None).await?;
    }
    let known = match named.filter(|named| named.again) {
        Some(Named { id, .. }) => db::sessions::by_id(&front.db, organization, id).await?,
        None => None,
    };
    // A session that has ended, or lives on another node, is not made again.
    let node = front.world.node;
    let lives = known.is_none_or(|known| !known.status.is_final() && known.node == node);
    let id = named.map(|named| named.id);
    let view = match (id, lives) {
        (Some(id), false) => super::find(front, organization, id).await?,
        (_, true) | (None, false) => {
            let must_write = request.browser_profile_access == Some(AccessWish::Write);
            let start = Start::Now;
            let storage_state = storage_state.cloned();
            let create =
                Create { organization, spec, start, run: None, id, must_write, storage_state };
            let name = create.spec.name.clone();
            let created = front.registry.ask(create).await?;
            if let (Err(RegistryError::NotStored(StoreError::Rejected(_))), Some(name)) =
                (&created, &name)
            {
                // Another session has taken the name meanwhile.
                refuse_taken(front, organization, name, None).await?;
            }
            let Created { id, mut view } = created?;
            let unclaimed = Unclaimed::of(front, organization, id, named.is_none());
            let settled = view.wait_for(|view| view.record.status != SessionStatus::Created);
            counting::waits();
            let _ = timeout(wait, settled).await; // On a timeout: still `created`.
            unclaimed.claimed();
            view.borrow().clone()
        }
    };
    Ok((view, warning))
}

/// Refuses a name that another session of the organization has than `own`, if that has not ended.
pub(super) async fn refuse_taken(
    front: &Front,
    organization: OrganizationId,
    name: &Name,
    own: Option<SessionId>,
) -> Result<(), ApiError> {
    let live = db::sessions::active(&front.db, organization).await?;
    let mut others = live.iter().filter(|session| Some(session.id) != own);
    let Some(other) = others.find(|session| session.spec.name.as_ref() == Some(name)) else {
        return Ok(());
    };
    let detail = format!("session {} has the name `{name}`: close it, or choose another", other.id);
    let problem = Problem::new(actix_web::http::StatusCode::CONFLICT, "name_taken", detail);
    Err(problem.with("browser_session_id", other.id).into())
}

/// A session whose client waits for the response with its id. If the client disconnects first, no client
/// knows the session, and it is closed.
struct Unclaimed {
    registry: Address<Registry>,
    organization: OrganizationId,
    id: Option<SessionId>,
}

impl Unclaimed {
    fn of(front: &Front, organization: OrganizationId, id: SessionId, nameless: bool) -> Self {
        let registry = front.registry.clone();
        Self { registry, organization, id: nameless.then_some(id) }
    }

    /// Keeps the session: the client is about to get the answer.
    fn claimed(mut self) {
        self.id = None;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        let Some(session) = self.id.take() else { return };
        tracing::info!(session.id = %session, "session {session} is closed: its client left before the answer");
        let message = Close { status: SessionStatus::Completed };
        let route = Route { organization: self.organization, session, message };
        self.registry.notify(route); // The outcome is stored.
    }
}

impl Request {
    /// Returns the specification of the session, and a warning about values that were not granted.
    fn spec(
        &self,
        front: &Front,
        extensions: Chosen,
    ) -> Result<(SessionSpec, Option<String>), Problem> {
        let mut fields = Fields::new();
        let count = self.extensions.as_ref().map_or(0, Vec::len);
        let wrong = format!("expected at most {MOST_EXTENSIONS} extensions");
        fields.require("extensions", count, count <= MOST_EXTENSIONS, wrong);
        for (index, id) in extensions.missing {
            fields.refuse(&format!("extensions[{index}]"), id, "there is no such extension");
        }
        let size = Size::default();
        let width = self.width.unwrap_or_else(|| size.width().into());
        let height = self.height.unwrap_or_else(|| size.height().into());
        fields.check("width", width, Size::side(width));
        fields.check("height", height, Size::side(height));
        let (lifetime, capped) = self.lifetime(front, &mut fields);
        let start_url = self.start_url(&mut fields);
        let proxy = proxy::proxy(&self.proxy_location, "proxy_location", &mut fields);
        let (egress, proxy) = EgressRequest::read(self.egress.as_ref(), proxy, &mut fields);
        let contradicts =
            self.generate_browser_profile && self.browser_profile_access == Some(AccessWish::Copy);
        let wrong = "a profile of which the session has a copy is not stored";
        fields.require("browser_profile_access", "copy", !contradicts, wrong);
        let name = self.name.as_deref();
        let name = name.and_then(|name| fields.check("name", name, name.parse::<Name>()));
        let tags = fields.check("tags", json!(self.tags), Tags::new(&self.tags));
        if let Some(id) = &self.browser_profile_id {
            let wrong = "expected an id that begins with `bp_`";
            fields.require("browser_profile_id", id.as_str(), id.starts_with("bp_"), wrong);
        }
        let settings = settings::new(
            self.settings.as_ref(),
            self.browser_type.as_deref(),
            settings::Terms::of(front),
            &mut fields,
        );
        fields.finish()?;
        let spec = SessionSpec {
            size: Size::new(width, height).unwrap_or_default(),
            start_url,
            name,
            tags: tags.unwrap_or_default(),
            lifetime,
            proxy,
            egress,
            echo: json!({
                "proxy_location": self.proxy_location,
                "proxy_session_id": self.proxy_session_id,
                "extensions": self.extensions,
                "browser_type": self.browser_type,
                "needs_live_view": self.needs_live_view,
                "on_takeover": self.on_takeover,
                "record": self.record.and_then(Asked::options),
            }),
            sanitize_after: self.sanitize_on_release.then(Generation::default),
            settings: BrowserSettings { extensions: extensions.known, ..settings },
            ..SessionSpec::default()
        };
        let mut warnings = Warnings::default();
        warnings.add(capped);
        warnings.add(proxy::warning(&self.proxy_location));
        let others = extensions.others.join(", ");
        let why = format!("this server has no extensions of the names {others}");
        warnings.no_effect("extensions", !others.is_empty(), &why);
        let pinned = self.proxy_session_id.is_some();
        warnings.no_effect("proxy_session_id", pinned, "this server has no proxies in places");
        Ok((spec, warnings.finish()))
    }

    /// Returns the profile that the session starts from or stores.
    async fn profile(
        &self,
        front: &Front,
        organization: OrganizationId,
    ) -> Result<Option<ProfileUse>, ApiError> {
        let wish = self.browser_profile_access.unwrap_or_default();
        let access = match wish {
            AccessWish::Auto | AccessWish::Write => ProfileAccess::Write,
            AccessWish::Copy => ProfileAccess::Copy,
        };
        let used = match &self.browser_profile_id {
            Some(text) => ProfileUse::written(profile_of(front, organization, text).await?.id),
            None if self.generate_browser_profile => {
                ProfileUse::made(front.world.mint.mint(front.world.clock.now()))
            }
            None => return Ok(None),
        };
        Ok(Some(ProfileUse { access, ..used }))
    }

    /// Returns the lifetime, with a warning if it was capped. As in the compatible API, values
    /// below the least are rejected and those above the most are capped.
    fn lifetime(&self, front: &Front, fields: &mut Fields) -> (Duration, Option<String>) {
        let settings = &front.world.settings;
        let (least, most) = (settings.min_lifetime_seconds, settings.max_lifetime_seconds);
        // Each field is checked if it is given, though `timeout_seconds` takes precedence.
        let minutes =
            self.timeout.map(|minutes| u64::try_from(minutes).unwrap_or(0).saturating_mul(60));
        let fits = minutes.is_none_or(|seconds| seconds >= least);
        let wrong = format!("expected at least {} minutes", least.div_ceil(60));
        fields.require("timeout", self.timeout, fits, wrong);
        let fits = self.timeout_seconds.is_none_or(|seconds| seconds >= least);
        let wrong = format!("expected at least {least} seconds");
        fields.require("timeout_seconds", self.timeout_seconds, fits, wrong);
        let seconds = self.timeout_seconds.or(minutes);
        let seconds = seconds.unwrap_or(settings.default_lifetime_seconds);
        let warning = (seconds > most).then(|| {
            format!("the timeout was capped to {} minutes, the longest allowed", most / 60)
        });
        (Duration::from_secs(seconds.min(most)), warning)
    }

    fn start_url(&self, fields: &mut Fields) -> Option<Url> {
        let mut read = |name: &str, text: Option<&str>| {
            let text = text?;
            let url = Url::parse(text).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https") && url.host().is_some()
                    || url.as_str() == "about:blank"
            });
            fields.check(name, text, url.ok_or("expected an http or https URL"))
        };
        let older = read("url", self.url.as_deref());
        read("start_url", self.start_url.as_deref()).or(older)
    }
}

/// The permission for a profile that a request asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessWish {
    /// To write to the profile, unless another session does.
    #[default]
    Auto,
    /// To write to the profile, or no session.
    Write,
    /// Never to write to the profile.
    Copy,
}

/// Returns the profile that a request names.
///
/// # Errors
///
/// 404 if the organization has none with this id.
pub async fn profile_of(
    front: &Front,
    organization: OrganizationId,
    text: &str,
) -> Result<ProfileRecord, ApiError> {
    let id = text.parse().map_err(|_odd| Problem::unknown::<ProfileId>(text))?;
    Ok(profiles::find(front, organization, id).await?)
}
