//! Blocks that download, fetch and parse files.

use std::io::ErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use csv::StringRecord;
use percent_encoding::percent_decode_str;
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
            FileType::Csv => Value::Array(table(&text()?).map_err(|error| {
                End::failed("file_invalid", format!("the file is not CSV: {error}"))
            })?),
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
    // The data ends at `#`, and not at `?`.
    let whole = url.as_str().split('#').next().unwrap_or_default();
    let rest = whole.strip_prefix("data:").unwrap_or(whole);
    let (head, data) = rest.split_once(',').ok_or_else(|| invalid("the data URL has no comma"))?;
    let plain: Vec<u8> = percent_decode_str(data).collect();
    match head.strip_suffix(";base64") {
        Some(media_type) => {
            let decoded = STANDARD.decode(&plain);
            let decoded = decoded.map_err(|error| invalid(&format!("the data URL: {error}")))?;
            Ok((media_type.to_owned(), decoded.into()))
        }
        None => Ok((head.to_owned(), plain.into())),
    }
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

/// Parses delimited values (RFC 4180) to one object per row, keyed by the header row. The delimiter is
/// the comma, semicolon or tab that divides the header row into the most fields, without a stray quote
/// if possible.
fn table(text: &str) -> Result<Vec<Value>, csv::Error> {
    let fit = |delimiter: &u8| {
        let head = rows(text, *delimiter).next().and_then(Result::ok).unwrap_or_default();
        (head.iter().all(|name| !name.contains('"')), head.len())
    };
    // Of equals, the last is the maximum.
    let delimiter = [b'\t', b';', b','].into_iter().max_by_key(fit).unwrap_or(b',');
    let mut rows = rows(text, delimiter);
    let head = rows.next().transpose()?.unwrap_or_default();
    let object = |row: StringRecord| {
        let fields = head.iter().zip(row.iter().chain(std::iter::repeat("")));
        let fields = fields.map(|(name, cell)| (name.trim().to_owned(), Value::from(cell)));
        Value::Object(fields.collect::<Map<_, _>>())
    };
    rows.map(|row| row.map(object)).collect()
}

/// The rows that have a text in some cell.
fn rows(text: &str, delimiter: u8) -> impl Iterator<Item = Result<StringRecord, csv::Error>> {
    let mut reader = csv::ReaderBuilder::new();
    reader.delimiter(delimiter).has_headers(false).flexible(true);
    let rows = reader.from_reader(text.as_bytes()).into_records();
    rows.filter(|row| row.as_ref().map_or(true, |row| row.iter().any(|cell| !cell.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_with_quotes_and_line_ends_in_cells() {
        let check = |text: &str, expected: Value| {
            assert_eq!(Value::Array(table(text).unwrap()), expected, "{text:?}");
        };
        check(
            "name,note\r\n\"Ada, Countess\",\"said \"\"hi\"\"\nthen left\"\r\nBob,\r\n\r\n",
            json!([
                { "name": "Ada, Countess", "note": "said \"hi\"\nthen left" },
                { "name": "Bob", "note": "" },
            ]),
        );
        check("a;b\n1;2", json!([{ "a": "1", "b": "2" }]));
        check("a\tb, c\td\n1\t2;3\t\n", json!([{ "a": "1", "b, c": "2;3", "d": "" }]));
        // Delimiters within quotes do not count, nor does a blank line before the header row.
        check("\n\"a;b;c\",d\n1,2\n", json!([{ "a;b;c": "1", "d": "2" }]));
        check("\"a\nb\";\"c, d, e\"\n1;2\n", json!([{ "a\nb": "1", "c, d, e": "2" }]));
        check("\"a \"\"x\"\"\",b\n1,2\n", json!([{ "a \"x\"": "1", "b": "2" }]));
        // Each line end, within a cell as well.
        check(
            "a,b\r1,2\r3,\"x\r\ny\"",
            json!([{ "a": "1", "b": "2" }, { "a": "3", "b": "x\r\ny" }]),
        );
        // A quote inside a cell is a letter; a quote that is not closed ends with the file.
        check("size,b\n5\" pipe,\"x\"y\n", json!([{ "size": "5\" pipe", "b": "xy" }]));
        check("a\n\"b,\nc", json!([{ "a": "b,\nc" }]));
        // Rows that are too short or too long, and one without any text.
        check("a, b \n1\n,\n1,2,3\n", json!([{ "a": "1", "b": "" }, { "a": "1", "b": "2" }]));
        check("größe,ort\n1,Köln\n", json!([{ "größe": "1", "ort": "Köln" }]));
        check("", json!([]));
        check("a,b\n", json!([]));

        let marked = encoding::text(b"\xef\xbb\xbf\"name\";b\n1;2", "text/csv");
        check(&marked, json!([{ "name": "1", "b": "2" }]));
    }

    #[test]
    fn data_urls_are_read() {
        let read = |text: &str| data_url(&Url::parse(text).unwrap()).unwrap();
        assert_eq!(read("data:text/csv,a%2Cb%0A1"), ("text/csv".to_owned(), Bytes::from("a,b\n1")));
        assert_eq!(read("data:;base64,aGk="), (String::new(), Bytes::from("hi")));
        // A `%` that is no escape stays as it is.
        let plain = |text: &str| String::from_utf8(read(text).1.to_vec()).unwrap();
        assert_eq!(plain("data:,%+1 %-1%%2B%2b%4%zz%c3%a9,x%"), "%+1 %-1%++%4%zzé,x%");
        assert_eq!(plain("data:,a?b=%31#c"), "a?b=1");
    }
}
