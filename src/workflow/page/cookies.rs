//! Cookies of the browser: reading, setting and removing them.

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{Browser, PageError};

impl Browser {
    /// Returns the cookies that the browser would send to a URL, or all of them.
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

    /// Removes a cookie, given as [`cookies`](Self::cookies) returned it.
    pub async fn remove_cookie(&self, cookie: &Value) -> Result<(), PageError> {
        let session = self.working()?;
        let known = ["name", "domain", "path", "partitionKey"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), cookie.get(field)?.clone())));
        let params = Value::Object(known.collect::<Map<_, _>>());
        self.call(&session, "Network.deleteCookies", params).await.map(|_nothing| ())
    }

    /// Waits until the page has drawn a frame, for 50 ms at most.
    pub async fn pass_a_moment(&self, deadline: Instant) {
        let Ok(session) = self.working() else { return };
        let frame = json!({
            "expression": "new Promise((resolve) => { setTimeout(resolve, 50); requestAnimationFrame(resolve); })",
            "awaitPromise": true,
            "returnByValue": true,
        });
        // A page that is being left fails this call; the next attempt finds the new page.
        let _whether_it_stayed =
            tokio::time::timeout_at(deadline, self.call(&session, "Runtime.evaluate", frame)).await;
    }
}
