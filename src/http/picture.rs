//! Encodings of pictures, as HTTP names them.

use serde::Deserialize;

use crate::actors::session::Format;

/// The encodings that a client can request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lossless, and about three times the size of JPEG.
    Png,
    /// Lossy, with about a third of the size.
    #[serde(alias = "jpg")]
    Jpeg,
}

impl Encoding {
    /// Returns the encoding that a header `Accept` prefers; PNG without a preference.
    pub fn of_accept(accept: &str) -> Self {
        let place =
            |wanted: &str| accept.split(',').position(|range| range.trim().starts_with(wanted));
        match (place("image/jpeg"), place("image/png")) {
            (Some(jpeg), Some(png)) if jpeg < png => Self::Jpeg,
            (Some(_), None) => Self::Jpeg,
            (_, Some(_) | None) => Self::Png,
        }
    }

    /// Returns the value of the header `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// Returns the format for the capture.
    pub fn format(self) -> Format {
        match self {
            Self::Png => Format::Png,
            Self::Jpeg => Format::Jpeg,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_decides_and_png_is_what_else() {
        for (accept, expected) in [
            ("", Encoding::Png),
            ("*/*", Encoding::Png),
            ("image/jpeg", Encoding::Jpeg),
            ("image/png, image/jpeg", Encoding::Png),
            ("image/jpeg;q=0.9, image/png;q=0.1", Encoding::Jpeg),
        ] {
            assert_eq!(Encoding::of_accept(accept), expected, "{accept}");
        }
    }
}
