//! A tree of the values of several layers, which serde reads.

use std::collections::BTreeMap;

use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};

use crate::domain::given::TextList;

/// A value from a layer.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Toml(toml::Value),
    Text(String),
}

/// A tree of tables and values, for serde.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Table(BTreeMap<String, Node>),
    Value(Value),
}

/// Inserts a value at `path`, creating tables on the way.
pub(super) fn insert(table: &mut BTreeMap<String, Node>, path: &[String], value: Value) {
    match path {
        [] => (),
        [last] => {
            table.insert(last.clone(), Node::Value(value));
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Node::Table(BTreeMap::new()));
            if let Node::Value(_) = inner {
                *inner = Node::Table(BTreeMap::new());
            }
            if let Node::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

impl<'de> IntoDeserializer<'de, toml::de::Error> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Forwards each method of the deserializer to the content: a table, a value of a file, a text.
macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*);)+) => {$(
        fn $method<V: Visitor<'de>>(
            self,
            $($argument: $type,)*
            visitor: V,
        ) -> Result<V::Value, toml::de::Error> {
            match self {
                Self::Table(table) => {
                    MapAccessDeserializer::new(MapDeserializer::new(table.into_iter()))
                        .$method($($argument,)* visitor)
                }
                Self::Value(Value::Toml(value)) => value.$method($($argument,)* visitor),
                Self::Value(Value::Text(text)) => {
                    TextList::<toml::de::Error>::one(text).$method($($argument,)* visitor)
                }
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Node {
    type Error = toml::de::Error;

    hand_on! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, toml::de::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, toml::de::Error> {
        visitor.visit_newtype_struct(self)
    }
}
