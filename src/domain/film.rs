//! Recordings of a session as values: the requested format, and the frames that a film shows.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::session::Size;

/// The artifact type of a recording.
pub const RECORDING: &str = "recording";

/// The artifact type of a film of the last moments before a crash or a failure.
pub const BLACK_BOX: &str = "black_box";

/// The file format of a film.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// H.264 video in MP4.
    #[default]
    Mp4,
    /// VP8 video in WebM.
    Webm,
    /// JPEG files in a ZIP, named by their time: the fallback if no encoder is available.
    Zip,
}

impl Container {
    /// Returns the extension of the file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Zip => "zip",
        }
    }

    /// Returns the media type for HTTP.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Zip => "application/zip",
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// The requested properties of a recording. An omitted property has the server's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilmOptions {
    /// The frame rate, in frames per second.
    pub frame_rate: Option<u8>,
    /// The width in pixels; the height follows. None is the width of the display.
    pub width: Option<u16>,
    /// The file format: `mp4` or `webm`.
    pub format: Option<Container>,
}

/// A request's field `record`: yes, no, or the properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Asked {
    /// Record with the server's defaults, or not at all.
    Plainly(bool),
    /// Record with these properties.
    So(FilmOptions),
}

impl Asked {
    /// Returns the properties of the recording; none if none is requested.
    pub fn options(self) -> Option<FilmOptions> {
        match self {
            Self::Plainly(true) => Some(FilmOptions::default()),
            Self::Plainly(false) => None,
            Self::So(options) => Some(options),
        }
    }
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Asked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or an object with `frame_rate`, `width` and `format`")
            }

            fn visit_bool<E>(self, plainly: bool) -> Result<Asked, E> {
                Ok(Asked::Plainly(plainly))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Asked, A::Error> {
                FilmOptions::deserialize(MapAccessDeserializer::new(members)).map(Asked::So)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// An invalid property of a requested recording, with the values that are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongWish {
    /// The name of the property.
    pub field: &'static str,
    /// A description of valid values, for people.
    pub expected: &'static str,
}

impl FilmOptions {
    /// The frame rates that may be requested.
    pub const RATES: RangeInclusive<u8> = 1..=25;

    /// Returns the first invalid property.
    pub fn check(&self) -> Result<(), WrongWish> {
        if self.frame_rate.is_some_and(|rate| !Self::RATES.contains(&rate)) {
            return Err(WrongWish { field: "frame_rate", expected: "expected 1 to 25" });
        }
        let widths = Size::SMALLEST..=Size::LARGEST;
        if self.width.is_some_and(|width| !widths.contains(&width)) {
            return Err(WrongWish { field: "width", expected: "expected 200 to 7680 pixels" });
        }
        match self.format {
            None | Some(Container::Mp4 | Container::Webm) => Ok(()),
            Some(Container::Zip) => {
                Err(WrongWish { field: "format", expected: "expected mp4 or webm" })
            }
        }
    }
}

/// Converts frames that were captured only on change to a constant frame rate: returns each frame
/// with the number of slots for which it is shown.
///
/// `times` are milliseconds in ascending order. The film lasts from `from` to `to` at `rate` slots
/// a second. The last frame captured before `from` is shown until the next one; if there is none,
/// the first frame is. Each pair is an index into `times` and a number of slots, never zero; the
/// numbers add up to the film's length.
pub fn slots(times: &[u64], from: u64, to: u64, rate: u8) -> Vec<(usize, u64)> {
    let slot = |time: u64| time.saturating_sub(from).saturating_mul(rate.into()) / 1_000;
    let length = slot(to);
    let mut shown: Vec<(usize, u64)> = Vec::new();
    let ends = times.iter().skip(1).map(|next| slot(*next).min(length)).chain([length]);
    let mut begin = 0;
    for (place, end) in ends.enumerate().take(times.len()) {
        if end > begin {
            shown.push((place, end - begin));
            begin = end;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_shown_until_the_next_was_taken() {
        assert_eq!(slots(&[1_000, 3_000, 3_400], 1_000, 7_000, 5), [(0, 10), (1, 2), (2, 18)]);
        // A frame from before the start, and frames that follow too fast to be seen.
        assert_eq!(slots(&[200, 900, 1_500, 1_510], 1_000, 2_000, 2), [(1, 1), (3, 1)]);
        assert_eq!(slots(&[5_000], 1_000, 2_000, 2), [(0, 2)]);
        assert_eq!(slots(&[], 1_000, 2_000, 2), []);
        assert_eq!(slots(&[1_000], 2_000, 2_000, 2), []);
    }

    proptest! {
        #[test]
        fn slots_fill_the_film_and_follow_one_another(
            mut times in prop::collection::vec(0_u64..100_000, 1..50),
            from in 0_u64..100_000,
            length in 0_u64..100_000,
            rate in FilmOptions::RATES,
        ) {
            times.sort_unstable();
            let shown = slots(&times, from, from + length, rate);
            let sum: u64 = shown.iter().map(|(_, slots)| slots).sum();
            prop_assert_eq!(sum, length * u64::from(rate) / 1_000);
            prop_assert!(shown.iter().all(|(_, slots)| *slots > 0));
            prop_assert!(shown.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }

    #[test]
    fn a_recording_is_asked_for_by_a_word_or_an_object() {
        let read = |text: &str| serde_json::from_str::<Asked>(text).map_err(|it| it.to_string());
        assert_eq!(read("true"), Ok(Asked::Plainly(true)));
        let options = FilmOptions { frame_rate: Some(5), ..FilmOptions::default() };
        assert_eq!(read(r#"{"frame_rate": 5}"#), Ok(Asked::So(options)));
        for wrong in ["[5]", "[]", "5", "\"yes\""] {
            assert!(
                read(wrong).unwrap_err().contains("expected true, false or an object"),
                "{wrong}"
            );
        }
        assert!(read(r#"{"rate": 5}"#).unwrap_err().contains("unknown field `rate`"));
    }

    #[test]
    fn a_wish_that_nobody_can_fulfil_names_its_field() {
        let field = |options: FilmOptions| options.check().err().map(|wrong| wrong.field);
        assert_eq!(field(FilmOptions::default()), None);
        assert_eq!(
            field(FilmOptions { frame_rate: Some(0), ..FilmOptions::default() }),
            Some("frame_rate")
        );
        assert_eq!(field(FilmOptions { width: Some(10), ..FilmOptions::default() }), Some("width"));
        let zip = Some(Container::Zip);
        assert_eq!(field(FilmOptions { format: zip, ..FilmOptions::default() }), Some("format"));
    }
}
