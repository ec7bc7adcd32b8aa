//! The messages of drivers, read as Chromium reads them, and the server's own answers to commands
//! that the browser never gets.
//!
//! A message that could be read in two ways is rejected: one with a duplicate key, with anything
//! before or after its object, or in another encoding than JSON.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The maximum depth of commands within commands (`Target.sendMessageToTarget`).
pub(super) const DEEPEST: usize = 4;

/// The command that carries another command.
pub(super) const CARRIER: &str = "Target.sendMessageToTarget";

/// The maximum length of a `sessionId` that an answer repeats. Chromium's have 32 characters.
const LONGEST_SESSION: usize = 128;

/// The error code of the browser's own command handlers.
const SERVER_ERROR: i32 = -32000;

/// Chromium's error code for an unknown command.
const NOT_FOUND: i32 = -32601;

/// The parts of a command that its answer repeats.
#[derive(Debug, Default)]
pub(super) struct Call {
    id: Option<i64>,
    session: Option<String>,
}

impl Call {
    /// Returns the answer of a command that succeeded.
    pub fn done(self) -> Value {
        self.answer("result", json!({}))
    }

    /// Returns the answer of a command that was refused.
    pub fn refused(self, message: &str) -> Value {
        self.answer("error", json!({ "code": SERVER_ERROR, "message": message }))
    }

    /// Returns the answer of a command that this server does not know.
    pub fn not_found(self, message: &str) -> Value {
        self.answer("error", json!({ "code": NOT_FOUND, "message": message }))
    }

    fn answer(self, key: &str, value: Value) -> Value {
        let mut answer = json!({ "id": self.id, key: value });
        if let (Some(session), Some(answer)) = (self.session, answer.as_object_mut()) {
            answer.insert("sessionId".to_owned(), session.into());
        }
        answer
    }
}

/// A JSON object whose values are not read yet, in its order. An object with a duplicate key is
/// rejected, because Chromium may choose either of the two.
#[derive(Debug)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Object<'a> {
    /// Returns the raw text of a value.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// Returns a value; `None` if it is missing or of another type.
    pub fn read<T: Deserialize<'a>>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.get(key)?.get()).ok()
    }

    /// Returns every key of the object, in its order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_ref())
    }

    /// Returns the object's text with one value replaced or left out.
    pub fn with(&self, key: &str, value: Option<&str>) -> String {
        let mut text = "{".to_owned();
        for (name, old) in &self.0 {
            let new = if name == key { value } else { Some(old.get()) };
            let Some(new) = new else { continue };
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&Value::from(name.as_ref()).to_string());
            text.push(':');
            text.push_str(new);
        }
        text.push('}');
        text
    }
}

/// A key of an object, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let (mut entries, mut seen) = (Vec::new(), HashSet::new());
                while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom("a key is there twice"));
                    }
                    entries.push((key, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// A command that can be read in only one way.
#[derive(Debug)]
pub(super) struct Command<'a> {
    object: Object<'a>,
    /// The parts that its answer repeats.
    pub call: Call,
    /// The name, as `Domain.method`.
    pub method: String,
}

impl<'a> Command<'a> {
    /// Reads a command from a message.
    ///
    /// # Errors
    ///
    /// Fails with the readable parts of the call if the message is no command.
    pub fn read(message: &'a [u8]) -> Result<Self, Call> {
        let Ok(object) = serde_json::from_slice::<Object<'_>>(message) else {
            return Err(Call::default());
        };
        let session = object.read::<String>("sessionId");
        let session = session.filter(|session| session.len() <= LONGEST_SESSION);
        let call = Call { id: object.read("id"), session };
        match object.read::<String>("method") {
            Some(method) => Ok(Self { object, call, method }),
            None => Err(call),
        }
    }

    /// Returns the parameters, empty if the command has none; `None` if they cannot be read.
    pub fn params(&self) -> Option<Object<'a>> {
        match self.object.get("params") {
            Some(params) => serde_json::from_str::<Object<'_>>(params.get()).ok(),
            None => Some(Object(Vec::new())),
        }
    }

    /// Returns the command's text with these parameters.
    pub fn with_params(&self, params: &str) -> Vec<u8> {
        self.object.with("params", Some(params)).into_bytes()
    }

    /// Returns this carrier's text with another command in it.
    pub fn carrying(&self, params: &Object<'_>, nested: &[u8]) -> Vec<u8> {
        let nested = Value::from(String::from_utf8_lossy(nested)).to_string();
        self.with_params(&params.with("message", Some(&nested)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_the_call_and_its_session_and_repeats_nothing_long() {
        let call = |session: &str| {
            let message = json!({ "id": 7, "method": "Input.insertText", "sessionId": session });
            Command::read(message.to_string().as_bytes()).unwrap().call.refused("no")
        };
        let error = json!({ "code": -32000, "message": "no" });
        assert_eq!(call("S"), json!({ "id": 7, "error": error, "sessionId": "S" }));
        assert_eq!(call(&"S".repeat(1000)), json!({ "id": 7, "error": error }));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for message in [
            "nonsense",
            "[]",
            "",
            r#"{"id":1}"#,
            r#"{"id":1,"method":7}"#,
            r#"{"method":"Page.enable","method":"Input.insertText"}"#,
            r#"{"method":"Page.enable","meth\u006fd":"Input.insertText"}"#,
            r#"{"method":"Page.enable"}{"method":"Input.insertText"}"#,
            r#"/**/{"method":"Page.enable"}"#,
            "\u{feff}{\"method\":\"Page.enable\"}",
        ] {
            assert!(Command::read(message.as_bytes()).is_err(), "{message}");
        }
        // CBOR, which Chromium accepts in place of JSON.
        assert!(Command::read(b"\xd8\x5a\x00\x00\x00\x02\xbf\xff").is_err());
        assert!(Command::read(b"{\"method\":\"Page.enable\xff\"}").is_err());
        let command = Command::read(br#"{"id":1,"meth\u006fd":"Page\u002eenable"}"#).unwrap();
        assert_eq!(command.method, "Page.enable");
        let twice = br#"{"method":"Page.navigate","params":{"url":"a:","\u0075rl":"b:"}}"#;
        assert!(Command::read(twice).unwrap().params().is_none());
    }
}
