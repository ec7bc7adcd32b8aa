//! Tests with the real ffmpeg, and with a simulated screen.

use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::session::Size;
use crate::system::desktop::{CaptureError, Following, Format, Picture, Reel, Screen};

static LAST: AtomicU64 = AtomicU64::new(0);

/// A separate data directory with its films, removed on drop.
struct World {
    data: PathBuf,
    films: Films,
    session: SessionId,
}

impl World {
    fn new(settings: Settings) -> Self {
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let session = SessionId::from(u64::from(std::process::id()) * 1_000 + number);
        let data = std::env::temp_dir().join(format!("gr-film-{session}"));
        let path = crate::system::Settings::default().path;
        let confinement = crate::system::confine::Confinement::default();
        let directories = Directories::below(&data);
        let films = Films::new(directories, settings, path, confinement, Handle::current());
        fs::create_dir_all(films.folder(session)).unwrap();
        Self { data, films, session }
    }

    fn metadata(&self, format: Container) -> RecordingMetadata {
        RecordingMetadata {
            id: LAST.fetch_add(1, Ordering::Relaxed).into(),
            session: self.session,
            run: None,
            began_at: Utc::now(),
            frame_rate: 10,
            width: None,
            format,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// A screen that shows the pictures of a test.
#[derive(Debug, Default)]
struct Shown(Mutex<Vec<mpsc::Sender<Picture>>>);

impl Shown {
    /// Shows a picture of one color, taken `after` milliseconds after `since`.
    async fn show(&self, since: chrono::DateTime<Utc>, after: i64, colour: [u8; 3]) {
        let size = Size::new(320, 240).unwrap();
        let pixels = colour.repeat(320 * 240);
        let mut bytes = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
        encoder.encode(&pixels, 320, 240, jpeg_encoder::ColorType::Rgb).unwrap();
        let taken_at = since + TimeDelta::milliseconds(after);
        let bytes = Bytes::from(bytes);
        let picture = Picture { number: 1, taken_at, size, format: Format::Jpeg, bytes };
        let reels = self.0.lock().clone();
        for reel in reels {
            let _ = reel.send(picture.clone()).await;
        }
    }

    /// Waits until the screen is filmed.
    async fn filmed(&self) {
        while self.0.lock().is_empty() {
            tokio::task::yield_now().await;
        }
    }
}

impl Screen for Shown {
    fn shot(&self, _: Format) -> BoxFuture<'static, Result<Picture, CaptureError>> {
        Box::pin(async { Err(CaptureError { cause: "there is no display".to_owned() }) })
    }

    fn follow(&self, _: Option<PathBuf>) -> Following {
        let (_, pictures) = tokio::sync::watch::channel(None);
        Following { pictures, guard: CancellationToken::new().drop_guard() }
    }

    fn film(&self, _: Duration) -> Reel {
        let (sender, frames) = mpsc::channel(4);
        self.0.lock().push(sender);
        Reel { frames, guard: CancellationToken::new().drop_guard() }
    }
}

#[expect(clippy::disallowed_methods, reason = "a program that looks at what was made")]
async fn ask(program: &str, arguments: &[&str], file: &Path) -> Vec<u8> {
    let mut command = tokio::process::Command::new(program);
    let at = arguments.iter().position(|it| *it == "FILE").unwrap();
    command.args(&arguments[..at]).arg(file).args(&arguments[at + 1..]).stdin(Stdio::null());
    let output = command.output().await.unwrap_or_else(|cause| {
        panic!("{program} is missing; run `scripts/setup`: {cause}");
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The middle pixel of each frame, and the times of the frames in milliseconds.
async fn frames_of(film: &Path) -> (Vec<[u8; 3]>, Vec<u64>) {
    let crop = "crop=2:2:160:120,scale=1:1";
    let pixels =
        ["-v", "error", "-i", "FILE", "-vf", crop, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
    let pixels = ask("ffmpeg", &pixels, film).await;
    let times = [
        "-v",
        "error",
        "-select_streams",
        "v",
        "-show_entries",
        "frame=pts_time",
        "-of",
        "csv=p=0",
        "FILE",
    ];
    let times = String::from_utf8(ask("ffprobe", &times, film).await).unwrap();
    let times = times.lines().filter_map(|line| line.trim_matches(',').split(',').next());
    let times = times.filter_map(|time| time.parse::<f64>().ok());
    let times = times.map(|time| format!("{:.0}", time * 1_000.0).parse().unwrap()).collect();
    (pixels.as_chunks().0.to_vec(), times)
}

fn is_near(shown: [u8; 3], expected: [u8; 3]) -> bool {
    shown.iter().zip(expected).all(|(shown, expected)| shown.abs_diff(expected) < 16)
}

const RED: [u8; 3] = [220, 20, 20];
const GREEN: [u8; 3] = [20, 160, 20];
const BLUE: [u8; 3] = [20, 20, 220];

/// Waits until this number of frames of a recording is on the disk.
async fn kept(world: &World, metadata: &RecordingMetadata, count: usize) {
    let folder = world.films.folder(world.session).join(metadata.id.to_string()).join("frames");
    let deadline = Instant::now() + Duration::from_secs(10);
    while frames::Frames::of(&folder).times().len() < count {
        assert!(Instant::now() < deadline, "the frames are not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_film_has_a_constant_rate_though_its_frames_come_when_something_changes() {
    for format in [Container::Mp4, Container::Webm] {
        let world = World::new(Settings::default());
        // It began in the past, so that the test need not wait.
        let began_at = Utc::now() - TimeDelta::milliseconds(3_000);
        let metadata = RecordingMetadata { began_at, ..world.metadata(format) };
        let (recording, filmed) = world.films.record(metadata.clone()).unwrap();
        let screen = Arc::new(Shown::default());
        recording.show(screen.clone());
        screen.filmed().await;
        screen.show(began_at, 0, RED).await;
        screen.show(began_at, 1_000, GREEN).await;
        screen.show(began_at, 1_500, BLUE).await;
        kept(&world, &metadata, 3).await;
        recording.stop();
        let film = filmed.await.unwrap();
        assert_eq!((film.container, film.cut_short.as_deref()), (format, None));

        let (pixels, times) = frames_of(&film.file).await;
        assert!(pixels.len() >= 30, "{} frames", pixels.len());
        assert_eq!(film.length.as_millis() / 100, u128::try_from(pixels.len()).unwrap());
        let regular: Vec<u64> = (0..).map(|slot| slot * 100).take(pixels.len()).collect();
        assert_eq!(times, regular);
        for (slot, pixel) in pixels.iter().enumerate() {
            let expected = if slot < 10 {
                RED
            } else if slot < 15 {
                GREEN
            } else {
                BLUE
            };
            assert!(is_near(*pixel, expected), "slot {slot} of {format}: {pixel:?}");
        }
        let (size, hash) = film.measure().unwrap();
        assert_eq!(film.file.metadata().unwrap().len(), size);
        assert_eq!(hash, crate::domain::checksum::Checksum::of(&fs::read(&film.file).unwrap()));
        film.forget();
        assert!(!world.films.folder(world.session).join(metadata.id.to_string()).exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_a_change_of_server_leave_no_gap() {
    let world = World::new(Settings { part_seconds: 1, ..Settings::default() });
    let began_at = Utc::now() - TimeDelta::milliseconds(2_500);
    let metadata = RecordingMetadata { began_at, ..world.metadata(Container::Mp4) };
    let (recording, filmed) = world.films.record(metadata.clone()).unwrap();
    let screen = Arc::new(Shown::default());
    recording.show(screen.clone());
    screen.filmed().await;
    screen.show(began_at, 0, RED).await;
    screen.show(began_at, 1_700, GREEN).await;
    let folder = world.films.folder(world.session).join(metadata.id.to_string());
    let deadline = Instant::now() + Duration::from_secs(20);
    let parts = || {
        let entries = fs::read_dir(&folder).unwrap().filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".mp4")).count()
    };
    while parts() < 2 {
        assert!(Instant::now() < deadline, "no parts are made");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The server has ended; its files are on the disk.
    drop((recording, filmed));
    let others = world.films.recordings(world.session);
    assert_eq!(others, std::slice::from_ref(&metadata));
    let (recording, filmed) = world.films.resume(metadata).unwrap();
    let screen = Arc::new(Shown::default());
    recording.show(screen.clone());
    screen.filmed().await;
    let late = (Utc::now() - began_at).num_milliseconds();
    screen.show(began_at, late, BLUE).await;
    // The frames of the former server may still be there: a number of frames would be no sign of this one.
    let frames = folder.join("frames");
    let last =
        u64::try_from((began_at + TimeDelta::milliseconds(late)).timestamp_millis()).unwrap();
    while frames::Frames::of(&frames).times().last() != Some(&last) {
        assert!(Instant::now() < deadline, "the last frame is not kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    recording.stop();
    let film = filmed.await.unwrap();
    let (pixels, times) = frames_of(&film.file).await;
    assert_eq!(film.length.as_millis() / 100, u128::try_from(pixels.len()).unwrap());
    let regular: Vec<u64> = (0..).map(|slot| slot * 100).take(pixels.len()).collect();
    assert_eq!(times, regular);
    let blue = usize::try_from(late / 100).unwrap();
    for (slot, pixel) in pixels.iter().enumerate() {
        let expected = if slot < 17 {
            RED
        } else if slot < blue {
            GREEN
        } else {
            BLUE
        };
        assert!(is_near(*pixel, expected), "slot {slot} of {}: {pixel:?}", pixels.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_black_box_has_the_last_moments_and_begins_anew_when_it_is_frozen() {
    let world = World::new(Settings { black_box_seconds: 10, ..Settings::default() });
    assert_eq!(world.films.freeze(world.session), None, "nothing is in it");
    let screen = Arc::new(Shown::default());
    let as_screen: Arc<dyn Screen> = screen.clone();
    let kept = world.films.keep_box(world.session, &as_screen);
    let began = Utc::now() - TimeDelta::seconds(30);
    for (second, colour) in [(0, GREEN), (15, RED), (25, RED), (29, BLUE)] {
        screen.show(began, second * 1_000, colour).await;
    }
    let ring = world.films.folder(world.session).join("black-box");
    let deadline = Instant::now() + Duration::from_secs(10);
    // One of them is the frame that was shown when the last ten seconds began.
    while frames::Frames::of(&ring).times().len() != 3 {
        assert!(Instant::now() < deadline, "{:?}", frames::Frames::of(&ring).times());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let frozen = world.films.freeze(world.session).unwrap();
    assert_eq!(world.films.frozen(world.session), std::slice::from_ref(&frozen));
    screen.show(began, 30_000, GREEN).await;
    while !ring.exists() {
        assert!(Instant::now() < deadline, "it does not begin anew");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(kept);

    let film = world.films.develop(world.session, frozen).await.unwrap();
    assert!(film.length <= Duration::from_secs(10), "{:?}", film.length);
    let (pixels, _) = frames_of(&film.file).await;
    assert!(is_near(pixels[0], RED), "{:?}", pixels[0]);
    let last = pixels.last().unwrap();
    assert!(is_near(*last, BLUE), "{last:?}");
    film.forget();
    assert_eq!(world.films.frozen(world.session), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ffmpeg_a_recording_is_refused_and_a_black_box_is_an_archive() {
    let world = World::new(Settings { ffmpeg: "no-such-ffmpeg".into(), ..Settings::default() });
    let refused = world.films.record(world.metadata(Container::Mp4)).err().unwrap();
    assert_eq!(refused, FilmError::NoFfmpeg { program: "no-such-ffmpeg".into() });
    let screen = Arc::new(Shown::default());
    let as_screen: Arc<dyn Screen> = screen.clone();
    let kept = world.films.keep_box(world.session, &as_screen);
    screen.show(Utc::now(), 0, RED).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    let ring = world.films.folder(world.session).join("black-box");
    while frames::Frames::of(&ring).times().is_empty() {
        assert!(Instant::now() < deadline, "no frame is kept");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(kept);
    let frozen = world.films.freeze(world.session).unwrap();
    let film = world.films.develop(world.session, frozen).await.unwrap();
    assert_eq!(film.container, Container::Zip);
    let list = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(z.testzip(), len(z.namelist()))";
    let listed = ask("python3", &["-c", list, "FILE"], &film.file).await;
    assert_eq!(String::from_utf8(listed).unwrap().trim(), "None 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_ends_by_itself_at_a_limit_and_is_refused_without_room() {
    let world = World::new(Settings { max_seconds: 1, ..Settings::default() });
    let began_at = Utc::now();
    let metadata = RecordingMetadata { began_at, ..world.metadata(Container::Mp4) };
    let (recording, filmed) = world.films.record(metadata).unwrap();
    let screen = Arc::new(Shown::default());
    recording.show(screen.clone());
    screen.filmed().await;
    screen.show(began_at, 0, RED).await;
    let film = filmed.await.unwrap();
    assert_eq!(film.cut_short.as_deref(), Some("recording.max_seconds is 1"));
    assert!(film.file.exists());

    let full = World::new(Settings { min_free_megabytes: u64::MAX, ..Settings::default() });
    let refused = full.films.record(full.metadata(Container::Mp4)).err().unwrap();
    assert!(matches!(refused, FilmError::DiskFull { .. }), "{refused:?}");
}
