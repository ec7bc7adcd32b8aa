//! Storage states in archives: read, merged and replaced.

use serde_json::{Value, json};

use super::*;
use crate::system::storage_state::{Mode, Selection, StorageState};

const ALL: Selection = Selection { origins: None, indexed_db: true };

fn parsed(value: Value) -> StorageState {
    serde_json::from_value(value).unwrap()
}

fn read(archive: &File) -> Value {
    let state = read_state(archive.try_clone().unwrap(), &ALL).unwrap();
    serde_json::to_value(state).unwrap()
}

/// A file beside the archive, for another.
fn other(world: &World, name: &str) -> File {
    let path = world.root.join(name);
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

/// A profile with storage in its files: of two origins, as Chromium wrote it.
fn used() -> World {
    let world = World::new();
    let table = include_bytes!("../../storage_state/local_storage.ldb");
    world.write("Default/Local Storage/leveldb/000005.ldb", table);
    world.write("Default/IndexedDB/https_shop.example_0.indexeddb.leveldb/CURRENT", "MANIFEST");
    world.write("Default/Service Worker/ScriptCache/index", "worker");
    world.write("Default/Cookies", "cookies");
    world.write("Default/Network/Cookies-journal", "cookies");
    world.write("Default/Network/TransportSecurity", "{}");
    world.write("Default/History", "history");
    world.write("Last Version", "155.0.1.2");
    world
}

fn archive(world: &World) -> File {
    let cookies = json!([{ "name": "a", "value": "1", "domain": "a.example", "path": "/",
        "expires": -1, "httpOnly": true, "secure": false }]);
    let cookies = cookies.to_string();
    let state = parsed(json!({ "cookies": [], "origins": [
        { "origin": "https://a.example", "localStorage": [{ "name": "k", "value": "newer" }] },
    ] }));
    let state = serde_json::to_vec(&state).unwrap();
    let extras: [(&str, &[u8]); 3] =
        [(COOKIES, cookies.as_bytes()), ("other", b"bytes"), (STATE, &state)];
    let mut file = world.file();
    pack(&world.profile(), &META, &extras, &mut file).unwrap();
    file
}

fn paths(world: &World) -> Vec<String> {
    let files = world.unpacked().into_iter().filter(|(_path, bytes)| bytes.is_some());
    files.map(|(path, _bytes)| path.display().to_string()).collect()
}

#[test]
fn a_state_is_read_from_the_files_and_from_what_is_beside_them() {
    let world = used();
    let state = read(&archive(&world));
    assert_eq!(state["cookies"][0]["name"], "a");
    assert_eq!(state["cookies"][0]["sameSite"], "Lax");
    let of_a = state["origins"][0]["localStorage"].as_array().unwrap();
    let value = |name: &str| {
        of_a.iter().find(|item| item["name"] == name).unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(value("k"), "newer", "Chromium had not written it yet");
    assert_eq!(value("token").len(), 70_000);
    assert_eq!(state["origins"][1]["origin"], "https://b.example");
    let warning = state["warning"].as_str().unwrap();
    assert!(warning.contains("IndexedDB of https://shop.example"), "{warning}");
    let narrow =
        Selection { origins: Some(["https://b.example".to_owned()].into()), indexed_db: true };
    let narrow = read_state(archive(&world), &narrow).unwrap();
    assert_eq!((narrow.cookies.len(), narrow.origins.len(), narrow.warning), (0, 1, None));
}

#[test]
fn a_merged_state_keeps_the_files_and_a_replaced_one_those_without_storage() {
    let world = used();
    let base = archive(&world);
    let later = parsed(json!({ "cookies": [], "origins": [
        { "origin": "https://b.example", "localStorage": [{ "name": "k", "value": "put" }] },
    ] }));
    let write = |mode: Mode, name: &str| {
        let mut file = other(&world, name);
        let base = base.try_clone().unwrap();
        let packed = write_state(Some(base), later.clone(), mode, META.created_at, &mut file);
        (file, packed.unwrap())
    };
    let (merged, packed) = write(Mode::Merge, "merged");
    let checked = check(merged.try_clone().unwrap(), Some(&installed())).unwrap();
    assert_eq!((checked.bytes, &checked.sha256), (packed.bytes, &packed.sha256));
    assert_eq!((checked.files, checked.unpacked_bytes), (packed.files, packed.unpacked_bytes));
    assert_eq!(packed.browser_version.unwrap().to_string(), "155.0.1.2");
    assert_eq!(checked.manifest.extras, [COOKIES, "other", STATE]);
    let state = read(&merged);
    let item = |origin: usize| state["origins"][origin]["localStorage"][0].clone();
    assert_eq!(state["cookies"].as_array().unwrap().len(), 1);
    let of_b = state["origins"][1]["localStorage"].as_array().unwrap();
    assert!(of_b.contains(&json!({ "name": "k", "value": "put" })), "{:?}", item(1)["name"]);
    assert_eq!(of_b.len(), 2);
    world.unpack(merged).unwrap();
    assert_eq!(paths(&world).len(), 8, "{:?}", paths(&world));

    let (replaced, _packed) = write(Mode::Replace, "replaced");
    let state = read(&replaced);
    assert_eq!(state, serde_json::to_value(&later).unwrap());
    fs::remove_dir_all(world.target()).unwrap();
    fs::create_dir(world.target()).unwrap();
    let unpacked = world.unpack(replaced).unwrap();
    assert_eq!(unpacked.extras["other"], b"bytes");
    let left = ["Default/History", "Default/Network/TransportSecurity", "Last Version"];
    assert_eq!(paths(&world), left);
}

#[test]
fn a_state_without_files_is_an_archive_that_is_restored() {
    let world = World::new();
    let login = parsed(json!({ "cookies": [{ "name": "a", "value": "1", "domain": "a.example",
        "path": "/", "expires": 5.5 }], "origins": [] }));
    let mut file = other(&world, "first");
    let packed = write_state(None, login.clone(), Mode::Merge, META.created_at, &mut file).unwrap();
    assert_eq!((packed.files, packed.browser_version), (0, None));
    assert_eq!(read(&file), serde_json::to_value(&login).unwrap());
    let unpacked = world.unpack(file).unwrap();
    assert_eq!(unpacked.manifest.extras, [STATE]);
    assert!(world.unpacked().is_empty());
}
