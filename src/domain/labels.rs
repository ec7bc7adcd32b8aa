//! Labels that clients give to sessions, profiles and workflows: a unique name, and tags.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A name for people, unique among the objects of a kind in an organization.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Name(String);

/// The beginning of the names that the server gives to profiles, before their ids. No client can give such
/// a name.
pub const RESERVED_NAME: &str = "Profile ";

/// A text that cannot be a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected 1 to {} characters, without control characters and without spaces at either end",
    Name::LONGEST
)]
pub struct NotAName;

impl Name {
    /// The most characters of a name.
    pub const LONGEST: usize = 100;

    /// Returns the text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True for a text of 1 to `most` characters without control characters or spaces at its ends.
fn is_plain(text: &str, most: usize) -> bool {
    let length = text.chars().count();
    (1..=most).contains(&length) && !text.chars().any(char::is_control) && text.trim() == text
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if is_plain(text, Self::LONGEST) { Ok(Self(text.to_owned())) } else { Err(NotAName) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The tags of an object, each once, in the order in which they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(Vec<String>);

/// Texts that cannot be tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTags {
    /// There are more tags than [`Tags::MOST`].
    #[error("expected at most {} tags", Tags::MOST)]
    TooMany,
    /// A tag is empty, too long, or has control characters.
    #[error(
        "expected tags of 1 to {} characters, without control characters and without spaces at \
         either end",
        Tags::LONGEST
    )]
    NotATag,
}

impl Tags {
    /// The most tags of an object.
    pub const MOST: usize = 20;
    /// The most characters of a tag.
    pub const LONGEST: usize = 64;

    /// Creates tags. A tag that is given twice counts once.
    ///
    /// # Errors
    ///
    /// Fails if a text is no tag, or if there are too many.
    pub fn new<T: AsRef<str>>(given: impl IntoIterator<Item = T>) -> Result<Self, NotTags> {
        let mut tags: Vec<String> = Vec::new();
        for tag in given {
            let tag = tag.as_ref();
            if !is_plain(tag, Self::LONGEST) {
                return Err(NotTags::NotATag);
            }
            if !tags.iter().any(|known| known == tag) {
                tags.push(tag.to_owned());
            }
        }
        if tags.len() > Self::MOST { Err(NotTags::TooMany) } else { Ok(Self(tags)) }
    }

    /// True if there are no tags.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the tags in their order.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// True if each of these tags is among them.
    pub fn has_all(&self, wanted: &[String]) -> bool {
        wanted.iter().all(|tag| self.0.contains(tag))
    }
}

/// A change of the labels of an object. A label that is `None` is unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelChange {
    /// The name; `Some(None)` removes it.
    pub name: Option<Option<Name>>,
    /// The tags, in place of all others.
    pub tags: Option<Tags>,
}

impl LabelChange {
    /// True if nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.name.is_none() && self.tags.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_some_characters_and_no_space_around_them() {
        assert_eq!("Müller's desk".parse::<Name>().unwrap().as_str(), "Müller's desk");
        for wrong in ["", " a", "a ", "a\nb", &"x".repeat(101)] {
            assert_eq!(wrong.parse::<Name>(), Err(NotAName), "{wrong:?}");
        }
    }

    #[test]
    fn a_tag_counts_once() {
        let tags = Tags::new(["a", "b", "a"]).unwrap();
        assert_eq!(tags.as_slice(), ["a", "b"]);
        assert!(tags.has_all(&["b".to_owned()]));
        assert!(!tags.has_all(&["b".to_owned(), "c".to_owned()]));
        assert_eq!(Tags::new([""]), Err(NotTags::NotATag));
        let many: Vec<_> = (0..21).map(|number| number.to_string()).collect();
        assert_eq!(Tags::new(many), Err(NotTags::TooMany));
    }
}
