//! Signed links to files, as requests present them.
//!
//! Links are made in [`resources::links`](crate::service::resources::links).

use actix_web::http::StatusCode;
use serde::Deserialize;

use super::error::ApiError;
use super::front::Front;
use super::problem::Problem;
use crate::domain::ids::{ApiKeyId, ArtifactId, OrganizationId};
use crate::domain::run::ArtifactRecord;
use crate::service::keys::CLOCK_SKEW;
use crate::service::resources::links::claim;

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

    /// Returns the key that the URL names as that of its signature.
    pub fn key(&self) -> Option<ApiKeyId> {
        self.key.as_ref().and_then(|text| text.parse().ok())
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
        let (Some(organization), Some(key), Some(expires), Some(signature)) =
            (organization, self.key(), self.expires, &self.signature)
        else {
            return Err(refused("the URL is not complete".to_owned()).into());
        };
        let signer = front.keys.signer(organization, key).await?;
        let claim = claim(id, organization, key, expires, self.rotation);
        if !signer.is_some_and(|signer| signer.has_signed(&claim, signature)) {
            let why = "the URL was not signed by this server, or its key is revoked";
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
                "the URL would be valid for more than {longest} s (http.signed_link_seconds); get another \
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
        let why = "the credentials of the file's session were replaced after this URL was signed; get \
                   another at …/signed-url";
        Err(Problem::new(StatusCode::FORBIDDEN, "signature_invalid", why))
    }
}
