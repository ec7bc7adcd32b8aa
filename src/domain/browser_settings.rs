//! The settings of a session's browser, as a page sees them.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::browser_policies::Policies;
use super::client_certificates::{ClientCertificate, GivenCertificate, Problems};
use super::http_credentials::HttpCredential;

/// The time zones that Chromium knows, one name a line.
const TIME_ZONES: &str = include_str!("time_zones.txt");

/// The longest user agent, in bytes.
const LONGEST_USER_AGENT: usize = 1024;

/// The settings of a browser. A missing setting is that of the machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrowserSettings {
    /// The language, as a BCP 47 tag such as `de-DE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// The time zone, by its IANA name such as `Europe/Berlin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The position that pages get without a prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geolocation: Option<Geolocation>,
    /// The value of the header `User-Agent` and of `navigator.userAgent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The value of the media feature `prefers-color-scheme`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_scheme: Option<ColorScheme>,
    /// The number of device pixels in a CSS pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_scale_factor: Option<f64>,
    /// The phone that the browser emulates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mobile: Option<Mobile>,
    /// Further flags of the command line, each `--name` or `--name=value`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// The name of the browser's program in `desktop.executables`; none for the usual one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// The extensions: ids of uploaded ones, and names in `desktop.extensions`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// The logins for sites that ask by HTTP authentication.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http_credentials: Vec<HttpCredential>,
    /// The certificates of further authorities that the browser trusts, each in PEM.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ca_certificates: Vec<String>,
    /// The certificates with which the browser authenticates itself, by origin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub client_certificates: Vec<ClientCertificate>,
    /// Chromium's policies, by name.
    #[serde(skip_serializing_if = "Policies::is_empty")]
    pub policies: Policies,
}

// The numbers come from JSON, which has no NaN.
impl Eq for BrowserSettings {}

/// A position on the Earth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geolocation {
    /// The latitude in degrees.
    pub latitude: f64,
    /// The longitude in degrees.
    pub longitude: f64,
    /// The accuracy in meters.
    #[serde(default)]
    pub accuracy: f64,
}

/// The color scheme that a page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ColorScheme {
    /// Dark text on a light ground.
    Light,
    /// Light text on a dark ground.
    Dark,
    /// No wish. Chromium shows it to pages as `light`.
    NoPreference,
}

/// An emulated phone: a small viewport that follows `<meta name="viewport">`, and a touch screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mobile {
    /// The width of the screen, in CSS pixels.
    pub width: u16,
    /// The height of the screen, in CSS pixels.
    pub height: u16,
}

impl Default for Mobile {
    fn default() -> Self {
        Self { width: 412, height: 915 }
    }
}

/// A setting whose value is not allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidSetting {
    /// The path of the setting, such as `geolocation.latitude`.
    pub field: String,
    /// The value that was given.
    pub input: Value,
    /// The reason, as a lower-case phrase.
    pub reason: String,
}

impl BrowserSettings {
    /// True if pages see the light color scheme.
    pub fn is_light(&self) -> bool {
        match self.color_scheme {
            Some(ColorScheme::Dark) => false,
            Some(ColorScheme::Light | ColorScheme::NoPreference) | None => true,
        }
    }

    /// The languages of the header `Accept-Language`: the locale and its language.
    pub fn languages(&self) -> Option<String> {
        let locale = self.locale.as_deref()?;
        Some(match locale.split_once('-') {
            Some((language, _region)) => format!("{locale},{language}"),
            None => locale.to_owned(),
        })
    }

    /// Returns the settings that may be recorded in a file: those without secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let (http_credentials, client_certificates) = (Vec::new(), Vec::new());
        Self { http_credentials, client_certificates, ..self.clone() }
    }

    /// Returns the settings whose values are not allowed.
    pub fn invalid(&self) -> Vec<InvalidSetting> {
        let mut found = Vec::new();
        let mut check = |field: &str, input: Value, holds: bool, reason: &str| {
            if !holds {
                let (field, reason) = (field.to_owned(), reason.to_owned());
                found.push(InvalidSetting { field, input, reason });
            }
        };
        if let Some(locale) = &self.locale {
            let known = canonical_locale(locale).is_some();
            check("locale", json!(locale), known, "expected a language tag such as `de-DE`");
        }
        if let Some(timezone) = &self.timezone {
            let known = TIME_ZONES.lines().any(|name| name == timezone);
            let reason = "expected a time zone that Chromium knows, such as `Europe/Berlin`";
            check("timezone", json!(timezone), known, reason);
        }
        if let Some(Geolocation { latitude, longitude, accuracy }) = self.geolocation {
            let fits = (-90.0..=90.0).contains(&latitude);
            check("geolocation.latitude", json!(latitude), fits, "expected -90 to 90 degrees");
            let fits = (-180.0..=180.0).contains(&longitude);
            check("geolocation.longitude", json!(longitude), fits, "expected -180 to 180 degrees");
            let fits = (0.0..=1e7).contains(&accuracy);
            check("geolocation.accuracy", json!(accuracy), fits, "expected 0 to 10000000 meters");
        }
        if let Some(text) = &self.user_agent {
            let is_plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            let is_short = (1..=LONGEST_USER_AGENT).contains(&text.len());
            let fits = is_plain && is_short && text.trim() == text;
            let reason =
                "expected 1 to 1024 printable ASCII characters, without spaces around them";
            check("user_agent", json!(text), fits, reason);
        }
        if let Some(factor) = self.device_scale_factor {
            let fits = (0.5..=4.0).contains(&factor);
            check("device_scale_factor", json!(factor), fits, "expected 0.5 to 4");
        }
        if let Some(Mobile { width, height }) = self.mobile {
            let fits = |side| (200..=2000).contains(&side);
            check("mobile.width", json!(width), fits(width), "expected 200 to 2000 pixels");
            check("mobile.height", json!(height), fits(height), "expected 200 to 2000 pixels");
        }
        for (path, reason) in HttpCredential::problems(&self.http_credentials) {
            // The value may be a password.
            check(&format!("http_credentials{path}"), Value::Null, false, &reason);
        }
        found
    }
}

/// A change to the settings of a browser. A missing field keeps its value; null removes it.
///
/// Client certificates are in force once they are opened, see [`SettingsPatch::opened`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SettingsPatch {
    #[serde(deserialize_with = "given")]
    locale: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    timezone: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    geolocation: Option<Option<Geolocation>>,
    #[serde(deserialize_with = "given")]
    user_agent: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    color_scheme: Option<Option<ColorScheme>>,
    #[serde(deserialize_with = "given")]
    device_scale_factor: Option<Option<f64>>,
    #[serde(deserialize_with = "given")]
    mobile: Option<Option<Mobile>>,
    #[serde(deserialize_with = "given")]
    flags: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    http_credentials: Option<Option<Vec<HttpCredential>>>,
    #[serde(deserialize_with = "given")]
    ca_certificates: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    client_certificates: Option<Option<Vec<GivenCertificate>>>,
    #[serde(deserialize_with = "given")]
    policies: Option<Option<Policies>>,
    #[serde(skip)]
    opened: Option<Result<Vec<ClientCertificate>, Problems>>,
}

/// Distinguishes a field that is null from one that is missing.
fn given<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl SettingsPatch {
    /// The client certificates that are not opened yet.
    pub fn unopened(&self) -> Option<&[GivenCertificate]> {
        self.client_certificates.as_ref()?.as_deref().filter(|_| self.opened.is_none())
    }

    /// Returns the same change with its client certificates, or with their faults.
    #[must_use]
    pub fn opened(self, certificates: Result<Vec<ClientCertificate>, Problems>) -> Self {
        Self { opened: Some(certificates), ..self }
    }

    /// Returns the wrong fields of the client certificates: the path below the list, and the reason.
    pub fn certificate_problems(&self) -> &[(String, String)] {
        match &self.opened {
            Some(Err(problems)) => problems,
            Some(Ok(_)) | None => &[],
        }
    }

    /// Returns the settings after the change. A locale gets the spelling of BCP 47.
    #[must_use]
    pub fn applied_to(&self, settings: &BrowserSettings) -> BrowserSettings {
        let locale = self
            .locale
            .clone()
            .map(|locale| locale.map(|locale| canonical_locale(&locale).unwrap_or(locale)));
        let was = settings.clone();
        BrowserSettings {
            locale: locale.unwrap_or(was.locale),
            timezone: self.timezone.clone().unwrap_or(was.timezone),
            geolocation: self.geolocation.unwrap_or(was.geolocation),
            user_agent: self.user_agent.clone().unwrap_or(was.user_agent),
            color_scheme: self.color_scheme.unwrap_or(was.color_scheme),
            device_scale_factor: self.device_scale_factor.unwrap_or(was.device_scale_factor),
            mobile: self.mobile.unwrap_or(was.mobile),
            flags: self.flags.clone().map_or(was.flags, Option::unwrap_or_default),
            executable: was.executable,
            extensions: was.extensions,
            http_credentials: match &self.http_credentials {
                Some(given) => given.iter().flatten().map(HttpCredential::canonical).collect(),
                None => was.http_credentials,
            },
            ca_certificates: self
                .ca_certificates
                .clone()
                .map_or(was.ca_certificates, Option::unwrap_or_default),
            client_certificates: match (&self.client_certificates, &self.opened) {
                (Some(Some(_)), Some(Ok(opened))) => opened.clone(),
                (Some(_), _) => Vec::new(),
                (None, _) => was.client_certificates,
            },
            policies: self.policies.clone().map_or(was.policies, Option::unwrap_or_default),
        }
    }

    /// True if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.fields().is_empty()
    }

    /// Returns the names of the settings that it changes.
    pub fn fields(&self) -> Vec<&'static str> {
        let fields = [
            ("locale", self.locale.is_some()),
            ("timezone", self.timezone.is_some()),
            ("geolocation", self.geolocation.is_some()),
            ("user_agent", self.user_agent.is_some()),
            ("color_scheme", self.color_scheme.is_some()),
            ("device_scale_factor", self.device_scale_factor.is_some()),
            ("mobile", self.mobile.is_some()),
            ("flags", self.flags.is_some()),
            ("http_credentials", self.http_credentials.is_some()),
            ("ca_certificates", self.ca_certificates.is_some()),
            ("client_certificates", self.client_certificates.is_some()),
            ("policies", self.policies.is_some()),
        ];
        fields.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect()
    }

    /// Returns the changes that a running browser with `settings` does not take. They would need
    /// another start of it.
    pub fn fixed(&self, settings: &BrowserSettings) -> Vec<InvalidSetting> {
        let next = self.applied_to(settings);
        let mut found = Vec::new();
        let mut check = |field: &str, input: Value, reason: &str| {
            let (field, reason) = (field.to_owned(), reason.to_owned());
            found.push(InvalidSetting { field, input, reason });
        };
        let removal =
            "a running browser takes another value, but not none: this needs a new session";
        let change = "a running browser keeps this: it needs a new session";
        for (field, before, after) in [
            ("locale", &settings.locale, &next.locale),
            ("timezone", &settings.timezone, &next.timezone),
            ("user_agent", &settings.user_agent, &next.user_agent),
        ] {
            if before.is_some() && after.is_none() {
                check(field, Value::Null, removal);
            }
        }
        if next.device_scale_factor != settings.device_scale_factor {
            check("device_scale_factor", json!(next.device_scale_factor), change);
        }
        if next.mobile != settings.mobile {
            check("mobile", json!(next.mobile), change);
        }
        if next.flags != settings.flags {
            check("flags", json!(next.flags), change);
        }
        if next.ca_certificates != settings.ca_certificates {
            check("ca_certificates", Value::Null, change);
        }
        if next.client_certificates != settings.client_certificates {
            check("client_certificates", Value::Null, change);
        }
        if next.policies != settings.policies {
            check("policies", json!(next.policies), change);
        }
        found
    }
}

/// Returns a language tag in the usual spelling, such as `zh-Hant-TW`; none if it is none.
fn canonical_locale(text: &str) -> Option<String> {
    let is_alphabetic = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut parts = text.split('-').peekable();
    let language =
        parts.next().filter(|part| matches!(part.len(), 2 | 3) && is_alphabetic(part))?;
    let mut tag = language.to_ascii_lowercase();
    if let Some(script) = parts.next_if(|part| part.len() == 4 && is_alphabetic(part)) {
        let (first, rest) = script.split_at(1);
        tag = format!("{tag}-{}{}", first.to_ascii_uppercase(), rest.to_ascii_lowercase());
    }
    let is_region = |part: &&str| {
        part.len() == 2 && is_alphabetic(part)
            || part.len() == 3 && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(region) = parts.next_if(is_region) {
        tag = format!("{tag}-{}", region.to_ascii_uppercase());
    }
    parts.next().is_none().then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(patch: Value) -> BrowserSettings {
        let patch: SettingsPatch = serde_json::from_value(patch).unwrap();
        patch.applied_to(&BrowserSettings::default())
    }

    #[test]
    fn each_setting_is_checked_and_named() {
        let good = json!({
            "locale": "de-de", "timezone": "Europe/Kyiv", "user_agent": "Mine/1.0 (X)",
            "geolocation": { "latitude": -90, "longitude": 180, "accuracy": 0.5 },
            "color_scheme": "no-preference", "device_scale_factor": 1.5, "mobile": {},
        });
        let settings = patched(good);
        assert_eq!(settings.invalid(), []);
        assert_eq!(settings.locale.as_deref(), Some("de-DE"));
        assert_eq!(settings.languages().as_deref(), Some("de-DE,de"));
        assert_eq!(settings.mobile, Some(Mobile { width: 412, height: 915 }));

        for (patch, field) in [
            (json!({ "locale": "de_DE" }), "locale"),
            (json!({ "locale": "german" }), "locale"),
            (json!({ "locale": "de-DE --no-sandbox" }), "locale"),
            (json!({ "locale": "" }), "locale"),
            (json!({ "timezone": "Mars/Olympus" }), "timezone"),
            (json!({ "timezone": "europe/berlin" }), "timezone"),
            (json!({ "timezone": "" }), "timezone"),
            (json!({ "geolocation": { "latitude": 91, "longitude": 0 } }), "geolocation.latitude"),
            (
                json!({ "geolocation": { "latitude": 0, "longitude": -181 } }),
                "geolocation.longitude",
            ),
            (
                json!({ "geolocation": { "latitude": 0, "longitude": 0, "accuracy": -1 } }),
                "geolocation.accuracy",
            ),
            (json!({ "user_agent": "" }), "user_agent"),
            (json!({ "user_agent": " a" }), "user_agent"),
            (json!({ "user_agent": "a\nb" }), "user_agent"),
            (json!({ "user_agent": "Jürgen" }), "user_agent"),
            (json!({ "user_agent": "a".repeat(1025) }), "user_agent"),
            (json!({ "device_scale_factor": 0 }), "device_scale_factor"),
            (json!({ "device_scale_factor": 5 }), "device_scale_factor"),
            (json!({ "mobile": { "width": 100 } }), "mobile.width"),
            (json!({ "mobile": { "height": 5000 } }), "mobile.height"),
        ] {
            let found = patched(patch.clone()).invalid();
            let fields: Vec<_> = found.iter().map(|invalid| invalid.field.as_str()).collect();
            assert_eq!(fields, [field], "{patch}");
        }
        for patch in [
            json!({ "color_scheme": "sepia" }),
            json!({ "zoom": 1 }),
            json!({ "geolocation": { "latitude": 1 } }),
        ] {
            assert!(serde_json::from_value::<SettingsPatch>(patch).is_err());
        }
    }

    #[test]
    fn client_certificates_are_in_force_once_they_are_opened_and_stay_while_the_browser_runs() {
        let given = json!([{ "origin": "https://a.example", "pfx_base64": "hunter2" }]);
        let patch: SettingsPatch =
            serde_json::from_value(json!({ "client_certificates": given })).unwrap();
        assert_eq!(patch.unopened().map(<[_]>::len), Some(1));
        assert!(!format!("{patch:?}").contains("hunter2"));
        let faults = patch.clone().opened(Err(vec![("[0]".to_owned(), "wrong".to_owned())]));
        assert_eq!(faults.certificate_problems().len(), 1);
        assert_eq!(faults.applied_to(&BrowserSettings::default()), BrowserSettings::default());
        let certificate = ClientCertificate {
            origin: "https://a.example".to_owned(),
            cert_pem: "certificate".to_owned(),
            key_pem: "hunter2".into(),
        };
        let patch = patch.opened(Ok(vec![certificate]));
        assert!(patch.unopened().is_none() && patch.certificate_problems().is_empty());
        let fixed = patch.fixed(&BrowserSettings::default());
        assert_eq!((fixed.len(), fixed[0].field.as_str()), (1, "client_certificates"));
        let settings = patch.applied_to(&BrowserSettings::default());
        assert_eq!(settings.client_certificates.len(), 1);
        assert_eq!(patch.fixed(&settings), []);
        assert_eq!(settings.without_secrets(), BrowserSettings::default());
        let removal: SettingsPatch =
            serde_json::from_value(json!({ "client_certificates": null })).unwrap();
        assert!(removal.unopened().is_none());
        assert_eq!(removal.applied_to(&settings), BrowserSettings::default());
    }

    #[test]
    fn language_tags_get_their_usual_spelling() {
        for (text, tag) in [
            ("EN", Some("en")),
            ("zh-hant-tw", Some("zh-Hant-TW")),
            ("es-419", Some("es-419")),
            ("fil", Some("fil")),
            ("e", None),
            ("en-", None),
            ("en-US-x-a", None),
            ("en-US-POSIX", None),
        ] {
            assert_eq!(canonical_locale(text).as_deref(), tag, "{text}");
        }
    }

    #[test]
    fn a_running_browser_refuses_by_name_what_needs_another_start() {
        let settings =
            patched(json!({ "locale": "fr", "timezone": "UTC", "color_scheme": "dark" }));
        let fixed = |patch: Value| {
            let patch: SettingsPatch = serde_json::from_value(patch).unwrap();
            patch.fixed(&settings).into_iter().map(|fixed| fixed.field).collect::<Vec<_>>()
        };
        let live = json!({
            "locale": "de", "timezone": "Asia/Tokyo", "user_agent": "a", "color_scheme": null,
            "geolocation": null, "mobile": null, "http_credentials": [],
        });
        assert!(fixed(live).is_empty());
        let others = json!({
            "locale": null, "timezone": null, "user_agent": null, "device_scale_factor": 2,
            "mobile": {}, "ca_certificates": ["-"], "policies": { "PrintingEnabled": false },
        });
        let expected =
            ["locale", "timezone", "device_scale_factor", "mobile", "ca_certificates", "policies"];
        assert_eq!(fixed(others), expected);
    }
}
