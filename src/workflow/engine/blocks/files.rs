//! Blocks that download, fetch and parse files.

use std::io::ErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use url::Url;

use crate::domain::file_name::file_name_and;
use crate::domain::ids::BlockRunId;
use crate::domain::run::DOWNLOAD;
use crate::workflow::definition::block::{
    FileDownload, FileType, FileUrlParser, LoadState, UploadFile,
};
use crate::workflow::encoding;
use crate::workflow::engine::Engine;
use crate::workflow::engine::ending::{Broken, End, Work};
use crate::workflow::page::downloads::Downloaded;
use crate::workflow::page::frame::Target;
use crate::workflow::page::input::Clicking;

impl Engine {
    /// Returns the content of a file for an upload.
    pub(super) async fn content(&self, file: &UploadFile) -> Result<Bytes, Broken> {
        if let Some(text) = &file.text {
            return Ok(Bytes::from(text.clone()));
        }
        if let Some(data) = &file.base64 {
            let decoded = STANDARD.decode(data.trim()).map_err(|error| {
                End::failed("field_invalid", format!("`{}`: {error}", file.name))
            })?;
            return Ok(decoded.into());
        }
        let url = file.url.as_deref().unwrap_or_default();
        Ok(self.fetch(url).await?.1)
    }

    /// Fetches a URL, and returns the media type and the content.
    pub(super) async fn fetch(&self, url: &str) -> Result<(String, Bytes), Broken> {
        let url = Url::parse(url.trim()).map_err(|error| {
            End::failed("url_invalid", format!("`{url}` is not a URL: {error}"))
        })?;
        if url.scheme() == "data" {
            return Ok(data_url(&url)?);
        }
        let answer = self.get(url).await?;
        if !answer.status.is_success() {
            let message = format!("the file could not be read: status {}", answer.status.as_u16());
            return Err(End::failed("file_failed", message).into());
        }
        let media_type = answer.headers.get("content-type").cloned().unwrap_or_default();
        Ok((media_type, answer.body))
    }

    pub(super) async fn file_download(&mut self, id: BlockRunId, spec: &FileDownload) -> Work {
        let folder = self.host.download_folder().await?;
        let browser = self.browser().await?;
        let timeout = spec.download_timeout.unwrap_or(self.plan.settings.download_timeout);

        browser.expect_downloads(&folder).await?;
        let downloaded = async {
            if let Some(url) = &spec.url {
                let url = super::pages::page_url(url)?;
                browser.open(url.as_str(), LoadState::DomContentLoaded, timeout).await?;
            }
            if let Some(selector) = &spec.selector {
                let target = Target { selector, frames: &spec.frame, timeout };
                browser.click(target, &Clicking::default()).await?;
            }
            Ok::<_, Broken>(browser.downloaded(timeout).await?)
        }
        .await;
        let restored = browser.end_downloads().await;
        let downloaded = downloaded?;
        restored?;

        let (mut files, mut ids, mut total) = (Vec::new(), Vec::new(), 0);
        for downloaded in downloaded {
            let (name, bytes) = self.downloaded(&downloaded, spec).await?;
            total += bytes.len();
            let media_type = mime_guess::from_path(&name).first_or_octet_stream().to_string();
            let artifact = self.keep(id, DOWNLOAD, &name, &media_type, bytes).await?;
            files.push(json!({ "filename": name, "artifact_id": artifact, "url": downloaded.url }));
            ids.push(artifact);
        }
        Ok(End::completed(json!({
            "status": "completed",
            "downloaded_files": files,
            "downloaded_file_artifact_ids": ids,
            "size_bytes": total,
        })))
    }

    /// Returns the name and the content of a download, and removes its file.
    async fn downloaded(
        &self,
        downloaded: &Downloaded,
        spec: &FileDownload,
    ) -> Result<(String, Bytes), Broken> {
        let most = self.plan.settings.most_bytes;
        let limit = u64::try_from(most).unwrap_or(u64::MAX);
        let taken = self.host.take_download(downloaded.file.clone(), limit).await;
        let bytes = taken.map_err(|error| {
            if error.kind() == ErrorKind::FileTooLarge {
                let message = format!("the download is larger than the limit of {most} bytes");
                return End::failed("file_too_large", message);
            }
            End::failed("file_failed", format!("the download could not be read: {error}"))
        })?;
        let suffix = spec.download_suffix.as_deref().unwrap_or_default();
        Ok((file_name_and(&downloaded.name, suffix), bytes))
    }

    pub(super) async fn file_url_parser(&mut self, spec: &FileUrlParser) -> Work {
        if spec.json_schema.as_ref().is_some_and(|schema| !schema.is_null()) {
            let message = "reading a file by a `json_schema` needs an agent, and agents cannot read files yet";
            return Err(End::failed("agent_not_configured", message).into());
        }
        let (media_type, bytes) = self.fetch(&spec.file_url).await?;
        let detect = || detect(&spec.file_url, &media_type, &bytes);
        let given = Some(spec.file_type).filter(|given| *given != FileType::AutoDetect);
        let file_type = given.unwrap_or_else(detect);
        let text = || {
            // Binary files decode to some text as well; a NUL character in it reveals them.
            let text = encoding::text(&bytes, &media_type);
            if text.contains('\0') {
                return Err(End::failed("file_invalid", "the file is not text"));
            }
            Ok(text)
        };
        let output = match file_type {
            FileType::Csv => Value::Array(csv(&text()?)),
            FileType::Json => serde_json::from_str(&text()?).map_err(|error| {
                End::failed("file_invalid", format!("the file is not JSON: {error}"))
            })?,
            FileType::Txt => json!({ "text": text()? }),
            FileType::AutoDetect
            | FileType::Excel
            | FileType::Pdf
            | FileType::Image
            | FileType::Docx
            | FileType::Zip => {
                let message = "this server reads files of the types csv, json and txt";
                return Err(End::failed("block_not_supported", message).into());
            }
        };
        Ok(End::completed(output))
    }
}

fn data_url(url: &Url) -> Result<(String, Bytes), End> {
    let invalid = |message: &str| End::failed("url_invalid", message.to_owned());
    let (head, data) =
        url.path().split_once(',').ok_or_else(|| invalid("the data URL has no comma"))?;
    let plain: Vec<u8> = percent_decoded(data);
    match head.strip_suffix(";base64") {
        Some(media_type) => {
            let decoded = STANDARD.decode(&plain);
            let decoded = decoded.map_err(|error| invalid(&format!("the data URL: {error}")))?;
            Ok((media_type.to_owned(), decoded.into()))
        }
        None => Ok((head.to_owned(), plain.into())),
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value.filter(|_value| *byte == b'%') {
            Some(value) => {
                decoded.push(value);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*byte);
                rest = after;
            }
        }
    }
    decoded
}

fn detect(url: &str, media_type: &str, bytes: &[u8]) -> FileType {
    let path = url.split(['?', '#']).next().unwrap_or_default().to_lowercase();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let extension = path.rsplit('.').next().unwrap_or_default();
    if bytes.starts_with(b"%PDF") {
        return FileType::Pdf;
    }
    match (extension, media_type) {
        ("csv", _) | (_, "text/csv") => FileType::Csv,
        ("json", _) | (_, "application/json") => FileType::Json,
        ("xls" | "xlsx", _) => FileType::Excel,
        ("docx", _) => FileType::Docx,
        ("zip", _) | (_, "application/zip") => FileType::Zip,
        ("png" | "jpg" | "jpeg" | "gif" | "webp", _) => FileType::Image,
        (_, media_type) if media_type.starts_with("image/") => FileType::Image,
        _ => FileType::Txt,
    }
}

/// Parses comma-separated values (RFC 4180) to one object per row, keyed by the header line.
fn csv(text: &str) -> Vec<Value> {
    let first_line = text.lines().next().unwrap_or_default();
    let count = |separator: char| first_line.matches(separator).count();
    let separator =
        [',', ';', '\t'].into_iter().rev().max_by_key(|sign| count(*sign)).unwrap_or(',');
    let mut rows = rows(text, separator).into_iter();
    let head = rows.next().unwrap_or_default();
    rows.map(|row| {
        let mut cells = row.into_iter();
        let object: Map<String, Value> = head
            .iter()
            .map(|name| (name.trim().to_owned(), Value::from(cells.next().unwrap_or_default())))
            .collect();
        Value::Object(object)
    })
    .collect()
}

fn rows(text: &str, separator: char) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            '\r' if !quoted && letters.peek() == Some(&'\n') => (),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other if other == separator && !quoted => row.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows.retain(|row| row.iter().any(|cell| !cell.is_empty()));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_quotes_and_line_ends_in_cells() {
        let text = "name,note\r\n\"Ada, Countess\",\"said \"\"hi\"\"\nthen left\"\r\nBob,\r\n\r\n";
        let expected = json!([
            { "name": "Ada, Countess", "note": "said \"hi\"\nthen left" },
            { "name": "Bob", "note": "" },
        ]);
        assert_eq!(Value::Array(csv(text)), expected);
        assert_eq!(Value::Array(csv("a;b\n1;2")), json!([{ "a": "1", "b": "2" }]));
    }

    #[test]
    fn data_urls_are_read() {
        let read = |text: &str| data_url(&Url::parse(text).unwrap()).unwrap();
        assert_eq!(read("data:text/csv,a%2Cb%0A1"), ("text/csv".to_owned(), Bytes::from("a,b\n1")));
        assert_eq!(read("data:;base64,aGk="), (String::new(), Bytes::from("hi")));
    }
}
