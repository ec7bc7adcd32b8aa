//! Links to files that need no key, because pages and pictures cannot set headers.
//!
//! A link is signed on behalf of the API key that it was made with. It ends with that key, or at its
//! time, which is never further ahead than `http.signed_link_seconds`. Links in a webhook's message are
//! of the key that signs the message. A link to a file of a session carries the number of the session's
//! rotation, and ends when the session's credentials are replaced.

use actix_web::http::StatusCode;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Caller;
use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use super::ui_session::CLOCK_SKEW;
use crate::domain::ids::{ApiKeyId, ArtifactId, OrganizationId};
use crate::domain::run::ArtifactRecord;

/// Makes links for a caller.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    pub front: &'a Front,
    /// The caller whose key signs.
    pub caller: Caller,
}

/// A URL that needs no key until it expires.
#[derive(Debug, Serialize, ToSchema)]
pub struct SignedUrl {
    /// The file's id, `a_…`.
    pub artifact_id: String,
    /// The address of the content.
    pub signed_url: String,
    /// The time at which the link expires.
    pub expires_at: DateTime<Utc>,
}

/// The text that is signed: the file, its organization, the key, the end, and the rotation unless it is 0,
/// as in the links of versions without rotations.
fn claim(
    id: ArtifactId,
    organization: OrganizationId,
    key: ApiKeyId,
    expires: i64,
    rotation: i64,
) -> String {
    let since = if rotation == 0 { String::new() } else { format!(" since rotation {rotation}") };
    format!("artifact {id} of {organization} by {key} until {expires}{since}")
}

/// Returns the end of a link made at `now`: at most `life` ahead, and at least half of it. Within
/// each half of a life the end is the same, and so is the link, which makes it cacheable.
fn end_of_link(now: DateTime<Utc>, life: TimeDelta) -> DateTime<Utc> {
    let half = life / 2;
    now.duration_trunc(half).unwrap_or(now) + half * 2
}

impl Links<'_> {
    /// Returns the link at which a file can be read without a key.
    pub fn of(&self, record: &ArtifactRecord) -> SignedUrl {
        let Caller { key, signer, .. } = self.caller;
        let expires_at = end_of_link(self.front.world.clock.now(), self.front.link_life);
        let (id, organization, expires) = (record.id, record.organization, expires_at.timestamp());
        let signature = signer.sign(&claim(id, organization, key, expires, record.rotation));
        let base = self.front.base_url();
        let rotation = match record.rotation {
            0 => String::new(),
            rotation => format!("&rotation={rotation}"),
        };
        let query = format!(
            "organization={organization}&key={key}&expires={expires}{rotation}&signature={signature}"
        );
        let signed_url = format!("{base}/v1/artifacts/{id}/content?{query}");
        SignedUrl { artifact_id: id.to_string(), signed_url, expires_at }
    }
}

/// The query parameters of a signed URL.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Signature {
    organization: Option<String>,
    key: Option<String>,
    expires: Option<i64>,
    rotation: i64,
    signature: Option<String>,
}

impl Signature {
    /// True if the request carries a signature.
    pub fn is_given(&self) -> bool {
        self.signature.is_some()
    }

    /// Returns the organization of the file, if the request names it and a valid key of it has made
    /// the signature.
    ///
    /// # Errors
    ///
    /// 403 if the signature is missing, wrong or expired.
    pub async fn organization(
        &self,
        id: ArtifactId,
        front: &Front,
    ) -> Result<OrganizationId, ApiError> {
        let refused =
            |detail: String| Problem::new(StatusCode::FORBIDDEN, "signature_invalid", detail);
        let organization = self.organization.as_ref().and_then(|text| text.parse().ok());
        let key = self.key.as_ref().and_then(|text| text.parse().ok());
        let (Some(organization), Some(key), Some(expires), Some(signature)) =
            (organization, key, self.expires, &self.signature)
        else {
            return Err(refused("the URL is not complete".to_owned()).into());
        };
        let signer = front.keys.signer(organization, key).await?;
        let claim = claim(id, organization, key, expires, self.rotation);
        if !signer.is_some_and(|signer| signer.has_signed(&claim, signature)) {
            let why = "the URL was not signed by this server, or the key that it was made with is revoked";
            return Err(refused(why.to_owned()).into());
        }
        let now = front.world.clock.now();
        if expires <= now.timestamp() {
            let why = "the URL has expired; get another at …/signed-url";
            return Err(refused(why.to_owned()).into());
        }
        if expires > (now + front.link_life + CLOCK_SKEW).timestamp() {
            let longest = front.link_life.num_seconds();
            let why = format!(
                "the URL would live for more than {longest} s (http.signed_link_seconds); ask for another \
                 at …/signed-url"
            );
            return Err(refused(why).into());
        }
        Ok(organization)
    }

    /// Checks that the credentials of the file's session have not been replaced since the URL was made.
    ///
    /// # Errors
    ///
    /// 403 if they have.
    pub fn check_rotation(&self, record: &ArtifactRecord) -> Result<(), Problem> {
        if !self.is_given() || self.rotation == record.rotation {
            return Ok(());
        }
        let why = "the credentials of the file's session were replaced after this URL was made; ask for \
                   another at …/signed-url";
        Err(Problem::new(StatusCode::FORBIDDEN, "signature_invalid", why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_lives_for_its_life_at_most_and_half_of_it_at_least() {
        let life = TimeDelta::hours(2);
        let end = |now| end_of_link(DateTime::from_timestamp(now, 0).unwrap(), life).timestamp();
        assert_eq!(end(3_600), 3 * 3_600);
        assert_eq!(end(2 * 3_600 - 1), 3 * 3_600);
        assert_eq!(end(2 * 3_600), 4 * 3_600);
    }
}
