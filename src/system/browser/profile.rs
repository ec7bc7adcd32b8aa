//! What of a profile we write and remove.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::domain::session::Size;

/// Where Chromium writes the address of its DevTools.
pub(super) const PORT_FILE: &str = "DevToolsActivePort";

/// Where Chromium's preferences say how it ended, below `profile`.
const EXIT_TYPE: &str = "exit_type";

/// Makes a profile ready for a start: removes what a killed browser left, sets where the first window
/// goes, and gives preferences to a profile that has none of its own.
pub fn prepare(profile: &Path, downloads: &Path, size: Size) -> io::Result<()> {
    remove_remains(profile)?;
    let folder = profile.join("Default");
    let file = folder.join("Preferences");
    let mut preferences = match fs::read(&file) {
        // Chromium replaces what it cannot read, and what is not an object.
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Value::Null,
        Err(cause) => return Err(cause),
    };
    if !preferences.is_object() {
        preferences = json!({});
    }
    complete(&mut preferences, &ours(downloads));
    complete(&mut preferences, &json!({ "browser": {}, "profile": {} }));
    if let Some(browser) = preferences.get_mut("browser").and_then(Value::as_object_mut) {
        browser.insert("window_placement".to_owned(), placement(size));
    }
    if let Some(profile) = preferences.get_mut("profile").and_then(Value::as_object_mut) {
        // What the next end writes here says how it ended, see `exit_was_orderly`.
        profile.remove(EXIT_TYPE);
    }
    fs::create_dir_all(&folder)?;
    // Replaced whole, as Chromium does: half of it would be none.
    let whole = folder.join("Preferences.greenroom");
    fs::write(&whole, preferences.to_string())?;
    fs::rename(whole, file)
}

/// The preferences that a profile begins with.
fn ours(downloads: &Path) -> Value {
    json!({
        "download": { "default_directory": downloads, "prompt_for_download": false },
        "savefile": { "default_directory": downloads },
        "printing": { "print_preview_sticky_settings": { "appState": prints_to_file() } },
        // A new tab is blank: from the browser's own page, a script can go on to its settings.
        "newtab_page_location_override": "about:blank",
        "credentials_enable_service": false,
        // Without it the second of several files is a question that nobody answers.
        "profile": {
            "password_manager_enabled": false,
            "default_content_setting_values": { "automatic_downloads": 1 },
        },
        // A PDF is a file to be had, and not a page whose content no driver can read.
        "plugins": { "always_open_pdf_externally": true },
        "browser": { "check_default_browser": false },
    })
}

/// The state of the print preview in which it prints to a PDF file.
fn prints_to_file() -> String {
    const TO_FILE: &str = "Save as PDF";
    json!({
        "version": 2,
        "recentDestinations": [{ "id": TO_FILE, "origin": "local", "account": "" }],
        "selectedDestinationId": TO_FILE,
    })
    .to_string()
}

/// The bounds of a window that covers a display. Command line flags would do the same, and would
/// force these bounds on popups as well.
fn placement(size: Size) -> Value {
    let (width, height) = (size.width(), size.height());
    json!({
        "left": 0, "top": 0, "right": width, "bottom": height, "maximized": false,
        "work_area_left": 0, "work_area_top": 0,
        "work_area_right": width, "work_area_bottom": height,
    })
}

/// Adds to `preferences` what they lack of `defaults`.
fn complete(preferences: &mut Value, defaults: &Value) {
    let (Some(preferences), Some(defaults)) = (preferences.as_object_mut(), defaults.as_object())
    else {
        return;
    };
    for (name, default) in defaults {
        match preferences.get_mut(name) {
            Some(known) => complete(known, default),
            None => drop(preferences.insert(name.clone(), default.clone())),
        }
    }
}

/// True if the last browser of a profile closed in good order: asked to, or with its last window.
pub fn exit_was_orderly(profile: &Path) -> bool {
    let bytes = fs::read(profile.join("Default").join("Preferences")).unwrap_or_default();
    let preferences: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    preferences.pointer(&format!("/profile/{EXIT_TYPE}")).is_some_and(|exit| exit == "Normal")
}

/// Removes the locks of a browser that has ended, and the address that it no longer listens on.
/// With a lock from another host name Chromium shows a dialog and does not start.
pub fn remove_remains(profile: &Path) -> io::Result<()> {
    let socket = profile.join("SingletonSocket");
    // The socket itself is in a directory of its own among the temporary files.
    if let Ok(target) = fs::read_link(&socket)
        && let Some(folder) = target.parent()
        && let Some(name) = folder.file_name().and_then(|name| name.to_str())
        && name.trim_start_matches('.').starts_with("org.chromium.Chromium.")
    {
        let _ = fs::remove_dir_all(folder); // Another temporary directory: perhaps long gone.
    }
    for name in ["SingletonLock", "SingletonCookie", "SingletonSocket", PORT_FILE] {
        match fs::remove_file(profile.join(name)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            Ok(()) | Err(_) => (),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_keeps_its_own_preferences_and_gets_what_it_lacks() {
        let folder = std::env::temp_dir().join(format!("greenroom-{:016x}", rand::random::<u64>()));
        let file = folder.join("Default/Preferences");
        let size = Size::new(1024, 768).unwrap();
        let read = || -> Value { serde_json::from_slice(&fs::read(&file).unwrap()).unwrap() };

        prepare(&folder, Path::new("/downloads"), size).unwrap();
        let new = read();
        assert_eq!(new["download"]["default_directory"], "/downloads");
        assert_eq!(new["browser"]["window_placement"]["right"], 1024);
        assert_eq!(new["newtab_page_location_override"], "about:blank");
        let state = &new["printing"]["print_preview_sticky_settings"]["appState"];
        assert!(state.as_str().unwrap().contains("Save as PDF"));
        assert!(!exit_was_orderly(&folder));

        let ended = json!({
            "download": { "prompt_for_download": true },
            "browser": { "window_placement": { "right": 500 } },
            "profile": { "exit_type": "Normal" },
            "theirs": [1, 2],
        });
        fs::write(&file, ended.to_string()).unwrap();
        assert!(exit_was_orderly(&folder));
        prepare(&folder, Path::new("/downloads"), size).unwrap();
        let next = read();
        assert_eq!(next["theirs"], json!([1, 2]));
        assert_eq!(next["download"]["prompt_for_download"], true);
        assert_eq!(next["download"]["default_directory"], "/downloads");
        assert_eq!(next["browser"]["window_placement"]["right"], 1024);
        assert!(!exit_was_orderly(&folder), "of this start nothing is known yet");

        fs::write(&file, "[no object").unwrap();
        prepare(&folder, Path::new("/downloads"), size).unwrap();
        assert_eq!(read(), new);
        fs::remove_dir_all(&folder).unwrap();
    }
}
