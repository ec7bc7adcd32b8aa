//! What of a profile we write and remove.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::json;

/// Where Chromium writes the address of its DevTools.
pub(super) const PORT_FILE: &str = "DevToolsActivePort";

/// Makes a profile ready for a start: removes what a killed browser left, and gives a new one its
/// preferences.
pub fn prepare(profile: &Path, downloads: &Path) -> io::Result<()> {
    remove_remains(profile)?;
    let folder = profile.join("Default");
    let preferences = folder.join("Preferences");
    if preferences.exists() {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    let content = json!({
        "download": { "default_directory": downloads, "prompt_for_download": false },
        "savefile": { "default_directory": downloads },
        "credentials_enable_service": false,
        "profile": { "password_manager_enabled": false },
        "browser": { "check_default_browser": false },
    });
    fs::write(preferences, content.to_string())
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
