//! The keys and the button that a viewer holds down in a page, so that all are released when it
//! loses control.

use serde_json::Value;

use super::event::{Button, Key, KeyKind, Mouse, MouseKind};

/// The maximum number of held keys; more than two hands can hold.
const MOST_KEYS: usize = 32;

/// The keys and the button that are down, all in the same page.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The DevTools session of the page; empty before the first key.
    page: String,
    keys: Vec<Key>,
    button: Option<Mouse>,
}

/// A DevTools call that releases a key or the button.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Release {
    /// The DevTools session of the page in which it is down.
    pub page: String,
    pub method: &'static str,
    pub params: Value,
}

impl Held {
    /// Records a press or a release of a key.
    pub fn key(&mut self, key: &Key) {
        self.keys.retain(|held| held.code != key.code || held.key != key.key);
        match key.event_type {
            KeyKind::Down | KeyKind::RawDown if self.keys.len() < MOST_KEYS => {
                self.keys.push(key.clone());
            }
            KeyKind::Down | KeyKind::RawDown | KeyKind::Up => {}
        }
    }

    /// Records an event of the pointer.
    pub fn mouse(&mut self, mouse: &Mouse) {
        match mouse.event_type {
            MouseKind::Pressed if mouse.button != Button::None => self.button = Some(mouse.clone()),
            MouseKind::Released => self.button = None,
            MouseKind::Moved => {
                if let Some(held) = &mut self.button {
                    (held.x, held.y) = (mouse.x, mouse.y);
                }
            }
            MouseKind::Pressed => {}
        }
    }

    /// Switches to `page`, and returns the releases of everything that is down in another page.
    pub fn in_page(&mut self, page: &str) -> Vec<Release> {
        if self.page == page {
            return Vec::new();
        }
        let releases = self.releases();
        page.clone_into(&mut self.page);
        releases
    }

    /// Returns the releases of everything that is down, the newest key first, for the page where it
    /// went down.
    pub fn releases(&mut self) -> Vec<Release> {
        let release = |method, params| Release { page: self.page.clone(), method, params };
        let keys = self.keys.drain(..).rev();
        let mut releases: Vec<_> =
            keys.map(|key| release("Input.dispatchKeyEvent", key.released().params())).collect();
        if let Some(held) = self.button.take() {
            let released = Mouse { event_type: MouseKind::Released, ..held };
            releases.push(release("Input.dispatchMouseEvent", released.params()));
        }
        releases
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_still_down_is_let_go_once() {
        let key = |kind: &str, name: &str| {
            serde_json::from_value::<Key>(json!({ "eventType": kind, "key": name, "code": name }))
        };
        let mut held = Held::default();
        for (kind, name) in [("keyDown", "a"), ("rawKeyDown", "Shift"), ("keyUp", "a")] {
            held.key(&key(kind, name).unwrap());
        }
        let mouse =
            |kind: &str, x: u16| json!({ "eventType": kind, "x": x, "y": 2, "button": "left" });
        for event in [mouse("mousePressed", 1), mouse("mouseMoved", 9)] {
            held.mouse(&serde_json::from_value(event).unwrap());
        }
        let releases = held.releases();
        let reported: Vec<_> = releases
            .iter()
            .map(|Release { params, .. }| {
                (params["type"].as_str().unwrap(), params["key"].as_str(), params["x"].as_f64())
            })
            .collect();
        assert_eq!(reported, [("keyUp", Some("Shift"), None), ("mouseReleased", None, Some(9.0))]);
        assert!(held.releases().is_empty());
    }

    #[test]
    fn what_went_down_in_a_page_is_let_go_in_that_page() {
        let shift = json!({ "eventType": "rawKeyDown", "key": "Shift", "code": "ShiftLeft" });
        let press = |held: &mut Held| held.key(&serde_json::from_value(shift.clone()).unwrap());
        let pages = |releases: Vec<Release>| {
            releases.into_iter().map(|release| release.page).collect::<Vec<_>>()
        };
        let mut held = Held::default();
        assert!(held.in_page("one").is_empty());
        press(&mut held);
        assert!(held.in_page("one").is_empty());
        assert_eq!(pages(held.in_page("two")), ["one"], "another page came into view");
        press(&mut held);
        // The releases need no look-up of the page in view.
        assert_eq!(pages(held.releases()), ["two"]);
    }
}
