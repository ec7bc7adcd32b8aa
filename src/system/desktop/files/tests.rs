use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::domain::checksum::Checksum;
use crate::domain::ids::ArtifactId;
use crate::system::desktop::Directories;

/// A session's directory, without a browser.
struct Session {
    data: PathBuf,
    directories: Directories,
}

const ID: u64 = 1;

impl Session {
    fn new(settings: Settings) -> Self {
        let name = format!("greenroom-files-{:016x}", rand::random::<u64>());
        let data = std::env::temp_dir().join(name);
        let directories = Directories::below(&data).taking(Uploads::new(settings));
        let directory = directories.of(SessionId::from(ID));
        for folder in [directory.downloads(), directory.uploads(), directory.path().to_owned()] {
            fs::create_dir_all(folder).unwrap();
        }
        Self { data, directories }
    }

    fn files(&self) -> SessionFiles {
        self.directories.files_of(SessionId::from(ID))
    }

    fn directory(&self) -> Directory {
        self.directories.of(SessionId::from(ID))
    }

    fn put(&self, name: &str, content: &[u8]) -> Result<Uploaded, UploadError> {
        let mut upload = self.files().upload(&[], name)?;
        for piece in content.chunks(1000) {
            upload.write(piece)?;
        }
        upload.finish()
    }

    fn names(&self) -> Vec<String> {
        self.files().list().unwrap().into_iter().map(|entry| entry.name).collect()
    }

    fn on_disk(&self) -> usize {
        fs::read_dir(self.directory().uploads()).unwrap().count()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.data).unwrap();
    }
}

#[test]
fn an_upload_is_there_whole_and_is_listed_with_its_checksum() {
    let session = Session::new(Settings::default());
    let content = "x".repeat(5000);
    let uploaded = session.put("../../a b.txt", content.as_bytes()).unwrap();
    assert_eq!((uploaded.name.as_str(), uploaded.size), ("a b.txt", 5000));
    assert_eq!(fs::read_to_string(&uploaded.path).unwrap(), content);
    // The same name gets a number; a file that was there is never changed.
    assert_eq!(session.put("a b.txt", b"2").unwrap().name, "a b (1).txt");

    let listed = session.files().list().unwrap();
    let [second, first] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((second.size, first.size), (1, 5000));
    assert_eq!(first.path, uploaded.path);
    assert_eq!(first.content.checksum, Some(Checksum::of(content.as_bytes())));

    // One that is not complete is not listed, and leaves nothing.
    let mut upload = session.files().upload(&[], "half.txt").unwrap();
    upload.write(b"half").unwrap();
    assert_eq!((session.names().len(), session.on_disk()), (2, 3));
    drop(upload);
    assert_eq!(session.on_disk(), 2);
    // One that a killed server left goes with the next upload.
    fs::write(session.directory().uploads().join(".upload-0123-4.part"), "former").unwrap();
    session.put("c", b"").unwrap();
    assert_eq!((session.names().len(), session.on_disk()), (3, 3));
}

#[test]
fn the_limits_hold_for_files_together_and_for_each() {
    let settings = Settings { max_file_mib: 1, max_files: 3, max_total_mib: 2, min_free_mib: 0 };
    let session = Session::new(settings);
    let mib = vec![0; 1 << 20];
    let large = session.put("large", &[&mib[..], b"1"].concat()).unwrap_err();
    assert!(matches!(large, UploadError::TooLarge(1)), "{large}");
    // Two that are written side by side share what is left.
    let mut one = session.files().upload(&[], "one").unwrap();
    let mut two = session.files().upload(&["wr_1", "x"], "two").unwrap();
    let mut three = session.files().upload(&[], "three").unwrap();
    assert!(matches!(session.put("four", b""), Err(UploadError::TooMany(3))));
    one.write(&mib).unwrap();
    two.write(&mib).unwrap();
    assert!(matches!(three.write(b"1"), Err(UploadError::TooMuch(2))));
    drop(two);
    three.write(b"1").unwrap();
    one.finish().unwrap();
    three.finish().unwrap();
    assert_eq!(session.names(), ["one", "three"]);
    session.files().delete(Folder::Uploads, "one").unwrap();
    session.put("one", &mib).unwrap();

    let other = Session::new(Settings { min_free_mib: 0, ..Settings::default() });
    let begun: Vec<_> = (0..9).map(|_| other.files().upload(&[], "a")).collect();
    assert!(matches!(begun.last(), Some(Err(UploadError::TooManyAtOnce))));
    drop(begun);
    assert!(other.files().uploads.is_idle());
}

#[test]
fn a_full_disk_and_a_session_without_folders_are_named() {
    let session = Session::new(Settings { min_free_mib: u64::MAX, ..Settings::default() });
    let full = session.put("a", b"1").unwrap_err();
    assert!(full.to_string().contains("desktop.uploads.min_free_mib"), "{full}");
    assert_eq!(session.on_disk(), 0);

    let session = Session::new(Settings::default());
    let mut upload = session.files().upload(&[], "a").unwrap();
    upload.write(b"1").unwrap();
    // A sanitized session has new folders.
    fs::rename(session.directory().uploads(), session.data.join("former")).unwrap();
    fs::create_dir(session.directory().uploads()).unwrap();
    assert!(matches!(upload.finish(), Err(UploadError::NoFolder)));
    let unknown = session.directories.files_of(SessionId::from(2));
    assert!(matches!(unknown.upload(&[], "a"), Err(UploadError::NoFolder)));
    assert!(unknown.list().unwrap().is_empty());
}

#[test]
fn hostile_names_are_shown_escaped_and_can_be_fetched_renamed_and_deleted() {
    let session = Session::new(Settings::default());
    let downloads = session.directory().downloads();
    let long = "x".repeat(255);
    let names: [&[u8]; 7] = [
        b"..%2f..%2fx",
        b"a\nb\x1b[31m",
        "fdp\u{202e}.exe".as_bytes(),
        b"CON",
        b".bashrc",
        b"\xff\xfe",
        long.as_bytes(),
    ];
    for name in names {
        fs::write(downloads.join(OsStr::from_bytes(name)), name).unwrap();
    }
    // No plain files: they are neither listed nor opened.
    symlink("/etc/passwd", downloads.join("link")).unwrap();
    fs::create_dir(downloads.join("folder")).unwrap();
    fs::write(session.data.join("secret"), "secret").unwrap();
    fs::hard_link(session.data.join("secret"), downloads.join("second")).unwrap();

    let listed = session.files().list().unwrap();
    assert_eq!(listed.len(), names.len(), "{listed:?}");
    for entry in &listed {
        assert!(!entry.name.chars().any(|it| it.is_control() || it == '\u{202e}'), "{entry:?}");
        let (mut file, real) = session.files().open(Folder::Downloads, &entry.name).unwrap();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content, real.as_bytes());
    }
    for wrong in ["link", "folder", "second", "..", ".", "", "../secret", "..%2Fsecret", "a\0"] {
        let opened = session.files().open(Folder::Downloads, wrong);
        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::NotFound, "{wrong}");
        let deleted = session.files().delete(Folder::Downloads, wrong);
        assert_eq!(deleted.unwrap_err().kind(), io::ErrorKind::NotFound, "{wrong}");
    }
    session.files().rename(Folder::Downloads, "a%0Ab%1B[31m", "ab.txt").unwrap();
    let taken = session.files().rename(Folder::Downloads, "ab.txt", "CON");
    assert!(matches!(taken, Err(RenameError::Taken)));
    for entry in session.files().list().unwrap() {
        session.files().delete(Folder::Downloads, &entry.name).unwrap();
    }
    assert!(session.names().is_empty());
    assert!(downloads.join("second").exists() && downloads.join("link").is_symlink());
}

#[test]
fn a_file_beyond_those_that_are_listed_is_described_like_them() {
    let session = Session::new(Settings { max_files: 2_000, ..Settings::default() });
    let uploads = session.directory().uploads();
    for number in 0..MOST_LISTED {
        fs::write(uploads.join(number.to_string()), "").unwrap();
    }
    let stored = session.put("z%41.txt", b"1").unwrap();
    assert!(!session.names().iter().any(|name| name.starts_with('z')));
    let files = session.files();
    let entry = files.entry(Folder::Uploads, &stored.name).unwrap();
    assert_eq!((entry.size, entry.content.checksum), (1, Some(stored.checksum)));
    assert_eq!(files.entry(Folder::Uploads, &entry.name).unwrap().path, stored.path);
    let unknown = files.entry(Folder::Downloads, "z").unwrap_err();
    assert_eq!(unknown.kind(), io::ErrorKind::NotFound);
}

#[test]
fn an_archive_has_all_files_under_names_that_each_system_takes() {
    let session = Session::new(Settings::default());
    session.put("same.txt", b"upload").unwrap();
    let downloads = session.directory().downloads();
    for (name, content) in [("CON", "1"), ("a\nb", "2"), ("ab", "3"), ("c.crdownload", "4")] {
        fs::write(downloads.join(name), content).unwrap();
    }
    let mut bytes = Vec::new();
    session.files().archive(&mut bytes).unwrap();
    let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
    let mut names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort_unstable();
    assert_eq!(names, ["downloads/_CON", "downloads/a%0Ab", "downloads/ab", "uploads/same.txt"]);
    let content = io::read_to_string(archive.by_name("uploads/same.txt").unwrap()).unwrap();
    assert_eq!(content, "upload");
}

#[test]
fn a_download_that_is_stored_has_its_artifact() {
    let session = Session::new(Settings::default());
    let path = session.directory().downloads().join("a.csv");
    fs::write(&path, "1").unwrap();
    let key = FileKey::of(&fs::metadata(&path).unwrap());
    let content = Content { checksum: Some("c".to_owned()), artifact: Some(ArtifactId::from(5)) };
    Ledger::read(&session.directory().downloaded()).note(key, content.clone());
    assert_eq!(session.files().list().unwrap()[0].content, content);
    // A record of an older server has neither.
    let line = fs::read_to_string(session.directory().downloaded()).unwrap();
    let former: Vec<_> = line.split(' ').take(4).collect();
    fs::write(session.directory().downloaded(), former.join(" ")).unwrap();
    let ledger = Ledger::read(&session.directory().downloaded());
    assert_eq!(ledger.content(key), Some(&Content::default()));
}
