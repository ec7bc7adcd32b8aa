//! Traps that a program may have laid in files that the server reads.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

struct World {
    root: PathBuf,
}

impl World {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("beneath-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("own/downloads")).unwrap();
        fs::write(root.join("secret"), "secret").unwrap();
        fs::write(root.join("own/downloads/good"), "good").unwrap();
        Self { root }
    }

    fn own(&self) -> Tree {
        Tree::open(&self.root.join("own")).unwrap()
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join("own").join(path)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

#[test]
fn plain_files_are_read_and_nothing_else_is() {
    let world = World::new("read");
    let own = world.own();
    assert_eq!(own.read(Path::new("downloads/good"), 10).unwrap(), b"good");
    assert_eq!(
        own.read(Path::new("downloads/good"), 3).unwrap_err().kind(),
        io::ErrorKind::FileTooLarge
    );

    symlink("../../secret", world.at("downloads/link")).unwrap();
    symlink(world.root.join("secret"), world.at("downloads/absolute")).unwrap();
    symlink("/proc/self/fd", world.at("magic")).unwrap();
    symlink("downloads", world.at("folder")).unwrap();
    fs::hard_link(world.root.join("secret"), world.at("downloads/second")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        world.at("downloads/pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.at("socket")).unwrap();
    for path in [
        "downloads/link",
        "downloads/absolute",
        "downloads/second",
        "downloads/pipe",
        "downloads",
        "folder/good",
        "magic/0",
        "socket",
        "../secret",
        "downloads/../../secret",
        "/etc/passwd",
        "",
    ] {
        assert!(own.file(Path::new(path)).is_err(), "{path}");
    }
    assert_eq!(own.files().unwrap(), [Path::new("downloads/good")]);
    let kinds = own.folder(Path::new("downloads")).unwrap().entries().unwrap();
    assert_eq!(kinds.iter().filter(|entry| entry.is_plain()).count(), 1);
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let world = World::new("write");
    let own = world.own();
    symlink("../../secret", world.at("downloads/link")).unwrap();
    symlink("../../secret", world.at("downloads/link.part")).unwrap();
    assert!(own.create(Path::new("downloads/link")).is_err());
    own.replace(Path::new("downloads/link"), b"new").unwrap();
    assert_eq!(fs::read(world.at("downloads/link")).unwrap(), b"new");
    assert_eq!(fs::read(world.root.join("secret")).unwrap(), b"secret");

    symlink("../..", world.at("up")).unwrap();
    assert!(own.replace(Path::new("up/secret"), b"new").is_err());
    assert!(own.make_folder(Path::new("up/made")).is_err());
    assert!(own.make_folder(Path::new("up")).is_err());
    assert!(own.rename(Path::new("downloads/good"), Path::new("up/moved")).is_err());
    assert!(own.rename(Path::new("downloads/good"), Path::new("up")).is_err(), "not free");
    own.make_folder(Path::new("made")).unwrap();
    own.rename(Path::new("downloads/good"), Path::new("made/moved")).unwrap();
    assert_eq!(own.read(Path::new("made/moved"), 10).unwrap(), b"good");
}

#[test]
fn what_is_removed_is_beneath() {
    let world = World::new("remove");
    let outside = world.root.join("outside");
    fs::create_dir_all(outside.join("kept")).unwrap();
    symlink(&outside, world.at("downloads/folder")).unwrap();
    symlink("/nowhere", world.at("downloads/dangling")).unwrap();
    fs::create_dir_all(world.at("downloads/a/b/c")).unwrap();
    fs::write(world.at("downloads/a/b/c/file"), "x").unwrap();
    symlink(&outside, world.at("downloads/a/b/folder")).unwrap();
    fs::create_dir_all(world.at("downloads/a/other/deep")).unwrap();
    // Deeper than the longest path allows, which only relative steps can create.
    let mut deep = world.own().make_folder(Path::new("deep")).unwrap();
    for _ in 0..600 {
        deep = deep.make_folder(Path::new("directory")).unwrap();
    }
    drop(deep);
    world.own().remove_file(Path::new("downloads/folder")).unwrap();
    symlink(&outside, world.at("downloads/folder")).unwrap();
    Tree::remove_all(&world.root.join("own")).unwrap();
    Tree::remove_all(&world.root.join("own")).unwrap();
    assert!(!world.root.join("own").exists());
    assert!(outside.join("kept").is_dir());

    symlink(&outside, world.root.join("own")).unwrap();
    assert!(Tree::open(&world.root.join("own")).is_err());
    Tree::remove_all(&world.root.join("own")).unwrap();
    assert!(outside.join("kept").is_dir(), "the link was removed, and not what it leads to");
}

#[test]
fn a_directory_of_very_many_files_is_listed_in_part_and_walked_and_removed_whole() {
    let world = World::new("many");
    fs::create_dir_all(world.at("many/inner")).unwrap();
    for (folder, count) in [("many", MOST_NAMES + 50), ("many/inner", MOST_NAMES + 1)] {
        for number in 0..count {
            fs::File::create(world.at(folder).join(number.to_string())).unwrap();
        }
    }
    let many = world.own().folder(Path::new("many")).unwrap();
    assert_eq!(many.names().unwrap().len(), MOST_NAMES);
    assert_eq!(many.entries().unwrap().len(), MOST_NAMES);
    assert_eq!(many.files().unwrap().len(), 2 * MOST_NAMES + 51);
    world.own().remove("many".as_ref()).unwrap();
    assert!(!world.at("many").exists());
}

/// A program swaps a directory for a symbolic link while the server reads, lists and writes.
#[test]
fn a_swap_of_directories_leads_nowhere() {
    let world = World::new("swap");
    let outside = world.root.join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("good"), "secret").unwrap();
    symlink(&outside, world.at("link")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (folder, link) = (world.at("downloads"), world.at("link"));
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let (cwd, exchange) = (rustix::fs::CWD, RenameFlags::EXCHANGE);
                rustix::fs::renameat_with(cwd, &folder, cwd, &link, exchange).unwrap();
            }
        });
        let own = world.own();
        let (mut read, mut refused) = (0, 0);
        for round in 0..4_000 {
            match own.read(Path::new("downloads/good"), 100) {
                Ok(bytes) => {
                    assert_eq!(bytes, b"good");
                    read += 1;
                }
                Err(_) => refused += 1,
            }
            let _ = own.replace(Path::new("downloads/new"), b"new");
            if round % 100 == 0
                && let Ok(files) = own.files()
            {
                let good = files.iter().filter(|path| path.ends_with("good"));
                assert!(good.count() <= 2, "{files:?}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(read > 0 && refused > 0, "{read} {refused}");
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was written outside");
}
