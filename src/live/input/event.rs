//! Input events of viewers: parsing of the compatible API's messages, and the parameters for
//! DevTools.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::domain::rfb::{Modifier, Policy};

/// A coordinate beyond every page, in pixels.
const FARTHEST: f64 = 10_000.0;
/// The maximum length of a key's name, in bytes.
const LONGEST_NAME: usize = 32;
/// The maximum length of the text that one key gives, in bytes.
const LONGEST_TEXT: usize = 32;
/// The maximum length of an address, in bytes.
const LONGEST_ADDRESS: usize = 2083;
/// The bits of `modifiers` that DevTools reads.
const MODIFIERS: u32 = 0b1111;
const BITS: [(u32, Modifier); 4] = [
    (0b0001, Modifier::Alt),
    (0b0010, Modifier::Control),
    (0b0100, Modifier::Meta),
    (0b1000, Modifier::Shift),
];
/// The greatest code of a virtual key that has a meaning.
const LAST_KEY_CODE: u32 = 0xfe;

/// One input event of a viewer.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Event {
    #[serde(rename = "mouseEvent")]
    Mouse(Mouse),
    #[serde(rename = "keyEvent")]
    Key(Key),
    #[serde(rename = "wheelEvent")]
    Wheel(Wheel),
    #[serde(rename = "navigateEvent")]
    Navigate { url: String },
    #[serde(rename = "goBackEvent")]
    GoBack,
    #[serde(rename = "goForwardEvent")]
    GoForward,
    #[serde(rename = "reloadEvent")]
    Reload,
}

impl Event {
    /// True if the pointer only moved: the next movement supersedes this one.
    pub fn is_movement(&self) -> bool {
        matches!(self, Self::Mouse(Mouse { event_type: MouseKind::Moved, .. }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum MouseKind {
    #[serde(rename = "mousePressed")]
    Pressed,
    #[serde(rename = "mouseReleased")]
    Released,
    #[serde(rename = "mouseMoved")]
    Moved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Button {
    #[default]
    None,
    Left,
    Middle,
    Right,
    Back,
    Forward,
}

impl Button {
    /// Returns the button's bit in [`Policy::refused_buttons`].
    const fn bit(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Left => 1,
            Self::Middle => 1 << 1,
            Self::Right => 1 << 2,
            Self::Back => 1 << 7,
            Self::Forward => 1 << 8,
        }
    }
}

/// A press, a release or a movement of the pointer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mouse {
    pub event_type: MouseKind,
    pub x: f64,
    pub y: f64,
    #[serde(default)]
    pub button: Button,
    #[serde(default)]
    pub click_count: u32,
    #[serde(default)]
    pub modifiers: u32,
}

impl Mouse {
    /// Returns the event, or `None` if the policy refuses its button.
    pub fn allowed(self, policy: &Policy) -> Option<Self> {
        (self.button.bit() & policy.refused_buttons == 0).then_some(self)
    }

    /// Returns the parameters of `Input.dispatchMouseEvent`.
    pub fn params(&self) -> Value {
        json!({
            "type": self.event_type,
            "x": within(self.x),
            "y": within(self.y),
            "button": self.button,
            "clickCount": self.click_count.min(3),
            "modifiers": self.modifiers & MODIFIERS,
        })
    }
}

/// A turn of the mouse wheel.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wheel {
    x: f64,
    y: f64,
    #[serde(default)]
    delta_x: f64,
    #[serde(default)]
    delta_y: f64,
    #[serde(default)]
    modifiers: u32,
}

impl Wheel {
    /// Returns the parameters of `Input.dispatchMouseEvent`.
    pub fn params(&self) -> Value {
        json!({
            "type": "mouseWheel",
            "x": within(self.x),
            "y": within(self.y),
            "deltaX": self.delta_x.clamp(-FARTHEST, FARTHEST),
            "deltaY": self.delta_y.clamp(-FARTHEST, FARTHEST),
            "modifiers": self.modifiers & MODIFIERS,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum KeyKind {
    #[serde(rename = "keyDown")]
    Down,
    #[serde(rename = "rawKeyDown")]
    RawDown,
    #[serde(rename = "keyUp")]
    Up,
}

/// A press or a release of a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Key {
    pub event_type: KeyKind,
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub code: String,
    text: Option<String>,
    #[serde(default)]
    modifiers: u32,
    #[serde(default)]
    pub windows_virtual_key_code: u32,
}

impl Key {
    /// Returns the event, or `None` if it is malformed or completes a refused chord.
    pub fn allowed(self, policy: &Policy) -> Option<Self> {
        let names = [&self.key, &self.code].into_iter().all(|name| name.len() <= LONGEST_NAME);
        let text = self.text.as_ref().is_none_or(|text| text.len() <= LONGEST_TEXT);
        let held: Vec<Modifier> =
            BITS.iter().filter(|(bit, _)| self.modifiers & bit != 0).map(|(_, it)| *it).collect();
        let mut refused = policy.refused_chords.iter();
        let number = self.windows_virtual_key_code;
        let refused = refused.any(|chord| chord.is_pressed(&self.key, &self.code, number, &held));
        let up = self.event_type == KeyKind::Up;
        (names && text && (up || !refused)).then_some(self)
    }

    /// Returns the parameters of `Input.dispatchKeyEvent`.
    pub fn params(&self) -> Value {
        let mut params = json!({
            "type": self.event_type,
            "key": self.key,
            "code": self.code,
            "modifiers": self.modifiers & MODIFIERS,
            "windowsVirtualKeyCode": self.windows_virtual_key_code.min(LAST_KEY_CODE),
        });
        if let (Some(text), Value::Object(params)) = (&self.text, &mut params)
            && self.event_type != KeyKind::Up
        {
            params.insert("text".to_owned(), text.as_str().into());
        }
        params
    }

    /// Returns the release of the same key.
    pub fn released(&self) -> Self {
        Self { event_type: KeyKind::Up, text: None, modifiers: 0, ..self.clone() }
    }
}

/// Clamps a coordinate to the permitted range; NaN becomes 0.
fn within(pixels: f64) -> f64 {
    if pixels.is_nan() { 0.0 } else { pixels.clamp(0.0, FARTHEST) }
}

/// Parses an address that a viewer may navigate to.
pub(super) fn address(text: &str) -> Option<Url> {
    if text.len() > LONGEST_ADDRESS {
        return None;
    }
    let url = Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.host().is_some()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn params(event: Value) -> Option<Value> {
        match serde_json::from_value(event).unwrap() {
            Event::Mouse(mouse) => Some(mouse.allowed(&Policy::default())?.params()),
            Event::Key(key) => Some(key.allowed(&Policy::default())?.params()),
            Event::Wheel(wheel) => Some(wheel.params()),
            Event::Navigate { url } => address(&url).map(|url| url.as_str().into()),
            Event::GoBack | Event::GoForward | Event::Reload => Some(Value::Null),
        }
    }

    #[test]
    fn what_is_beyond_the_page_is_brought_to_its_edge() {
        let event = json!({
            "type": "mouseEvent", "eventType": "mousePressed", "x": -5, "y": 99_999.5,
            "button": "left", "clickCount": 70, "modifiers": 0xff2,
        });
        let expected = json!({
            "type": "mousePressed", "x": 0.0, "y": 10_000.0, "button": "left", "clickCount": 3,
            "modifiers": 2,
        });
        assert_eq!(params(event), Some(expected));
    }

    #[test]
    fn the_right_button_and_the_dialog_of_files_are_refused() {
        let right = json!({
            "type": "mouseEvent", "eventType": "mousePressed", "x": 1, "y": 1, "button": "right",
        });
        assert_eq!(params(right), None);
        let open = |kind: &str| json!({ "type": "keyEvent", "eventType": kind, "key": "o", "code": "KeyO", "modifiers": 2 });
        assert_eq!(params(open("keyDown")), None);
        assert_eq!(params(open("rawKeyDown")), None);
        assert!(params(open("keyUp")).is_some(), "a key that is down is let go");
        let long = "k".repeat(33);
        let key = json!({ "type": "keyEvent", "eventType": "keyDown", "key": long });
        assert_eq!(params(key), None);
    }

    #[test]
    fn what_is_refused_is_the_policys_to_say() {
        let refused_chords = vec!["f12".parse().unwrap()];
        let policy = Policy { refused_chords, refused_buttons: 0, ..Policy::default() };
        let Event::Mouse(right) = serde_json::from_value(json!({
            "type": "mouseEvent", "eventType": "mousePressed", "x": 1, "y": 1, "button": "right",
        }))
        .unwrap() else {
            panic!("a mouse event")
        };
        assert!(right.allowed(&policy).is_some());
        let press = |key: &str, modifiers: u32| {
            let event = json!({ "type": "keyEvent", "eventType": "rawKeyDown", "key": key, "modifiers": modifiers });
            let Event::Key(key) = serde_json::from_value(event).unwrap() else { panic!("a key") };
            key.allowed(&policy)
        };
        assert_eq!(press("F12", 0), None);
        assert!(press("o", 2).is_some(), "it is not among them");
    }

    #[test]
    fn only_web_addresses_are_gone_to() {
        let go = |url: &str| params(json!({ "type": "navigateEvent", "url": url }));
        assert!(go("https://example.com/").is_some());
        let long = format!("https://example.com/{}", "x".repeat(2083));
        for url in
            ["file:///etc/passwd", "javascript:alert(1)", "example.com", "about:blank", &long]
        {
            assert_eq!(go(url), None, "{url}");
        }
    }
}
