//! Archives that someone else wrote.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use super::super::unpack::unpack_within;
use super::super::*;
use super::{World, installed};

/// An archive as an attacker writes it.
#[derive(Clone)]
struct Forged(Vec<u8>);

impl Forged {
    fn empty() -> Self {
        Self(Vec::new())
    }

    /// An archive that begins with a good manifest.
    fn new() -> Self {
        Self::of(r#"{"format":1,"browser_version":null,"created_at":"now","extras":[]}"#)
    }

    fn of(manifest: &str) -> Self {
        Self::empty().file("greenroom/manifest.json", manifest.as_bytes())
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.entry(path.as_bytes(), EntryType::Regular, content)
    }

    fn folder(self, path: &str) -> Self {
        self.entry(path.as_bytes(), EntryType::Directory, b"")
    }

    fn entry(self, path: &[u8], kind: EntryType, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        header.set_entry_type(kind);
        header.set_size(content.len().try_into().unwrap());
        header.set_mode(0o6777);
        header.set_uid(1);
        header.set_gid(1);
        header.set_mtime(1);
        self.with(header, content)
    }

    fn with(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// The archive, not compressed.
    fn tar(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK]);
        self.0
    }

    fn end(self, world: &World) -> File {
        stored(world, &zstd::encode_all(&*self.tar(), 1).unwrap())
    }
}

fn stored(world: &World, bytes: &[u8]) -> File {
    let mut file = world.file();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn entries_that_could_do_harm_are_refused() {
    let world = World::new();
    let whole = Forged::new().folder("profile/Default").file("profile/Default/Cookies", b"good");
    for (kind, message) in [
        (EntryType::Symlink, "profile/x is a symbolic link"),
        (EntryType::Link, "is a hard link"),
        (EntryType::Char, "is a device"),
        (EntryType::Block, "is a device"),
        (EntryType::Fifo, "is a pipe"),
        (EntryType::Continuous, "is neither a plain file nor a folder"),
        (EntryType::GNUSparse, "is a sparse file"),
        (EntryType::GNULongLink, "an extension that is not allowed"),
        (EntryType::XHeader, "an extension that is not allowed"),
        (EntryType::XGlobalHeader, "an extension that is not allowed"),
        (EntryType::new(b's'), "is neither a plain file nor a folder"),
    ] {
        let archive = whole.clone().entry(b"profile/x", kind, b"").end(&world);
        world.refuses(&archive, "profile_archive_unsafe", message);
    }
    for (path, message) in [
        ("/etc/passwd", "/etc/passwd is outside of the profile"),
        ("passwd", "is outside of the profile"),
        ("", "is outside of the profile"),
        ("../x", "is outside of the profile"),
        ("profilex/y", "is outside of the profile"),
        ("greenroom/late", "is outside of the profile"),
        ("profile", "is not in the profile's folder"),
        ("profile/", "is not a plain path"),
        ("profile//x", "is not a plain path"),
        ("profile/..", "is not a plain path"),
        ("profile/../x", "is not a plain path"),
        ("profile/Default/../../x", "is not a plain path"),
        ("profile/./x", "is not a plain path"),
        ("profile/x/", "is not a plain path"),
        ("profile/SingletonLock", "is a lock of a browser"),
        ("profile/Default", "is there twice or out of order"),
        ("profile/Default/Cookies", "is there twice or out of order"),
        ("profile/Default/A", "is there twice or out of order"),
        ("profile/A", "is there twice or out of order"),
        ("profile/Default/Cookies/x", "is in no folder of the archive"),
        ("profile/Missing/x", "is in no folder of the archive"),
    ] {
        let archive = whole.clone().file(path, b"bad").end(&world);
        world.refuses(&archive, "profile_archive_unsafe", message);
    }
    let mut header = Header::new_gnu();
    header.set_path("profile/x").unwrap();
    header.set_size(0);
    header.as_old_mut().linkflag = [0];
    let old = whole.clone().with(header, b"");
    world.refuses(&old.end(&world), "profile_archive_unsafe", "neither a plain file nor a folder");
    let odd = whole.clone().file("profile/x\u{1b}[2J", b"").file("profile/x\u{1b}[2J", b"");
    world.refuses(&odd.end(&world), "profile_archive_unsafe", r"profile/x\u{1b}[2J is there twice");
    let full = whole.clone().entry(b"profile/x", EntryType::Directory, b"content");
    world.refuses(&full.end(&world), "profile_archive_unsafe", "is a folder with content");
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_path("profile/x").unwrap();
    header.set_size(0);
    let other = whole.clone().with(header, b"");
    world.refuses(&other.end(&world), "profile_archive_unsafe", "the form of GNU tar");

    // The bits and owners of headers have no effect.
    world.unpack(whole.end(&world)).unwrap();
    let stat = fs::metadata(world.target().join("Default/Cookies")).unwrap();
    assert_eq!((stat.mode(), stat.uid()), (0o100_600, rustix::process::geteuid().as_raw()));
}

#[test]
fn long_names_are_those_of_the_packer() {
    let world = World::new();
    let path = |name: usize| format!("profile/{}", "n".repeat(name));
    let long = |content: &[u8], short: &str| {
        let link = EntryType::GNULongName;
        Forged::new().entry(b"././@LongLink", link, content).file(short, b"content").end(&world)
    };
    let nul = |path: &str| format!("{path}\0").into_bytes();
    let cut = |path: &str| path[..100].to_owned();
    world.unpack(long(&nul(&path(255)), &cut(&path(255)))).unwrap();
    fs::remove_file(world.target().join("n".repeat(255))).unwrap();

    let refused = "profile_archive_unsafe";
    world.refuses(&long(&nul(&path(256)), &cut(&path(256))), refused, "more than 255 bytes");
    world.refuses(&long(path(200).as_bytes(), &cut(&path(200))), refused, "an invalid name");
    world.refuses(&long(&nul(&nul_within(&path(200))), &cut(&path(200))), refused, "invalid name");
    world.refuses(&long(b"", "profile/x"), refused, "an invalid name");
    world.refuses(&long(&nul("profile/x"), "profile/x"), refused, "an invalid name");
    let up = format!("profile/{}/../../x", "n".repeat(100));
    world.refuses(&long(&nul(&up), &cut(&up)), refused, "is not a plain path");
    let damaged = "profile_archive_damaged";
    world.refuses(&long(&nul(&path(200)), "profile/other"), damaged, "has two names");
    let endless = long(&vec![b'n'; 100_000], "profile/x");
    world.refuses(&endless, damaged, "a path that is too long");
    let twice = Forged::new()
        .entry(b"././@LongLink", EntryType::GNULongName, &nul(&path(200)))
        .entry(b"././@LongLink", EntryType::GNULongName, &nul(&path(200)));
    world.refuses(&twice.end(&world), damaged, "has two names");
    let alone = Forged::new().entry(b"././@LongLink", EntryType::GNULongName, &nul(&path(200)));
    world.refuses(&alone.end(&world), damaged, "ends after the name");
}

fn nul_within(path: &str) -> String {
    format!("{}\0{}", &path[..150], &path[150..])
}

#[test]
fn a_damaged_archive_is_refused_and_nothing_is_left_of_it() {
    let world = World::new();
    let code = "profile_archive_damaged";
    world.write("Default/Cookies", (0..10_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    world.write("Default/more", "more");
    let (_, packed) = world.pack();
    let whole = fs::read(world.root.join("archive")).unwrap();
    let other = "0".repeat(64);
    let unpack_as = |bytes: &[u8], sha256| {
        unpack(stored(&world, bytes), Some(sha256), &installed(), &world.target(), None)
    };
    let refused = unpack_as(&whole, &other).unwrap_err();
    assert_eq!(refused.code(), code);
    assert!(refused.to_string().contains(&packed.sha256));
    assert!(world.unpacked().is_empty());

    for length in (0..whole.len()).step_by(whole.len() / 20).chain([whole.len() - 1]) {
        world.refuses(&stored(&world, &whole[..length]), code, "damaged");
        let mut flipped = whole.clone();
        flipped[length] ^= 0x10;
        let archive = stored(&world, &flipped);
        let refused = world.unpack(archive).unwrap_err();
        assert!(!matches!(refused, UnpackError::NotWritten { .. }), "{refused}");
        assert!(world.unpacked().is_empty(), "a flip at {length}");
    }
    world.refuses(&stored(&world, b"no archive"), code, "damaged");
    for trailing in [b"x".to_vec(), whole.clone(), zstd::encode_all(&b""[..], 1).unwrap()] {
        let longer = [whole.clone(), trailing].concat();
        world.refuses(&stored(&world, &longer), code, "something follows its end");
    }
    unpack_as(&whole, &packed.sha256).unwrap();

    let world = World::new();
    let tar = Forged::new().file("profile/a", b"content").tar();
    let compressed = |tar: &[u8]| stored(&world, &zstd::encode_all(tar, 1).unwrap());
    for length in [0, 100, 512, 600, 1024, 1500, 1540, 2048, 2500] {
        world.refuses(&compressed(&tar[..length]), code, "it ends");
    }
    world.refuses(&compressed(&[&*tar, &[0; 512]].concat()), code, "something follows its end");
    let mut padded = tar.clone();
    padded[tar.len() - 1024 - 1] = 1;
    world.refuses(&compressed(&padded), code, "bytes that belong to no entry");
    let mut half_end = tar.clone();
    half_end[tar.len() - 1] = 1;
    world.refuses(&compressed(&half_end), code, "something follows its end");
    let mut header = tar.clone();
    header[1024] = b'q';
    world.refuses(&compressed(&header), code, "the header of qrofile/a is invalid");
}

#[test]
fn manifests_of_other_formats_and_newer_browsers_are_refused() {
    let world = World::new();
    let refuses = |manifest: &str, code, message| {
        let archive = Forged::of(manifest).file("profile/a", b"");
        world.refuses(&archive.end(&world), code, message);
    };
    let of = |version: &str, extras: &str| {
        format!(r#"{{"format":1,"browser_version":"{version}","created_at":"","extras":{extras}}}"#)
    };
    refuses(
        &of("157.0.0.0", "[]"),
        "profile_too_new",
        "used by Chromium 157.0.0.0, which is newer",
    );
    refuses(r#"{"format":2,"new":true}"#, "profile_format_unknown", "format 2");
    let damaged = "profile_archive_damaged";
    for version in ["157", "1.2.3", "1.2.3.4.5", "+1.2.3.4", "1.2.3.99999999999", "1.2.3.-4", ""] {
        refuses(&of(version, "[]"), damaged, "not a version of Chromium");
    }
    refuses("{}", damaged, "missing field `format`");
    refuses("[", damaged, "greenroom/manifest.json");
    refuses(&of("1.2.3.4", r#"["cookies"]"#), damaged, "greenroom/cookies is missing");
    let named = r#"["../../x"]"#;
    refuses(&of("1.2.3.4", named), "profile_archive_unsafe", "is not a name of an extra");
    refuses(&of("1.2.3.4", r#"["a","a"]"#), "profile_archive_unsafe", "twice or out of order");
    let many: Vec<String> = (10..40).map(|number| format!("a{number}")).collect();
    let many = serde_json::to_string(&many).unwrap();
    refuses(&of("1.2.3.4", &many), "profile_too_large", "30 extras");
    let long = format!(r#"{{"format":1,"created_at":"{}","extras":[]}}"#, "x".repeat(65));
    refuses(&long, damaged, "created_at");
    let huge = format!(r#"{{"format":1,"x":"{}"}}"#, "x".repeat(1 << 16));
    refuses(&huge, "profile_too_large", "bytes of the manifest");

    let late = Forged::empty().file("profile/a", b"").file("greenroom/manifest.json", b"{}");
    world.refuses(&late.end(&world), damaged, "is not its first entry");
    world.refuses(&Forged::empty().end(&world), damaged, "is not its first entry");
    let unnamed = Forged::new().file("greenroom/cookies", b"");
    world.refuses(&unnamed.end(&world), "profile_archive_unsafe", "is outside of the profile");

    // The same major version, and an older one.
    for version in ["156.9.9999.999", "99.0.0.0"] {
        let archive = Forged::of(&of(version, "[]")).end(&world);
        world.unpack(archive.try_clone().unwrap()).unwrap();
    }
    let newer = Forged::of(&of("200.0.0.0", "[]")).end(&world);
    assert!(check(newer.try_clone().unwrap(), None).is_ok());
    assert!(read_head(newer).is_ok());
}

#[test]
fn an_archive_beyond_a_limit_is_refused_before_it_fills_the_disk() {
    let world = World::new();
    let limits = Limits { entries: 3, bytes: 1000, depth: 2 };
    let refuses = |archive: Forged, message: &str| {
        let archive = archive.end(&world);
        let refused = unpack_within(limits, archive, None, &installed(), &world.target(), None);
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), "profile_too_large");
        assert!(refused.to_string().contains(message), "{refused}");
        assert!(world.unpacked().is_empty());
    };
    let two = Forged::new().folder("profile/a").file("profile/a/b", &[0; 600]);
    refuses(two.clone().file("profile/c", &[0; 401]), "1001 bytes of files");
    refuses(two.clone().file("profile/c", b"").file("profile/d", b""), "4 files and folders");
    refuses(
        Forged::new().folder("profile/a").folder("profile/a/b").file("profile/a/b/c", b""),
        "3 levels",
    );

    // A header with more than any file has, and no content: by the numbers of base 256.
    let mut header = Header::new_gnu();
    header.set_path("profile/a").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_size(u64::MAX / 2);
    let huge = Forged::new().with(header.clone(), b"");
    world.refuses(&huge.end(&world), "profile_too_large", "bytes of files");
    let manifest = r#"{"format":1,"browser_version":null,"created_at":"","extras":["a"]}"#;
    header.set_path("greenroom/a").unwrap();
    header.set_size(LARGEST_EXTRA + 1);
    let huge = Forged::of(manifest).with(header, b"");
    world.refuses(&huge.end(&world), "profile_too_large", "bytes of extras");

    // A window of 128 MiB, which the decoder would have to allocate.
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&Forged::new().tar()).unwrap();
    let archive = stored(&world, &encoder.finish().unwrap());
    world.refuses(&archive, "profile_archive_damaged", "too much memory");
}

#[test]
fn what_is_never_packed_is_not_restored_from_an_upload() {
    let world = World::new();
    let archive = Forged::new()
        .folder("profile/Default")
        .folder("profile/Default/Cache")
        .folder("profile/Default/Cache/inner")
        .file("profile/Default/Cache/inner/file", b"cached")
        .file("profile/Default/Cookies", b"good")
        .folder("profile/NativeMessagingHosts")
        .file("profile/NativeMessagingHosts/evil.json", b"{}")
        .folder("profile/WidevineCdm")
        .file("profile/WidevineCdm/lib.so", b"code");
    let archive = archive.end(&world);
    assert_eq!(check(archive.try_clone().unwrap(), None).unwrap().files, 4);
    world.unpack(archive).unwrap();
    let paths: Vec<PathBuf> = world.unpacked().into_keys().collect();
    assert_eq!(paths, [Path::new("Default"), Path::new("Default/Cookies")]);
}
