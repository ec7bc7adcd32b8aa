//! Tests of the rules for targets.

use super::*;

#[track_caller]
fn check(url: &str, allowed: bool) {
    let found = Guard::default().check(&Url::parse(url).unwrap());
    assert_eq!(found.is_ok(), allowed, "{url}: {found:?}");
}

#[test]
fn only_public_web_addresses_are_allowed() {
    check("https://example.com/a?b", true);
    check("http://93.184.216.34:8080/", true);
    check("http://[2606:2800:220:1::1]/", true);
    check("http://[2001:4860:4860::8888]/", true);
    check("http://[64:ff9b::5db8:d822]/", true);
    check("http://[2002:5db8:d822::]/", true);
    check("http://192.88.98.1/", true);
    check("http://100.128.0.1/", true);
    check("http://172.32.0.1/", true);
    check("http://198.20.0.1/", true);
    for url in [
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://user:secret@example.com/",
        "http://localhost/",
        "http://a.localhost./",
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0/",
        "http://10.0.0.1/",
        "http://172.31.0.1/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1/",
        "http://224.0.0.1/",
        "http://0.1.2.3/",
        "http://127.255.255.254/",
        "http://172.16.0.1/",
        "http://192.0.0.8/",
        "http://192.0.2.1/",
        "http://192.31.196.1/",
        "http://192.52.193.1/",
        "http://192.88.99.1/",
        "http://192.175.48.1/",
        "http://198.19.255.255/",
        "http://198.51.100.1/",
        "http://203.0.113.1/",
        "http://255.255.255.255/",
        "http://[100::1]/",
        "http://[64:ff9b:1::5db8:d822]/",
        "http://[2001::1]/",
        "http://[2001:2::1]/",
        "http://[2001:20::1]/",
        "http://[2001:1ff::1]/",
        "http://[2001:db8::1]/",
        "http://[2620:4f:8000::1]/",
        "http://[3fff::1]/",
        "http://[5f00::1]/",
        "http://[fec0::1]/",
        "http://[ff02::1]/",
        "http://[::127.0.0.1]/",
        "http://[2002:c058:6301::]/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[fe80::1]/",
        "http://[fd00::1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
    ] {
        check(url, false);
    }
}

#[test]
fn a_name_with_one_private_address_is_refused_unless_it_is_allowed() {
    let addresses: Vec<SocketAddr> =
        ["93.184.216.34:80", "10.0.0.1:80"].iter().map(|text| text.parse().unwrap()).collect();
    let refused = Guard::default().allowed("evil.example", 80, addresses.clone());
    assert_eq!(refused, Err(Refused::Private("evil.example".to_owned())));
    let settings =
        Settings { allowed_hosts: vec!["intra.example".to_owned()], ..Settings::default() };
    let guard = Guard::new(settings);
    assert_eq!(guard.allowed("intra.example", 80, addresses.clone()), Ok(addresses));
    assert!(guard.check(&Url::parse("http://10.0.0.1/").unwrap()).is_err());
}

#[test]
fn rules_allow_and_deny_names_networks_and_ports() {
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let guard = Guard::new(Settings {
        allow: rules(&["*.intra.example:8080", "10.0.0.0/8:80,443", "localhost:3000", "[::1]:81"]),
        deny: rules(&["secret.intra.example", "10.9.0.0/16", "evil.example"]),
        ..Settings::default()
    });
    let check = |url: &str| guard.check(&Url::parse(url).unwrap());
    for url in [
        "http://a.intra.example:8080/",
        "http://10.1.2.3/",
        "https://10.1.2.3/",
        "http://localhost:3000/",
        "http://[::1]:81/",
        "http://public.example/",
    ] {
        assert_eq!(check(url), Ok(()), "{url}");
    }
    for url in ["http://10.1.2.3:22/", "http://127.0.0.1/", "http://[::1]/", "http://localhost/"] {
        assert!(matches!(check(url), Err(Refused::Private(_))), "{url}");
    }
    for url in ["http://10.9.0.1/", "http://EVIL.example/", "http://secret.intra.example:8080/"] {
        assert!(matches!(check(url), Err(Refused::Denied(_))), "{url}");
    }
    let at = |host: &str, port: u16, address: &str| {
        guard.allowed(host, port, vec![format!("{address}:0").parse().unwrap()]).is_ok()
    };
    assert!(at("a.intra.example", 8080, "192.168.0.1") && at("b.example", 443, "10.1.1.1"));
    assert!(at("localhost", 3000, "127.0.0.1"));
    for (host, port, address) in [
        ("a.intra.example", 80, "192.168.0.1"),
        ("b.example", 22, "10.1.1.1"),
        ("b.example", 443, "10.9.1.1"),
        ("localhost", 3001, "127.0.0.1"),
        ("evil.example", 80, "93.184.216.34"),
        // An unknown port matches no rule that names ports.
        ("a.intra.example", ANY_PORT, "192.168.0.1"),
    ] {
        assert!(!at(host, port, address), "{host} {port} {address}");
    }
}

#[tokio::test]
async fn a_rule_for_one_port_opens_no_other() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let allow = vec![format!("localhost:{port}").parse().unwrap()];
    let guard = Guard::new(Settings { allow, ..Settings::default() });
    let client = guard.client(Duration::from_secs(5)).unwrap();
    let url = Url::parse(&format!("http://localhost:{port}/")).unwrap();
    let (answer, accepted) = tokio::join!(
        tokio::time::timeout(
            Duration::from_millis(500),
            Guard::send(&url, client.get(url.clone()))
        ),
        tokio::time::timeout(Duration::from_secs(5), listener.accept()),
    );
    assert!(accepted.is_ok(), "the connection is made: {answer:?}");
    let other = Url::parse("http://localhost:1/").unwrap();
    let error = Guard::send(&other, client.get(other.clone())).await.unwrap_err();
    assert!(format!("{error:?}").contains("Private"), "{error:?}");
}

#[tokio::test]
async fn a_client_does_not_connect_to_a_name_that_resolves_to_here() {
    let client = Guard::default().client(Duration::from_secs(5)).unwrap();
    let error = client.get("http://localhost:1/").send().await.unwrap_err();
    let mut cause: Option<&dyn Error> = Some(&error);
    let mut found = false;
    while let Some(error) = cause {
        found |= error.downcast_ref::<Refused>().is_some();
        cause = error.source();
    }
    assert!(found, "{error:?}");
}
