//! The storage state as clients read and write it: the form of Playwright's `storageState`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};
use url::{Origin, Url};

use super::counted::{list, some_list, within_limit};

/// The most bytes of a state as JSON.
pub const LARGEST: usize = 32 * 1024 * 1024;

/// The most cookies of a state.
pub const MOST_COOKIES: usize = 10_000;

/// The most origins of a state.
pub const MOST_ORIGINS: usize = 1_000;

/// The most databases of one origin.
pub const MOST_DATABASES: usize = 200;

/// The cookies and the storage of a browser. Reading it is bounded by [`MOST_PARTS`](super::MOST_PARTS).
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct StorageState {
    /// The cookies, those of sessions included.
    #[serde(deserialize_with = "list")]
    pub cookies: Vec<Cookie>,
    /// The storage of each origin.
    #[serde(default, deserialize_with = "list")]
    pub origins: Vec<OriginStorage>,
    /// The parts that a capture left out. It has no effect when the state is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl Serialize for StorageState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer) // The derived one.
    }
}

impl<'de> Deserialize<'de> for StorageState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        within_limit(|| Self::deserialize(deserializer)) // The derived one.
    }
}

/// Implements `Debug` without any value, because cookies and tokens are secrets.
macro_rules! secret {
    ($($name:ident)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

secret! { StorageState Cookie OriginStorage Item Database ObjectStore Record Index }

/// A cookie of the state.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    /// The domain; with a leading dot, its subdomains get the cookie as well.
    pub domain: String,
    pub path: String,
    /// The seconds since 1970; -1 for a cookie that ends with the browser.
    #[serde(default = "never")]
    pub expires: Number,
    #[serde(default)]
    pub http_only: bool,
    #[serde(default)]
    pub secure: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<SameSite>,
    /// The top-level site of a partitioned cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// True if a page of another site is between the partitioned cookie's page and the top-level one.
    #[serde(rename = "_crHasCrossSiteAncestor", default, skip_serializing_if = "Option::is_none")]
    pub has_cross_site_ancestor: Option<bool>,
}

fn never() -> Number {
    Number::from(-1)
}

/// The requests of other sites that carry a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

impl SameSite {
    fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

impl Cookie {
    /// Reads a cookie of `Storage.getCookies`.
    pub(in crate::system) fn of_browser(read: &Value) -> Option<Self> {
        let text = |name: &str| read.get(name).and_then(Value::as_str).map(str::to_owned);
        let is = |name: &str| read.get(name) == Some(&Value::Bool(true));
        let key = read.get("partitionKey");
        let same_site = match read.get("sameSite").and_then(Value::as_str) {
            Some("Strict") => SameSite::Strict,
            Some("None") => SameSite::None,
            // Like Playwright: Chromium treats a cookie without the attribute as lax.
            Some(_) | None => SameSite::Lax,
        };
        let expires = match read.get("expires") {
            Some(Value::Number(expires)) if !is("session") => expires.clone(),
            Some(_) | None => never(),
        };
        Some(Self {
            name: text("name")?,
            value: text("value")?,
            domain: text("domain")?,
            path: text("path").unwrap_or_else(|| "/".to_owned()),
            expires,
            http_only: is("httpOnly"),
            secure: is("secure"),
            same_site: Some(same_site),
            partition_key: key.and_then(|key| Some(key.get("topLevelSite")?.as_str()?.to_owned())),
            has_cross_site_ancestor: key.and_then(|key| key.get("hasCrossSiteAncestor")?.as_bool()),
        })
    }

    /// The cookie for `Storage.setCookies`.
    pub(super) fn to_set(&self) -> Value {
        let mut set = json!({
            "name": self.name,
            "value": self.value,
            "path": self.path,
            "httpOnly": self.http_only,
            "secure": self.secure,
        });
        let mut add = |name: &str, value: Value| {
            if let Some(members) = set.as_object_mut() {
                members.insert(name.to_owned(), value);
            }
        };
        if self.domain.starts_with('.') {
            add("domain", self.domain.as_str().into());
        } else {
            // A cookie with a domain would be sent to subdomains as well.
            let scheme = if self.secure { "https" } else { "http" };
            add("url", format!("{scheme}://{}{}", self.domain, self.path).into());
        }
        if self.expires.as_f64().is_some_and(|expires| expires >= 0.0) {
            add("expires", Value::Number(self.expires.clone()));
        }
        if let Some(same_site) = self.same_site {
            add("sameSite", same_site.as_str().into());
        }
        if let Some(site) = &self.partition_key {
            let is_across = self.has_cross_site_ancestor.unwrap_or(true);
            add("partitionKey", json!({ "topLevelSite": site, "hasCrossSiteAncestor": is_across }));
        }
        set
    }

    /// True if requests to this host carry the cookie.
    pub(super) fn is_of(&self, host: &str) -> bool {
        match self.domain.strip_prefix('.') {
            Some(domain) => {
                let before = host.strip_suffix(domain);
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            None => self.domain == host,
        }
    }
}

/// The storage of one origin.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OriginStorage {
    /// The origin, such as `https://example.com`.
    pub origin: String,
    #[serde(default, deserialize_with = "list")]
    pub local_storage: Vec<Item>,
    /// The databases of IndexedDB; none if they were not asked for.
    #[serde(
        rename = "indexedDB",
        default,
        deserialize_with = "some_list",
        skip_serializing_if = "Option::is_none"
    )]
    pub indexed_db: Option<Vec<Database>>,
}

/// An item of `localStorage`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    pub name: String,
    pub value: String,
}

/// A database of IndexedDB.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub name: String,
    pub version: u64,
    #[serde(deserialize_with = "list")]
    pub stores: Vec<ObjectStore>,
}

/// An object store of a database.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectStore {
    pub name: String,
    pub auto_increment: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    #[serde(default, deserialize_with = "some_list", skip_serializing_if = "Option::is_none")]
    pub key_path_array: Option<Vec<String>>,
    #[serde(deserialize_with = "list")]
    pub records: Vec<Record>,
    #[serde(deserialize_with = "list")]
    pub indexes: Vec<Index>,
}

/// A record of an object store. A value that JSON cannot express is encoded as Playwright does.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Record {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<RawValue>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub key_encoded: Option<Box<RawValue>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value: Option<Box<RawValue>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub value_encoded: Option<Box<RawValue>>,
}

/// Reads `null` as a value, not as a missing one.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// An index of an object store.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Index {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    #[serde(default, deserialize_with = "some_list", skip_serializing_if = "Option::is_none")]
    pub key_path_array: Option<Vec<String>>,
    pub multi_entry: bool,
    pub unique: bool,
}

/// A part of a state that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The path of the field, such as `origins[2].origin`.
    pub field: String,
    /// The reason, which repeats no value.
    pub message: String,
}

/// Returns `text` as the origin of web pages, in the browser's spelling; none for another text.
///
/// Pages of files, extensions and the browser itself have no such origin, and neither has a sandbox.
pub fn web_origin(text: &str) -> Option<String> {
    let url: Url = text.parse().ok()?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_anonymous = url.username().is_empty() && url.password().is_none();
    let is_web = matches!(url.scheme(), "http" | "https");
    match url.origin() {
        origin @ Origin::Tuple(..) if is_bare && is_anonymous && is_web => {
            Some(origin.ascii_serialization())
        }
        Origin::Tuple(..) | Origin::Opaque(_) => None,
    }
}

impl OriginStorage {
    /// The number of elements of all its lists.
    pub(super) fn parts(&self) -> usize {
        let path = |array: &Option<Vec<String>>| array.as_ref().map_or(0, Vec::len);
        let databases = self.indexed_db.as_deref().unwrap_or_default();
        let stores = databases.iter().flat_map(|database| &database.stores);
        let within = stores.map(|store| {
            let indexes = store.indexes.iter().map(|index| 1 + path(&index.key_path_array));
            1 + path(&store.key_path_array) + store.records.len() + indexes.sum::<usize>()
        });
        self.local_storage.len() + databases.len() + within.sum::<usize>()
    }
}

impl StorageState {
    /// Checks what the types do not express, and spells origins as the browser does.
    ///
    /// # Errors
    ///
    /// Returns every fault, up to twenty.
    pub fn checked(mut self) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut refuse = |field: String, message: String| {
            if faults.len() < 20 {
                faults.push(Fault { field, message });
            }
        };
        if self.cookies.len() > MOST_COOKIES {
            refuse("cookies".to_owned(), format!("expected at most {MOST_COOKIES} cookies"));
        }
        if self.origins.len() > MOST_ORIGINS {
            refuse("origins".to_owned(), format!("expected at most {MOST_ORIGINS} origins"));
        }
        for (at, cookie) in self.cookies.iter().enumerate() {
            let has_host = !cookie.domain.trim_start_matches('.').is_empty();
            if !has_host || cookie.domain.contains(['/', '@', '?', '#']) {
                let message = "expected a host, with a leading dot for its subdomains too";
                refuse(format!("cookies[{at}].domain"), message.to_owned());
            }
            if !cookie.path.starts_with('/') {
                let message = "expected a path that begins with `/`";
                refuse(format!("cookies[{at}].path"), message.to_owned());
            }
            if cookie.expires.as_f64().is_none_or(|at| at < 0.0 && at != -1.0) {
                let message = "expected seconds since 1970, or -1 for a cookie of the session";
                refuse(format!("cookies[{at}].expires"), message.to_owned());
            }
        }
        for (at, storage) in self.origins.iter_mut().enumerate() {
            match web_origin(&storage.origin) {
                Some(origin) => storage.origin = origin,
                None => {
                    let message = "expected the origin of web pages, such as https://example.com";
                    refuse(format!("origins[{at}].origin"), message.to_owned());
                }
            }
            if storage.indexed_db.as_ref().is_some_and(|all| all.len() > MOST_DATABASES) {
                let message = format!("expected at most {MOST_DATABASES} databases");
                refuse(format!("origins[{at}].indexedDB"), message);
            }
        }
        if faults.is_empty() { Ok(self) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::storage_state::MOST_PARTS;

    /// A file that Playwright 1.60 wrote: `context.storage_state(indexed_db=True)`.
    const PLAYWRIGHT: &str = include_str!("playwright.json");

    fn faults_of(state: Value) -> Vec<String> {
        let state: StorageState = serde_json::from_value(state).unwrap();
        let faults = state.checked().err().unwrap_or_default();
        faults.into_iter().map(|fault| fault.field).collect()
    }

    #[test]
    fn a_file_of_playwright_is_read_and_written_as_it_was() {
        let state: StorageState = serde_json::from_str(PLAYWRIGHT).unwrap();
        assert_eq!((state.cookies.len(), state.origins.len()), (2, 1));
        let written = serde_json::to_value(state.checked().unwrap()).unwrap();
        let read: Value = serde_json::from_str(PLAYWRIGHT).unwrap();
        assert_eq!(written, read);
    }

    /// The text of a state with one store that has this number of empty records.
    fn with_records(count: usize) -> String {
        let records = vec!["{}"; count].join(",");
        format!(
            r#"{{"cookies":[],"origins":[{{"origin":"https://a.example","indexedDB":[{{"name":"a","version":1,"stores":[{{"name":"a","autoIncrement":true,"records":[{records}],"indexes":[]}}]}}]}}]}}"#
        )
    }

    #[test]
    fn the_elements_of_all_lists_have_one_limit() {
        let read = |text: &str| serde_json::from_str::<StorageState>(text);
        // An origin, a database and a store come with the records.
        let most = MOST_PARTS - 3;
        let state = read(&with_records(most)).unwrap();
        assert_eq!(state.origins[0].parts() + 1, MOST_PARTS);
        let text = read(&with_records(most + 1)).unwrap_err().to_string();
        assert!(text.starts_with("expected at most 250000 "), "{text}");
        assert!(read(&with_records(1_000_000)).is_err());
        read(&with_records(most)).expect("the next state has the whole limit");
        let short = r#""","#.repeat(MOST_PARTS);
        let index = format!(
            r#"{{"name":"a","multiEntry":false,"unique":false,"keyPathArray":[{short}""]}}"#
        );
        let text = with_records(0).replace(r#""indexes":[]"#, &format!(r#""indexes":[{index}]"#));
        assert!(read(&text).is_err(), "key paths count too");
    }

    #[test]
    fn null_is_a_value_and_not_a_missing_one() {
        let record: Record = serde_json::from_str(r#"{"key":0,"value":null}"#).unwrap();
        assert_eq!(serde_json::to_string(&record).unwrap(), r#"{"key":0,"value":null}"#);
    }

    #[test]
    fn only_web_pages_have_an_origin() {
        let taken = [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.com:443/", "https://example.com"),
            ("http://[::1]:80", "http://[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ];
        for (given, origin) in taken {
            assert_eq!(web_origin(given).as_deref(), Some(origin));
        }
        let refused = [
            "null",
            "",
            "example.com",
            "file:///",
            "chrome://settings",
            "data:text/html,x",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "https://a.example/path",
            "https://ann@a.example",
            "https://a.example?x",
            "blob:https://a.example",
            "about:blank",
        ];
        for given in refused {
            assert_eq!(web_origin(given), None, "{given}");
        }
    }

    #[test]
    fn faults_name_their_fields() {
        let cookie = |domain: &str, path: &str, expires: f64| json!({ "name": "a", "value": "b", "domain": domain, "path": path, "expires": expires });
        let fine = json!({ "cookies": [cookie(".a.example", "/", -1.0)], "origins": [] });
        assert_eq!(faults_of(fine), Vec::<String>::new());
        let cookies = [cookie("", "/", 1.0), cookie("a", "x", 1.0), cookie("a", "/", -2.0)];
        let origin = json!({ "origin": "file:///", "localStorage": [] });
        let faults = faults_of(json!({ "cookies": cookies, "origins": [origin] }));
        let fields =
            ["cookies[0].domain", "cookies[1].path", "cookies[2].expires", "origins[0].origin"];
        assert_eq!(faults, fields);
    }

    #[test]
    fn a_cookie_is_read_from_the_browser_and_set_again() {
        let read = json!({
            "name": "login", "value": "ann", "domain": "example.org", "path": "/", "expires": -1,
            "size": 8, "httpOnly": true, "secure": true, "session": true,
            "partitionKey": { "topLevelSite": "https://top.example", "hasCrossSiteAncestor": false },
        });
        let cookie = Cookie::of_browser(&read).unwrap();
        let shown = json!({
            "name": "login", "value": "ann", "domain": "example.org", "path": "/", "expires": -1,
            "httpOnly": true, "secure": true, "sameSite": "Lax",
            "partitionKey": "https://top.example", "_crHasCrossSiteAncestor": false,
        });
        assert_eq!(serde_json::to_value(&cookie).unwrap(), shown);
        let set = json!({
            "name": "login", "value": "ann", "path": "/", "httpOnly": true, "secure": true,
            "url": "https://example.org/", "sameSite": "Lax",
            "partitionKey": { "topLevelSite": "https://top.example", "hasCrossSiteAncestor": false },
        });
        assert_eq!(cookie.to_set(), set);
        assert!(cookie.is_of("example.org") && !cookie.is_of("www.example.org"));
        let wide = Cookie { domain: ".example.org".to_owned(), ..cookie };
        assert!(wide.is_of("example.org") && wide.is_of("www.example.org"));
        assert!(!wide.is_of("an-example.org"));
    }
}
