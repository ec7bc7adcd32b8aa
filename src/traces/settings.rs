//! The settings of traces.

use std::collections::BTreeMap;

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::domain::secret::Secret;

/// The section `traces`: spans of requests, for a collector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The collector that receives spans by OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is
    /// added. Without it there are no traces. `OTEL_EXPORTER_OTLP_ENDPOINT` sets it too.
    pub endpoint: Option<String>,
    /// Headers of the requests to the collector, such as its key; their values are secrets.
    /// `OTEL_EXPORTER_OTLP_HEADERS` sets them too.
    pub headers: BTreeMap<String, Secret>,
    /// The share of requests that are traced, from 0 to 1.
    pub sampling_ratio: f64,
    /// True if a request with the header `traceparent` is traced exactly if its client traces it. Otherwise its
    /// trace is continued, and the ratio decides as for any other.
    pub parent_decides: bool,
    /// The name of this server in traces; `OTEL_SERVICE_NAME` sets it too.
    pub service_name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            sampling_ratio: 1.0,
            parent_decides: false,
            service_name: "greenroom".to_owned(),
        }
    }
}

/// The longest name of the service, in bytes.
const LONGEST_NAME: usize = 255;

impl Settings {
    /// Returns the wrong values, as keys with messages.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        if let Some(endpoint) = &self.endpoint
            && let Err(message) = target(endpoint)
        {
            problems.push(("endpoint".to_owned(), message));
        }
        for (name, value) in &self.headers {
            let key = format!("headers.{name}");
            if name.parse::<HeaderName>().is_err() {
                problems.push((key, "this is no name of a header".to_owned()));
            } else if HeaderValue::from_str(value.expose()).is_err() {
                problems.push((key, "the value cannot be sent in a header".to_owned()));
            }
        }
        if !(0.0..=1.0).contains(&self.sampling_ratio) {
            let message = "a share is a number from 0 to 1".to_owned();
            problems.push(("sampling_ratio".to_owned(), message));
        }
        if self.service_name.trim().is_empty() || self.service_name.len() > LONGEST_NAME {
            let message = format!("a name has 1 to {LONGEST_NAME} bytes");
            problems.push(("service_name".to_owned(), message));
        }
        problems
    }
}

/// The URL to which spans are sent.
pub(super) fn target(endpoint: &str) -> Result<Url, String> {
    let mut url: Url = endpoint.parse().map_err(|cause| format!("this is no URL: {cause}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("the URL of a collector begins with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("credentials belong into traces.headers, not into the URL".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL has a query or a fragment, which a collector has not".to_owned());
    }
    let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_go_below_the_path_of_the_endpoint() {
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://collect.example/otlp/", "https://collect.example/otlp/v1/traces"),
        ] {
            assert_eq!(target(endpoint).unwrap().as_str(), url);
        }
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        let headers = [("a b", "x"), ("x-key", "a\nb"), ("x-good", "s3cret")];
        let headers = headers.map(|(name, value)| (name.to_owned(), Secret::from(value)));
        let settings = Settings {
            endpoint: Some("http://me:s3cret@127.0.0.1:4318".to_owned()),
            headers: headers.into(),
            sampling_ratio: f64::NAN,
            parent_decides: false,
            service_name: " ".to_owned(),
        };
        let problems = settings.problems();
        let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            ["endpoint", "headers.a b", "headers.x-key", "sampling_ratio", "service_name"]
        );
        assert!(!format!("{problems:?}").contains("s3cret"));
        for wrong in ["collector:4318", "ftp://collector", "http://c/?key=1", "unix:/socket", ""] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Settings::default().problems(), []);
    }
}
