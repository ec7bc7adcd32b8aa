//! Cookies of the browser.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Browser, PageError};

impl Browser {
    /// The cookies that a URL would be sent, or all of them.
    pub async fn cookies(&self, url: Option<&str>) -> Result<Vec<Value>, PageError> {
        let session = self.working()?;
        let (method, params) = match url {
            Some(url) => ("Network.getCookies", json!({ "urls": [url] })),
            None => ("Network.getAllCookies", json!({})),
        };
        let answer = self.call(&session, method, params).await?;
        Ok(answer.get("cookies").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Writes cookies, each with a `url` or a `domain`.
    pub async fn set_cookies(&self, cookies: Vec<Value>) -> Result<(), PageError> {
        let session = self.working()?;
        let params = json!({ "cookies": cookies });
        self.call(&session, "Network.setCookies", params).await.map(|_nothing| ())
    }

    /// Removes a cookie as [`cookies`](Self::cookies) gave it.
    pub async fn remove_cookie(&self, cookie: &Value) -> Result<(), PageError> {
        let session = self.working()?;
        let known = ["name", "domain", "path", "partitionKey"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), cookie.get(field)?.clone())));
        let params = Value::Object(known.collect::<Map<_, _>>());
        self.call(&session, "Network.deleteCookies", params).await.map(|_nothing| ())
    }

    /// Lets the page go on for one frame of its picture.
    pub async fn pass_a_moment(&self, deadline: Instant) {
        let Ok(session) = self.working() else { return };
        let frame = json!({
            "expression": "new Promise((resolve) => { setTimeout(resolve, 50); requestAnimationFrame(resolve); })",
            "awaitPromise": true,
            "returnByValue": true,
        });
        // A page that is being left fails this; the next look finds the new one.
        let _whether_it_stayed =
            tokio::time::timeout_at(deadline, self.call(&session, "Runtime.evaluate", frame)).await;
    }
}
