//! The parts of a profile that the server writes and removes. A program owns the profile and may
//! have laid traps there, so all access goes through [`Tree`].

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde_json::{Value, json};

use crate::domain::session::Size;
use crate::system::beneath::Tree;
use crate::system::confine::spec::User;
use crate::system::desktop::Directory;

/// The most bytes of preferences that are read.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The name prefix of the folders that contain Chromium's socket.
const SOCKETS: &str = "org.chromium.Chromium.";

/// The file to which Chromium writes the address of its DevTools.
pub(super) const PORT_FILE: &str = "DevToolsActivePort";

/// Preferences that a profile from elsewhere could have and that a session must not: a proxy of its
/// own, and the folder of the last upload.
const FOREIGN: [&str; 2] = ["proxy", "selectfile"];

/// The preference in which Chromium records the kind of its last exit, below `profile`.
const EXIT_TYPE: &str = "exit_type";

/// Prepares a profile for a start. Removes the remains of a killed browser, sets the bounds of the
/// first window, and adds default preferences that the profile lacks.
pub fn prepare(directory: &Directory, size: Size) -> io::Result<()> {
    remove_remains(directory)?;
    let profile = Tree::open(&directory.profile())?.owned_by(directory.user());
    let mut preferences = match profile.read(&preferences(), LARGEST) {
        // Chromium also replaces preferences that it cannot parse, or that are not an object.
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Value::Null,
        Err(cause) => {
            tracing::warn!(error = %cause, "the preferences of a profile are replaced");
            Value::Null
        }
    };
    if !preferences.is_object() {
        preferences = json!({});
    }
    complete(&mut preferences, &ours(&directory.downloads()));
    let groups = json!({ "browser": {}, "profile": {}, "download": {}, "savefile": {} });
    complete(&mut preferences, &groups);
    // The profile may be from another session, whose folders are not this one's.
    for group in ["download", "savefile"] {
        if let Some(group) = preferences.get_mut(group).and_then(Value::as_object_mut) {
            group.insert("default_directory".to_owned(), json!(directory.downloads()));
        }
    }
    if let Some(all) = preferences.as_object_mut() {
        FOREIGN.iter().for_each(|name| drop(all.remove(*name)));
    }
    if let Some(browser) = preferences.get_mut("browser").and_then(Value::as_object_mut) {
        browser.insert("window_placement".to_owned(), placement(size));
    }
    if let Some(profile) = preferences.get_mut("profile").and_then(Value::as_object_mut) {
        // The next exit sets it again, see `exit_was_orderly`.
        profile.remove(EXIT_TYPE);
    }
    let folder = match profile.make_folder(Path::new("Default")) {
        // A link or a file has taken the place of the folder.
        Err(cause) if matches!(Errno::from_io_error(&cause), Some(Errno::LOOP | Errno::NOTDIR)) => {
            profile.remove_file(Path::new("Default"))?;
            profile.make_folder(Path::new("Default"))?
        }
        made => made?,
    };
    // Replaced atomically, as Chromium does: a truncated file would be invalid.
    folder.replace(Path::new("Preferences"), preferences.to_string().as_bytes())
}

/// Removes the experiments that a profile from elsewhere switches on: they could change the rules of
/// this browser.
pub fn remove_experiments(profile: &Path, owner: Option<User>) -> io::Result<()> {
    const FILE: &str = "Local State";
    let profile = Tree::open(profile)?.owned_by(owner);
    let bytes = match profile.read(Path::new(FILE), LARGEST) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let mut state: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let browser = state.get_mut("browser").and_then(Value::as_object_mut);
    if browser.and_then(|browser| browser.remove("enabled_labs_experiments")).is_none() {
        return Ok(());
    }
    profile.replace(Path::new(FILE), state.to_string().as_bytes())
}

/// The path of the preferences, relative to a profile.
fn preferences() -> PathBuf {
    Path::new("Default").join("Preferences")
}

/// The default preferences of a profile.
fn ours(downloads: &Path) -> Value {
    json!({
        "download": { "default_directory": downloads, "prompt_for_download": false },
        "savefile": { "default_directory": downloads },
        "printing": { "print_preview_sticky_settings": { "appState": prints_to_file() } },
        // A new tab is blank: a script could get from the browser's own page to its settings.
        "newtab_page_location_override": "about:blank",
        "credentials_enable_service": false,
        // Without it, the second of several downloads prompts for permission, and no one answers.
        "profile": {
            "password_manager_enabled": false,
            "default_content_setting_values": { "automatic_downloads": 1 },
        },
        // A PDF is downloaded instead of shown, because no driver can read a shown one.
        "plugins": { "always_open_pdf_externally": true },
        "browser": { "check_default_browser": false },
    })
}

/// The state of the print preview that makes it print to a PDF file.
fn prints_to_file() -> String {
    const TO_FILE: &str = "Save as PDF";
    json!({
        "version": 2,
        "recentDestinations": [{ "id": TO_FILE, "origin": "local", "account": "" }],
        "selectedDestinationId": TO_FILE,
    })
    .to_string()
}

/// The bounds of a window that covers the display. Command line flags would do the same, but would
/// force these bounds on popups as well.
fn placement(size: Size) -> Value {
    let (width, height) = (size.width(), size.height());
    json!({
        "left": 0, "top": 0, "right": width, "bottom": height, "maximized": false,
        "work_area_left": 0, "work_area_top": 0,
        "work_area_right": width, "work_area_bottom": height,
    })
}

/// Adds the members of `defaults` that `preferences` lacks, recursively.
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

/// True if the last browser of a profile closed in order: on request, or with its last window.
pub fn exit_was_orderly(profile: &Path) -> bool {
    let read = Tree::open(profile).and_then(|profile| profile.read(&self::preferences(), LARGEST));
    let bytes = read.unwrap_or_default();
    let preferences: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    preferences.pointer(&format!("/profile/{EXIT_TYPE}")).is_some_and(|exit| exit == "Normal")
}

/// Removes the locks of a browser that has ended, and its stale DevTools address. With a lock from
/// another host name Chromium shows a dialog and does not start.
pub fn remove_remains(directory: &Directory) -> io::Result<()> {
    let profile = match Tree::open(&directory.profile()) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // The socket itself is in a separate folder among the temporary files. A link in the profile
    // points to it. The browser could forge that link, so only the folder's name is taken from it.
    if let Ok(target) = std::fs::read_link(directory.profile().join("SingletonSocket"))
        && let Some(name) = target.parent().and_then(Path::file_name)
        && name.to_str().is_some_and(|name| name.trim_start_matches('.').starts_with(SOCKETS))
        && let Ok(temporary) = Tree::open(&directory.temporary())
    {
        let _ = temporary.remove(name); // From another boot: the process may have ended.
    }
    for name in ["SingletonLock", "SingletonCookie", "SingletonSocket", PORT_FILE] {
        profile.remove_file(Path::new(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::domain::ids::SessionId;
    use crate::system::desktop::Directories;

    /// The directories of a session, removed on drop.
    struct World {
        root: PathBuf,
        directory: Directory,
    }

    impl World {
        fn new() -> Self {
            let name = format!("greenroom-{:016x}", rand::random::<u64>());
            let root = std::env::temp_dir().join(name);
            let directory = Directories::below(&root).of(SessionId::from(1));
            fs::create_dir_all(directory.profile()).unwrap();
            fs::create_dir_all(directory.temporary()).unwrap();
            Self { root, directory }
        }

        fn preferences(&self) -> Value {
            let file = self.directory.profile().join("Default/Preferences");
            serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.root).unwrap();
        }
    }

    #[test]
    fn a_profile_keeps_its_own_preferences_and_gets_what_it_lacks() {
        let world = World::new();
        let profile = world.directory.profile();
        let file = profile.join("Default/Preferences");
        let downloads = json!(world.directory.downloads());
        let size = Size::new(1024, 768).unwrap();

        prepare(&world.directory, size).unwrap();
        let new = world.preferences();
        assert_eq!(new["download"]["default_directory"], downloads);
        assert_eq!(new["browser"]["window_placement"]["right"], 1024);
        assert_eq!(new["newtab_page_location_override"], "about:blank");
        let state = &new["printing"]["print_preview_sticky_settings"]["appState"];
        assert!(state.as_str().unwrap().contains("Save as PDF"));
        assert!(!exit_was_orderly(&profile));

        let ended = json!({
            "download": { "prompt_for_download": true, "default_directory": "/elsewhere" },
            "proxy": { "mode": "fixed_servers", "server": "proxy.example:80" },
            "browser": { "window_placement": { "right": 500 } },
            "profile": { "exit_type": "Normal" },
            "theirs": [1, 2],
        });
        fs::write(&file, ended.to_string()).unwrap();
        assert!(exit_was_orderly(&profile));
        prepare(&world.directory, size).unwrap();
        let next = world.preferences();
        assert_eq!((&next["theirs"], next.get("proxy")), (&json!([1, 2]), None));
        assert_eq!(next["download"]["prompt_for_download"], true);
        assert_eq!(next["download"]["default_directory"], downloads);
        assert_eq!(next["browser"]["window_placement"]["right"], 1024);
        assert!(!exit_was_orderly(&profile), "of this start nothing is known yet");

        fs::write(&file, "[no object").unwrap();
        prepare(&world.directory, size).unwrap();
        assert_eq!(world.preferences(), new);
    }

    #[test]
    fn links_that_a_browser_has_left_lead_to_nothing_of_the_servers() {
        let world = World::new();
        let profile = world.directory.profile();
        let size = Size::default();
        let outside = world.root.join("outside");
        let kept = outside.join("org.chromium.Chromium.kept");
        fs::create_dir_all(&kept).unwrap();
        fs::write(outside.join("secret"), r#"{"profile":{"exit_type":"Normal"}}"#).unwrap();
        let unchanged = || fs::read_to_string(outside.join("secret")).unwrap().contains("Normal");

        // The browser controls the link to the socket, so only the folder's name is used.
        symlink(kept.join("SingletonSocket"), profile.join("SingletonSocket")).unwrap();
        let own = world.directory.temporary().join("org.chromium.Chromium.own");
        fs::create_dir(&own).unwrap();
        prepare(&world.directory, size).unwrap();
        assert!(kept.is_dir() && own.is_dir());
        symlink("/x/org.chromium.Chromium.own/socket", profile.join("SingletonSocket")).unwrap();
        prepare(&world.directory, size).unwrap();
        assert!(!own.exists());

        // The preferences, their temporary file, and their folder.
        let folder = profile.join("Default");
        for name in ["Preferences", "Preferences.part", "Preferences.greenroom"] {
            let _ = fs::remove_file(folder.join(name));
            symlink(outside.join("secret"), folder.join(name)).unwrap();
        }
        assert!(!exit_was_orderly(&profile), "it is a link");
        prepare(&world.directory, size).unwrap();
        assert!(unchanged() && world.preferences().get("theirs").is_none());
        fs::remove_dir_all(&folder).unwrap();
        symlink(&outside, &folder).unwrap();
        prepare(&world.directory, size).unwrap();
        assert!(unchanged() && !outside.join("Preferences").exists());
        assert!(!folder.is_symlink());
    }
}
