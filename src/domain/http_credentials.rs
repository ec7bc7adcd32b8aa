//! Logins of a session's browser, for sites that ask for one by HTTP authentication.

use serde::{Deserialize, Serialize};
use url::Url;

use super::sealing::is_sealed;
use super::secret::Secret;

/// The most logins of a session.
const MOST: usize = 50;

/// The longest name and the longest password, in bytes.
const LONGEST: usize = 1024;

/// A login for one origin. Its password is neither printed nor serialized.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpCredential {
    /// The scheme, host and port of the site, such as `https://intra.example:8443`.
    pub origin: String,
    /// The name that the site knows.
    pub username: String,
    /// The password for that name.
    #[serde(skip_serializing)]
    pub password: Secret,
}

impl PartialEq for HttpCredential {
    fn eq(&self, other: &Self) -> bool {
        let Self { origin, username, password } = self;
        *origin == other.origin
            && *username == other.username
            && password.expose() == other.password.expose()
    }
}

impl Eq for HttpCredential {}

impl HttpCredential {
    /// Returns the same login, with the origin as browsers spell it.
    #[must_use]
    pub fn canonical(&self) -> Self {
        let origin = canonical_origin(&self.origin).unwrap_or_else(|| self.origin.clone());
        Self { origin, ..self.clone() }
    }

    /// True if the password was sealed with the secret of another server, and so is not known.
    pub fn is_lost(&self) -> bool {
        is_sealed(self.password.expose())
    }

    /// Returns the invalid fields of these logins: the path below the list, and the reason.
    pub fn problems(credentials: &[Self]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if credentials.len() > MOST {
            found.push((String::new(), format!("expected at most {MOST} logins")));
        }
        for (index, credential) in credentials.iter().enumerate().take(MOST) {
            let Self { origin, username, password } = credential;
            let mut check = |field: &str, holds: bool, reason: &str| {
                if !holds {
                    found.push((format!("[{index}].{field}"), reason.to_owned()));
                }
            };
            let known = canonical_origin(origin);
            let is_origin = known.is_some();
            check("origin", is_origin, "expected an origin such as `https://intra.example:8443`");
            let others = credentials.iter().take(index);
            let is_new =
                !others.filter_map(|it| canonical_origin(&it.origin)).any(|it| Some(it) == known);
            check("origin", is_new || !is_origin, "another login has this origin");
            let fits = |text: &str| text.len() <= LONGEST && !text.chars().any(char::is_control);
            let reason = "expected 1 to 1024 bytes without a colon and control characters";
            let is_name = fits(username) && !username.is_empty() && !username.contains(':');
            check("username", is_name, reason);
            let text = password.expose();
            check("password", fits(text), "expected at most 1024 bytes without control characters");
            let reason = "expected a password that does not begin as the server's sealed texts do";
            check("password", !is_sealed(text), reason);
        }
        found
    }
}

/// Returns an origin of `http` or `https` as browsers spell it; none if the text is none.
pub fn canonical_origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    let origin = is_plain.then(|| url.origin().ascii_serialization())?;
    // DevTools reads these as a pattern.
    (!origin.contains(['*', '?', '\\'])).then_some(origin)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn credential(origin: &str, username: &str, password: &str) -> HttpCredential {
        let (origin, username) = (origin.to_owned(), username.to_owned());
        HttpCredential { origin, username, password: password.into() }
    }

    #[test]
    fn a_password_is_read_but_neither_printed_nor_serialized() {
        let given =
            json!({ "origin": "https://a.example", "username": "ann", "password": "hunter2" });
        let read: HttpCredential = serde_json::from_value(given).unwrap();
        assert_eq!(read.password.expose(), "hunter2");
        let shown = json!({ "origin": "https://a.example", "username": "ann" });
        assert_eq!(serde_json::to_value(&read).unwrap(), shown);
        assert!(!format!("{read:?}").contains("hunter2"));
        assert_ne!(read, credential("https://a.example", "ann", "other"));
        assert!(serde_json::from_value::<HttpCredential>(shown).is_err());
    }

    #[test]
    fn an_origin_gets_the_spelling_of_browsers_and_more_than_an_origin_is_none() {
        for (text, origin) in [
            ("HTTPS://Intra.Example:443/", Some("https://intra.example")),
            ("http://10.0.0.1:8080", Some("http://10.0.0.1:8080")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("https://bücher.example", Some("https://xn--bcher-kva.example")),
            ("https://a.example/path", None),
            ("https://a.example/?q", None),
            ("https://a.example/#f", None),
            ("https://ann:pw@a.example", None),
            ("https://*.example", None),
            ("https://*", None),
            ("ftp://a.example", None),
            ("file:///etc", None),
            ("a.example", None),
            ("", None),
        ] {
            assert_eq!(canonical_origin(text).as_deref(), origin, "{text}");
        }
    }

    #[test]
    fn each_wrong_field_is_named_and_no_reason_has_the_password() {
        let good = credential("https://a.example", "ann", "");
        assert_eq!(HttpCredential::problems(std::slice::from_ref(&good)), []);
        let wrong = [
            good.clone(),
            credential("https://A.example:443", "ann", "a"),
            credential("a.example", "", "hunter2\n"),
            credential("https://b.example", "a:b", "sealed:v1:hunter2"),
        ];
        let found = HttpCredential::problems(&wrong);
        let fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        let expected = [
            "[1].origin",
            "[2].origin",
            "[2].username",
            "[2].password",
            "[3].username",
            "[3].password",
        ];
        assert_eq!(fields, expected);
        assert!(!format!("{found:?}").contains("hunter2"));
        assert_eq!(HttpCredential::problems(&vec![good; 51])[0].0, "");
    }
}
