//! ffmpeg, which makes films of frames and one film of parts. It reads files and writes files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::{FilmError, failed};
use crate::domain::film::Container;
use crate::domain::ids::SessionId;
use crate::system::confine::Confinement;
use crate::system::confine::spec::{Kind, Landlock};
use crate::system::desktop::Directory;
use crate::system::process::{BESIDE, Exit, Process, Program};

/// The program, found.
#[derive(Debug, Clone)]
pub(super) struct Ffmpeg {
    pub(super) program: PathBuf,
    /// What makes it give way to browsers, if that is there.
    pub(super) nice: Option<PathBuf>,
    pub(super) path: String,
    /// The data directory, in which the sessions have their records.
    pub(super) data: PathBuf,
    pub(super) confinement: Confinement,
    pub(super) runtime: Handle,
}

/// A film to be made of frames.
#[derive(Debug, Clone)]
pub(super) struct Take {
    pub(super) session: SessionId,
    /// The files, and for how many slots each is shown.
    pub(super) frames: Vec<(PathBuf, u64)>,
    /// Slots a second.
    pub(super) rate: u8,
    pub(super) width: Option<u16>,
    pub(super) container: Container,
    /// Replaced whole; its name ends as the container's files do.
    pub(super) to: PathBuf,
}

/// Ends a program when it is dropped, unless that has ended.
#[derive(Debug)]
struct Running(Process);

impl Drop for Running {
    fn drop(&mut self) {
        if !self.0.has_exited() {
            self.0.kill_now();
        }
    }
}

impl Ffmpeg {
    /// Makes a film of a constant frame rate. Dropping the future ends ffmpeg.
    pub(super) async fn film(&self, take: Take) -> Result<(), FilmError> {
        let slots: u64 = take.frames.iter().map(|(_, slots)| slots).sum();
        let list = listed(&take.frames, take.rate);
        // Both encodings want even sides.
        let scale = match take.width {
            Some(width) => format!("scale={}:-2", width / 2 * 2),
            None => "scale=trunc(iw/2)*2:trunc(ih/2)*2".to_owned(),
        };
        let rate = take.rate;
        let filter = format!("fps={rate},tpad=stop_mode=clone:stop=-1,{scale},format=yuv420p");
        let slots = slots.to_string();
        let codec: &[&str] = match take.container {
            // No frame of the future, so that parts follow one another without a gap.
            Container::Mp4 => &["libx264", "-preset", "superfast", "-crf", "26", "-bf", "0"],
            Container::Webm => &["libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
            Container::Zip => return Err(failed("a ZIP is not made by ffmpeg")),
        };
        let end = ["-an", "-vf", &filter, "-frames:v", &slots, "-threads", "1", "-c:v"];
        let arguments = end.iter().chain(codec).map(|text| (*text).to_owned()).collect();
        self.join(&list, arguments, take.container, take.session, &take.to).await
    }

    /// Makes one film of parts, without touching their pictures.
    pub(super) async fn splice(
        &self,
        parts: &[PathBuf],
        container: Container,
        session: SessionId,
        to: &Path,
    ) -> Result<(), FilmError> {
        let list: String = parts.iter().map(|part| format!("file {}\n", quoted(part))).collect();
        let copy = ["-c", "copy"].map(str::to_owned).to_vec();
        self.join(&list, copy, container, session, to).await
    }

    async fn join(
        &self,
        list: &str,
        how: Vec<String>,
        container: Container,
        session: SessionId,
        to: &Path,
    ) -> Result<(), FilmError> {
        // A name of its own: ffmpeg of a server that was killed may still be at the same film.
        let own: u32 = rand::random();
        let beside = |end: &str| to.with_extension(format!("{own:08x}.{end}"));
        let (listing, part, log) = (beside("txt"), beside("part"), beside("log"));
        fs::write(&listing, format!("ffconcat version 1.0\n{list}")).map_err(failed)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut arguments: Vec<String> =
            ["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-f", "concat", "-safe", "0"]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(["-i".to_owned(), text(&listing)]);
        arguments.extend(how);
        if container == Container::Mp4 {
            // So that it can be watched while it is being fetched.
            arguments.extend(["-movflags", "+faststart"].map(str::to_owned));
        }
        arguments.extend(["-f".to_owned(), container.to_string(), text(&part)]);

        let program = text(&self.program);
        let (path, arguments) = match &self.nice {
            Some(nice) => {
                let first = ["-n".to_owned(), "10".to_owned(), program];
                (nice.clone(), first.into_iter().chain(arguments).collect())
            }
            None => (self.program.clone(), arguments),
        };
        let landlock = Landlock {
            write: self.folders(session, to),
            signals: true,
            abstract_sockets: true,
            ..Landlock::default()
        };
        let program = Program {
            confined: self.confinement.of(Kind::Ffmpeg, &self.program, landlock),
            path,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: vec![
                ("PATH".into(), self.path.clone().into()),
                (BESIDE.into(), "film".into()),
            ],
            session,
            records: Directory::of(&self.data, session).logs(),
            log,
            output: None,
            open_files: None,
        };
        let process = Process::spawn(&program, &self.runtime).map_err(failed)?;
        let running = Running(process.clone());
        let exit = process.exited().await;
        drop(running);
        if exit != Exit::Status(0) {
            let said = process.log_tail().pop().unwrap_or_default();
            return Err(failed(format!("ffmpeg ended with {exit}: {said}")));
        }
        fs::rename(&part, to).map_err(failed)?;
        for leftover in [&listing, &program.log] {
            let _ = fs::remove_file(leftover); // It goes with its folder.
        }
        Ok(())
    }
}

impl Ffmpeg {
    /// The folders that hold the frames and parts of a session, and the one that gets the film.
    fn folders(&self, session: SessionId, to: &Path) -> Vec<PathBuf> {
        let films = Directory::of(&self.data, session).films();
        let mut folders: Vec<_> = to.parent().map(Path::to_owned).into_iter().collect();
        if films.is_dir() && !folders.contains(&films) {
            folders.push(films);
        }
        folders
    }
}

/// Frames for ffmpeg's demuxer `concat`. The last one stands twice, or its time would not count.
fn listed(frames: &[(PathBuf, u64)], rate: u8) -> String {
    let mut list = String::new();
    for (file, slots) in frames {
        let seconds = as_seconds(slots.saturating_mul(1_000_000) / u64::from(rate.max(1)));
        let _ = writeln!(list, "file {}\noption framerate {rate}", quoted(file));
        let _ = writeln!(list, "duration {seconds}");
    }
    if let Some((file, _)) = frames.last() {
        let _ = writeln!(list, "file {}\noption framerate {rate}", quoted(file));
    }
    list
}

/// Microseconds as seconds.
fn as_seconds(microseconds: u64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// As ffmpeg's `Quoting and escaping` has it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_long_each_frame_is_shown() {
        let frames = [(PathBuf::from("/a/1.jpg"), 2), (PathBuf::from("/a/it's.jpg"), 3)];
        assert_eq!(
            listed(&frames, 3),
            "file '/a/1.jpg'\noption framerate 3\nduration 0.666666\n\
             file '/a/it'\\''s.jpg'\noption framerate 3\nduration 1.000000\n\
             file '/a/it'\\''s.jpg'\noption framerate 3\n"
        );
    }
}
