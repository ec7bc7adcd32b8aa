//! Parts of lists: pages by number and size, as in the compatible API, and pages after a cursor.
//!
//! A page by number shifts when rows are added. A cursor is the position of a row, so that a list that is followed by
//! cursors has each row once, but for rows that were added meanwhile. The header [`NEXT`] has the cursor of the next
//! part, so that bodies keep their form. It is missing at the end of a list; the last part may be empty. A cursor has no
//! filter: a client sends the same query with it.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, Responder};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::DateTime;
use serde::Serialize;

use super::problem::Problem;
use super::validation::{Fields, RequestPart};
use crate::db::{Mark, Page};
use crate::domain::profile::ProfileRecord;
use crate::domain::run::{RunRecord, WorkflowRecord};
use crate::domain::session::SessionRecord;
use crate::domain::webhook::WebhookMessage;

/// The header with the cursor of the next part of a list.
pub const NEXT: &str = "x-next-cursor";

/// The last number that a page may have.
const LAST_PAGE: u32 = 1_000_000;

/// The longest cursor, in bytes.
const LONGEST: usize = 512;

/// Returns the part of a list that a query asks for: the page with this number and size, if both are within the limits
/// of the compatible API, or what follows the cursor.
///
/// # Errors
///
/// 422 if they are not, and `cursor_invalid` for a cursor that is none of this list.
pub fn page(
    list: &str,
    number: u32,
    size: u32,
    largest: u32,
    cursor: Option<&str>,
) -> Result<Page, Problem> {
    let mut fields = Fields::of(RequestPart::Query);
    for (field, value, most) in [("page", number, LAST_PAGE), ("page_size", size, largest)] {
        let fits = (1..=most).contains(&value);
        fields.require(field, value, fits, format!("expected 1 to {most}"));
    }
    let alone = cursor.is_none() || number == 1;
    fields.require("page", number, alone, "expected no page beside a cursor");
    fields.finish()?;
    Ok(Page { number, size, after: mark(list, cursor)? })
}

/// Reads a cursor of a list into the position that it names.
///
/// # Errors
///
/// 422 `cursor_invalid` if it is none of this list.
pub fn mark(list: &str, cursor: Option<&str>) -> Result<Option<Mark>, Problem> {
    cursor.map(|cursor| decoded(list, cursor).ok_or_else(invalid)).transpose()
}

/// Returns the refusal of a cursor that is none of the list.
pub fn invalid() -> Problem {
    let detail = "the cursor is none of this list: send the `x-next-cursor` of the part before, or no cursor for the \
                  first part";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "cursor_invalid", detail)
}

fn decoded(list: &str, cursor: &str) -> Option<Mark> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().filter(|_| cursor.len() <= LONGEST)?;
    let (of, at, id, live): (String, i64, String, bool) = serde_json::from_slice(&bytes).ok()?;
    let at = DateTime::from_timestamp_micros(at)?;
    (of == list && !id.is_empty() && id.is_ascii()).then_some(Mark { at, id, live })
}

/// Returns the cursor after the row at this position.
pub fn cursor(list: &str, mark: &Mark) -> String {
    let parts = (list, mark.at.timestamp_micros(), &mark.id, mark.live);
    BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&parts).unwrap_or_default())
}

/// A row with a position in its list.
pub trait Marked {
    /// Returns the position of the row.
    fn mark(&self) -> Mark;
}

/// Implements [`Marked`] by the time at which the row was stored, and its id.
macro_rules! marked {
    ($($row:ident)+) => {$(
        impl Marked for $row {
            fn mark(&self) -> Mark {
                Mark { at: self.created_at, id: self.id.to_string(), live: false }
            }
        }
    )+};
}

marked! { ProfileRecord RunRecord WebhookMessage WorkflowRecord }

impl Marked for SessionRecord {
    fn mark(&self) -> Mark {
        let live = !self.status.is_final();
        Mark { at: self.created_at, id: self.id.to_string(), live }
    }
}

/// Returns the cursor after these rows of a page. There may be more after a page that is full.
pub fn next<R: Marked>(list: &str, size: u32, rows: &[R]) -> Option<String> {
    let is_full = usize::try_from(size).is_ok_and(|size| rows.len() >= size);
    rows.last().filter(|_| is_full).map(|row| cursor(list, &row.mark()))
}

/// The answer with a part of a list, and with the cursor of the next part in a header.
#[derive(Debug)]
pub struct Listed<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> Listed<T> {
    /// Answers with items that are the whole list.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }

    /// Answers with items that show the rows of a page.
    pub fn of<R: Marked>(list: &str, size: u32, rows: &[R], items: Vec<T>) -> Self {
        Self { items, next: next(list, size, rows) }
    }
}

impl<T: Serialize> Responder for Listed<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut answer = HttpResponse::Ok();
        if let Some(next) = self.next {
            answer.insert_header((NEXT, next));
        }
        answer.json(self.items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Mark {
        let at = DateTime::from_timestamp_micros(1_790_000_000_123_456).unwrap();
        Mark { at, id: "wr_5".to_owned(), live: true }
    }

    #[test]
    fn a_cursor_is_read_back_in_its_own_list_only() {
        let text = cursor("runs", &example());
        assert_eq!(mark("runs", Some(&text)).unwrap(), Some(example()));
        assert_eq!(mark("runs", None).unwrap(), None);
        let long = "A".repeat(LONGEST + 4);
        for (list, wrong) in [
            ("workflows", text.as_str()),
            ("runs", ""),
            ("runs", "wr_5"),
            ("runs", &text[1..]),
            ("runs", &text[..text.len() - 2]),
            ("runs", &long),
        ] {
            let refused = mark(list, Some(wrong)).unwrap_err();
            assert_eq!(
                (refused.status.as_u16(), &*refused.code),
                (422, "cursor_invalid"),
                "{wrong}"
            );
        }
        let nobody = cursor("runs", &Mark { id: String::new(), ..example() });
        assert!(mark("runs", Some(&nobody)).is_err());
    }

    #[test]
    fn a_page_has_a_number_or_follows_a_cursor() {
        let text = cursor("runs", &example());
        let after = page("runs", 1, 10, 100, Some(&text)).unwrap();
        assert_eq!((after.size, after.after), (10, Some(example())));
        assert!(page("runs", 2, 10, 100, Some(&text)).is_err());
        assert_eq!(page("runs", 2, 10, 100, None).unwrap().number, 2);
        assert!(
            page("runs", 0, 10, 100, None).is_err() && page("runs", 1, 101, 100, None).is_err()
        );
    }
}
