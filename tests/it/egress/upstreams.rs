//! Upstream proxies: credentials, faults, and a swap while a session lives.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::origins::{mirror, origin, silent, stubborn};
use super::proxies::{http_upstream, socks_upstream, tls_upstream};
use super::support::{Egress, own_user, read_head};

fn policy(upstream: &str, port: u16, more: &str) -> String {
    format!(
        r#"{{"allow": ["127.0.0.1:{port}"], "upstream_allowed": true, "upstream": {{"url": "{upstream}"{more}}}}}"#
    )
}

fn through(egress: &Egress, port: u16) -> String {
    egress.get(&format!("http://127.0.0.1:{port}/path"))
}

#[tokio::test]
async fn an_http_upstream_gets_credentials_and_names_only_where_it_may() {
    let (port, upstream) = (mirror(), http_upstream());
    let url = format!("http://user:hunter2@127.0.0.1:{upstream}");
    let egress = Egress::proxied(&policy(&url, port, ""), &[]).await;
    // An upstream on the same machine receives checked addresses, with CONNECT.
    let page = through(&egress, port);
    assert!(page.contains("GET /path HTTP/1.1"), "{page}");
    assert!(!page.contains("hunter2") && !page.contains("Proxy-"), "{page}");
    let page = egress.get("http://localhost:1/");
    assert!(page.contains("address_not_public"), "{page}");
    // An upstream that resolves names receives requests in absolute form.
    egress.policy(&policy(&url, port, r#", "resolve": "remote""#));
    let page = egress.get("http://name.invalid/x?y");
    assert!(page.ends_with("upstream got http://name.invalid/x?y"), "{page}");
    assert!(egress.get("http://localhost:1/").contains("address_not_public"));
    assert!(egress.get("http://10.0.0.1/").contains("address_not_public"));
}

#[tokio::test]
async fn a_socks_upstream_with_credentials() {
    let (port, upstream) = (mirror(), socks_upstream());
    let url = format!("socks5://user:hunter2@127.0.0.1:{upstream}");
    let egress = Egress::proxied(&policy(&url, port, ""), &[]).await;
    assert!(through(&egress, port).contains("GET /path HTTP/1.1"));
    for wrong in ["user:wrong@", ""] {
        let url = format!("socks5://{wrong}127.0.0.1:{upstream}");
        egress.policy(&policy(&url, port, ""));
        let page = through(&egress, port);
        assert!(page.contains("X-Greenroom-Failed: upstream_credentials"), "{page}");
    }
}

#[tokio::test]
async fn faults_of_an_upstream_are_distinguished() {
    let (port, upstream, socks) = (mirror(), http_upstream(), socks_upstream());
    let (silent, broken, closed) = (silent(), stubborn(b"SSH-2.0-x\r\n"), origin(drop));
    let refusing = stubborn(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let refusing_socks = origin(|mut stream| {
        for (length, answer) in
            [(4, &[5, 2][..]), (12, &[1, 0]), (10, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0])]
        {
            let _ = stream.read_exact(&mut vec![0; length]);
            let _ = stream.write_all(answer);
        }
    });
    let egress = Egress::proxied("{}", &["--connect-seconds", "2"]).await;
    for (scheme, listens, expected) in [
        ("http", upstream, "upstream_credentials"),
        ("socks5", socks, "upstream_credentials"),
        ("http", 1, "upstream_unreachable"),
        ("socks5", 1, "upstream_unreachable"),
        ("https", 1, "upstream_unreachable"),
        ("http", silent, "upstream_timeout"),
        ("socks5", silent, "upstream_timeout"),
        ("https", silent, "upstream_timeout"),
        ("http", broken, "upstream_protocol"),
        ("socks5", broken, "upstream_protocol"),
        ("https", broken, "upstream_protocol"),
        ("http", closed, "upstream_protocol"),
        ("socks5", closed, "upstream_protocol"),
        ("https", closed, "upstream_protocol"),
        ("http", refusing, "upstream_refused"),
        ("socks5", refusing_socks, "upstream_refused"),
        // The wrong scheme for the port.
        ("socks5", refusing, "upstream_protocol"),
        ("https", refusing, "upstream_protocol"),
    ] {
        let url = format!("{scheme}://user:wr0ng@127.0.0.1:{listens}");
        egress.policy(&policy(&url, port, ""));
        let page = through(&egress, port);
        assert!(page.contains(&format!("X-Greenroom-Failed: {expected}")), "{url}: {page}");
        // The browser must not prompt a person for the upstream's password.
        assert!(!page.contains(" 407 ") && !page.contains("Proxy-Authenticate"), "{page}");
        let refusal = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap_err();
        assert!(refusal.contains(expected), "{url}: {refusal}");
        let status = egress.control("status").await;
        assert_eq!(status["upstream_error"]["code"], expected, "{url}");
        assert_eq!(status["upstream_error"]["recovered"], false, "{url}");
        assert!(!status.to_string().contains("wr0ng"));
    }
    // A failure of the upstream is not a refusal by the policy.
    assert_eq!(egress.control("status").await["refused"].as_array().unwrap().len(), 0);
    let remote =
        policy(&format!("http://a:wr0ng@127.0.0.1:{upstream}"), port, r#", "resolve": "remote""#);
    egress.policy(&remote);
    assert!(through(&egress, port).contains("upstream_credentials"));
    egress.policy(&policy(&format!("http://user:hunter2@127.0.0.1:{upstream}"), port, ""));
    assert!(through(&egress, port).starts_with("HTTP/1.1 200"));
    assert_eq!(egress.control("status").await["upstream_error"]["recovered"], true);
    assert!(!egress.log().contains("wr0ng") && !egress.log().contains("hunter2"));
}

#[tokio::test]
async fn an_upstream_of_the_own_network_needs_the_operator() {
    let (port, upstream) = (mirror(), http_upstream());
    let url = format!("http://user:hunter2@127.0.0.1:{upstream}");
    let text = format!(r#"{{"allow": ["127.0.0.1:{port}"], "upstream": {{"url": "{url}"}}}}"#);
    let egress = Egress::proxied(&text, &[]).await;
    let page = through(&egress, port);
    assert!(page.contains("X-Greenroom-Refused: upstream_not_allowed"), "{page}");
    let check = format!(r#"check {{"url": "https://127.0.0.1:{port}/", "policy": {text}}}"#);
    assert_eq!(egress.control(&check).await["code"], "upstream_not_allowed");
}

#[tokio::test]
async fn an_upstream_is_swapped_while_a_session_lives() {
    let (port, one, two) = (mirror(), http_upstream(), socks_upstream());
    let (http, socks) = (
        format!("http://user:hunter2@127.0.0.1:{one}"),
        format!("socks5://user:hunter2@127.0.0.1:{two}"),
    );
    let egress = Egress::proxied(&policy(&http, port, ""), &[]).await;
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    egress.policy(&policy(&socks, port, ""));
    assert!(through(&egress, port).starts_with("HTTP/1.1 200"));
    assert_eq!(tunnel.read(&mut [0]).unwrap_or(0), 0, "a connection of the former upstream");
    let mut tunnel = egress.tunnel(&format!("127.0.0.1:{port}")).unwrap();
    let kept = policy(&http, port, "").replacen('{', r#"{"keep_connections": true, "#, 1);
    egress.policy(&kept);
    egress.control("reload").await;
    write!(tunnel, "GET /kept HTTP/1.1\r\n\r\n").unwrap();
    assert!(read_head(&mut tunnel).starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_check_names_the_outcome() {
    let (port, upstream) = (mirror(), http_upstream());
    let egress = Egress::proxied("{}", &[]).await;
    let check = |user: &str, url: &str| {
        let policy = policy(&format!("http://{user}@127.0.0.1:{upstream}"), port, "");
        let command = format!(r#"check {{"url": "{url}", "policy": {policy}}}"#);
        let egress = &egress;
        async move { egress.control(&command).await }
    };
    let plain = format!("http://127.0.0.1:{port}/");
    let outcome = check("user:hunter2", &plain).await;
    assert_eq!((&outcome["ok"], &outcome["status"]), (&true.into(), &200.into()), "{outcome}");
    let outcome = check("user:hunter2", &format!("https://127.0.0.1:{port}/")).await;
    assert_eq!(
        (&outcome["ok"], &outcome["reached"]),
        (&true.into(), &"tunnel".into()),
        "{outcome}"
    );
    assert_eq!(check("user:wrong", &plain).await["code"], "upstream_credentials");
    assert_eq!(check("user:hunter2", "http://10.0.0.1/").await["code"], "address_not_public");
    assert_eq!(check("user:hunter2", "ftp://example.com/").await["code"], "request_invalid");
    assert_eq!(egress.control("check {").await["code"], "request_invalid");
}

/// A key and a certificate for 127.0.0.1, in a directory of a program.
fn certificate(directory: &Path) -> (PathBuf, PathBuf) {
    let (key, certificate) = (directory.join("key.pem"), directory.join("cert.pem"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let made = Command::new("openssl")
        .args(["req", "-x509", "-days", "2", "-subj", "/CN=localhost"])
        .args(curve)
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    (key, certificate)
}

#[tokio::test]
async fn an_https_upstream_is_verified() {
    let user = own_user().to_string();
    let level = ["--level", "proxied", "--client-user", &user];
    // The program reads its own directory and the machine's certificates, nothing else.
    let trusting = Egress::new(own_user()).arguments(&level);
    let (key, certificate) = certificate(&trusting.directory);
    let port = mirror();
    let listen = tls_upstream(&certificate, &key);
    let text = policy(&format!("https://user:hunter2@127.0.0.1:{listen}"), port, "");
    trusting.policy(&text);
    let trusting = trusting.environment("SSL_CERT_FILE", certificate.to_str().unwrap());
    let trusted = through(&trusting.start().await, port);
    assert!(trusted.contains("GET /path"), "{trusted}");
    let distrusting = Egress::proxied(&text, &[]).await;
    let distrusted = through(&distrusting, port);
    assert!(distrusted.contains("X-Greenroom-Failed: upstream_protocol"), "{distrusted}");
    assert!(distrusted.contains("certificate"), "{distrusted}");
}

#[tokio::test]
async fn a_client_that_leaves_during_connect_ends_the_attempt() {
    let url = format!("http://user:hunter2@127.0.0.1:{}", silent());
    let egress = Egress::proxied(&policy(&url, 9, ""), &[]).await;
    let mut client = egress.client();
    client.write_all(b"CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n").unwrap();
    egress.open_connections(1).await;
    let began = Instant::now();
    client.shutdown(Shutdown::Write).unwrap();
    egress.open_connections(0).await;
    assert!(began.elapsed().as_secs() < 10, "the attempt takes 20 seconds by itself");
}
