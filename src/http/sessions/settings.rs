//! The field `settings` of a request: the browser as pages see it.

use crate::domain::browser_settings::{BrowserSettings, InvalidSetting, SettingsPatch};
use crate::http::validation::Fields;

/// Returns the settings of a new session. Wrong ones are added to `fields`.
pub(super) fn new(patch: Option<&SettingsPatch>, fields: &mut Fields) -> BrowserSettings {
    let settings = patch.map(|patch| patch.applied_to(&BrowserSettings::default()));
    let settings = settings.unwrap_or_default();
    refuse(settings.invalid(), fields);
    settings
}

/// Checks a change to the settings of a session. A browser that `runs` keeps some of them.
pub(super) fn check_change(
    patch: &SettingsPatch,
    settings: &BrowserSettings,
    runs: bool,
    fields: &mut Fields,
) {
    refuse(patch.applied_to(settings).invalid(), fields);
    if runs {
        refuse(patch.fixed(settings), fields);
    }
}

fn refuse(settings: Vec<InvalidSetting>, fields: &mut Fields) {
    for InvalidSetting { field, input, reason } in settings {
        fields.refuse(&format!("settings.{field}"), input, reason);
    }
}
