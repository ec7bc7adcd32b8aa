//! `desktop.json` in each shape that a server has written. The fixtures are never edited: a new field
//! makes a new shape, with a file of its own.

use std::collections::BTreeSet;

use super::*;
use crate::domain::egress::{EgressIdentity, NetworkLevel};
use crate::domain::session::{DesktopIdentity, FilesLevel, ProcessIdentity};
use crate::system::desktop::directory::Saved;

const SESSION: &str = "pbs_602100000000000001";

/// The shapes, the oldest first. The secrets of the later ones are sealed with the key of [`sealed`].
const SHAPES: [&str; 6] = [
    include_str!("../../../../tests/former/desktop/1_first.json"),
    include_str!("../../../../tests/former/desktop/2_egress.json"),
    include_str!("../../../../tests/former/desktop/3_files.json"),
    include_str!("../../../../tests/former/desktop/4_sandbox.json"),
    include_str!("../../../../tests/former/desktop/5_sealed.json"),
    include_str!("../../../../tests/former/desktop/6_rotation.json"),
];

fn process(pid: i32) -> ProcessIdentity {
    ProcessIdentity {
        pid,
        start_time: 100_000 + u64::try_from(pid).unwrap(),
        boot_id: "0f3c1f9e-6a55-4a44-9c0f-2b8c6f1d7e10".to_owned(),
    }
}

/// The content of each shape, with its secrets in the clear. A field that a shape does not have is as it
/// was before there was that field.
fn contents() -> [Saved; 6] {
    let first = Saved {
        session: SESSION.parse().unwrap(),
        identity: DesktopIdentity {
            display_number: 1000,
            vnc_port: 5901,
            devtools: "127.0.0.1:40123".parse().unwrap(),
            devtools_path: "/devtools/browser/5f1c2a34-1111-4222-8333-944455556666".to_owned(),
            xvfb: process(4101),
            vnc: None,
            chromium: process(4103),
            egress: None,
            files: None,
            sandbox: None,
            start: None,
        },
        vnc_password: "hunter2!".to_owned(),
        rotation: 0,
        cookie: None,
    };
    let mut egress = first.clone();
    egress.identity.vnc = Some(process(4102));
    egress.identity.egress = Some(EgressIdentity {
        process: process(4104),
        level: NetworkLevel::Enforced,
        directory: format!("/var/lib/greenroom/sessions/{SESSION}/egress").into(),
        proxy: "127.0.0.1:3128".parse().unwrap(),
    });
    let mut files = egress.clone();
    files.identity.files = Some(FilesLevel::Landlock);
    files.cookie = Some("c0ffee00".repeat(4));
    let mut sandbox = files.clone();
    sandbox.identity.files = Some(FilesLevel::Uid);
    sandbox.identity.sandbox = Some(true);
    let rotation = Saved { rotation: 3, ..sandbox.clone() };
    [first, egress, files, sandbox.clone(), sandbox, rotation]
}

/// Collects the names of all members of an object, at any depth.
fn names(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = format!("{at}/{name}");
        names(value, &name, found);
        found.insert(name);
    }
}

#[tokio::test]
async fn every_shape_that_was_ever_written_is_read() {
    let world = World::new(Settings::default());
    let directory = world.desktops.directory(SESSION.parse().unwrap());
    fs::create_dir_all(directory.path()).unwrap();
    let file = directory.path().join("desktop.json");
    for (shape, content) in SHAPES.iter().zip(contents()) {
        fs::write(&file, shape).unwrap();
        let mut read = directory.saved().unwrap().unwrap();
        directory.opened(&mut read).unwrap();
        assert_eq!(read, content, "{shape}");

        // As after a step back from a later server, which has written a field that is not known here.
        let mut later: Value = serde_json::from_str(shape).unwrap();
        later["of_a_later_server"] = json!({ "a": 1 });
        fs::write(&file, later.to_string()).unwrap();
        assert_eq!(directory.saved().unwrap(), Some(content.clone()), "{later:#}");

        directory.save(&read).unwrap();
        assert_eq!(directory.saved().unwrap(), Some(content));
    }
}

#[test]
fn what_is_written_now_is_the_last_shape() {
    let [.., content] = contents();
    let [.., shape] = SHAPES;
    let (mut written, mut known) = (BTreeSet::new(), BTreeSet::new());
    names(&serde_json::to_value(content).unwrap(), "", &mut written);
    names(&serde_json::from_str(shape).unwrap(), "", &mut known);
    assert_eq!(
        written, known,
        "a new shape: keep the others, and add a file to tests/former/desktop"
    );
}
