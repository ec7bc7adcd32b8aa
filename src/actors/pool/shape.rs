//! The shapes of the desktops in the pool, and the sessions that they fit.

use serde::{Deserialize, Serialize};

use crate::domain::browser_settings::BrowserSettings;
use crate::domain::session::{SessionSpec, Size};

/// All that a running desktop cannot change: what its session asks for has to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The size of the display.
    pub size: Size,
    /// The name of the browser's program in `desktop.executables`; none for the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
}

/// The reason for which a session starts cold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cold {
    /// No desktop of its shape is kept ready.
    OtherShape,
    /// It asks for settings that only the start of a browser sets.
    Settings,
    /// It starts from a profile.
    Profile,
    /// Its proxy is set by the start of the browser, because the network of sessions is not separated.
    Proxy,
    /// Its client chose its id, as with `Idempotency-Key`.
    ChosenId,
    /// All desktops that would fit are taken.
    Empty,
    /// The desktop that it was to get has failed.
    Failed,
}

impl Cold {
    /// Returns the value used in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtherShape => "other_shape",
            Self::Settings => "settings",
            Self::Profile => "profile",
            Self::Proxy => "proxy",
            Self::ChosenId => "chosen_id",
            Self::Empty => "empty",
            Self::Failed => "failed",
        }
    }
}

impl Shape {
    /// The specification of a desktop that waits.
    pub fn spec(&self) -> SessionSpec {
        let settings =
            BrowserSettings { executable: self.executable.clone(), ..BrowserSettings::default() };
        SessionSpec { size: self.size, settings, ..SessionSpec::default() }
    }

    fn of(spec: &SessionSpec) -> Self {
        Self { size: spec.size, executable: spec.settings.executable.clone() }
    }
}

/// The mark of a desktop that waits: its shape, and all else that it was started with.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The shape of the desktop.
    pub shape: Shape,
    /// The digest of the program's version and of the settings for desktops, their isolation and network.
    pub settings: String,
}

impl Mark {
    /// The text for the desktop's directory.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a text; none if it names no shape.
    pub fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Returns the settings of a session that a running browser cannot take: it would have to start with them.
fn needs_a_start(settings: &BrowserSettings) -> bool {
    // Overrides of the user agent and the languages do not reach shared and service workers. All overrides lapse
    // while no server runs.
    let BrowserSettings {
        locale,
        user_agent,
        device_scale_factor,
        mobile,
        flags,
        extensions,
        ca_certificates,
        client_certificates,
        policies,
        timezone,
        geolocation: _,
        color_scheme: _,
        executable: _,
        http_credentials: _,
    } = settings;
    locale.is_some()
        || timezone.is_some()
        || user_agent.is_some()
        || device_scale_factor.is_some()
        || mobile.is_some()
        || !flags.is_empty()
        || !extensions.is_empty()
        || !ca_certificates.is_empty()
        || !client_certificates.is_empty()
        || !policies.is_empty()
}

/// The shape of the desktop that a session may take. `is_kept` is true for the shapes of which desktops are kept ready.
///
/// # Errors
///
/// The reason for which no running desktop can become what the session asks for.
pub fn shape_for(spec: &SessionSpec, is_kept: impl FnOnce(&Shape) -> bool) -> Result<Shape, Cold> {
    let shape = Shape::of(spec);
    if !is_kept(&shape) {
        return Err(Cold::OtherShape);
    }
    if spec.profile.is_some() {
        return Err(Cold::Profile);
    }
    if needs_a_start(&spec.settings) {
        return Err(Cold::Settings);
    }
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::browser_settings::{ColorScheme, Geolocation};

    fn is_default(shape: &Shape) -> bool {
        *shape == Shape { size: Size::default(), executable: None }
    }

    #[test]
    fn a_plain_session_fits_the_default_shape() {
        let shape = shape_for(&SessionSpec::default(), is_default).unwrap();
        assert_eq!(shape, Shape { size: Size::default(), executable: None });
        let mark = Mark { shape: shape.clone(), settings: "0f".to_owned() };
        assert_eq!(Mark::of(&mark.text()), Some(mark));
        assert_eq!(Mark::of(""), None);
        assert_eq!(Shape::of(&shape.spec()), shape);
    }

    #[test]
    fn settings_that_a_running_browser_takes_do_not_prevent_a_warm_start() {
        let settings = BrowserSettings {
            geolocation: Some(Geolocation { latitude: 52.5, longitude: 13.4, accuracy: 10.0 }),
            color_scheme: Some(ColorScheme::Dark),
            ..BrowserSettings::default()
        };
        let spec = SessionSpec { settings, ..SessionSpec::default() };
        shape_for(&spec, is_default).unwrap();
    }

    #[test]
    fn what_only_a_start_sets_is_named() {
        let with = |settings| SessionSpec { settings, ..SessionSpec::default() };
        let locale = Some("de-DE".to_owned());
        let spec = with(BrowserSettings { locale, ..BrowserSettings::default() });
        assert_eq!(shape_for(&spec, is_default), Err(Cold::Settings));
        let executable = Some("chrome".to_owned());
        let spec = with(BrowserSettings { executable, ..BrowserSettings::default() });
        assert_eq!(shape_for(&spec, is_default), Err(Cold::OtherShape));
        let size = Size::new(800, 600).unwrap();
        let spec = SessionSpec { size, ..SessionSpec::default() };
        assert_eq!(shape_for(&spec, is_default), Err(Cold::OtherShape));
        assert_eq!(shape_for(&SessionSpec::default(), |_| false), Err(Cold::OtherShape));
    }
}
