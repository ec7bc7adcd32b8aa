//! Round trips, and traps in profiles.

mod archives;
mod states;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use super::left_out::is_left_out;
use super::pack::pack_within;
use super::*;
use crate::system::confine::spec::User;

const META: Meta<'_> = Meta { created_at: "2026-11-29T18:00:00Z", browser_version: None };

/// The version of the installed browser.
fn installed() -> BrowserVersion {
    "156.0.8078.108".parse().unwrap()
}

/// A folder with a profile and an empty target, removed on drop.
struct World {
    root: PathBuf,
}

impl World {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("profile-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("profile/Default")).unwrap();
        fs::create_dir(root.join("target")).unwrap();
        Self { root }
    }

    fn profile(&self) -> PathBuf {
        self.root.join("profile")
    }

    fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.profile().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn file(&self) -> File {
        let path = self.root.join("archive");
        File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap()
    }

    fn pack(&self) -> (File, Packed) {
        let mut file = self.file();
        let packed = pack(&self.profile(), &META, &[], &mut file).unwrap();
        (file, packed)
    }

    fn unpack(&self, archive: File) -> Result<Unpacked, UnpackError> {
        unpack(archive, None, &installed(), &self.target(), None)
    }

    /// The files of the target with their contents; folders have none.
    #[track_caller]
    fn unpacked(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        list(&self.target(), &self.target(), &mut found);
        found
    }

    /// Asserts that an archive is refused, validated or unpacked, and that nothing is left of it.
    #[track_caller]
    fn refuses(&self, archive: &File, code: &str, message: &str) {
        let unpacked = self.unpack(archive.try_clone().unwrap()).unwrap_err();
        let checked = check(archive.try_clone().unwrap(), Some(&installed())).unwrap_err();
        assert_eq!(unpacked.to_string(), checked.to_string());
        assert_eq!(unpacked.code(), code, "{unpacked}");
        assert!(unpacked.to_string().contains(message), "{unpacked} lacks {message}");
        assert!(self.unpacked().is_empty(), "{message}: {:?}", self.unpacked().keys());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

fn list(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_owned();
        let is_folder = path.symlink_metadata().unwrap().is_dir();
        found.insert(name, (!is_folder).then(|| fs::read(&path).unwrap()));
        if is_folder {
            list(root, &path, found);
        }
    }
}

#[test]
fn a_profile_comes_back_as_it_was() {
    let world = World::new();
    let long = "n".repeat(200);
    let deep = ["ebene mit einem längeren Namen"; 9].join("/");
    for (path, bytes) in [
        ("Last Version", b"155.0.1.2".to_vec()),
        ("Default/Cookies", vec![7; 100_000]),
        ("Default/empty", Vec::new()),
        ("Default/Grüße – 日本 \u{1f36a}\n\\", b"odd".to_vec()),
        (&format!("Default/{long}"), vec![1; 512]),
        (&format!("Default/{long}x/{long}/{long}"), vec![2; 513]),
        (&format!("Default/IndexedDB/{deep}/000003.log"), vec![3; 511]),
        // A path of exactly 100 bytes in the archive, and one of 101.
        (&format!("Default/{}", "a".repeat(84)), b"100".to_vec()),
        (&format!("Default/{}", "b".repeat(85)), b"101".to_vec()),
        // Sorted by its bytes, a sibling would come between a folder and its content.
        ("Default/x/file", b"x".to_vec()),
        ("Default/x y", b"x y".to_vec()),
    ] {
        world.write(path, bytes);
    }
    fs::create_dir(world.profile().join("Default/no files")).unwrap();
    let not_text = world.profile().join(std::ffi::OsStr::from_bytes(b"Default/\xff\xfe"));
    fs::write(not_text, "bytes").unwrap();
    fs::set_permissions(world.profile().join("Default/x y"), fs::Permissions::from_mode(0o6755))
        .unwrap();

    let mut file = world.file();
    let extras: [(&str, &[u8]); 2] = [("storage.json", b"{}"), ("cookies", b"[1]")];
    let packed = pack(&world.profile(), &META, &extras, &mut file).unwrap();
    assert_eq!((packed.files, packed.skipped, packed.changed), (12, 0, 0));
    assert_eq!(packed.bytes, file.metadata().unwrap().len());
    assert_eq!(packed.browser_version.unwrap().to_string(), "155.0.1.2");

    let checked = check(file.try_clone().unwrap(), Some(&installed())).unwrap();
    assert_eq!((checked.bytes, &checked.sha256), (packed.bytes, &packed.sha256));
    assert_eq!((checked.files, checked.unpacked_bytes), (packed.files, packed.unpacked_bytes));
    let head = read_head(file.try_clone().unwrap()).unwrap();
    assert_eq!(head.manifest, checked.manifest);
    assert_eq!(head.manifest.extras, ["cookies", "storage.json"]);
    assert_eq!(head.manifest.created_at, META.created_at);

    let sha256 = packed.sha256.to_uppercase();
    let archive = file.try_clone().unwrap();
    let unpacked = unpack(archive, Some(&sha256), &installed(), &world.target(), None).unwrap();
    assert_eq!(unpacked, head);
    assert_eq!(unpacked.extras["cookies"], b"[1]");
    let mut original = BTreeMap::new();
    list(&world.profile(), &world.profile(), &mut original);
    assert!(world.unpacked() == original);
    assert_eq!(fs::metadata(world.target().join("Default/x y")).unwrap().mode(), 0o100_600);
    assert_eq!(fs::metadata(world.target().join("Default/x")).unwrap().mode(), 0o040_700);

    // Packed again from another place and at another time, it is the same archive.
    fs::rename(world.profile(), world.root.join("former")).unwrap();
    fs::rename(world.target(), world.profile()).unwrap();
    let again = pack(&world.profile(), &META, &extras, &mut world.file()).unwrap();
    assert_eq!(again.sha256, packed.sha256);
}

#[test]
fn a_profile_that_no_browser_has_used_has_the_version_of_the_caller() {
    let world = World::new();
    let (file, packed) = world.pack();
    assert_eq!((packed.browser_version, packed.files), (None, 0));
    world.unpack(file).unwrap();
    let meta = Meta { browser_version: Some(installed()), ..META };
    world.write("Last Version", "156.0");
    let packed = pack(&world.profile(), &meta, &[], &mut world.file()).unwrap();
    assert_eq!(packed.browser_version, Some(installed()));
}

#[test]
fn caches_locks_and_tabs_are_left_out_and_site_data_stays() {
    for path in [
        "Singleton",
        "SingletonLock",
        "SingletonSocket",
        "DevToolsActivePort",
        "chrome_debug.log",
        "NativeMessagingHosts",
        "NativeMessagingHosts/evil.json",
        "WidevineCdm/4.10/libwidevinecdm.so",
        "BrowserMetrics-spare.pma",
        "Safe Browsing",
        "optimization_guide_model_store/1/model.tflite",
        ".org.chromium.Chromium.a1B2c3",
        "Default/.org.chromium.Chromium.a1B2c3",
        "Default/IndexedDB/.org.chromium.Chromium.a1B2c3",
        "Default/Cache/Cache_Data/index",
        "Profile 1/Code Cache",
        "Default/Sessions_Encrypted",
        "Default/Storage/ext/abc/def/GPUCache",
        "Default/x.tmp",
    ] {
        assert!(is_left_out(path.as_bytes()), "{path}");
    }
    for path in [
        "Local State",
        "Last Version",
        "First Run",
        "Default",
        "Default/Cookies",
        "Default/Cookies-journal",
        "Default/Login Data",
        "Default/Local Storage/leveldb/000003.log",
        "Default/IndexedDB/https_a.test_0.indexeddb.leveldb/LOCK",
        "Default/Service Worker/CacheStorage/abc/index",
        "Default/Service Worker/ScriptCache/index",
        "Default/Extensions/abc/1.0_0/Cache/x.tmp",
        "Default/Extensions/abc/1.0_0/SingletonLock",
        "Default/Storage/ext/abc/def/Cookies",
        "Sessions",
        "Other/Cache",
    ] {
        assert!(!is_left_out(path.as_bytes()), "{path}");
    }
    let world = World::new();
    world.write("Default/Cache/Cache_Data/data", "cached");
    world.write("Default/Cookies", "login");
    symlink("host-123", world.profile().join("SingletonLock")).unwrap();
    let (file, packed) = world.pack();
    assert_eq!((packed.files, packed.skipped), (1, 0), "left out is not skipped");
    world.unpack(file).unwrap();
    assert_eq!(world.unpacked().len(), 2);
}

#[test]
fn traps_in_a_profile_are_skipped() {
    let world = World::new();
    let secret = world.root.join("secret");
    fs::write(&secret, "secret").unwrap();
    let at = |path: &str| world.profile().join(path);
    world.write("Default/Cookies", "good");
    symlink(&secret, at("Default/link")).unwrap();
    symlink("/", at("Default/folder")).unwrap();
    fs::hard_link(&secret, at("Default/second name")).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    // To open it for reading would wait for a writer.
    rustix::fs::mknodat(CWD, at("Default/pipe"), FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket\u{1b}[31m")).unwrap();
    let mut skipped = vec![
        "Default/folder",
        "Default/link",
        "Default/pipe",
        "Default/second name",
        r"socket\u{1b}[31m",
    ];
    if rustix::process::geteuid().is_root() {
        world.write("Default/foreign", "another user's");
        std::os::unix::fs::chown(at("Default/foreign"), Some(4321), None).unwrap();
        world.write("Default/theirs/file", "another user's");
        std::os::unix::fs::chown(at("Default/theirs"), Some(4321), None).unwrap();
        skipped.extend(["Default/foreign", "Default/theirs"]);
        skipped.sort_unstable();
    }
    let (file, packed) = world.pack();
    assert_eq!(packed.skipped_names, skipped);
    assert_eq!(packed.skipped, u64::try_from(skipped.len()).unwrap());
    world.unpack(file).unwrap();
    let expected = [(Path::new("Default"), None), (Path::new("Default/Cookies"), Some("good"))];
    let expected = expected.map(|(path, text)| (path.to_owned(), text.map(Into::into)));
    assert_eq!(world.unpacked(), BTreeMap::from(expected));

    symlink("/etc", world.root.join("elsewhere")).unwrap();
    let packed = pack(&world.root.join("elsewhere"), &META, &[], &mut world.file());
    assert!(matches!(packed, Err(PackError::NotRead { .. })));
}

/// Ends the program of a test.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A program truncates, extends, removes and swaps files while they are packed.
#[test]
fn a_profile_that_changes_meanwhile_gives_a_whole_archive() {
    let world = World::new();
    let at = |path: &str| world.profile().join(path);
    fs::write(world.root.join("secret"), "secret").unwrap();
    fs::create_dir_all(at("Default/swapped")).unwrap();
    fs::write(at("Default/swapped/secret"), "mine").unwrap();
    symlink(&world.root, at("Default/swapping")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut changed, mut rounds) = (0, 0);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop); // Also after a failed assertion.
        scope.spawn(|| {
            let content = vec![b'x'; 1 << 18];
            let mut file = File::create(at("Default/History")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                file.set_len(1000).unwrap();
                file.rewind().unwrap();
                fs::write(at("Default/moment"), "here").unwrap();
                let (one, other) = (at("Default/swapped"), at("Default/swapping"));
                rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                for _ in 0..4 {
                    file.write_all(&content).unwrap();
                }
                fs::remove_file(at("Default/moment")).unwrap();
            }
        });
        while (changed == 0 || rounds < 4) && rounds < 500 {
            rounds += 1;
            let (file, packed) = world.pack();
            changed += packed.changed;
            let checked = check(file.try_clone().unwrap(), None).unwrap();
            assert_eq!(checked.unpacked_bytes, packed.unpacked_bytes);
            assert_eq!(checked.sha256, packed.sha256);
            let text = zstd::decode_all(File::open(world.root.join("archive")).unwrap()).unwrap();
            assert!(!text.chunks(BLOCK).any(|block| block.starts_with(b"secret\0")));
        }
    });
    assert!(changed > 0, "{rounds} rounds met no change");
}

#[test]
fn a_profile_beyond_a_limit_is_not_packed() {
    let world = World::new();
    world.write("Default/a/b/c", vec![0; 1000]);
    world.write("Default/Cache/left out", vec![0; 9000]);
    let limits = Limits { entries: 5, bytes: 1000, depth: 4 };
    let packed = |limits| pack_within(limits, &world.profile(), &META, &[], &mut world.file());
    packed(limits).unwrap();
    for (limits, message) in [
        (Limits { entries: 4, ..limits }, "5 files and folders or more, and the limit is 4"),
        (Limits { bytes: 999, ..limits }, "1000 bytes or more, and the limit is 999"),
        (Limits { depth: 3, ..limits }, "4 levels of folders or more, and the limit is 3"),
    ] {
        let refused = packed(limits).unwrap_err();
        assert!(matches!(refused, PackError::TooLarge(_)));
        assert!(refused.to_string().contains(message), "{refused}");
    }
    // A file of which the disk has nothing.
    let sparse = File::create(world.profile().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let refused = pack(&world.profile(), &META, &[], &mut world.file()).unwrap_err();
    assert!(matches!(refused, PackError::TooLarge(Excess { what: "bytes", .. })));

    for name in ["", "A", "a/b", "..", ".a", "manifest.json", "ü", &"x".repeat(65)] {
        let refused = pack(&world.profile(), &META, &[(name, b"")], &mut world.file());
        assert!(matches!(refused, Err(PackError::BadExtra { .. })), "{name}");
    }
    let twice: [(&str, &[u8]); 2] = [("a", b""), ("a", b"")];
    let refused = pack(&world.profile(), &META, &twice, &mut world.file());
    assert!(matches!(refused, Err(PackError::BadExtra { .. })));
}

#[test]
fn a_target_is_empty_and_no_link() {
    let world = World::new();
    world.write("Default/Cookies", "good");
    let (file, _) = world.pack();
    fs::write(world.target().join("theirs"), "kept").unwrap();
    let refused = world.unpack(file.try_clone().unwrap()).unwrap_err();
    assert_eq!(refused.code(), "profile_not_written");
    assert_eq!(world.unpacked().len(), 1);
    fs::remove_dir_all(world.target()).unwrap();
    fs::create_dir(world.root.join("elsewhere")).unwrap();
    symlink(world.root.join("elsewhere"), world.target()).unwrap();
    let refused = world.unpack(file.try_clone().unwrap()).unwrap_err();
    assert_eq!(refused.code(), "profile_not_written");
    assert_eq!(fs::read_dir(world.root.join("elsewhere")).unwrap().count(), 0);
    fs::remove_file(world.target()).unwrap();
    assert_eq!(world.unpack(file).unwrap_err().code(), "profile_not_written");
}

#[test]
fn restored_files_belong_to_the_user_of_the_session() {
    let world = World::new();
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give files away.
    }
    let user = User { uid: 4321, gid: 4322 };
    let give = |path: &str| {
        std::os::unix::fs::chown(world.root.join(path), Some(user.uid), Some(user.gid)).unwrap();
    };
    world.write("Default/Cookies", "good");
    for path in ["profile", "profile/Default", "profile/Default/Cookies", "target"] {
        give(path);
    }
    let (file, packed) = world.pack();
    assert_eq!((packed.files, packed.skipped), (1, 0));
    unpack(file, None, &installed(), &world.target(), Some(user)).unwrap();
    for path in ["Default", "Default/Cookies"] {
        let stat = fs::metadata(world.target().join(path)).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (user.uid, user.gid), "{path}");
    }
}

#[test]
fn versions_are_found_in_texts_and_ordered_by_number() {
    let version = |text: &str| BrowserVersion::within(text).map(|version| version.to_string());
    assert_eq!(version("Chromium 156.0.8078.108 built on Debian").unwrap(), "156.0.8078.108");
    assert_eq!(version("HeadlessChrome/99.0.1.2").unwrap(), "99.0.1.2");
    assert_eq!(version("Chromium 1.2"), None);
    let parsed = |text: &str| text.parse::<BrowserVersion>().unwrap();
    assert!(parsed("99.0.1.2") < parsed("156.0.0.0"));
    assert!(parsed("156.0.10.0") > parsed("156.0.9.9"));
}
