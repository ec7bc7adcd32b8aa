//! Which blocks a client can read.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use serde_json::Value;

use crate::workflow::dialect::disguise;

/// The header by which the generated clients of the compatible API name themselves.
const GENERATED: &str = "x-fern-sdk-name";

/// Which blocks the client of a request can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// All of them.
    Own,
    /// Only those of the compatible API: its generated clients fail on others.
    Compatible,
}

impl Dialect {
    /// A workflow as this client can read it.
    pub fn show(self, mut workflow: Value) -> Value {
        match self {
            Self::Own => {}
            Self::Compatible => disguise(&mut workflow),
        }
        workflow
    }
}

impl FromRequest for Dialect {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let generated = request.headers().contains_key(GENERATED);
        ready(Ok(if generated { Self::Compatible } else { Self::Own }))
    }
}
