//! Screenshots of a page, and prints of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::boxes::Rectangle;
use super::frame::Target;
use super::marking;
use super::{Browser, PageError};
use crate::workflow::definition::block::{Paper, PrintPage};

pub use super::marking::PictureFormat;

/// The time limit for a screenshot or a print.
const PATIENCE: Duration = Duration::from_secs(30);
/// The maximum height of a screenshot, in CSS pixels; a higher page is cut off.
const HIGHEST: f64 = 16_384.0;

/// The part of a page that a picture shows.
#[derive(Debug, Clone, Copy)]
pub enum Area<'a> {
    Viewport,
    /// The whole page, cut off at 16,384 CSS pixels.
    FullPage,
    Element(Target<'a>),
}

/// A picture to take.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    pub area: Area<'a>,
    pub format: PictureFormat,
    /// True if the elements of the last snapshot on which a person can act are drawn as boxes with
    /// their references. The page is not changed for it.
    pub marks: bool,
}

impl Browser {
    /// Takes a PNG of the viewport, or of the whole page.
    pub async fn screenshot(&self, full_page: bool) -> Result<Bytes, PageError> {
        let area = if full_page { Area::FullPage } else { Area::Viewport };
        self.picture(&Picture { area, format: PictureFormat::Png, marks: false }).await
    }

    /// Takes a picture of the page in the current tab.
    pub async fn picture(&self, how: &Picture<'_>) -> Result<Bytes, PageError> {
        let found = match how.area {
            Area::Viewport | Area::FullPage => None,
            Area::Element(target) => Some(self.rectangle_of(target).await?),
        };
        let work = self.take(how, found);
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_elapsed| {
            let what = "no picture was taken".to_owned();
            Err(PageError::Timeout { what, after: PATIENCE })
        })
    }

    async fn take(&self, how: &Picture<'_>, found: Option<Rectangle>) -> Result<Bytes, PageError> {
        const METHOD: &str = "Page.captureScreenshot";
        let session = self.working()?;
        let metrics = match (how.area, how.marks) {
            (Area::Viewport, false) => Value::Null,
            (Area::Viewport | Area::FullPage | Area::Element(_), _) => {
                self.call(&session, "Page.getLayoutMetrics", json!({})).await?
            }
        };
        let number = |pointer: &str| metrics.pointer(pointer).and_then(Value::as_f64);
        let viewport = Rectangle {
            x: number("/cssVisualViewport/pageX").unwrap_or_default(),
            y: number("/cssVisualViewport/pageY").unwrap_or_default(),
            width: number("/cssVisualViewport/clientWidth").unwrap_or(1.0),
            height: number("/cssVisualViewport/clientHeight").unwrap_or(1.0),
        };
        // The part of the document that is shown.
        let mut shown = match (how.area, found) {
            (Area::Viewport, _) => viewport,
            (Area::FullPage, _) => Rectangle {
                width: number("/cssContentSize/width").unwrap_or(1.0).clamp(1.0, HIGHEST),
                height: number("/cssContentSize/height").unwrap_or(1.0).clamp(1.0, HIGHEST),
                ..Rectangle::default()
            },
            (Area::Element(_), found) => {
                let found = found.unwrap_or_default();
                Rectangle {
                    x: found.x + viewport.x,
                    y: found.y + viewport.y,
                    width: found.width.clamp(1.0, HIGHEST),
                    height: found.height.clamp(1.0, HIGHEST),
                }
            }
        };
        let mut params = match (how.format, how.marks) {
            (PictureFormat::Jpeg { quality }, false) => {
                json!({ "format": "jpeg", "quality": quality.clamp(1, 100) })
            }
            (PictureFormat::Png, _) | (PictureFormat::Jpeg { .. }, true) => {
                json!({ "format": "png" })
            }
        };
        if how.marks {
            shown.height = shown.height.min(marking::MOST_PIXELS / shown.width);
        }
        if let Some(object) = params.as_object_mut() {
            object.insert("optimizeForSpeed".to_owned(), Value::Bool(true));
            let is_viewport = matches!(how.area, Area::Viewport);
            // With marks the picture has no scroll bars, so that its scale is known.
            if !is_viewport || how.marks {
                let Rectangle { x, y, width, height } = shown;
                let clip = json!({ "x": x, "y": y, "width": width, "height": height, "scale": 1 });
                object.insert("clip".to_owned(), clip);
                object.insert("captureBeyondViewport".to_owned(), Value::Bool(!is_viewport));
            }
        }
        let picture = decode(&self.call(&session, METHOD, params).await?, METHOD)?;
        if !how.marks {
            return Ok(picture);
        }
        let boxes = self.boxes(&session).await?;
        let boxes = boxes.into_iter().map(|(number, found)| {
            let (left, top) = (found.x + viewport.x - shown.x, found.y + viewport.y - shown.y);
            (number, Rectangle { x: left, y: top, ..found })
        });
        let boxes: Vec<_> = boxes.collect();
        let format = how.format;
        let drawn = tokio::task::spawn_blocking(move || {
            marking::draw(&picture, &boxes, shown.width, format)
        });
        let drawn = drawn.await.unwrap_or_else(|error| Err(error.to_string()));
        let refused = |message| PageError::Refused { method: METHOD.to_owned(), message };
        drawn.map(Bytes::from).map_err(refused)
    }

    /// Takes a JPEG of the viewport, quickly and at lower quality.
    pub async fn quick_picture(&self) -> Result<Bytes, PageError> {
        let session = self.working()?;
        let params = json!({ "format": "jpeg", "quality": 70, "optimizeForSpeed": true });
        decode(&self.call(&session, "Page.captureScreenshot", params).await?, "captureScreenshot")
    }

    /// Prints the page as a PDF.
    pub async fn print(&self, how: &PrintPage) -> Result<Bytes, PageError> {
        let session = self.working()?;
        let (width, height) = match how.format {
            Paper::A4 => (8.27, 11.69),
            Paper::Letter => (8.5, 11.0),
            Paper::Legal => (8.5, 14.0),
            Paper::Tabloid => (11.0, 17.0),
        };
        let date =
            "<div style=\"font-size:8px;margin-left:20px\"><span class=\"date\"></span></div>";
        let params = json!({
            "landscape": how.landscape,
            "printBackground": how.print_background,
            "paperWidth": width,
            "paperHeight": height,
            "displayHeaderFooter": how.include_timestamp,
            "headerTemplate": date,
            "footerTemplate": "<div></div>",
        });
        let work = self.call(&session, "Page.printToPDF", params);
        let answer = tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_elapsed| {
            let what = "the page was not printed".to_owned();
            Err(PageError::Timeout { what, after: PATIENCE })
        })?;
        decode(&answer, "Page.printToPDF")
    }
}

fn decode(answer: &Value, method: &str) -> Result<Bytes, PageError> {
    let data = answer.get("data").and_then(Value::as_str).unwrap_or_default();
    STANDARD.decode(data).map(Bytes::from).map_err(|error| PageError::Refused {
        method: method.to_owned(),
        message: error.to_string(),
    })
}
