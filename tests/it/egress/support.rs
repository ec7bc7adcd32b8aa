//! A program under test in its own directory, and its clients.

use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use greenroom::egress::files::{self, Key};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::support::server::GREENROOM;
use crate::support::{PATIENCE, eventually};

/// An ordinary user without an entry in `passwd`.
const USER: u32 = 23_456;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The user of the tests.
pub fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// True if the tests can become other users and mount files.
pub fn is_root() -> bool {
    own_user() == 0
}

/// An ordinary user: the user of the tests, or another user if that is root.
pub fn ordinary_user() -> u32 {
    if is_root() { USER } else { own_user() }
}

/// A program and its directory; both end with the value.
pub struct Egress {
    pub directory: PathBuf,
    pub user: u32,
    child: Option<Child>,
    /// The command that executes the program, before its path.
    prefix: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Egress {
    /// A directory with a key, in which nothing runs yet.
    pub fn new(user: u32) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("greenroom-egress-{}-{number}", std::process::id());
        Self::at(user, std::env::temp_dir().join(name))
    }

    /// The same in a directory that is created.
    pub fn at(user: u32, directory: PathBuf) -> Self {
        fs::create_dir(&directory).unwrap();
        let id = user.to_string();
        let becomes = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"];
        let prefix = if user == own_user() { &[][..] } else { &becomes[..] };
        let egress = Self {
            directory,
            user,
            child: None,
            prefix: prefix.iter().map(|word| (*word).to_owned()).collect(),
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        egress.give(".");
        Key::make(&egress.directory).unwrap();
        egress.give(files::KEY);
        egress.write("log", "");
        egress
    }

    /// The level `proxied`, for the user of the tests. Without a policy if its text is empty.
    pub async fn proxied(policy: &str, more: &[&str]) -> Self {
        let user = own_user().to_string();
        let level = ["--level", "proxied", "--client-user", &user];
        let egress = Self::new(own_user()).arguments(&level).arguments(more);
        if !policy.is_empty() {
            egress.policy(policy);
        }
        egress.start().await
    }

    /// The level `enforced`, as a user.
    pub async fn enforced(user: u32, policy: &str) -> Self {
        let gateway = ["--gateway-port", "3129", "--gateway-prefix", "/s/1/"];
        let egress = Self::new(user).arguments(&gateway);
        egress.policy(policy);
        egress.start().await
    }

    pub fn arguments(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(|word| (*word).to_owned()));
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets a command execute the program.
    pub fn behind(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Starts the program and waits until it is ready.
    pub async fn start(mut self) -> Self {
        self.start_again(&[]).await;
        self
    }

    /// Starts a program that has ended, with more arguments.
    pub async fn start_again(&mut self, more: &[&str]) {
        let log = fs::File::options().append(true).open(self.directory.join("log")).unwrap();
        let mut child = self.command(more).stderr(log).spawn().unwrap();
        let pid = child.id();
        loop {
            let ready = self.is_ready(pid);
            if ready || child.try_wait().unwrap().is_some() {
                assert!(ready, "it ended: {}", self.log());
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self.child = Some(child);
    }

    fn is_ready(&self, pid: u32) -> bool {
        let text = fs::read(self.directory.join(files::READY)).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|ready| ready["pid"] == pid)
    }

    /// The output of another program in the directory, which must end by itself.
    pub fn rival(&self, more: &[&str]) -> Output {
        self.command(more).stderr(Stdio::piped()).output().unwrap()
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut words: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        words.extend([GREENROOM, "egress", "--directory", self.directory.to_str().unwrap()]);
        words.extend(self.arguments.iter().map(String::as_str));
        words.extend(more);
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Sends a signal that ends the program; true if it ended with success.
    pub fn end(&mut self, signal: Signal) -> bool {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap().success()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap()
    }

    /// Replaces a file of the directory, as the server does.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.join("replacement"), text).unwrap();
        self.give("replacement");
        fs::rename(self.directory.join("replacement"), self.directory.join(name)).unwrap();
    }

    fn give(&self, name: &str) {
        if self.user != own_user() {
            chown(self.directory.join(name), Some(self.user), Some(self.user)).unwrap();
        }
    }

    pub fn policy(&self, text: &str) {
        self.write(files::POLICY, text);
    }

    pub fn ready(&self) -> Value {
        let text = fs::read(self.directory.join(files::READY)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Writes bytes to a socket of the directory and reads until the end.
    pub async fn raw(&self, socket: &str, bytes: &[u8]) -> String {
        let mut stream = files::socket(&self.directory, socket).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("no end of the answer");
        String::from_utf8(answer).unwrap()
    }

    /// The key and a text, as the sockets expect them.
    pub fn keyed(&self, text: &str) -> Vec<u8> {
        let key = Key::read(&self.directory).unwrap();
        format!("{} {text}\n", key.text()).into_bytes()
    }

    pub async fn control(&self, command: &str) -> Value {
        let answer = self.raw(files::CONTROL, &self.keyed(command)).await;
        serde_json::from_str(&answer).unwrap()
    }

    /// Waits until a number of connections of clients is open.
    pub async fn open_connections(&self, count: u64) {
        eventually(&format!("{count} connections"), async || {
            let status = self.control("status").await;
            (status["connections"]["open"] == count).then_some(())
        })
        .await;
    }

    /// A connection to the proxy at the level `proxied`.
    pub fn client(&self) -> TcpStream {
        let stream = TcpStream::connect(self.ready()["proxy"].as_str().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and reads until the end.
    pub fn ask(&self, text: &str) -> String {
        let mut stream = self.client();
        let _ = stream.write_all(text.as_bytes());
        read_all(&mut stream)
    }

    pub fn get(&self, url: &str) -> String {
        self.ask(&format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }

    /// Opens a tunnel, or returns the refusal.
    pub fn tunnel(&self, authority: &str) -> Result<TcpStream, String> {
        let mut stream = self.client();
        write!(stream, "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").unwrap();
        let head = read_head(&mut stream);
        if head.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(head) }
    }

    /// A command in the session's network.
    pub fn inside(&self, program: &[&str]) -> Command {
        let ready = self.ready();
        let mut command = Command::new("nsenter");
        if let Some(user) = ready["user_namespace"].as_str() {
            command.arg(format!("--user={user}")).arg("--preserve-credentials");
        }
        command.arg(format!("--net={}", ready["network_namespace"].as_str().unwrap()));
        command.arg("--").args(program).stdin(Stdio::null());
        command
    }

    /// What curl prints in the session's network: head and body, or its error.
    pub fn curl(&self, arguments: &[&str]) -> String {
        let words =
            [&["curl", "-sS", "-i", "-m", "10", "-x", "", "--noproxy", ""], arguments].concat();
        let Output { stdout, stderr, .. } = self.inside(&words).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of the egress program\n{}\n---", self.log());
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A policy that opens one port of the machine.
pub fn allow(port: u16) -> String {
    format!(r#"{{"allow": ["127.0.0.1:{port}"]}}"#)
}
