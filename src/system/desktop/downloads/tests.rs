use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::domain::checksum::Checksum;
use crate::domain::ids::SessionId;
use crate::system::desktop::Directories;

/// A session's directory, without a browser.
struct Folder {
    data: PathBuf,
    directory: Directory,
}

impl Folder {
    fn new() -> Self {
        let data = std::env::temp_dir()
            .join(format!("greenroom-downloads-{:016x}", rand::random::<u64>()));
        let directory = Directories::below(&data).of(SessionId::from(1));
        fs::create_dir_all(directory.downloads()).unwrap();
        Self { data, directory }
    }

    fn put(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.downloads().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn downloads(&self, settings: Settings) -> Downloads {
        Downloads::of(&self.directory, settings, true, &Handle::current())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.data).unwrap();
    }
}

/// Stores everything, and returns the names and the refusals.
async fn collected(downloads: &Downloads) -> (Vec<String>, Vec<String>) {
    let (mut names, mut refused) = (Vec::new(), Vec::new());
    let mut take = |notice| match notice {
        Notice::Arrived(arrival) => {
            assert_eq!(Checksum::of(&fs::read(&arrival.file).unwrap()), arrival.checksum);
            names.push(arrival.name.clone());
            arrival.stored(ArtifactId::from(7));
        }
        Notice::Refused { reason, .. } => refused.push(reason),
        Notice::Began { name, .. } => panic!("{name} has not begun"),
    };
    let mut finished = downloads.finish();
    loop {
        tokio::select! {
            biased;
            notice = downloads.next() => take(notice),
            () = &mut finished => break,
        }
    }
    while let Ok(notice) = timeout(Duration::ZERO, downloads.next()).await {
        take(notice);
    }
    names.sort_unstable();
    (names, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_files_are_taken_once_and_links_and_halves_never() {
    let folder = Folder::new();
    folder.put("a.csv", "1");
    folder.put("b.csv", "2");
    folder.put("c.csv.crdownload", "3");
    folder.put(".hidden", "4");
    symlink("/etc/passwd", folder.directory.downloads().join("passwd")).unwrap();
    fs::create_dir(folder.directory.downloads().join("folder")).unwrap();

    let (names, refused) = collected(&folder.downloads(Settings::default())).await;
    assert_eq!((names, refused.len()), (vec!["a.csv".to_owned(), "b.csv".to_owned()], 0));
    assert!(!any_left(&folder.directory.downloads(), &folder.directory.downloaded()));
    // A later server knows the stored files, and collects those that came meanwhile.
    folder.put("d.csv", "5");
    assert!(any_left(&folder.directory.downloads(), &folder.directory.downloaded()));
    let (names, _) = collected(&folder.downloads(Settings::default())).await;
    assert_eq!(names, ["d.csv"]);
    let copies = fs::read_dir(folder.directory.arrivals()).unwrap().count();
    assert_eq!(copies, 0, "copies are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_named_and_what_is_refused_does_not_stay() {
    let folder = Folder::new();
    let large = folder.put("large.bin", &"x".repeat(2 << 20));
    folder.put("small.bin", "x");
    let settings = Settings { max_megabytes: 1, ..Settings::default() };
    let (names, refused) = collected(&folder.downloads(settings)).await;
    assert_eq!((names.as_slice(), refused.len()), (["small.bin".to_owned()].as_slice(), 1));
    assert!(refused[0].contains("desktop.downloads.max_megabytes"), "{refused:?}");
    assert!(!large.exists());

    folder.put("second.bin", "y");
    let settings = Settings { max_files: 1, ..Settings::default() };
    let (names, refused) = collected(&folder.downloads(settings)).await;
    assert!(names.is_empty() && refused[0].contains("max_files"), "{refused:?}");

    folder.put("third.bin", "y");
    let settings = Settings { max_total_megabytes: 0, ..Settings::default() };
    let (_, refused) = collected(&folder.downloads(settings)).await;
    assert!(refused[0].contains("max_total_megabytes"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_nothing_is_kept_and_nothing_is_removed() {
    let folder = Folder::new();
    let file = folder.put("a.csv", "1");
    let settings = Settings { min_free_megabytes: u64::MAX, ..Settings::default() };
    let (names, refused) = collected(&folder.downloads(settings)).await;
    assert!(names.is_empty() && refused[0].contains("min_free_megabytes"), "{refused:?}");
    assert!(
        file.exists() && any_left(&folder.directory.downloads(), &folder.directory.downloaded())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_disappears_or_is_a_link_is_reported_and_pipes_hold_nobody_up() {
    let folder = Folder::new();
    let downloads = folder.downloads(Settings::default());
    let shared = downloads.0.clone().unwrap();
    let pipe = folder.directory.downloads().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let link = folder.directory.downloads().join("link");
    symlink("/etc/passwd", &link).unwrap();
    for path in [PathBuf::from("/nonexistent/gone.txt"), pipe, link] {
        shared.take(path, Begun::new("x".to_owned(), String::new()));
    }
    let (names, refused) = collected(&downloads).await;
    assert_eq!((names.len(), refused.len()), (0, 3), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_server_is_a_download_by_whatever_name() {
    let folder = Folder::new();
    let secret = folder.directory.path().join("desktop.json");
    fs::create_dir_all(folder.directory.path()).unwrap();
    fs::write(&secret, "secret").unwrap();
    let own = folder.directory.downloads();
    let driver = folder.data.with_extension("driver");
    fs::create_dir_all(&driver).unwrap();
    fs::hard_link(&secret, own.join("second.csv")).unwrap();
    symlink(folder.directory.path(), own.join("way")).unwrap();
    symlink(folder.directory.path(), driver.join("way")).unwrap();
    symlink(&secret, driver.join("link")).unwrap();
    fs::write(driver.join("plain.csv"), "plain").unwrap();

    for (is_anywhere, expected) in [(true, vec!["plain.csv"]), (false, vec![])] {
        let settings = Settings::default();
        let downloads = Downloads::of(&folder.directory, settings, is_anywhere, &Handle::current());
        let shared = downloads.0.clone().unwrap();
        let named = [
            own.join("second.csv"),
            own.join("way/desktop.json"),
            own.join("../../../sessions/pbs_1/desktop.json"),
            secret.clone(),
            driver.join("way/desktop.json"),
            driver.join("link"),
            driver.join("plain.csv"),
        ];
        for path in named {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            shared.take(path, Begun::new(name, String::new()));
        }
        let (names, refused) = collected(&downloads).await;
        assert_eq!(
            (names.len() + refused.len(), names),
            (7, expected.iter().map(|it| (*it).to_owned()).collect())
        );
        let found = shared.tidy(Duration::ZERO).unwrap();
        assert_eq!(found, [], "a file with a second name is no download");
    }
    fs::remove_dir_all(&driver).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_nobody_stores_is_still_on_the_disk() {
    let folder = Folder::new();
    folder.put("a.csv", "1");
    let downloads = folder.downloads(Settings::default());
    let mut finished = downloads.finish();
    let arrival = tokio::select! {
        notice = downloads.next() => notice,
        () = &mut finished => panic!("it is not stored"),
    };
    drop(arrival); // The database rejected it.
    timeout(Duration::from_secs(5), finished).await.unwrap();
    assert!(any_left(&folder.directory.downloads(), &folder.directory.downloaded()));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_nobody_reports_are_taken_up_and_are_bounded_on_the_disk() {
    let folder = Folder::new();
    let there = || fs::read_dir(folder.directory.downloads()).unwrap().count();
    let small = Settings { max_files: 5, ..Settings::default() };
    // On a full disk nothing is stored, but the folder is bounded all the same.
    for settings in [small, Settings { min_free_megabytes: u64::MAX, ..small }] {
        let downloads = folder.downloads(settings);
        let shared = downloads.0.clone().unwrap();
        for round in 0..4 {
            for number in 0..20 {
                folder.put(&format!("printed {round} {number}.pdf"), "%PDF");
            }
            folder.put("half.pdf.crdownload", "%");
            let taken = shared.tidy(Duration::ZERO).unwrap();
            assert!(taken.len() <= 5 && there() == 6, "{taken:?}");
            let taken = shared.tidy(Duration::from_secs(600)).unwrap();
            assert!(taken.is_empty(), "they may be written still: {taken:?}");
            shared.take_up_missed(Duration::from_secs(600)).await;
            assert_eq!(shared.state.borrow().unstored, 0, "they may be written still");
        }
        let (names, refused) = collected(&downloads).await;
        assert!(names.len() <= 5 && refused[0].contains("max_files"), "{names:?} {refused:?}");
        assert!(refused.len() <= 26, "{refused:?}");
    }

    for known in fs::read_dir(folder.directory.downloads()).unwrap() {
        fs::remove_file(known.unwrap().path()).unwrap();
    }
    let settings = Settings { max_total_megabytes: 1, ..Settings::default() };
    let downloads = folder.downloads(settings);
    for number in 0..10 {
        folder.put(&format!("{number}.pdf"), &"x".repeat(300 << 10));
    }
    downloads.0.clone().unwrap().tidy(Duration::ZERO).unwrap();
    assert_eq!(there(), 3);
    let (_, refused) = collected(&downloads).await;
    assert!(refused[0].contains("max_total_megabytes"), "{refused:?}");
}
