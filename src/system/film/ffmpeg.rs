//! ffmpeg, which encodes frames as films and joins parts. It reads and writes files.
//!
//! It writes into a separate folder. The result is read from there by the rules for files of
//! untrusted programs. If sessions have users, it cannot read the server's directory, and gets
//! copies of its sources.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::{FilmError, failed};
use crate::domain::film::Container;
use crate::domain::ids::SessionId;
use crate::system::beneath::Tree;
use crate::system::confine::Confinement;
use crate::system::confine::place::closed_above;
use crate::system::confine::spec::{Landlock, ProgramKind, User};
use crate::system::desktop::Directories;
use crate::system::process::{BESIDE, Exit, Process, Program};

/// The ffmpeg program and its environment.
#[derive(Debug, Clone)]
pub(super) struct Ffmpeg {
    pub(super) program: PathBuf,
    /// The path of `nice`, which gives it a lower priority than browsers, if it exists.
    pub(super) nice: Option<PathBuf>,
    pub(super) path: String,
    /// The directories of the sessions.
    pub(super) directories: Directories,
    pub(super) confinement: Confinement,
    pub(super) runtime: Handle,
}

/// A film to be made of frames.
#[derive(Debug, Clone)]
pub(super) struct Take {
    pub(super) session: SessionId,
    /// The files, each with the number of slots for which it is shown.
    pub(super) frames: Vec<(PathBuf, u64)>,
    /// The number of slots per second.
    pub(super) rate: u8,
    pub(super) width: Option<u16>,
    pub(super) container: Container,
    /// The target, replaced atomically; it has the container's file extension.
    pub(super) to: PathBuf,
}

/// Kills a process on drop, unless it has ended.
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
        let sources = take.frames.iter().map(|(file, _)| file.clone()).collect();
        let list = |place: &WorkFolder| {
            let frames: Vec<_> =
                take.frames.iter().map(|(file, slots)| (place.source(file), *slots)).collect();
            listed(&frames, take.rate)
        };
        // Both codecs need even dimensions.
        let scale = match take.width {
            Some(width) => format!("scale={}:-2", width / 2 * 2),
            None => "scale=trunc(iw/2)*2:trunc(ih/2)*2".to_owned(),
        };
        let rate = take.rate;
        let filter = format!("fps={rate},tpad=stop_mode=clone:stop=-1,{scale},format=yuv420p");
        let slots = slots.to_string();
        let codec: &[&str] = match take.container {
            // Without B-frames, parts can be joined without a gap.
            Container::Mp4 => &["libx264", "-preset", "superfast", "-crf", "26", "-bf", "0"],
            Container::Webm => &["libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M"],
            Container::Zip => return Err(failed("a ZIP is not made by ffmpeg")),
        };
        let end = ["-an", "-vf", &filter, "-frames:v", &slots, "-threads", "1", "-c:v"];
        let arguments = end.iter().chain(codec).map(|text| (*text).to_owned()).collect();
        let job = Joining { sources, list: &list, how: arguments, container: take.container };
        self.join(job, take.session, &take.to).await
    }

    /// Joins parts to one film, without encoding them again.
    pub(super) async fn splice(
        &self,
        parts: &[PathBuf],
        container: Container,
        session: SessionId,
        to: &Path,
    ) -> Result<(), FilmError> {
        let list = |place: &WorkFolder| -> String {
            parts.iter().map(|part| format!("file {}\n", quoted(&place.source(part)))).collect()
        };
        let how = ["-c", "copy"].map(str::to_owned).to_vec();
        let job = Joining { sources: parts.to_vec(), list: &list, how, container };
        self.join(job, session, to).await
    }

    async fn join(
        &self,
        Joining { sources, list, how, container }: Joining<'_>,
        session: SessionId,
        to: &Path,
    ) -> Result<(), FilmError> {
        let directory = self.directories.of(session);
        let is_closed = closed_above(&self.program).is_some();
        let (parent, user) = (directory.encoding(), directory.user().filter(|_| !is_closed));
        let place = tokio::task::spawn_blocking(move || WorkFolder::make(&parent, user, &sources));
        let place = place.await.map_err(failed)?.map_err(failed)?;
        let (listing, part) = (place.folder.join(LIST), place.folder.join(FILM));
        // A unique name, because ffmpeg of a killed server may still write the same film.
        let log = to.with_extension(format!("{:08x}.log", rand::random::<u32>()));
        place.write(LIST, &format!("ffconcat version 1.0\n{}", list(&place))).map_err(failed)?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut arguments: Vec<String> =
            ["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-f", "concat", "-safe", "0"]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(["-i".to_owned(), text(&listing)]);
        arguments.extend(how);
        if container == Container::Mp4 {
            // The film can be played while it is being downloaded.
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
            // Copies are in its own folder.
            read: if place.copies.is_none() { vec![directory.films()] } else { Vec::new() },
            write: vec![place.folder.clone()],
            signals: true,
            abstract_sockets: true,
            ..Landlock::default()
        };
        let mut confined = self.confinement.of(ProgramKind::Ffmpeg, &self.program, landlock);
        if let Some(confined) = &mut confined {
            confined.is_of_server = is_closed;
        }
        let program = Program {
            confined,
            path,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: vec![
                ("PATH".into(), self.path.clone().into()),
                (BESIDE.into(), "film".into()),
            ],
            session,
            records: directory.logs(),
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
        let _ = fs::remove_file(&program.log); // It is removed with its folder.
        let to = to.to_owned();
        let taken = tokio::task::spawn_blocking(move || place.take(&to));
        taken.await.map_err(failed)?.map_err(failed)
    }
}

/// Sources that are joined into one file.
struct Joining<'a> {
    sources: Vec<PathBuf>,
    /// Makes the list of sources with the paths in a place.
    list: &'a (dyn Fn(&WorkFolder) -> String + Sync),
    how: Vec<String>,
    container: Container,
}

/// The name of the list in a place.
const LIST: &str = "list";

/// The name of the result in a place.
const FILM: &str = "film";

/// A folder in which ffmpeg makes one file, removed on drop.
#[derive(Debug)]
struct WorkFolder {
    folder: PathBuf,
    tree: Tree,
    /// The copies of the sources, if ffmpeg cannot read the originals.
    copies: Option<HashMap<PathBuf, PathBuf>>,
}

impl WorkFolder {
    /// Creates a folder for the user of the session's programs. This blocks.
    fn make(parent: &Path, user: Option<User>, sources: &[PathBuf]) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o711).create(parent)?;
        let name = format!("{:016x}", rand::random::<u64>());
        let tree = Tree::open(parent)?.owned_by(user).make_folder(Path::new(&name))?;
        let mut place = Self { folder: parent.join(name), tree, copies: None };
        if user.is_some() {
            let mut copies = HashMap::new();
            for (number, source) in sources.iter().enumerate() {
                let name = number.to_string();
                let mut copy = place.tree.create(Path::new(&name))?;
                io::copy(&mut fs::File::open(source)?, &mut copy)?;
                copies.insert(source.clone(), place.folder.join(name));
            }
            place.copies = Some(copies);
        }
        Ok(place)
    }

    /// The path of a source, as ffmpeg can read it.
    fn source(&self, source: &Path) -> PathBuf {
        let copy = self.copies.as_ref().and_then(|copies| copies.get(source));
        copy.map_or_else(|| source.to_owned(), Clone::clone)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.tree.create(Path::new(name))?.write_all(text.as_bytes())
    }

    /// Copies the result to the server's own file `to`, replaced atomically. This blocks.
    fn take(&self, to: &Path) -> io::Result<()> {
        let mut film = self.tree.file(Path::new(FILM))?;
        let part = to.with_extension(format!("{:08x}.part", rand::random::<u32>()));
        let copied =
            fs::File::create_new(&part).and_then(|mut part| io::copy(&mut film, &mut part));
        if let Err(cause) = copied.and_then(|_bytes| fs::rename(&part, to)) {
            let _ = fs::remove_file(&part); // A partial file is useless.
            return Err(cause);
        }
        Ok(())
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(cause) = Tree::remove_all(&self.folder) {
            tracing::warn!(error = %cause, "{} was not removed", self.folder.display());
        }
    }
}

/// The list of frames for ffmpeg's demuxer `concat`. The last one is repeated, or its duration
/// would be ignored.
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

/// Formats microseconds as seconds with six decimals.
fn as_seconds(microseconds: u64) -> String {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// Quotes a path by ffmpeg's rules in `Quoting and escaping`.
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
