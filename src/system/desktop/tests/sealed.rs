//! Sealing of sessions' files at rest.

use super::*;
use crate::domain::egress::EgressAsked;
use crate::system::desktop::directory::Saved;
use crate::system::desktop::memory::Memory;
use crate::system::egress::{EgressContext, Way};

const OLD: &str = r#"{"tabs":["http://a.example/"],"cookies":[{"name":"mine","value":"bob"}]}"#;

fn memory() -> Memory {
    serde_json::from_str(OLD).unwrap()
}

fn saved(world: &World) -> Saved {
    let process = json!({ "pid": 1, "start_time": 2, "boot_id": "b" });
    serde_json::from_value(json!({
        "session": world.session, "display_number": 1, "vnc_port": 5901, "xvfb": process, "vnc": null,
        "devtools": "127.0.0.1:9", "devtools_path": "/x", "chromium": process,
        "vnc_password": "hunter2!", "cookie": "c0ffee",
    }))
    .unwrap()
}

/// The content of all files below a directory.
fn bytes_below(folder: &std::path::Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &bytes_below(&path);
        } else {
            all += &String::from_utf8_lossy(&fs::read(&path).unwrap());
        }
    }
    all
}

fn without_vault(world: &World) -> Desktops {
    Desktops::new(&world.data, Settings::default(), tokio::runtime::Handle::current())
}

fn with_another(world: &World) -> Desktops {
    let settings = Settings { vault: Some(Vault::new([8; 32])), ..Settings::default() };
    Desktops::new(&world.data, settings, tokio::runtime::Handle::current())
}

#[tokio::test]
async fn neither_cookies_nor_passwords_are_in_the_files_of_a_session() {
    let world = World::new(Settings::default());
    let directory = world.desktops.directory(world.session);
    fs::create_dir_all(directory.path()).unwrap();
    memory().write(&directory.memory()).unwrap();
    directory.save(&saved(&world)).unwrap();
    let asked = EgressAsked {
        upstream: Some("http://ann:swordfish@proxy.example:1".parse().unwrap()),
        ..EgressAsked::default()
    };
    let settings = Arc::new(sealed(Settings::default()));
    let place = EgressContext {
        session: world.session,
        directory: directory.path().join("egress"),
        log: directory.path().join("egress.log"),
        level: crate::domain::egress::NetworkLevel::Proxied,
    };
    // The program cannot be started, but its policy has been written.
    let way = Way::new(place, asked, settings, tokio::runtime::Handle::current());
    way.up().await.unwrap_err();
    assert!(directory.path().join("egress/policy.json").exists());

    let all = bytes_below(&world.data);
    for secret in ["bob", "hunter2!", "c0ffee", "swordfish"] {
        assert!(!all.contains(secret), "{secret} is in a file");
    }
    assert_eq!(Memory::read(&directory.memory()), Some(memory()));
    assert_eq!(directory.saved().unwrap(), Some(saved(&world)));
}

#[tokio::test]
async fn files_of_before_are_read_and_sealed_once() {
    let world = World::new(Settings::default());
    let former = without_vault(&world).directory(world.session);
    fs::create_dir_all(former.path()).unwrap();
    memory().write(&former.memory()).unwrap();
    former.save(&saved(&world)).unwrap();
    assert!(bytes_below(&world.data).contains("hunter2!"));

    let directory = world.desktops.directory(world.session);
    assert_eq!(Memory::read(&directory.memory()), Some(memory()));
    assert_eq!(directory.saved().unwrap(), Some(saved(&world)));
    assert_eq!(world.desktops.directories().seal_former(), 2);
    assert_eq!(world.desktops.directories().seal_former(), 0);
    let all = bytes_below(&world.data);
    for secret in ["bob", "hunter2!", "c0ffee"] {
        assert!(!all.contains(secret), "{secret} is in a file");
    }
    assert_eq!(Memory::read(&directory.memory()), Some(memory()));
    assert_eq!(directory.saved().unwrap(), Some(saved(&world)));
}

#[tokio::test]
async fn files_of_another_secret_cost_the_logins_and_nothing_else() {
    let world = World::new(Settings::default());
    let directory = world.desktops.directory(world.session);
    fs::create_dir_all(directory.path()).unwrap();
    memory().write(&directory.memory()).unwrap();
    directory.save(&saved(&world)).unwrap();

    let other = with_another(&world).directory(world.session);
    assert_eq!(Memory::read(&other.memory()), None);
    let cause = other.memory().read().unwrap_err().to_string();
    assert!(cause.contains("memory.json") && cause.contains("`secret`"), "{cause}");
    let mut found = other.saved().unwrap().unwrap();
    assert_eq!(found.identity, saved(&world).identity);
    let cause = other.opened(&mut found).unwrap_err().to_string();
    assert!(cause.contains("desktop.json") && cause.contains("`secret`"), "{cause}");
    // The VNC server's own file has the password, and the display's file has the cookie.
    let file = other.vnc_password();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "hunter2!\n").unwrap();
    other.opened(&mut found).unwrap();
    assert_eq!((found.vnc_password.as_str(), found.cookie), ("hunter2!", None));
    // A file of another session cannot be unsealed.
    let moved = world.desktops.directory(1.into());
    fs::create_dir_all(moved.path()).unwrap();
    fs::copy(directory.memory().path(), moved.memory().path()).unwrap();
    assert_eq!(Memory::read(&moved.memory()), None);
}
