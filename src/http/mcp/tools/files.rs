//! Tools for files and stored logins.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use actix_web::web::Data;

use super::super::answer::{Answer, inline};
use super::super::call::Call;
use super::super::entry::{Entry, Set};
use super::super::params::{Element, OnlyBrowser, handle};
use super::pages::{WithSnapshot, with_snapshot};
use crate::domain::file_name::file_name;
use crate::domain::ids::SessionId;
use crate::http::body::PathId;
use crate::http::caller::FileClient;
use crate::http::error::{self, ApiError};
use crate::http::problem::Problem;
use crate::http::sessions::{files, storage_state};
use crate::http::validation::Fields;
use crate::system::desktop::files::{Folder, UploadError};

/// The most bytes of a file that come with a call.
const MOST_INLINE: usize = 2 * 1024 * 1024;

/// The most bytes of a file that are read for an answer.
const MOST_READ: u64 = 256 * 1024;

/// The most characters of a text in an answer.
const MOST_CHARS: usize = 20_000;

/// The most files that one call passes to a page.
const MOST_FILES: usize = 20;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "files",
            Set::More,
            "List the files of the browser: what it has downloaded, and what was uploaded.",
            list,
        ),
        Entry::new(
            "upload",
            Set::More,
            "Pass files to a file field, or to the file chooser that a click on the element opens: uploaded ones by \
             name, or new ones with their content.",
            upload,
        )
        .changes(),
        Entry::new(
            "download",
            Set::More,
            "Read a file that the browser has downloaded: a text as text, anything else as the address to fetch it.",
            download,
        ),
        Entry::new(
            "storage_state",
            Set::More,
            "Show which cookies and storage the browser has, by site; with `values`, as JSON in the form of \
             Playwright's storageState. The values are credentials.",
            storage,
        )
        .changes(),
    ]
}

/// The client of a call, as one that uses files.
fn file_client(call: &Call, session: SessionId) -> Result<FileClient, ApiError> {
    call.check_session(session)?;
    let client = &call.client;
    if client.ticket.as_ref().is_some_and(|ticket| !ticket.admits(None)) {
        let detail = "a ticket for a single use opens no files";
        let status = actix_web::http::StatusCode::FORBIDDEN;
        return Err(Problem::new(status, "ticket_insufficient", detail).into());
    }
    Ok(FileClient {
        organization: client.organization,
        key: client.key,
        ticket: client.ticket.clone(),
    })
}

async fn list(call: Call, params: OnlyBrowser) -> Result<Answer, ApiError> {
    let handle = handle(&params.browser)?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let client = file_client(&call, handle.session)?;
    let front = Data::clone(&call.client.front);
    let files = files::list(client, PathId(handle.session), front).await?.0;
    let mut answer = Answer::text(format!("{} files", files.len()));
    for file in files.iter().take(100) {
        let state = if file.complete { "" } else { " (incomplete)" };
        answer.line(format!(
            "- {} {} {} bytes{state}",
            file.folder,
            inline(&file.name, 255),
            file.file_size
        ));
    }
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UploadParams {
    /// The handle of the browser.
    browser: String,
    /// A file field, or the element that opens the file chooser: a reference or a locator.
    target: String,
    /// The names of files that were uploaded to the session.
    #[serde(default)]
    names: Vec<String>,
    /// New files, of at most 2 MiB each.
    #[serde(default)]
    files: Vec<NewFile>,
    /// True to answer with a snapshot of the page.
    #[serde(default)]
    snapshot: WithSnapshot,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewFile {
    /// The name of the file, without folders.
    name: String,
    /// The content, as text.
    text: Option<String>,
    /// The content, in base64.
    base64: Option<String>,
}

impl NewFile {
    /// Returns the safe name and the content.
    fn read(&self, at: &str, fields: &mut Fields) -> Option<(String, Vec<u8>)> {
        let content = match (&self.text, &self.base64) {
            (Some(text), None) => Ok(text.clone().into_bytes()),
            (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_odd| "expected base64"),
            (Some(_), Some(_)) | (None, None) => Err("expected either `text` or `base64`"),
        };
        let content = content.and_then(|content| {
            if content.len() > MOST_INLINE { Err("expected at most 2 MiB") } else { Ok(content) }
        });
        let content = fields.check(at, self.name.as_str(), content)?;
        Some((file_name(&self.name), content))
    }
}

async fn upload(call: Call, params: UploadParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let count = params.names.len() + params.files.len();
    let fits = (1..=MOST_FILES).contains(&count);
    fields.require("files", count, fits, format!("expected 1 to {MOST_FILES} files or names"));
    let mut contents = Vec::new();
    for (index, file) in params.files.iter().enumerate() {
        contents.extend(file.read(&format!("files[{index}]"), &mut fields));
    }
    fields.finish()?;
    let held = call.act(&handle(&params.browser)?).await?;
    let files = call.front().world.directories.files_of(held.handle.session);
    let names = params.names.clone();
    let written = tokio::task::spawn_blocking(move || {
        let mut paths = Vec::new();
        for name in &names {
            let found = files.path_of_upload(name);
            paths.push(found.map_err(|cause| (name.clone(), UploadError::Failed(cause)))?);
        }
        for (name, content) in contents {
            let unique = format!("agent-{:016x}", rand::random::<u64>());
            let write = || {
                let mut upload = files.upload(&[&unique], &name)?;
                upload.write(&content)?;
                Ok(upload.finish()?.path)
            };
            paths.push(write().map_err(|cause| (name.clone(), cause))?);
        }
        Ok::<_, (String, UploadError)>(paths)
    });
    let written = written
        .await
        .map_err(|cause| (String::new(), UploadError::Failed(std::io::Error::other(cause))));
    let paths = written.flatten().map_err(|(name, cause)| {
        let is_missing =
            matches!(&cause, UploadError::Failed(cause) if cause.kind() == std::io::ErrorKind::NotFound);
        if is_missing { ApiError::from(missing(&name)) } else { error::upload(&cause).into() }
    })?;
    let element = Element::new(&call, &params.target, None);
    held.run(&call, held.browser()?.upload(element.target(), &paths)).await?;
    let answer = held.done(format!("Passed {count} files."))?;
    with_snapshot(&call, &held, answer, params.snapshot).await
}

fn missing(name: &str) -> Problem {
    let detail = format!("there is no file {}: list the `files`", inline(name, 255));
    Problem::new(actix_web::http::StatusCode::NOT_FOUND, "file_unknown", detail)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DownloadParams {
    /// The handle of the browser.
    browser: String,
    /// The name of the file, as `files` lists it.
    name: String,
}

async fn download(call: Call, params: DownloadParams) -> Result<Answer, ApiError> {
    let handle = handle(&params.browser)?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let client = file_client(&call, handle.session)?;
    let front = Data::clone(&call.client.front);
    let listed = files::list(client, PathId(handle.session), front).await?.0;
    let of_name = |file: &&files::SessionFile| {
        file.folder == Folder::Downloads.as_str() && file.name == params.name
    };
    let file = listed.iter().find(of_name).ok_or_else(|| missing(&params.name))?;
    let mut answer = Answer::text(format!("{} {} bytes", inline(&file.name, 255), file.file_size));
    answer.line(format!("Fetch it with your key at {}", file.uri));
    if !file.complete {
        answer.line("It is not complete yet.");
        return Ok(answer);
    }
    let (files, name) =
        (call.front().world.directories.files_of(handle.session), params.name.clone());
    let read = tokio::task::spawn_blocking(move || {
        let (file, _) = files.open(Folder::Downloads, &name)?;
        let mut bytes = Vec::new();
        file.take(MOST_READ).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    });
    let bytes = read.await.map_err(std::io::Error::other).flatten();
    let bytes = bytes.map_err(|_cause| missing(&params.name))?;
    let is_cut = file.file_size > MOST_READ;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => Some(text),
        // The end of a long text may be within a character.
        Err(odd) if is_cut && odd.error_len().is_none() => {
            bytes.get(..odd.valid_up_to()).and_then(|part| std::str::from_utf8(part).ok())
        }
        Err(_odd) => None,
    };
    if let Some(text) = text.filter(|text| !text.contains('\0')) {
        let cut: String = text.chars().take(MOST_CHARS).collect();
        let all = cut.len() == text.len() && !is_cut;
        answer.page_text("file", &cut);
        if !all {
            answer.line("The rest is left out.");
        }
    }
    Ok(answer)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StorageParams {
    /// The handle of the browser.
    browser: String,
    /// True for the values, which are credentials.
    #[serde(default)]
    values: bool,
}

async fn storage(call: Call, params: StorageParams) -> Result<Answer, ApiError> {
    let handle = handle(&params.browser)?;
    let caller = call.keyholder(handle.session)?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let read = storage_state::read_all(call.front(), caller, handle.session).await?;
    let state: Value = serde_json::from_slice(&read).unwrap_or_default();
    let list = |name: &str| state.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let (cookies, origins) = (list("cookies"), list("origins"));
    let mut answer =
        Answer::text(format!("{} cookies, {} origins with storage", cookies.len(), origins.len()));
    if params.values {
        let text: String = state.to_string().chars().take(MOST_CHARS * 5).collect();
        answer.page_text("storage state", &text);
        return Ok(answer);
    }
    let text = |value: &Value, name: &str| {
        inline(value.get(name).and_then(Value::as_str).unwrap_or_default(), 100)
    };
    for cookie in cookies.iter().take(100) {
        answer.line(format!("- cookie {} of {}", text(cookie, "name"), text(cookie, "domain")));
    }
    for origin in origins.iter().take(100) {
        answer.line(format!("- storage of {}", text(origin, "origin")));
    }
    Ok(answer)
}
