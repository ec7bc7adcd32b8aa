//! The rules for commands that reach beyond the page: the machine's files, its network, the
//! browser's settings.
//!
//! They apply to every driver at all times. For each command, `commands.txt` says that it stays
//! within pages, is refused, or is judged here by its parameters. A command that is not listed is
//! refused, so that commands of a later Chromium wait for a decision. `isolation.devtools_allow`
//! exempts commands, and the error of a refusal names that setting. The server's own commands
//! bypass these rules.

mod allowed;
mod pages;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::commands::{Class, Reach, entry};
use super::handover::Handover;
use super::message::{CARRIER, Call, Command, DEEPEST, Object};
pub use allowed::{CommandPattern, NoPattern, Rules};

/// The maximum number of files that one command may give to a page.
const MOST_FILES: usize = 1000;

/// The maximum length of a command's name that an answer repeats, in characters.
const LONGEST_NAME: usize = 100;

const UNREADABLE: &str = "this is not an unambiguous DevTools command: expected one \
                          JSON object, no key twice, with the `method` as a text";

const OUTSIDE: &str = "files of the server's machine are out of a driver's reach, but for the \
                       session's own: upload the file (POST /v1/browser_sessions/{id}/files) and \
                       give the `path` of the answer; or give the content (a buffer in place of a \
                       path; in the page, a DataTransfer with a File); or let the operator set \
                       isolation.devtools_allow = [\"DOM.setFileInputFiles\"]";

/// The verdict on a command.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The command passes unchanged.
    Passes,
    /// The command passes in this rewritten form.
    PassesAs(Vec<u8>),
    /// The server gives this answer, and the browser never gets the command.
    Refused(Value),
    /// The command passes if all of these files may be given to a page, see [`Judge::admits`].
    Files(Call, Vec<PathBuf>),
    /// It asks to close the browser, which closes only this connection.
    Detaches(Call),
}

/// Judges the commands of one driver.
#[derive(Debug)]
pub(super) struct Judge {
    rules: Rules,
    /// The folder for downloads, which replaces any that the driver names.
    downloads: PathBuf,
    /// Gets the folder that the driver named, if the driver is on this machine.
    handover: Option<Arc<Handover>>,
    /// The folders whose files may be given to a page.
    sources: Vec<PathBuf>,
}

impl Judge {
    /// Makes a judge that applies `rules`. Downloads go to `downloads`, and files may come from
    /// `sources`.
    pub fn new(rules: Rules, downloads: PathBuf, sources: Vec<PathBuf>) -> Self {
        Self { rules, downloads, handover: None, sources }
    }

    /// Adds the copies of finished downloads for the driver.
    pub fn handing_over(self, handover: Option<Arc<Handover>>) -> Self {
        Self { handover, ..self }
    }

    /// Judges a message and returns the verdict.
    pub fn judge(&self, message: &[u8]) -> Verdict {
        match self.judge_nested(message, 0) {
            Ok(verdict) => verdict,
            Err((call, Refusal::Unlisted(why))) => Verdict::Refused(call.not_found(&why)),
            Err((call, Refusal::Because(why))) => Verdict::Refused(call.refused(&why)),
        }
    }

    /// Returns the reason if a command of the server, on behalf of a driver, is refused. Such a command
    /// is sent unchanged or not at all.
    pub fn refusal(&self, message: &[u8]) -> Option<String> {
        match self.judge_nested(message, 0) {
            Ok(Verdict::Passes) => None,
            Err((_, Refusal::Unlisted(why) | Refusal::Because(why))) => Some(why),
            Ok(
                Verdict::PassesAs(_)
                | Verdict::Refused(_)
                | Verdict::Files(..)
                | Verdict::Detaches(_),
            ) => Some(UNREADABLE.to_owned()),
        }
    }

    fn judge_nested(&self, message: &[u8], depth: usize) -> Result<Verdict, (Call, Refusal)> {
        let unreadable = || Refusal::Because(UNREADABLE.to_owned());
        let command = Command::read(message).map_err(|call| (call, unreadable()))?;
        let entry = entry(&command.method);
        if entry.is_some_and(|entry| entry.class == Class::Detaches) {
            return Ok(Verdict::Detaches(command.call));
        }
        if command.method == CARRIER {
            return self.judge_carrier(command, depth);
        }
        let judged = match entry.map(|entry| entry.reach) {
            Some(Reach::Page) => return Ok(Verdict::Passes),
            _ if self.rules.allow(&command.method) => return Ok(Verdict::Passes),
            Some(Reach::Judged) => match command.params() {
                Some(params) => self.judge_params(&command, &params),
                None => Err(unreadable()),
            },
            Some(Reach::Refused) => Err(Refusal::of(&command.method, "reaches past the page")),
            None => Err(Refusal::Unlisted(unlisted(&command.method))),
        };
        let call = command.call;
        match judged {
            Ok(Judged::Passes) => Ok(Verdict::Passes),
            Ok(Judged::PassesAs(text)) => Ok(Verdict::PassesAs(text)),
            Ok(Judged::Files(files)) => Ok(Verdict::Files(call, files)),
            Err(refusal) => Err((call, refusal)),
        }
    }

    /// Judges a command inside a carrier as if it came alone, and answers the carrier.
    fn judge_carrier(
        &self,
        command: Command<'_>,
        depth: usize,
    ) -> Result<Verdict, (Call, Refusal)> {
        let params = command.params();
        let nested = params.as_ref().and_then(|params| params.read::<String>("message"));
        let judged = match nested.filter(|_message| depth < DEEPEST) {
            Some(nested) => self.judge_nested(nested.as_bytes(), depth + 1),
            None => Err((Call::default(), Refusal::Because(UNREADABLE.to_owned()))),
        };
        match (judged, params) {
            (Ok(Verdict::Passes), _) => Ok(Verdict::Passes),
            (Ok(Verdict::PassesAs(nested)), Some(params)) => {
                Ok(Verdict::PassesAs(command.carrying(&params, &nested)))
            }
            (Ok(Verdict::Files(_, files)), _) => Ok(Verdict::Files(command.call, files)),
            (Ok(Verdict::Detaches(_)), _) => Ok(Verdict::Detaches(command.call)),
            (Ok(Verdict::Refused(_) | Verdict::PassesAs(_)), _) => {
                Err((command.call, Refusal::Because(UNREADABLE.to_owned())))
            }
            (Err((_inner, refusal)), _) => Err((command.call, refusal)),
        }
    }

    fn judge_params(&self, command: &Command<'_>, params: &Object<'_>) -> Result<Judged, Refusal> {
        let method = command.method.as_str();
        match method {
            "Page.navigate"
            | "Target.createTarget"
            | "Network.loadNetworkResource"
            | "Fetch.continueRequest" => {
                let opens = params.get("url").is_none_or(|url| {
                    serde_json::from_str::<String>(url.get()).is_ok_and(|url| pages::is_open(&url))
                });
                let why = "opens http, https, data and blob addresses and about:blank, and no files, \
                           internal pages or other programs";
                if opens { Ok(Judged::Passes) } else { Err(Refusal::of(method, why)) }
            }
            "Target.createBrowserContext" => {
                let proxied = ["proxyServer", "proxyBypassList"];
                let is_proxied = proxied.into_iter().any(|key| params.get(key).is_some());
                let why = "takes no proxy of its own: the session has one, `proxy_location`";
                if is_proxied { Err(Refusal::of(method, why)) } else { Ok(Judged::Passes) }
            }
            "Input.dispatchDragEvent" => {
                let data =
                    params.get("data").map(|data| serde_json::from_str::<Object<'_>>(data.get()));
                let has_files = match data {
                    None => false,
                    Some(Ok(data)) => data.get("files").is_some_and(|files| {
                        let files = serde_json::from_str::<Vec<IgnoredAny>>(files.get());
                        !files.is_ok_and(|files| files.is_empty())
                    }),
                    Some(Err(_unreadable)) => true,
                };
                let why = "drags no files of the server's machine into a page: dispatch the event \
                           in the page, with a DataTransfer that has a File";
                if has_files { Err(Refusal::of(method, why)) } else { Ok(Judged::Passes) }
            }
            "DOM.setFileInputFiles" => match params.get("files") {
                None => Ok(Judged::Passes),
                Some(_files) => match params.read::<Vec<PathBuf>>("files") {
                    Some(files) if files.is_empty() => Ok(Judged::Passes),
                    Some(files) if files.len() <= MOST_FILES => Ok(Judged::Files(files)),
                    Some(_) | None => Err(Refusal::Because(OUTSIDE.to_owned())),
                },
            },
            "Browser.setDownloadBehavior" | "Page.setDownloadBehavior" => {
                if params.get("downloadPath").is_none() {
                    return Ok(Judged::Passes);
                }
                let names =
                    params.read::<PathBuf>("downloadPath").filter(|path| path.is_absolute());
                let allows =
                    params.read::<String>("behavior").is_some_and(|it| it.starts_with("allow"));
                if let (Some(handover), Some(folder), true) = (&self.handover, names, allows) {
                    handover.note(folder);
                }
                let Some(downloads) = self.downloads.to_str() else {
                    return Err(Refusal::of(method, "has a folder whose name is not UTF-8"));
                };
                let path = Value::from(downloads).to_string();
                let params = params.with("downloadPath", Some(&path));
                Ok(Judged::PassesAs(command.with_params(&params)))
            }
            _ => Err(Refusal::of(method, "reaches past the page")),
        }
    }

    /// Returns true if each path is a file in one of the folders whose files may be given to a
    /// page, after all links are followed.
    pub async fn admits(&self, files: &[PathBuf]) -> bool {
        let mut sources = Vec::new();
        for folder in &self.sources {
            sources.extend(tokio::fs::canonicalize(folder).await);
        }
        for file in files {
            let real = match file.is_absolute() {
                true => tokio::fs::canonicalize(file).await.ok(),
                false => None,
            };
            let is_within = |real: &Path| sources.iter().any(|folder| real.starts_with(folder));
            if !real.is_some_and(|real| is_within(&real)) {
                return false;
            }
        }
        true
    }
}

/// The verdict on a command whose parameters decide.
enum Judged {
    Passes,
    PassesAs(Vec<u8>),
    Files(Vec<PathBuf>),
}

/// The reason for a refusal.
enum Refusal {
    /// The command is not in the table.
    Unlisted(String),
    Because(String),
}

impl Refusal {
    fn of(method: &str, why: &str) -> Self {
        Self::Because(format!(
            "{method} {why}; the operator can set isolation.devtools_allow = [\"{method}\"]"
        ))
    }
}

/// The answer to a command that no rule lists; it begins as Chromium's own does.
fn unlisted(method: &str) -> String {
    let name: String = method.chars().take(LONGEST_NAME).collect();
    format!(
        "'{name}' wasn't found: this server does not know the command, and refuses it; the operator \
         can set isolation.devtools_allow = [\"{name}\"]"
    )
}

/// The answer to a command that names files outside a driver's reach.
pub(super) fn outside(call: Call) -> Value {
    call.refused(OUTSIDE)
}

#[cfg(test)]
mod tests;
