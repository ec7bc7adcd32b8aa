//! Links to files that need no key, because pages and pictures cannot set headers.
//!
//! A link is signed on behalf of the API key that it was made with. It ends with that key, or at its
//! time, which is never further ahead than `http.signed_link_seconds`. Links in a webhook's message are
//! of the key that signs the message. A link to a file of a session carries the number of the session's
//! rotation, and ends when the session's credentials are replaced.

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::ids::{ApiKeyId, ArtifactId, OrganizationId};
use crate::domain::run::ArtifactRecord;
use crate::service::core::Core;
use crate::service::keys::Caller;

/// Makes links for a caller.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    /// The clock, the life of links and their start.
    pub core: &'a Core,
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
pub fn claim(
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
        let expires_at = end_of_link(self.core.world.clock.now(), self.core.link_life);
        let (id, organization, expires) = (record.id, record.organization, expires_at.timestamp());
        let signature = signer.sign(&claim(id, organization, key, expires, record.rotation));
        let base = self.core.base_url();
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
