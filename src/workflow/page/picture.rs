//! Screenshots of a page, and prints of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{Browser, PageError};
use crate::workflow::definition::block::{Paper, PrintPage};

/// The time limit for a screenshot or a print.
const PATIENCE: Duration = Duration::from_secs(30);
/// The maximum height of a screenshot, in CSS pixels; a higher page is cut off.
const HIGHEST: f64 = 16_384.0;

impl Browser {
    /// Takes a PNG of the viewport, or of the whole page.
    pub async fn screenshot(&self, full_page: bool) -> Result<Bytes, PageError> {
        let session = self.working()?;
        let work = async {
            let mut params = json!({ "format": "png", "optimizeForSpeed": true });
            if full_page {
                let metrics = self.call(&session, "Page.getLayoutMetrics", json!({})).await?;
                let side = |name: &str| {
                    let side = metrics.get("cssContentSize").and_then(|size| size.get(name));
                    side.and_then(Value::as_f64).unwrap_or(1.0).clamp(1.0, HIGHEST)
                };
                let clip = json!({
                    "x": 0, "y": 0, "width": side("width"), "height": side("height"), "scale": 1,
                });
                if let Some(object) = params.as_object_mut() {
                    object.insert("clip".to_owned(), clip);
                    object.insert("captureBeyondViewport".to_owned(), Value::Bool(true));
                }
            }
            let answer = self.call(&session, "Page.captureScreenshot", params).await?;
            decode(&answer, "Page.captureScreenshot")
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_elapsed| {
            let what = "no picture was taken".to_owned();
            Err(PageError::Timeout { what, after: PATIENCE })
        })
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
