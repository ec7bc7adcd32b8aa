//! Parsing of user input: values that arrive as text, and the reason why a value is invalid. Query
//! strings and environment variables carry only text. [`TextList`] parses it as the type that its
//! reader expects: `5` is a number or a name, as required. [`Fault`] analyses the messages of
//! serde's derive, which name a missing or unknown field only in their text.

use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::SeqDeserializer;
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// The text or texts given under one name, as a serde deserializer.
///
/// A single text is parsed as a boolean, a number, a list or a text, whichever is expected. A list
/// is a JSON list, or one text split at its commas, or one item for each text if several were
/// given.
#[derive(Debug, Clone)]
pub struct TextList<E> {
    texts: Vec<String>,
    error: PhantomData<E>,
}

impl<E: de::Error> TextList<E> {
    /// Creates the deserializer of a single text.
    pub fn one(text: impl Into<String>) -> Self {
        Self { texts: vec![text.into()], error: PhantomData }
    }

    /// Creates the deserializer of a name that was given more than once, with its texts in order.
    pub fn several(texts: Vec<String>) -> Self {
        Self { texts, error: PhantomData }
    }

    /// Returns the last text, which takes precedence as with most parsers of query strings.
    fn into_last(mut self) -> String {
        self.texts.pop().unwrap_or_default()
    }

    fn parse<T: FromStr<Err: Display>>(self, expected: &'static str) -> Result<T, E> {
        let text = self.into_last();
        text.trim()
            .parse()
            .map_err(|_cause| de::Error::invalid_type(de::Unexpected::Str(&text), &expected))
    }
}

/// Deserializers of numbers, which differ only in their type.
macro_rules! numbers {
    ($($method:ident $visit:ident $type:ty = $expected:literal;)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            visitor.$visit(self.parse::<$type>($expected)?)
        }
    )+};
}

impl<'de, E: de::Error> Deserializer<'de> for TextList<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_string(self.into_last())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        let text = self.into_last();
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => visitor.visit_bool(true),
            "false" | "0" | "no" | "off" => visitor.visit_bool(false),
            _ => Err(E::invalid_type(de::Unexpected::Str(&text), &"true or false")),
        }
    }

    numbers! {
        deserialize_i8 visit_i8 i8 = "a whole number of 8 bits";
        deserialize_i16 visit_i16 i16 = "a whole number of 16 bits";
        deserialize_i32 visit_i32 i32 = "a whole number of 32 bits";
        deserialize_i64 visit_i64 i64 = "a whole number";
        deserialize_u8 visit_u8 u8 = "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16 = "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32 = "a whole number from 0";
        deserialize_u64 visit_u64 u64 = "a whole number from 0";
        deserialize_f32 visit_f32 f32 = "a number";
        deserialize_f64 visit_f64 f64 = "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        let items: Vec<Self> = match self.texts.as_slice() {
            [one] => items(one)?.into_iter().map(Self::one).collect(),
            several => several.iter().map(Self::one).collect(),
        };
        visitor.visit_seq(SeqDeserializer::new(items.into_iter()))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, E> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, E> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_enum(self.into_last().into_deserializer())
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit_struct map struct identifier ignored_any i128 u128
    }
}

impl<'de, E: de::Error> IntoDeserializer<'de, E> for TextList<E> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Returns the items of a list that is one text: JSON, or items separated by commas. A text with
/// brackets and quotes that is not JSON is refused, rather than split into pieces that contain
/// quotes.
fn items<E: de::Error>(text: &str) -> Result<Vec<String>, E> {
    let text = text.trim();
    let refused = || {
        let expected = "a JSON list such as [\"a\", \"b\"], or items with commas between them";
        E::invalid_value(de::Unexpected::Str(text), &expected)
    };
    if text.starts_with('[') {
        match serde_json::from_str::<Vec<serde_json::Value>>(text) {
            Ok(items) => {
                return items.into_iter().map(|it| plain(it).ok_or_else(refused)).collect();
            }
            Err(_) if text.contains(['"', '\'']) => return Err(refused()),
            Err(_) => {} // An address such as [::1].
        }
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Ok(items.map(str::to_owned).collect())
}

/// Returns an item of a JSON list as text, if it is a single value.
fn plain(item: serde_json::Value) -> Option<String> {
    match item {
        serde_json::Value::String(text) => Some(text),
        item @ (serde_json::Value::Bool(_) | serde_json::Value::Number(_)) => {
            Some(item.to_string())
        }
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            None
        }
    }
}

/// Returns the name among `known` that was probably meant by `name`, if one is similar enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            (strsim::jaro_winkler(&folded, &candidate.to_ascii_lowercase()), candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// The reason why a value is invalid, as far as serde's message contains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A required field is missing.
    Missing {
        /// The name of the missing field.
        field: String,
    },
    /// A field is not known to the reader.
    Unknown {
        /// The name of the unknown field.
        field: String,
        /// The names of the fields that are known.
        known: Vec<String>,
    },
    /// A value has another type than expected.
    Type {
        /// The type found and the type expected.
        message: String,
    },
    /// A value has the right type and is invalid nevertheless.
    Value {
        /// The reason why it is invalid.
        message: String,
    },
}

impl Fault {
    /// Parses the message of a deserializer's error, without the position that it may end with.
    pub fn read(message: &str) -> Self {
        let message = without_place(message.trim());
        let quoted: Vec<String> =
            message.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let mut names = quoted.into_iter();
        if message.starts_with("missing field `")
            && let Some(field) = names.next()
        {
            return Self::Missing { field };
        }
        if message.starts_with("unknown field `")
            && let Some(field) = names.next()
        {
            return Self::Unknown { field, known: names.collect() };
        }
        let message = message.to_owned();
        if message.starts_with("invalid type") {
            Self::Type { message }
        } else {
            Self::Value { message }
        }
    }
}

/// Removes the ` at line 1 column 2` that `serde_json` appends.
fn without_place(message: &str) -> &str {
    let Some((rest, place)) = message.rsplit_once(" at line ") else { return message };
    let is_place = place
        .split_once(" column ")
        .is_some_and(|(line, column)| [line, column].iter().all(|n| n.parse::<u64>().is_ok()));
    if is_place { rest } else { message }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        Fast,
    }

    fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
        T::deserialize(TextList::<de::value::Error>::one(text)).map_err(|cause| cause.to_string())
    }

    #[test]
    fn a_text_is_read_as_what_its_reader_expects() {
        assert_eq!(read::<u16>("5"), Ok(5));
        assert_eq!(read::<String>("5"), Ok("5".to_owned()));
        assert_eq!(read::<Option<u8>>("5"), Ok(Some(5)));
        assert_eq!(read::<bool>("yes"), Ok(true));
        assert_eq!(read::<Vec<u8>>("1, 2,3"), Ok(vec![1, 2, 3]));
        assert_eq!(read::<Mode>("fast"), Ok(Mode::Fast));
    }

    #[test]
    fn a_list_is_json_or_has_commas_and_is_never_cut_at_the_commas_of_json() {
        let texts = |text: &str| read::<Vec<String>>(text);
        let hosts = Ok(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
        assert_eq!(texts(r#"["127.0.0.1", "localhost"]"#), hosts);
        assert_eq!(texts("127.0.0.1, localhost"), hosts);
        assert_eq!(read::<Vec<u8>>("[1,2]"), Ok(vec![1, 2]));
        assert_eq!(texts("[]"), Ok(Vec::new()));
        assert_eq!(texts("[::1],a"), Ok(vec!["[::1]".to_owned(), "a".to_owned()]));
        for neither in [r#"["a", "b""#, "['a', 'b']", r#"[{"a": 1}]"#, r#"["a", null]"#] {
            let refused = texts(neither).unwrap_err();
            assert!(refused.contains("expected a JSON list"), "{neither}: {refused}");
        }
    }

    #[test]
    fn a_text_that_is_not_what_is_expected_is_shown_with_what_is() {
        assert_eq!(
            read::<u16>("70000"),
            Err("invalid type: string \"70000\", expected a whole number from 0 to 65535".into())
        );
        assert!(read::<Mode>("slow").unwrap_err().contains("`fast`"));
    }

    #[test]
    fn a_name_that_was_given_twice_makes_a_list_or_its_last_counts() {
        let given = TextList::<de::value::Error>::several(vec!["a,b".into(), "c".into()]);
        assert_eq!(Vec::<String>::deserialize(given.clone()), Ok(vec!["a,b".into(), "c".into()]));
        assert_eq!(String::deserialize(given), Ok("c".into()));
    }

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant_and_a_strange_one_does_not() {
        let known = ["listen", "public_url", "max_body_bytes"];
        assert_eq!(nearest("LISTN", known), Some("listen"));
        assert_eq!(nearest("publicurl", known), Some("public_url"));
        assert_eq!(nearest("zzz", known), None);
    }

    #[test]
    fn serdes_messages_are_taken_apart() {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Size {
            #[serde(rename = "width")]
            _width: u8,
            #[serde(rename = "height")]
            _height: u8,
        }
        let fault =
            |json: &str| Fault::read(&serde_json::from_str::<Size>(json).unwrap_err().to_string());
        assert_eq!(fault(r#"{"width":1}"#), Fault::Missing { field: "height".into() });
        let known = vec!["width".to_owned(), "height".to_owned()];
        assert_eq!(fault(r#"{"hight":1}"#), Fault::Unknown { field: "hight".into(), known });
        let message = "invalid type: string \"x\", expected u8".to_owned();
        assert_eq!(fault(r#"{"width":"x"}"#), Fault::Type { message });
    }
}
