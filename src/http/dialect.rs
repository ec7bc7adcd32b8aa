//! The types of blocks that a client understands.

use std::convert::Infallible;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest};
use serde_json::Value;

use crate::workflow::dialect::{Reader, disguise, is_shared};

/// The header by which the generated clients of the compatible API identify themselves.
const GENERATED: &str = "x-fern-sdk-name";

/// The header by which the compatible API's own front end identifies itself, and its value.
const FRONT_END: (&str, &str) = ("x-user-agent", "skyvern-ui");

/// The types of blocks that the client of a request understands.
///
/// A client that does not identify itself, such as `curl`, a page or our own command line, gets all
/// of them unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// All types, including our own.
    Own,
    /// Only the types of the compatible API; the client fails on others.
    Compatible(Reader),
}

impl Dialect {
    fn of(headers: &HeaderMap) -> Self {
        let (name, value) = FRONT_END;
        if headers.get(name).is_some_and(|given| given.as_bytes() == value.as_bytes()) {
            Self::Compatible(Reader::Forms)
        } else if headers.contains_key(GENERATED) {
            Self::Compatible(Reader::Whole)
        } else {
            Self::Own
        }
    }

    /// Returns a workflow in the form that this client understands.
    pub fn show(self, mut workflow: Value) -> Value {
        match self {
            Self::Own => {}
            Self::Compatible(reader) => disguise(&mut workflow, reader),
        }
        workflow
    }

    /// Returns the type of an executed block in the form that this client understands, and its
    /// original type if that differs.
    pub fn show_type(self, block_type: &str) -> (String, Option<String>) {
        match self {
            Self::Compatible(_) if !is_shared(block_type) => {
                ("code".to_owned(), Some(block_type.to_owned()))
            }
            Self::Own | Self::Compatible(_) => (block_type.to_owned(), None),
        }
    }
}

impl FromRequest for Dialect {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.headers())))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn clients_name_themselves_and_all_others_read_blocks_as_they_are() {
        let of = |name: &str, value: &str| {
            let request = TestRequest::default().insert_header((name, value)).to_http_request();
            Dialect::of(request.headers())
        };
        assert_eq!(of("x-user-agent", "skyvern-ui"), Dialect::Compatible(Reader::Forms));
        assert_eq!(of("x-fern-sdk-name", "skyvern"), Dialect::Compatible(Reader::Whole));
        assert_eq!(of("x-user-agent", "curl"), Dialect::Own);
        assert_eq!(of("origin", "https://a.example"), Dialect::Own);
    }
}
