//! Pages of lists, by number and size.

use super::problem::Problem;
use super::validation::{Fields, RequestPart};
use crate::db::Page;

/// The last number that a page may have.
const LAST_PAGE: u32 = 1_000_000;

/// Returns the page with this number and size, if both are within the limits of the compatible API.
///
/// # Errors
///
/// 422 if they are not.
pub fn page(number: u32, size: u32, largest: u32) -> Result<Page, Problem> {
    let mut fields = Fields::of(RequestPart::Query);
    for (field, value, most) in [("page", number, LAST_PAGE), ("page_size", size, largest)] {
        let fits = (1..=most).contains(&value);
        fields.require(field, value, fits, format!("expected 1 to {most}"));
    }
    fields.finish()?;
    Ok(Page { number, size })
}
