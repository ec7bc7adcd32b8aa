//! Tools for people: links to watch, and requests for help.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout_at;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::entry::{Entry, Set};
use super::super::handle::Handle;
use super::super::params::handle;
use crate::actors::registry::Route;
use crate::actors::session::{Invite, Invited};
use crate::actors::tickets::{Ticket, Uses};
use crate::domain::ids::ViewerId;
use crate::domain::ticket::TicketRole;
use crate::http::error::ApiError;
use crate::http::problem::Problem;
use crate::http::sessions::ask_session;
use crate::http::validation::Fields;
use crate::live::agents::Answered;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "live_view",
            Set::More,
            "Make a link with which a person watches the browser live, without a key.",
            live_view,
        )
        .changes(),
        Entry::new(
            "ask_person",
            Set::More,
            "Ask a person to do something in the browser (sign in, solve a captcha, pay). Answers a link for the person \
             and a request id; call again with `request` until the answer is `returned`.",
            ask_person,
        )
        .changes(),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ViewParams {
    /// The handle of the browser.
    browser: String,
    /// The time for which the link is valid, in minutes; 60 by default.
    minutes: Option<u64>,
}

/// Makes a ticket and its link.
async fn invite(
    call: &Call,
    handle: &Handle,
    role: TicketRole,
    label: Option<String>,
    minutes: Option<u64>,
) -> Result<(Ticket, String), ApiError> {
    let settings = &call.front().world.settings;
    let longest = settings.max_ticket_seconds;
    let ttl = minutes.map_or(settings.default_ticket_seconds, |it| it.saturating_mul(60));
    let mut fields = Fields::new();
    let within = (1..=longest).contains(&ttl);
    fields.require("minutes", minutes, within, format!("expected 1 to {}", longest / 60));
    fields.finish()?;
    let Some(bearer) = &call.client.bearer else {
        let detail = "a ticket makes no other tickets: use a key";
        let status = actix_web::http::StatusCode::FORBIDDEN;
        return Err(Problem::new(status, "ticket_insufficient", detail).into());
    };
    if !role.may_be_made_by(bearer.role) {
        let why =
            format!("its role is `{}`, which cannot create such a ticket", bearer.role.as_str());
        return Err(bearer.insufficient(&why).into());
    }
    let ttl = Duration::from_secs(ttl);
    let message = Invite { key: bearer.caller.key, role, label, ttl, uses: Uses::Many };
    let organization = call.client.organization;
    let route = Route { organization, session: handle.session, message };
    let Invited { ticket, secret } = ask_session(call.front(), route).await?;
    let base = call.front().base_url();
    let link = format!("{base}/view/{}#ticket={}", handle.session, secret.reveal());
    Ok((ticket, link))
}

async fn live_view(call: Call, params: ViewParams) -> Result<Answer, ApiError> {
    let handle = handle(&params.browser)?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let (_, link) = invite(&call, &handle, TicketRole::Watch, None, params.minutes).await?;
    Ok(Answer::text(format!("Watch it at {link}")).with("link", link))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AskParams {
    /// The handle of the browser.
    browser: String,
    /// The task for the person, at most 100 characters; the view shows it.
    message: Option<String>,
    /// The id of a former request, to wait for its end.
    request: Option<String>,
    /// The time for which the link is valid, in minutes; 60 by default.
    minutes: Option<u64>,
}

async fn ask_person(call: Call, params: AskParams) -> Result<Answer, ApiError> {
    let handle = handle(&params.browser)?;
    let mut fields = Fields::new();
    let message = params.message.as_deref();
    let fits = message.is_none_or(|message| message.chars().count() <= 100);
    fields.require("message", message, fits, "expected at most 100 characters");
    let one = message.is_some() != params.request.is_some();
    fields.require(
        "request",
        params.request.as_deref(),
        one,
        "expected either `message` or `request`",
    );
    let request = params.request.as_deref().map(str::parse::<ViewerId>).transpose();
    let request = fields.check("request", params.request.as_deref(), request).flatten();
    fields.finish()?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let front = call.front();
    let asks = front.mcp.agents.asks(&front.live, &occupancy);
    let Some(request) = request else {
        let label = params.message.clone();
        let (ticket, link) =
            invite(&call, &handle, TicketRole::Control, label, params.minutes).await?;
        let id = ticket.id;
        asks.follow(ticket, occupancy.view.clone(), front.world.clock);
        let mut answer = Answer::data(
            format!("pending: give the person this link: {link}"),
            json!({ "status": "pending", "request": id.to_string(), "link": link }),
        );
        answer.line(format!(
            "They take control there, and return it when they are done. Then call `ask_person` with request `{id}`."
        ));
        return Ok(answer);
    };
    let Some(mut progress) = asks.progress(request) else {
        let detail = "the request is not known, or this server was restarted: ask again with `message`, unless a \
                      `snapshot` shows that it is done";
        let status = actix_web::http::StatusCode::CONFLICT;
        return Err(Problem::new(status, "request_unknown", detail).into());
    };
    let is_over = |it: &Answered| match it {
        Answered::Waiting | Answered::InControl => false,
        Answered::Returned | Answered::Expired | Answered::Ended => true,
    };
    let seen = timeout_at(call.deadline, progress.wait_for(is_over)).await;
    let seen = seen.map(|seen| seen.map_or(Answered::Ended, |seen| *seen));
    let now = seen.unwrap_or_else(|_elapsed| *progress.borrow());
    let (status, text) = match now {
        Answered::Waiting => ("pending", "pending: no person has taken control yet; call again."),
        Answered::InControl => ("pending", "pending: a person has control now; call again."),
        Answered::Returned => {
            ("returned", "returned: the person is done. Take a `snapshot` to see what changed.")
        }
        Answered::Expired => ("expired", "expired: no person used the link in time; ask again."),
        Answered::Ended => ("ended", "ended: the session has ended."),
    };
    Ok(Answer::text(text).with("status", status).with("request", request.to_string()))
}
