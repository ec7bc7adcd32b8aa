//! Dragging of elements with the mouse, also where the page uses HTML drag and drop.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::frame::Target;
use super::tabs::Tabs;
use super::worlds::Frame;
use super::{Browser, PageError};

/// The time in which the browser reports a drag that the page has started.
const STARTS: Duration = Duration::from_secs(2);
/// The number of movements from one element to the other.
const MOVES: u8 = 8;

/// A point relative to the viewport of the tab.
type Point = (f64, f64);

const INTERCEPT: &str = "Input.setInterceptDrags";

/// Ends a drag that is dropped half-way: releases the button, and ends the interception of drags.
struct Dragging<'a> {
    browser: &'a Browser,
    page: &'a str,
    /// The point at which the button was pressed.
    at: Point,
    is_pressed: bool,
    is_intercepted: bool,
}

impl Drop for Dragging<'_> {
    fn drop(&mut self) {
        let (x, y) = self.at;
        if self.is_pressed {
            if let Some(data) = self.browser.with(|tabs| tabs.drag.clone()) {
                let cancel = json!({ "type": "dragCancel", "x": x, "y": y, "data": data });
                self.browser.send(self.page, "Input.dispatchDragEvent", cancel);
            }
            let release = json!({
                "type": "mouseReleased", "x": x, "y": y, "button": "left", "clickCount": 1,
            });
            self.browser.send(self.page, "Input.dispatchMouseEvent", release);
        }
        if self.is_intercepted {
            self.browser.send(self.page, INTERCEPT, json!({ "enabled": false }));
        }
    }
}

impl Browser {
    /// Drags an element to another: presses the mouse button on the first, and releases it on the
    /// second. Both must become visible in the time of their targets.
    pub async fn drag(&self, from: Target<'_>, to: Target<'_>) -> Result<(), PageError> {
        let deadline = Instant::now() + from.timeout;
        let (frame, answer) = self.ready(from, &["visible", "stable", "enabled", "point"]).await?;
        let (page, x, y) = self.place(&frame, &answer).await?;
        self.ask(&frame, from.selector, "watchDrag", &[]).await?;
        self.edit(|tabs| tabs.drag = None);
        // Otherwise the browser would drag on the screen, where no mouse of this driver is.
        let intercept = |enabled: bool| json!({ "enabled": enabled });
        let mut dragging = Dragging {
            browser: self,
            page: &page,
            at: (x, y),
            is_pressed: false,
            is_intercepted: true,
        };
        self.call(&page, INTERCEPT, intercept(true)).await?;
        let dragged = self.pull(&mut dragging, &frame, from, to).await;
        let ended = self.call(&page, INTERCEPT, intercept(false)).await;
        dragging.is_intercepted = false;
        drop(dragging);
        dragged?;
        ended?;
        self.settle(&page, deadline).await;
        Ok(())
    }

    async fn pull(
        &self,
        dragging: &mut Dragging<'_>,
        frame: &Frame,
        from: Target<'_>,
        to: Target<'_>,
    ) -> Result<(), PageError> {
        let (page, at) = (dragging.page, dragging.at);
        self.drag_event(page, "mouseMoved", at, "none").await?;
        dragging.is_pressed = true;
        self.drag_event(page, "mousePressed", at, "left").await?;
        let carried = self.carry(page, frame, at, from, to).await;
        let ended = match carried {
            Ok((data, end)) => match data {
                None => self.drag_event(page, "mouseReleased", end, "left").await,
                Some(data) => self.drop_at(page, "drop", end, &data).await,
            },
            Err(error) => {
                // The button must not stay pressed.
                if let Some(data) = self.with(|tabs| tabs.drag.clone()) {
                    let _best_effort = self.drop_at(page, "dragCancel", at, &data).await;
                }
                let _best_effort = self.drag_event(page, "mouseReleased", at, "left").await;
                Err(error)
            }
        };
        dragging.is_pressed = false;
        ended
    }

    /// Moves with the button pressed. Returns the data of a drag of HTML that began, and
    /// the point that was reached.
    async fn carry(
        &self,
        page: &str,
        frame: &Frame,
        at: Point,
        from: Target<'_>,
        to: Target<'_>,
    ) -> Result<(Option<Value>, Point), PageError> {
        // A drag begins after a few pixels.
        for offset in [2.0, 6.0] {
            self.drag_event(page, "mouseMoved", (at.0 + offset, at.1 + offset), "left").await?;
        }
        let began = self.ask(frame, from.selector, "dragging", &[]).await?.drags;
        let data = match began {
            false => None,
            true => {
                let look = |tabs: &Tabs| tabs.drag.clone();
                let data = self.until(Instant::now() + STARTS, look).await;
                Some(data.ok_or_else(|| PageError::Unfit {
                    selector: from.selector.to_owned(),
                    reason: "the drag did not begin".to_owned(),
                })?)
            }
        };
        let (frame, answer) = self.ready(to, &["visible", "stable", "forced"]).await?;
        let (other, x, y) = self.place(&frame, &answer).await?;
        if other != page {
            let reason = "the element is in another tab".to_owned();
            return Err(PageError::Unfit { selector: to.selector.to_owned(), reason });
        }
        match &data {
            Some(data) => {
                for kind in ["dragEnter", "dragOver", "dragOver"] {
                    self.drop_at(page, kind, (x, y), data).await?;
                }
            }
            None => {
                for step in 1..=MOVES {
                    let part = f64::from(step) / f64::from(MOVES);
                    let point = (at.0 + (x - at.0) * part, at.1 + (y - at.1) * part);
                    self.drag_event(page, "mouseMoved", point, "left").await?;
                }
            }
        }
        Ok((data, (x, y)))
    }

    async fn drag_event(
        &self,
        page: &str,
        kind: &str,
        at: Point,
        button: &str,
    ) -> Result<(), PageError> {
        let count = u8::from(kind != "mouseMoved");
        self.mouse(page, kind, at.0, at.1, button, count, 0).await
    }

    async fn drop_at(
        &self,
        page: &str,
        kind: &str,
        at: Point,
        data: &Value,
    ) -> Result<(), PageError> {
        let params = json!({ "type": kind, "x": at.0, "y": at.1, "data": data });
        self.call(page, "Input.dispatchDragEvent", params).await.map(|_nothing| ())
    }
}
