//! Names that lead to this machine, and names whose addresses change.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::origins::{mirror, origin_at};
use super::support::{Egress, allow, is_root, own_user};
use crate::support::eventually;

/// The names of the machine's loopback addresses, including its own name.
fn loopback_names() -> Vec<String> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap();
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut names: Vec<String> = lines
        .filter(|line| line.starts_with("127.") || line.starts_with("::1"))
        .flat_map(|line| line.split_ascii_whitespace().skip(1).map(str::to_owned))
        .collect();
    names.push("localhost".to_owned());
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn a_name_of_the_machine_is_refused_unless_its_address_is_allowed() {
    let port = mirror();
    let egress = Egress::proxied("{}", &[]).await;
    for name in loopback_names() {
        for name in [name.clone(), format!("{}.", name.to_uppercase())] {
            let page = egress.get(&format!("http://{name}:{port}/"));
            assert!(page.contains("X-Greenroom-Refused: address_not_public"), "{name}: {page}");
            assert!(page.contains("loopback"), "{name}: {page}");
            let refusal = egress.tunnel(&format!("{name}:{port}")).unwrap_err();
            assert!(refusal.contains("address_not_public"), "{name}: {refusal}");
        }
    }
    // A rule for the name permits the name; a rule for its addresses permits every name of them.
    egress.policy(&format!(r#"{{"allow": ["localhost:{port}"]}}"#));
    let by_name = egress.get(&format!("http://localhost:{port}/"));
    assert!(by_name.starts_with("HTTP/1.1 200"), "{by_name}");
    assert!(egress.get(&format!("http://a.localhost:{port}/")).contains("address_not_public"));
    egress.policy(&format!(r#"{{"allow": ["127.0.0.1:{port}", "[::1]:{port}"]}}"#));
    let by_address = egress.get(&format!("http://a.localhost:{port}/"));
    assert!(by_address.starts_with("HTTP/1.1 200"), "{by_address}");
}

/// A DNS server whose answers are lists of addresses by the number of the question for a name.
struct Dns {
    address: Ipv4Addr,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

type Answers = fn(&str, usize) -> Option<Vec<Ipv4Addr>>;

impl Dns {
    /// Listens at a loopback address of this process, on the port that resolvers ask.
    fn start(answers: Answers) -> Self {
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 53, high, low);
        let socket = UdpSocket::bind((address, 53)).unwrap();
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let counts = asked.clone();
        std::thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let Some((name, end, kind)) = question(&packet[..length]) else { continue };
                let mut found = None;
                if kind == 1 {
                    let mut counts = counts.lock();
                    let count = counts.entry(name.clone()).or_insert(0);
                    *count += 1;
                    found = answers(&name, *count);
                } else if answers(&name, 1).is_some() {
                    found = Some(Vec::new());
                }
                let _ = socket.send_to(&answer(&packet[..end], found), from);
            }
        });
        Self { address, asked }
    }

    /// Questions for the IPv4 addresses of a name.
    fn asked(&self, name: &str) -> usize {
        self.asked.lock().get(name).copied().unwrap_or_default()
    }
}

/// The name, the end and the type of a packet's question (RFC 1035, section 4.1).
fn question(packet: &[u8]) -> Option<(String, usize, u8)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*packet.get(at)?);
        if length == 0 {
            break;
        }
        let label = packet.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    Some((labels.join("."), at + 5, *packet.get(at + 2)?))
}

/// An answer with addresses that must not be cached; without a list, the name does not exist.
fn answer(question: &[u8], found: Option<Vec<Ipv4Addr>>) -> Vec<u8> {
    let code = if found.is_some() { 0 } else { 3 };
    let addresses = found.unwrap_or_default();
    let mut packet = question[..2].to_vec();
    packet.extend([0x85, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).unwrap()]);
    packet.extend([0; 4]);
    packet.extend(&question[12..]);
    for address in addresses {
        packet.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        packet.extend(address.octets());
    }
    packet
}

fn answers(name: &str, count: usize) -> Option<Vec<Ipv4Addr>> {
    let checked = Ipv4Addr::LOCALHOST;
    let other = Ipv4Addr::new(127, 0, 0, 2);
    match name {
        "changes.test" => Some(vec![if count == 1 { checked } else { other }]),
        "mixed.test" => Some(vec![checked, other]),
        "loopback.test" => Some(vec![checked]),
        "private.test" => Some(vec![Ipv4Addr::new(10, 0, 0, 1)]),
        "metadata.test" => Some(vec![Ipv4Addr::new(169, 254, 169, 254)]),
        _ => None,
    }
}

/// A program at the level `proxied` that asks a DNS server, with files of its own in `/etc`.
async fn asking(dns: &Dns, policy: &str) -> Egress {
    let egress = Egress::new(own_user());
    egress.policy(policy);
    egress.write("resolv.conf", &format!("nameserver {}\noptions timeout:5\n", dns.address));
    egress.write("nsswitch.conf", "hosts: files dns\n");
    let script = "mount --bind \"$0/resolv.conf\" \"$(realpath /etc/resolv.conf)\" && \
                  mount --bind \"$0/nsswitch.conf\" \"$(realpath /etc/nsswitch.conf)\" && \
                  exec \"$@\"";
    let directory = egress.directory.to_str().unwrap().to_owned();
    let prefix = ["unshare", "--mount", "sh", "-c", script, &directory];
    let level = ["--level", "proxied", "--client-user", "0"];
    egress.behind(&prefix).arguments(&level).start().await
}

#[tokio::test]
async fn a_name_of_the_dns_that_leads_here_or_changes_reaches_only_checked_addresses() {
    // Only root can run its own DNS server. `egress::connect` also has a unit test of names with changing
    // addresses.
    if !is_root() {
        return;
    }
    let port = mirror();
    let reached = Arc::new(AtomicUsize::new(0));
    let counter = reached.clone();
    origin_at(&format!("127.0.0.2:{port}"), move |mut stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let dns = Dns::start(answers);
    let egress = asking(&dns, &allow(port)).await;
    let get = |name: &str| egress.get(&format!("http://{name}:{port}/"));

    // A single query for the check and the connection: it connects to the checked address.
    let page = get("changes.test");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("GET / HTTP/1.1"), "{page}");
    assert_eq!(dns.asked("changes.test"), 1);
    // When the name is resolved again, its new address is checked and refused.
    let page = eventually("the name changes", async || {
        let page = get("changes.test");
        (!page.starts_with("HTTP/1.1 200")).then_some(page)
    })
    .await;
    assert!(page.contains("X-Greenroom-Refused: address_not_public"), "{page}");
    assert!(page.contains("changes.test is at 127.0.0.2"), "{page}");
    assert_eq!(dns.asked("changes.test"), 2);
    // One address that is not allowed is enough.
    let page = get("mixed.test");
    assert!(page.contains("mixed.test is at 127.0.0.2"), "{page}");
    assert_eq!(reached.load(Ordering::Relaxed), 0);

    egress.policy("{}");
    for name in ["loopback.test", "private.test", "metadata.test"] {
        assert!(get(name).contains("X-Greenroom-Refused: address_not_public"), "{name}");
        assert!(egress.tunnel(&format!("{name}:443")).unwrap_err().contains("address_not_public"));
    }
    // An unknown name is a failure, not a refusal.
    let page = get("name.invalid");
    assert!(page.starts_with("HTTP/1.1 502"), "{page}");
    assert!(page.contains("X-Greenroom-Failed: name_not_resolved"), "{page}");

    // Names outside of the lists are not resolved: a query could leak data.
    egress.policy(r#"{"deny": ["denied.test"], "within": [["listed.test", "*.listed.test"]]}"#);
    for (name, code) in
        [("secret.unlisted.test", "host_not_listed"), ("denied.test", "host_denied")]
    {
        assert!(get(name).contains(&format!("X-Greenroom-Refused: {code}")), "{name}");
        assert!(egress.tunnel(&format!("{name}:443")).unwrap_err().contains(code), "{name}");
        assert_eq!(dns.asked(name), 0, "{name}");
    }
    assert!(get("a.listed.test").contains("name_not_resolved"));
    assert!(dns.asked("a.listed.test") > 0);
}
