//! Decodes bytes to text.
//!
//! The encoding is, in this order: that of a byte order mark, that of the media type, UTF-8 if the
//! bytes are valid, and otherwise a guess from the bytes.

use chardetng::EncodingDetector;
use encoding_rs::Encoding;

/// Decodes the text of bytes with a media type such as `text/csv; charset=iso-8859-1`. Bytes that are
/// invalid in the encoding become U+FFFD.
pub(super) fn text(bytes: &[u8], media_type: &str) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        let rest = bytes.get(mark..).unwrap_or_default();
        return encoding.decode_without_bom_handling(rest).0.into_owned();
    }
    if let Some(encoding) =
        charset(media_type).and_then(|name| Encoding::for_label(name.as_bytes()))
    {
        return encoding.decode_without_bom_handling(bytes).0.into_owned();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut detector = EncodingDetector::new();
    detector.feed(bytes, true);
    detector.guess(None, false).decode_without_bom_handling(bytes).0.into_owned()
}

/// True if the bytes of this media type are text; an unknown type counts as text.
pub(super) fn is_text(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name.is_empty()
        || name.starts_with("text/")
        || ["json", "xml", "javascript", "yaml", "csv", "x-www-form-urlencoded"]
            .iter()
            .any(|part| name.ends_with(part))
}

fn charset(media_type: &str) -> Option<&str> {
    media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("charset").then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_by_mark_charset_or_looks() {
        let check = |bytes: &[u8], media_type, expected: &str| {
            assert_eq!(text(bytes, media_type), expected, "{bytes:?} {media_type}");
        };
        check("größe".as_bytes(), "", "größe");
        check(b"\xef\xbb\xbfgr\xc3\xb6\xc3\x9fe", "text/csv; charset=iso-8859-1", "größe");
        check(b"gr\xf6\xdfe", "text/plain; Charset=\"ISO-8859-1\"", "größe");
        check(b"\xff\xfea\0b\0", "", "ab");
        check(
            b"name;ort\nJ\xf6rg;K\xf6ln\nJ\xfcrgen;M\xfcnchen\n",
            "text/csv",
            "name;ort\nJörg;Köln\nJürgen;München\n",
        );
        let russian = encoding_rs::WINDOWS_1251.encode("Съешь же ещё этих мягких булок").0;
        check(&russian, "", "Съешь же ещё этих мягких булок");
        let japanese = encoding_rs::SHIFT_JIS.encode("日本語の文字コードを判定します").0;
        check(&japanese, "text/plain", "日本語の文字コードを判定します");
        check(b"a", "text/plain; charset=nonsense", "a");
    }

    #[test]
    fn pictures_are_no_text() {
        assert!(
            is_text("text/html; charset=utf-8") && is_text("") && is_text("application/ld+json")
        );
        assert!(!is_text("image/png") && !is_text("application/octet-stream"));
    }
}
