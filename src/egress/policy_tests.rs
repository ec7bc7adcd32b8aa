//! Table and property tests of the policy.

use proptest::prelude::*;

use super::*;

fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

/// The code of the refusal, or `ok`.
fn decide(policy: &Policy, authority: &str, addresses: &[&str]) -> &'static str {
    let own = OwnAddresses::fixed(&["9.9.9.9".parse().unwrap()]);
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    let target = Target::from_authority(authority).unwrap();
    match policy.check(&target, &addresses, &own) {
        Ok(()) => "ok",
        Err(refusal) => refusal.code(),
    }
}

#[test]
fn by_default_public_addresses_only() {
    let policy = policy("{}");
    for (authority, addresses, expected) in [
        ("example.com:443", &["93.184.216.34"][..], "ok"),
        ("example.com:443", &["93.184.216.34", "10.0.0.1"], "address_not_public"),
        ("example.com:443", &["::ffff:127.0.0.1"], "address_not_public"),
        ("own.example:443", &["9.9.9.9"], "address_not_public"),
        ("8.8.8.8:80", &[], "ok"),
        ("127.0.0.1:80", &[], "address_not_public"),
        ("2130706433:80", &[], "address_not_public"),
        ("[::1]:80", &[], "address_not_public"),
        ("localhost:80", &[], "address_not_public"),
        ("a.localhost:80", &[], "address_not_public"),
        ("example.com:25", &["93.184.216.34"], "port_refused"),
        ("example.com:465", &["93.184.216.34"], "ok"),
        ("example.com:443", &[], "ok"),
    ] {
        assert_eq!(decide(&policy, authority, addresses), expected, "{authority} {addresses:?}");
    }
}

#[test]
fn an_exhausted_policy_refuses_what_is_allowed_too() {
    let policy = policy(r#"{"allow": ["localhost", "10.0.0.0/8"], "exhausted": true}"#);
    for (authority, addresses) in
        [("example.com:443", &["93.184.216.34"][..]), ("localhost:80", &[]), ("10.0.0.1:80", &[])]
    {
        assert_eq!(decide(&policy, authority, addresses), "quota_exceeded", "{authority}");
    }
    let checked = policy.check_name(&Target::new("example.com", 443).unwrap());
    assert_eq!(checked.unwrap_err().code(), "quota_exceeded");
}

#[test]
fn allow_opens_deny_closes_and_comes_first() {
    let policy = policy(
        r#"{"allow": ["*.intra.example", "10.1.0.0/16:8080", "mail.example:25", "localhost"],
            "deny": ["secret.intra.example", "10.1.2.0/24", "*:22"]}"#,
    );
    for (authority, addresses, expected) in [
        ("a.intra.example:443", &["10.0.0.1"][..], "ok"),
        ("secret.intra.example:443", &["93.184.216.34"], "host_denied"),
        ("b.intra.example:443", &["10.1.2.3"], "host_denied"),
        ("a.intra.example:22", &["10.0.0.1"], "host_denied"),
        ("other.example:8080", &["10.1.0.1"], "ok"),
        ("other.example:8080", &["10.1.0.1", "10.2.0.1"], "address_not_public"),
        ("other.example:80", &["10.1.0.1"], "address_not_public"),
        ("10.1.9.9:8080", &[], "ok"),
        ("mail.example:25", &["93.184.216.34"], "ok"),
        ("a.intra.example:25", &["10.0.0.1"], "port_refused"),
        ("localhost:3000", &["127.0.0.1", "::1"], "ok"),
    ] {
        assert_eq!(decide(&policy, authority, addresses), expected, "{authority} {addresses:?}");
    }
}

#[test]
fn within_narrows_and_never_opens() {
    let policy = policy(
        r#"{"allow": ["10.0.0.0/8"],
            "within": [["*.example", "10.0.0.0/8"], ["a.example", "10.1.0.0/16", "c.example"]]}"#,
    );
    for (authority, addresses, expected) in [
        ("a.example:443", &["93.184.216.34"][..], "ok"),
        ("b.example:443", &["93.184.216.34"], "host_not_listed"),
        ("b.other:443", &["10.1.0.1"], "ok"),
        ("b.other:443", &["10.2.0.1"], "host_not_listed"),
        ("b.other:443", &[], "host_not_listed"),
        ("c.example:443", &["127.0.0.1"], "address_not_public"),
    ] {
        assert_eq!(decide(&policy, authority, addresses), expected, "{authority} {addresses:?}");
    }
}

#[test]
fn a_name_that_no_address_can_open_is_refused_before_it_is_looked_up() {
    let check = |text: &str, name: &str| {
        let checked = policy(text).check_name(&Target::new(name, 443).unwrap());
        checked.map_or_else(|refusal| refusal.code(), |()| "ok")
    };
    let names = r#"{"within": [["*"], ["a.example", "*.b.example"]]}"#;
    for (name, expected) in [
        ("a.example", "ok"),
        ("x.b.example", "ok"),
        ("secret.c.example", "host_not_listed"),
        ("8.8.8.8", "host_not_listed"),
        ("localhost", "host_not_listed"),
    ] {
        assert_eq!(check(names, name), expected, "{name}");
    }
    let networks = r#"{"within": [["a.example", "8.0.0.0/8"]]}"#;
    assert_eq!(check(networks, "c.example"), "ok");
    assert_eq!(check(networks, "8.8.8.8"), "ok");
    assert_eq!(check(r#"{"deny": ["c.example"]}"#, "c.example"), "host_denied");
}

#[test]
fn an_upstream_is_under_the_policy_unless_the_operator_allows_it() {
    let own = OwnAddresses::fixed(&[]);
    let target = Target::new("proxy.example", 3128).unwrap();
    let private = ["10.0.0.1".parse().unwrap()];
    let check = |text: &str| policy(text).check_upstream(&target, &private, &own);
    assert_eq!(check("{}").unwrap_err().code(), "upstream_not_allowed");
    assert_eq!(check(r#"{"upstream_allowed": true}"#), Ok(()));
    assert_eq!(check(r#"{"allow": ["10.0.0.1:3128"]}"#), Ok(()));
    assert_eq!(check(r#"{"allow": ["proxy.example"], "within": [["a.example"]]}"#), Ok(()));
}

#[test]
fn what_is_no_policy_is_rejected_without_its_secrets() {
    for text in [
        "",
        "{",
        "[]",
        "{} {}",
        r#"{"unknown": 1}"#,
        r#"{"allow": ["a:b"]}"#,
        r#"{"within": [["10.0.0.0/99"]]}"#,
        r#"{"upstream": "http://user:hunter2@proxy.example:1"}"#,
        r#"{"upstream": {"url": "ftp://user:hunter2@proxy.example:1"}}"#,
        r#"{"upstream": {"url": "http://user:hunter2@/"}}"#,
        r#"{"upstream": {"url": "http://proxy.example:1", "password": ["hunter2"]}}"#,
        r#"{"upstream": {"url": "socks5://proxy.example", "password": "hunter2"}}"#,
    ] {
        let error = Policy::parse(text.as_bytes()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let policy = policy(r#"{"upstream": {"url": "http://user:hunter2@proxy.example:1"}}"#);
    assert!(!format!("{policy:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn a_denied_network_is_refused_whatever_else_is_allowed(last: u8, port in 1u16..) {
        let policy = policy(r#"{"allow": ["*", "10.0.0.0/8"], "deny": ["10.3.3.0/24"]}"#);
        let address = format!("10.3.3.{last}");
        let authority = format!("name.example:{port}");
        prop_assert_eq!(decide(&policy, &authority, &["8.8.8.8", &address]), "host_denied");
    }

    #[test]
    fn within_never_permits_what_is_refused_without_it(bits: u32, port in 1u16..) {
        let address = std::net::Ipv4Addr::from(bits).to_string();
        let authority = format!("name.example:{port}");
        let wide = policy(r#"{"deny": ["50.0.0.0/8"]}"#);
        let narrow = policy(r#"{"deny": ["50.0.0.0/8"], "within": [["*"], ["0.0.0.0/1"]]}"#);
        let narrow = decide(&narrow, &authority, &[&address]);
        prop_assert!(narrow != "ok" || decide(&wide, &authority, &[&address]) == "ok");
    }
}
