//! The field `settings` of a request: the browser as pages see it.

use crate::domain::browser_flags::BrowserChoices;
use crate::domain::browser_settings::{BrowserSettings, InvalidSetting, SettingsPatch};
use crate::http::validation::Fields;

/// Returns the settings of a new session. Wrong ones are added to `fields`.
pub(super) fn new(
    patch: Option<&SettingsPatch>,
    browser_type: Option<&str>,
    choices: &BrowserChoices,
    fields: &mut Fields,
) -> BrowserSettings {
    let settings = patch.map(|patch| patch.applied_to(&BrowserSettings::default()));
    let settings = settings.unwrap_or_default();
    check(&settings, choices, fields);
    let executable = browser_type
        .and_then(|name| fields.check("browser_type", name, choices.executable(name)).flatten());
    BrowserSettings { executable, ..settings }
}

fn check(settings: &BrowserSettings, choices: &BrowserChoices, fields: &mut Fields) {
    refuse(settings.invalid(), fields);
    if let Err((index, reason)) = choices.check_flags(&settings.flags) {
        let flag = settings.flags.get(index).cloned();
        fields.refuse(&format!("settings.flags[{index}]"), flag.unwrap_or_default(), reason);
    }
}

/// Checks a change to the settings of a session. A browser that `runs` keeps some of them.
pub(super) fn check_change(
    patch: &SettingsPatch,
    settings: &BrowserSettings,
    choices: &BrowserChoices,
    runs: bool,
    fields: &mut Fields,
) {
    // What stays was checked when it was given.
    check(&patch.applied_to(&BrowserSettings::default()), choices, fields);
    if runs {
        refuse(patch.fixed(settings), fields);
    }
}

fn refuse(settings: Vec<InvalidSetting>, fields: &mut Fields) {
    for InvalidSetting { field, input, reason } in settings {
        fields.refuse(&format!("settings.{field}"), input, reason);
    }
}
