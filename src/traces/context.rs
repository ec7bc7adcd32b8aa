//! Ids of traces and spans, and the header by which a client names its own: `traceparent`
//! (W3C Trace Context, section 3.2).

/// The id of a trace, which is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TraceId([u8; 16]);

/// The id of a span, which is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanId([u8; 8]);

impl TraceId {
    pub(super) fn random() -> Self {
        Self(rand::random_range(1..=u128::MAX).to_be_bytes())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(rand::random_range(1..=u64::MAX).to_be_bytes())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

/// The span of a client that caused a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// True if the client keeps the spans of this trace.
    pub(super) is_sampled: bool,
}

impl Remote {
    /// Reads the header. A value that breaks a rule of the specification is no value. One of a later version is
    /// read by the rules of the first, as the specification demands.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_once('-')?;
        let (trace, rest) = rest.split_once('-')?;
        let (span, rest) = rest.split_once('-')?;
        let (flags, more) = match rest.split_once('-') {
            Some((flags, _of_a_later_version)) => (flags, true),
            None => (rest, false),
        };
        let [version] = hex::<1>(version)?;
        if version == 0xff || (version == 0 && more) {
            return None;
        }
        let (trace, span, [flags]) = (hex::<16>(trace)?, hex::<8>(span)?, hex::<1>(flags)?);
        let is_zero = trace == [0; 16] || span == [0; 8];
        let is_sampled = flags & 1 == 1;
        (!is_zero).then_some(Self { trace: TraceId(trace), span: SpanId(span), is_sampled })
    }
}

/// Reads exactly `N` bytes of lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_of_the_specification_is_read() {
        let remote = Remote::parse(GIVEN).unwrap();
        assert_eq!(remote.span.bytes(), [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
        assert_eq!(remote.trace.bytes()[..2], [0x4b, 0xf9]);
        assert!(remote.is_sampled);
        assert!(!Remote::parse(&GIVEN.replace("-01", "-00")).unwrap().is_sampled);
        // A later version may have more fields, and other flags.
        assert!(Remote::parse(&format!("cc-{}-more", &GIVEN[3..])).unwrap().is_sampled);
        assert!(Remote::parse(&GIVEN.replace("-01", "-03")).unwrap().is_sampled);
    }

    #[test]
    fn whatever_breaks_a_rule_is_no_parent() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", "0".repeat(16));
        for wrong in [
            "",
            "-",
            "---",
            "00",
            &GIVEN.to_uppercase(),
            &GIVEN[..54],
            &format!("{GIVEN}-more"),
            &format!("{GIVEN}0"),
            &format!(" {GIVEN}"),
            &format!("ff{}", &GIVEN[2..]),
            &GIVEN.replace("4bf9", "4bg9"),
            &GIVEN.replace("4bf9", "+bf9"),
            &GIVEN.replace("4b", "ä"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(Remote::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = Remote::parse(&text);
        }
    }
}
