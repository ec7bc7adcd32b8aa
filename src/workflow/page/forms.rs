//! Fields of forms, filled by what they are.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::frame::Target;
use super::input::Clicking;
use super::{Browser, PageError};

impl Browser {
    /// Fills a field by its kind: selects an option of a list, checks or unchecks a box, or replaces
    /// the text of any other field.
    pub async fn fill_any(&self, target: Target<'_>, value: &str) -> Result<(), PageError> {
        let (tag, input_type) = self.kind_of(target).await?;
        match (tag.as_str(), input_type.as_str()) {
            ("SELECT", _) => self.select(target, &[value.to_owned()]).await.map(|_selected| ()),
            ("INPUT", "checkbox" | "radio") => match value.trim() {
                "true" => self.check(target, true).await,
                "false" => self.check(target, false).await,
                _ => Err(PageError::Unfit {
                    selector: target.selector.to_owned(),
                    reason: format!("a field of type {input_type} takes `true` or `false`"),
                }),
            },
            _ => self.fill(target, value).await,
        }
    }

    /// Checks or unchecks a box, by a click if it is not as wanted.
    pub async fn check(&self, target: Target<'_>, wanted: bool) -> Result<(), PageError> {
        let is_checked = async || {
            let deadline = Instant::now() + target.timeout;
            let facts = self.facts(Some(target.selector), target.frames, deadline).await?;
            Ok::<_, PageError>(facts.get("checked").and_then(Value::as_bool).unwrap_or_default())
        };
        self.ready(target, &["visible", "enabled"]).await?;
        if is_checked().await? == wanted {
            return Ok(());
        }
        self.click(target, &Clicking::default()).await?;
        if is_checked().await? == wanted {
            return Ok(());
        }
        let reason =
            format!("a click does not make it {}", if wanted { "checked" } else { "unchecked" });
        Err(PageError::Unfit { selector: target.selector.to_owned(), reason })
    }

    /// Returns the tag of an element in upper case, and the `type` of a field.
    async fn kind_of(&self, target: Target<'_>) -> Result<(String, String), PageError> {
        let (frame, _answer) = self.ready(target, &["attached"]).await?;
        let object = self.held(&frame).await?;
        let node =
            self.call(&frame.session, "DOM.describeNode", json!({ "objectId": object })).await?;
        let tag = node.pointer("/node/nodeName").and_then(Value::as_str).unwrap_or_default();
        let attributes = node.pointer("/node/attributes").and_then(Value::as_array);
        let texts: Vec<&str> = attributes.into_iter().flatten().filter_map(Value::as_str).collect();
        let input_type = texts.chunks(2).find_map(|pair| match pair {
            ["type", value] => Some(value.to_ascii_lowercase()),
            _ => None,
        });
        Ok((tag.to_uppercase(), input_type.unwrap_or_default()))
    }
}
