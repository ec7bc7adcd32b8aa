//! The isolated worlds of frames, and the answers of the script that runs in them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::error::PageError;

/// A frame of a page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The session of the process that renders the frame.
    pub(super) session: String,
    /// The DevTools id of the frame.
    pub(super) id: String,
}

/// The time for which the size of a document counts as known.
const SIZE_KNOWN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct World {
    context: i64,
    /// The DevTools object id of the document.
    document: String,
    /// The time at which the document was last found small enough for its accessibility tree.
    measured: Option<Instant>,
}

/// The isolated worlds created so far, by frame.
#[derive(Debug, Default)]
pub(super) struct Contexts(Mutex<HashMap<Frame, World>>);

impl Contexts {
    /// Returns the execution context of a frame's world, and the DevTools object id of the document.
    pub(super) fn get(&self, frame: &Frame) -> Option<(i64, String)> {
        let worlds = self.0.lock();
        worlds.get(frame).map(|world| (world.context, world.document.clone()))
    }

    pub(super) fn set(&self, frame: &Frame, (context, document): (i64, String)) {
        let world = World { context, document, measured: None };
        self.0.lock().insert(frame.clone(), world);
    }

    /// Records that the document of a frame is small enough.
    pub(super) fn measured(&self, frame: &Frame) {
        if let Some(world) = self.0.lock().get_mut(frame) {
            world.measured = Some(Instant::now());
        }
    }

    /// True if the document of a frame was found small enough within the last second.
    pub(super) fn is_measured(&self, frame: &Frame) -> bool {
        let worlds = self.0.lock();
        let measured = worlds.get(frame).and_then(|world| world.measured);
        measured.is_some_and(|measured| measured.elapsed() < SIZE_KNOWN)
    }

    /// Forgets the world of a frame, whose document may have been replaced.
    pub(super) fn forget(&self, frame: &Frame) {
        self.0.lock().remove(frame);
    }

    /// Forgets the worlds of a frame that was removed or whose document was replaced: another process
    /// may give the number of its context to another one.
    pub(super) fn replaced(&self, frame: &str) {
        self.0.lock().retain(|known, _world| known.id != frame);
    }

    /// Forgets the worlds of a session that has ended.
    pub(super) fn detached(&self, session: &str) {
        self.0.lock().retain(|known, _world| known.session != session);
    }
}

/// The answer of the script in the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Answer {
    pub(super) ok: bool,
    /// True if the element of a reference is no longer on the page.
    #[serde(default)]
    pub(super) stale: bool,
    #[serde(default)]
    pub(super) reason: String,
    /// The point in CSS pixels, relative to the frame's viewport.
    #[serde(default)]
    pub(super) x: f64,
    #[serde(default)]
    pub(super) y: f64,
    #[serde(default)]
    pub(super) left: f64,
    #[serde(default)]
    pub(super) top: f64,
    #[serde(default)]
    pub(super) missed: bool,
    /// True if the page has started a drag.
    #[serde(default)]
    pub(super) drags: bool,
    #[serde(default)]
    pub(super) typed: bool,
    #[serde(default)]
    pub(super) empty: bool,
    #[serde(default)]
    pub(super) values: Vec<String>,
    #[serde(default)]
    pub(super) value: Value,
}

/// The reason why a script gave no value: the document is gone, or an error that
/// waiting does not change.
#[derive(Debug)]
pub(super) enum Miss {
    Gone,
    Failed(PageError),
}

/// True if an error says that a document, or what is in it, is gone.
pub(super) fn gone(error: &PageError) -> bool {
    const SIGNS: &[&str] = &[
        "Cannot find context",
        "context was destroyed",
        "navigated or closed",
        "Session with given id not found",
        "No frame for given id",
        "No frame with given id",
        "Frame with the given frameId is not found",
        "does not belong to the document",
        "belong to the same JavaScript world",
        "Frame with the given id was not found",
        "Could not find node",
        "No node with given id",
        "Cannot find object",
        "Could not find object",
    ];
    let PageError::Refused { message, .. } = error else { return false };
    SIGNS.iter().any(|sign| message.contains(sign))
}

impl From<PageError> for Miss {
    fn from(error: PageError) -> Self {
        if gone(&error) { Self::Gone } else { Self::Failed(error) }
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the loader of a frame, from the answer to `Page.getFrameTree`.
pub(super) fn loader_of(answer: &Value, frame: &str) -> Option<String> {
    let mut open = vec![answer.get("frameTree")?];
    while let Some(tree) = open.pop() {
        let text = |name: &str| tree.get("frame")?.get(name)?.as_str();
        if text("id") == Some(frame) {
            return text("loaderId").map(str::to_owned);
        }
        open.extend(tree.get("childFrames").and_then(Value::as_array).into_iter().flatten());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worlds_of_frames_and_sessions_that_are_gone_are_forgotten() {
        let frame =
            |session: &str, id: &str| Frame { session: session.to_owned(), id: id.to_owned() };
        let contexts = Contexts::default();
        let all = [frame("s", "a"), frame("s", "b"), frame("t", "c")];
        for frame in &all {
            contexts.set(frame, (1, "document".to_owned()));
        }
        assert!(!contexts.is_measured(&all[0]));
        contexts.measured(&all[0]);
        assert!(contexts.is_measured(&all[0]) && !contexts.is_measured(&all[1]));
        contexts.set(&all[0], (2, "document".to_owned()));
        assert!(!contexts.is_measured(&all[0]), "another document");

        contexts.replaced("a");
        assert_eq!(contexts.get(&all[0]), None);
        contexts.detached("t");
        assert_eq!(contexts.get(&all[2]), None);
        assert_eq!(contexts.get(&all[1]), Some((1, "document".to_owned())));
    }
}
