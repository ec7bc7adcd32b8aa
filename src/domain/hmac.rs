//! HMAC-SHA256 (RFC 2104), from the state derived from a key instead of the key itself.
//!
//! A [`Signer`] is the state of the two hashes after the key. It produces the same signatures as
//! the key, and the key cannot be recovered from it any more than from a hash. It may therefore be
//! stored where keys may not.

use std::fmt;
use std::str::FromStr;

use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};

/// SHA-256's state before the first block (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The block size of SHA-256, in bytes.
const BLOCK: usize = 64;

/// Produces the signatures of the key from which it was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Signer {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(…)")
    }
}

impl Signer {
    /// Creates the signer for a key of any length.
    pub fn of(key: &[u8]) -> Self {
        let hashed = Sha256::digest(key);
        let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
        let state = |pad: u8| {
            let mut block = [pad; BLOCK];
            block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte ^= of_key);
            let mut state = INITIAL;
            compress256(&mut state, &[block]);
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    /// Returns the signature of a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 32] {
        finished(self.outer, &finished(self.inner, message))
    }

    /// Returns the placeholder for a signer whose stored form cannot be opened. Nothing may be
    /// signed with it.
    pub fn lost() -> Self {
        Self { inner: [0; 8], outer: [0; 8] }
    }

    /// True for the placeholder of a signer that cannot be opened.
    pub fn is_lost(&self) -> bool {
        *self == Self::lost()
    }

    /// Returns the form that is stored.
    pub fn to_hex(&self) -> String {
        let words = self.inner.iter().chain(&self.outer);
        words.map(|word| format!("{word:08x}")).collect()
    }
}

/// A text that is no signer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 128 hexadecimal digits")]
pub struct NotASigner;

impl FromStr for Signer {
    type Err = NotASigner;

    fn from_str(text: &str) -> Result<Self, NotASigner> {
        let word = |index: usize| {
            let digits = text.get(index * 8..index * 8 + 8).ok_or(NotASigner)?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let word = u32::from_str_radix(digits, 16).ok().filter(|_word| plain);
            word.ok_or(NotASigner)
        };
        let mut signer = Self { inner: [0; 8], outer: [0; 8] };
        for (index, place) in signer.inner.iter_mut().chain(&mut signer.outer).enumerate() {
            *place = word(index)?;
        }
        if text.len() == 128 { Ok(signer) } else { Err(NotASigner) }
    }
}

/// Returns the hash of a block, after which the state is `state`, followed by `rest`.
fn finished(mut state: [u32; 8], rest: &[u8]) -> [u8; 32] {
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    compress256(&mut state, blocks);
    let mut last = tail.to_vec();
    last.push(0x80);
    while last.len() % BLOCK != BLOCK - 8 {
        last.push(0);
    }
    let bits = u64::try_from(BLOCK + rest.len()).unwrap_or(u64::MAX).saturating_mul(8);
    last.extend(bits.to_be_bytes());
    compress256(&mut state, last.as_chunks::<BLOCK>().0);
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().zip(state.iter().flat_map(|word| word.to_be_bytes())) {
        *place = byte;
    }
    hash
}

/// Formats bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(key: &[u8], message: &[u8], expected: &str) {
        assert_eq!(hex(&Signer::of(key).sign(message)), expected);
    }

    #[test]
    fn it_signs_as_rfc_4231_has_it() {
        check(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    proptest! {
        #[test]
        fn one_that_was_stored_signs_the_same(
            key in prop::collection::vec(any::<u8>(), 0..200),
            message in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let signer = Signer::of(&key);
            let read: Signer = signer.to_hex().parse().unwrap();
            prop_assert_eq!(read.sign(&message), signer.sign(&message));
        }
    }

    #[test]
    fn what_is_no_signer_is_refused() {
        for text in ["", "00", &"g".repeat(128), &"0".repeat(129), &"+".repeat(128)] {
            assert_eq!(text.parse::<Signer>(), Err(NotASigner), "{text}");
        }
    }
}
