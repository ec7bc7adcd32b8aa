//! An attempt to deliver a message, and the state of the message after it.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng as _;
use reqwest::header::RETRY_AFTER;
use tokio::time::{Instant, timeout};
use url::Url;

use super::client::Webhooks;
use super::settings::Settings;
use crate::domain::webhook::{MessageStatus, WebhookMessage};
use crate::workflow::guard::{Guard, Refused};

/// The number of bytes kept of a response body.
const EXCERPT: usize = 1_024;

/// The time limit for the body of a response, once its status is known.
const FOR_EXCERPT: Duration = Duration::from_secs(2);

/// The longest delay that a `Retry-After` header can cause for the end of a run.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(30);

/// The result of an attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// The beginning of the response body.
    pub response: Option<String>,
    /// The reason why the attempt failed; none if it succeeded.
    pub error: Option<String>,
    /// True if further attempts cannot succeed either.
    pub hopeless: bool,
    /// The delay that the server's `Retry-After` header requests.
    pub again_after: Option<Duration>,
    /// The time that the attempt took.
    pub took: Duration,
}

impl Attempt {
    /// Creates the result of an attempt without a response.
    pub(super) fn refused(error: impl ToString, hopeless: bool) -> Self {
        Self { error: Some(error.to_string()), hopeless, ..Self::default() }
    }

    /// Returns the time that the attempt took, in milliseconds.
    pub fn milliseconds(&self) -> i64 {
        i64::try_from(self.took.as_millis()).unwrap_or(i64::MAX)
    }
}

impl Webhooks {
    /// Sends a body once. Redirects are not followed, and addresses are checked as the connection is
    /// made.
    pub async fn send(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Attempt {
        let began = Instant::now();
        let attempt = self.try_to_send(url, headers, body).await;
        Attempt { took: began.elapsed(), ..attempt }
    }

    async fn try_to_send(
        &self,
        url: &str,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Attempt {
        let url = match Url::parse(url.trim()) {
            Ok(url) => url,
            Err(cause) => return Attempt::refused(format!("it is not a URL: {cause}"), true),
        };
        if let Err(refused) = self.guard.check(&url) {
            return Attempt::refused(refused, true);
        }
        let mut request = self.client.post(url.clone()).body(body);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let mut answer = match Guard::send(&url, request).await {
            Ok(answer) => answer,
            Err(cause) => return no_answer(&cause),
        };
        let status = answer.status();
        let asked_for = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let again_after = asked_for.and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let mut excerpt = Vec::new();
        let read = async {
            while excerpt.len() < EXCERPT
                && let Ok(Some(chunk)) = answer.chunk().await
            {
                let left = EXCERPT.saturating_sub(excerpt.len());
                excerpt.extend(chunk.iter().take(left));
            }
        };
        let _ = timeout(FOR_EXCERPT, read).await; // An incomplete excerpt is enough.
        let response = String::from_utf8_lossy(&excerpt).replace('\0', "");
        let error = if status.is_success() {
            None
        } else if status.is_redirection() {
            Some(format!("it answered with status {status}; redirects are not followed"))
        } else {
            Some(format!("it answered with status {status}"))
        };
        Attempt {
            status: Some(status.as_u16()),
            response: Some(response),
            error,
            hopeless: false,
            again_after,
            took: Duration::ZERO,
        }
    }
}

fn no_answer(error: &reqwest::Error) -> Attempt {
    let mut cause: Option<&dyn Error> = Some(error);
    let mut innermost = error.to_string();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Attempt::refused(refused, true);
        }
        innermost = error.to_string();
        cause = error.source();
    }
    let what = if error.is_timeout() { "it did not answer in time".to_owned() } else { innermost };
    Attempt::refused(what, false)
}

/// True if a response with this status is followed by another attempt, for the end of a run. The
/// compatible API uses the same list.
fn is_repeated(status: u16) -> bool {
    matches!(status, 403 | 408 | 425 | 429 | 500..)
}

/// Returns the state of a message after an attempt.
pub(super) fn after(
    settings: &Settings,
    message: &WebhookMessage,
    attempt: &Attempt,
    now: DateTime<Utc>,
) -> WebhookMessage {
    let ended = |status| WebhookMessage {
        status,
        error: attempt.error.clone(),
        finished_at: Some(now),
        ..message.clone()
    };
    if attempt.error.is_none() {
        return ended(MessageStatus::Delivered);
    }
    let tries = u32::try_from(message.attempts).unwrap_or(u32::MAX);
    let doubled = |first: u64| {
        let times = 2_u32.saturating_pow(tries.saturating_sub(1));
        Duration::from_millis(first).saturating_mul(times)
    };
    let (most, wait) = if message.webhook.is_some() {
        let longest = Duration::from_secs(settings.longest_wait_seconds);
        let wait =
            doubled(settings.first_wait_milliseconds).max(attempt.again_after.unwrap_or_default());
        (settings.attempts, wait.min(longest))
    } else {
        let asked_for = attempt.again_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        (settings.run_attempts, doubled(settings.run_first_wait_milliseconds).max(asked_for))
    };
    let refused = message.webhook.is_none() && attempt.status.is_some_and(|it| !is_repeated(it));
    let gone = message.webhook.is_some() && attempt.status == Some(410);
    // Random, so that messages that failed together are not retried together.
    let wait = wait.mul_f64(rand::rng().random_range(1.0..1.25));
    let due_at = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1));
    let too_late = message.created_at + Duration::from_secs(settings.give_up_seconds) < due_at;
    if attempt.hopeless || refused || gone || tries >= most || too_late {
        return ended(MessageStatus::Failed);
    }
    WebhookMessage { error: attempt.error.clone(), due_at, ..message.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventKind;

    fn message(of_run: bool, attempts: i32) -> WebhookMessage {
        let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        WebhookMessage {
            id: 1.into(),
            organization: 1.into(),
            webhook: (!of_run).then(|| 1.into()),
            run: None,
            session: None,
            event: None,
            kind: EventKind::RunEnded,
            url: "https://a.example/".to_owned(),
            body: None,
            status: MessageStatus::Pending,
            attempts,
            error: None,
            due_at: at,
            created_at: at,
            finished_at: None,
        }
    }

    fn answered(status: u16) -> Attempt {
        let error = (status >= 300).then(|| "no".to_owned());
        Attempt { status: Some(status), error, ..Attempt::default() }
    }

    /// Checks the seconds until the next attempt, without the random part, or the final status.
    #[track_caller]
    fn check(message: &WebhookMessage, attempt: &Attempt, expected: Result<i64, MessageStatus>) {
        let next = after(&Settings::default(), message, attempt, message.created_at);
        let wait = (next.due_at - message.created_at).num_milliseconds();
        let got = if next.status == MessageStatus::Pending { Ok(wait) } else { Err(next.status) };
        match (got, expected) {
            (Ok(wait), Ok(seconds)) => {
                let (least, most) = (seconds * 1_000, seconds * 1_250);
                assert!((least..=most).contains(&wait), "{wait} ms, not {seconds} s");
            }
            (got, expected) => assert_eq!(got.err(), expected.err(), "{attempt:?}"),
        }
    }

    #[test]
    fn the_end_of_a_run_is_told_three_times_as_the_compatible_api_does() {
        let failed = Err(MessageStatus::Failed);
        check(&message(true, 1), &answered(204), Err(MessageStatus::Delivered));
        check(&message(true, 1), &answered(503), Ok(1));
        check(&message(true, 2), &answered(403), Ok(2));
        check(&message(true, 3), &answered(500), failed);
        check(&message(true, 1), &answered(404), failed);
        check(&message(true, 1), &answered(302), failed);
        let late = Attempt::refused("it did not answer in time", false);
        check(&message(true, 1), &late, Ok(1));
        check(&message(true, 1), &Attempt::refused("private", true), failed);
        let later = Attempt { again_after: Some(Duration::from_secs(90)), ..answered(429) };
        check(&message(true, 1), &later, Ok(30));
    }

    #[test]
    fn an_event_is_told_again_after_any_failure_ever_more_slowly_until_it_is_given_up() {
        let failed = Err(MessageStatus::Failed);
        check(&message(false, 1), &answered(404), Ok(5));
        check(&message(false, 4), &answered(302), Ok(40));
        check(&message(false, 9), &answered(500), Ok(1_280));
        check(&message(false, 10), &answered(500), failed);
        check(&message(false, 1), &answered(410), failed);
        let mut old = message(false, 2);
        old.created_at -= TimeDelta::hours(24);
        let next = after(&Settings::default(), &old, &answered(500), old.due_at);
        assert_eq!(next.status, MessageStatus::Failed);
    }
}
