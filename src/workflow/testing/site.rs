//! A site on loopback with the pages of a test.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A site on loopback. `/slow` never answers.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

type Pages = Arc<HashMap<String, (String, String)>>;

impl Site {
    /// Serves pages by path. A path may begin with a status, as in `404 /gone`. A body may begin with
    /// headers before an empty line, as in `content-disposition: attachment\n\nbytes`.
    pub async fn serve(pages: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages: HashMap<_, _> = pages
            .iter()
            .map(|(path, body)| {
                let (status, path) = path.split_once(' ').unwrap_or(("200", path));
                (path.to_owned(), (status.to_owned(), (*body).to_owned()))
            })
            .collect();
        let pages: Pages = Arc::new(pages);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&pages), Arc::clone(&heard)));
            }
        });
        Self { address, seen, task }
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the URL with another host name, which is another site for the browser.
    pub fn elsewhere(&self, path: &str) -> String {
        format!("http://other.example:{}{path}", self.address.port())
    }

    /// Returns every request so far, each with its head and body.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(mut stream: TcpStream, pages: Pages, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length:").map(str::to_owned)
                })
                .map_or(0, |length| length.trim().parse().unwrap());
            if body.len() >= length {
                break;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&chunk[..count]),
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let target = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let path = target.split('?').next().unwrap().to_owned();
    seen.lock().push(request);
    if path == "/slow" {
        let _ = stream.read(&mut chunk).await;
        return;
    }
    let missing = ("404".to_owned(), "not found".to_owned());
    let (status, page) = pages.get(&path).cloned().unwrap_or(missing);
    let (head, body) = match page.split_once("\n\n") {
        Some((head, body)) if head.contains(": ") && !head.contains('<') => {
            (head.to_owned(), body.to_owned())
        }
        _ => ("content-type: text/html; charset=utf-8".to_owned(), page),
    };
    let head = head.replace('\n', "\r\n");
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
