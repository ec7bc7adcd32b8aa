//! The field `settings` of a request: the browser as pages see it.

use std::time::Duration;

use actix_web::http::StatusCode;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::domain::browser_flags::BrowserChoices;
use crate::domain::browser_policies;
use crate::domain::browser_settings::{BrowserSettings, InvalidSetting, SettingsPatch};
use crate::domain::certificates;
use crate::domain::client_certificates;
use crate::domain::ids::ExtensionId;
use crate::http::caller::Caller;
use crate::http::extensions;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;

/// The most extensions of a session.
pub(super) const MOST_EXTENSIONS: usize = 10;

/// The extensions that a request asks for.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// The ids and names of existing ones.
    pub(super) known: Vec<String>,
    /// The ids of others, with their places in the list.
    pub(super) missing: Vec<(usize, String)>,
    /// The names that are not known here, such as those of the compatible API.
    pub(super) others: Vec<String>,
}

impl Chosen {
    /// Finds the extensions of a request.
    pub(super) async fn read(
        asked: Option<&[String]>,
        front: &Front,
        caller: Caller,
    ) -> Result<Self, Problem> {
        let mut chosen = Self::default();
        for (index, name) in asked.unwrap_or_default().iter().take(MOST_EXTENSIONS).enumerate() {
            let is_configured = front.world.settings.browsers.extensions.contains(name);
            match name.parse::<ExtensionId>() {
                Ok(_) | Err(_) if chosen.known.contains(name) => {}
                Ok(id) if extensions::find(front, caller, id).await?.is_some() => {
                    chosen.known.push(name.clone());
                }
                Ok(_) => chosen.missing.push((index, name.clone())),
                Err(_) if is_configured => chosen.known.push(name.clone()),
                Err(_) => chosen.others.push(name.clone()),
            }
        }
        Ok(chosen)
    }
}

/// The choices that a client has, and the time at which it chooses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) choices: &'a BrowserChoices,
    pub(super) now: DateTime<Utc>,
}

impl<'a> Terms<'a> {
    /// Returns the terms of this server at present.
    pub(super) fn of(front: &'a Front) -> Self {
        Self { choices: &front.world.settings.browsers, now: front.world.clock.now() }
    }
}

/// The client certificates that are opened at once: the clients choose how long one takes.
static OPENING: Semaphore = Semaphore::const_new(2);

/// The longest wait for the others, and the longest time for the client certificates of a request.
const OPENS: Duration = Duration::from_secs(10);

/// Opens the client certificates of a change. Their faults are reported with
/// those of the other settings.
///
/// # Errors
///
/// 503 while too many others are being opened.
pub(super) async fn open(patch: &mut Option<SettingsPatch>, front: &Front) -> Result<(), Problem> {
    let given = patch.as_ref().and_then(SettingsPatch::unopened).map(<[_]>::to_vec);
    let Some(given) = given else { return Ok(()) };
    let now = front.world.clock.now();
    let Ok(Ok(permit)) = timeout(OPENS, OPENING.acquire()).await else {
        let detail = "other client certificates are being opened: try again in some seconds";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        return Err(problem.retryable());
    };
    let work = spawn_blocking(move || {
        let _permit = permit;
        client_certificates::open(&given, now)
    });
    let opened = match timeout(OPENS, work).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(cause)) => {
            tracing::error!("the reader of client certificates panicked: {cause}");
            Err(vec![(String::new(), "they could not be read".to_owned())])
        }
        Err(_late) => {
            let reason = "they take too long to open: export them with fewer iterations";
            Err(vec![(String::new(), reason.to_owned())])
        }
    };
    *patch = patch.take().map(|patch| patch.opened(opened));
    Ok(())
}

/// Returns the settings of a new session. Wrong ones are added to `fields`.
pub(super) fn new(
    patch: Option<&SettingsPatch>,
    browser_type: Option<&str>,
    terms: Terms<'_>,
    fields: &mut Fields,
) -> BrowserSettings {
    let settings = patch.map(|patch| patch.applied_to(&BrowserSettings::default()));
    let settings = settings.unwrap_or_default();
    check(&settings, terms, fields);
    check_certificates(patch, fields);
    let choices = terms.choices;
    let executable = browser_type
        .and_then(|name| fields.check("browser_type", name, choices.executable(name)).flatten());
    BrowserSettings { executable, ..settings }
}

fn check(settings: &BrowserSettings, Terms { choices, now }: Terms<'_>, fields: &mut Fields) {
    refuse(settings.invalid(), fields);
    if let Err((index, reason)) = choices.check_flags(&settings.flags) {
        let flag = settings.flags.get(index).cloned();
        fields.refuse(&format!("settings.flags[{index}]"), flag.unwrap_or_default(), reason);
    }
    for (path, reason) in certificates::problems(&settings.ca_certificates, now) {
        fields.refuse(&format!("settings.ca_certificates{path}"), Value::Null, reason);
    }
    for (path, reason) in browser_policies::problems(&settings.policies, &choices.policies) {
        fields.refuse(&format!("settings.policies{path}"), Value::Null, reason);
    }
}

fn check_certificates(patch: Option<&SettingsPatch>, fields: &mut Fields) {
    let problems = patch.map(SettingsPatch::certificate_problems).unwrap_or_default();
    for (path, reason) in problems {
        let field = format!("settings.client_certificates{path}");
        fields.refuse(&field, Value::Null, reason.as_str());
    }
}

/// Checks a change to the settings of a session. A browser that `runs` keeps some of them.
pub(super) fn check_change(
    patch: &SettingsPatch,
    settings: &BrowserSettings,
    terms: Terms<'_>,
    runs: bool,
    fields: &mut Fields,
) {
    // Settings that stay were checked when they were given.
    check(&patch.applied_to(&BrowserSettings::default()), terms, fields);
    check_certificates(Some(patch), fields);
    if runs {
        refuse(patch.fixed(settings), fields);
    }
}

fn refuse(settings: Vec<InvalidSetting>, fields: &mut Fields) {
    for InvalidSetting { field, input, reason } in settings {
        fields.refuse(&format!("settings.{field}"), input, reason);
    }
}
