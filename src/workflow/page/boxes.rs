//! The rectangles of the elements that a snapshot has numbered.

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::frame::Target;
use super::references::Referent;
use super::worlds::{Frame, Miss, loader_of};
use super::{Browser, PageError};

/// The maximum number of elements looked at.
const MOST: usize = 1_000;

/// A rectangle in CSS pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Browser {
    /// Scrolls an element into view, and returns its rectangle relative to the viewport of the tab.
    pub(super) async fn rectangle_of(&self, target: Target<'_>) -> Result<Rectangle, PageError> {
        let (frame, _answer) = self.ready(target, &["visible", "stable", "forced"]).await?;
        let answer = self.ask(&frame, target.selector, "box", &[]).await?;
        let size: Rectangle = serde_json::from_value(answer.value.clone()).unwrap_or_default();
        let (_page, x, y) = self.place(&frame, &answer).await?;
        Ok(Rectangle { x, y, ..size })
    }

    /// Returns the elements of the last snapshot on which a person can act and that can be seen, each
    /// with its number and its rectangle relative to the viewport of the tab.
    pub(super) async fn boxes(&self, page: &str) -> Result<Vec<(u64, Rectangle)>, PageError> {
        let mut frames: Vec<(Frame, Vec<(u64, Referent)>)> = Vec::new();
        for (number, referent) in self.references().marked().into_iter().take(MOST) {
            let frame = &referent.document.frame;
            if self.page_of(&frame.session) != page {
                continue;
            }
            match frames.iter_mut().find(|(known, _marked)| known == frame) {
                Some((_frame, marked)) => marked.push((number, referent)),
                None => frames.push((frame.clone(), vec![(number, referent)])),
            }
        }
        let mut all = Vec::new();
        for (frame, marked) in frames {
            match self.boxes_in(&frame, marked).await {
                Ok(found) => all.extend(found),
                // A frame that was left has no boxes.
                Err(Miss::Gone) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Ok(all)
    }

    async fn boxes_in(
        &self,
        frame: &Frame,
        marked: Vec<(u64, Referent)>,
    ) -> Result<Vec<(u64, Rectangle)>, Miss> {
        let shown = self.slow_call(&frame.session, "Page.getFrameTree", json!({})).await?;
        let loader = loader_of(&shown, &frame.id).ok_or(Miss::Gone)?;
        let (context, _document) = self.world(frame).await?;
        let group = format!("greenroom-{:016x}", rand::random::<u64>());
        let group = group.as_str();
        let resolved = marked.iter().filter(|(_, referent)| referent.document.loader == loader);
        let resolved = resolved.map(|(number, referent)| async move {
            let object = self.resolve(frame, referent.node, context, group).await;
            object.ok().map(|object| (*number, object))
        });
        let found: Vec<_> = join_all(resolved).await.into_iter().flatten().collect();
        let boxes = self.boxes_of(frame, found).await;
        self.send(&frame.session, "Runtime.releaseObjectGroup", json!({ "objectGroup": group }));
        boxes
    }

    async fn boxes_of(
        &self,
        frame: &Frame,
        found: Vec<(u64, String)>,
    ) -> Result<Vec<(u64, Rectangle)>, Miss> {
        let objects: Vec<String> = found.iter().map(|(_number, object)| object.clone()).collect();
        let answer = self.call_with(frame, "boxes", &objects).await?;
        let at = answer.value.get("at").and_then(Value::as_u64);
        let anchor = at.and_then(|at| objects.get(usize::try_from(at).ok()?));
        // Without an element that is laid out, there is nothing to show.
        let Some(anchor) = anchor else { return Ok(Vec::new()) };
        let (_page, x, y) = self.place_by(frame, &answer, Some(anchor.clone())).await?;
        let boxes = answer.value.get("boxes").cloned().unwrap_or_default();
        let boxes: Vec<Option<Rectangle>> = serde_json::from_value(boxes).unwrap_or_default();
        let boxes = found.into_iter().zip(boxes).filter_map(|((number, _object), found)| {
            let found = found?;
            Some((number, Rectangle { x: found.x + x, y: found.y + y, ..found }))
        });
        Ok(boxes.collect())
    }
}
