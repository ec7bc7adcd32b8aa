//! Classes of addresses, and the machine's own addresses.
//!
//! Each address outside of the public internet has a named class, so that a refusal can name it.
//! The class of an IPv6 address that embeds an IPv4 address is that of the IPv4 address.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The kind of network that an address belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Public,
    Unspecified,
    Private,
    Shared,
    Loopback,
    LinkLocal,
    Metadata,
    Protocol,
    Documentation,
    Benchmark,
    Multicast,
    Reserved,
    UniqueLocal,
    /// An address of one of this machine's interfaces.
    Own,
}

impl Class {
    /// The adjective that the text of a refusal uses for the class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unspecified => "unspecified",
            Self::Private => "private",
            Self::Shared => "carrier-grade NAT",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Protocol => "protocol assignment",
            Self::Documentation => "documentation",
            Self::Benchmark => "benchmark",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::UniqueLocal => "unique local",
            Self::Own => "machine's own",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The addresses of cloud metadata services; the third is in a public range.
const METADATA_V4: &[Ipv4Addr] = &[
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

const METADATA_V6: &[Ipv6Addr] = &[
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// The ranges of IANA's IPv4 special-purpose address registry, and of multicast, as first address
/// and length of the prefix. Those that the registry calls globally reachable are refused as well:
/// no web server is behind an anycast address of a protocol.
const SPECIAL_V4: &[(Ipv4Addr, u32, Class)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, Class::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Class::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Class::Shared),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Class::Loopback),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Class::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Class::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Class::Protocol),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Class::Documentation),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Class::Protocol),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Class::Protocol),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Class::Protocol),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Class::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Class::Protocol),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Class::Benchmark),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Class::Documentation),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Class::Documentation),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Class::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Class::Reserved),
];

/// The special-purpose ranges of IPv6. An address outside of 2000::/3 is never public; the rows for
/// such addresses only give the class.
const SPECIAL_V6: &[(Ipv6Addr, u32, Class)] = &[
    (Ipv6Addr::LOCALHOST, 128, Class::Loopback),
    (Ipv6Addr::UNSPECIFIED, 128, Class::Unspecified),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Class::Documentation),
    (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0), 48, Class::Benchmark),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Class::Protocol),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, Class::Protocol),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, Class::Reserved),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Class::Documentation),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Class::UniqueLocal),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, Class::LinkLocal),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, Class::Private),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, Class::Multicast),
];

/// The class of an address by the registries alone.
pub fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.contains(&address) {
        return Class::Metadata;
    }
    let bits = u32::from(address);
    let special = SPECIAL_V4
        .iter()
        .find(|(first, length, _)| (bits ^ u32::from(*first)).leading_zeros() >= *length);
    special.map_or(Class::Public, |(_, _, class)| *class)
}

fn class_v6(address: Ipv6Addr) -> Class {
    if METADATA_V6.contains(&address) {
        return Class::Metadata;
    }
    if let Some(embedded) = embedded_v4(address) {
        return class_v4(embedded);
    }
    let bits = u128::from(address);
    let special = SPECIAL_V6
        .iter()
        .find(|(first, length, _)| (bits ^ u128::from(*first)).leading_zeros() >= *length);
    match special {
        Some((_, _, class)) => *class,
        None if bits >> 125 == 1 => Class::Public,
        None => Class::Reserved,
    }
}

/// The IPv4 address that an IPv6 address embeds: IPv4-mapped, NAT64 (RFC 6052; the prefix of
/// RFC 8215 is local and stays refused), 6to4. IPv4-compatible addresses are not routed and count
/// as reserved.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(mapped);
    }
    let [first, second, third, _, _, _, seventh, eighth] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    if address.segments().starts_with(&[0x64, 0xff9b, 0, 0, 0, 0]) {
        return Some(join(seventh, eighth));
    }
    (first == 0x2002).then(|| join(second, third))
}

/// Converts an IPv4-mapped address to its IPv4 address, as the kernel does.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The addresses of this machine's interfaces, read again after five seconds.
#[derive(Debug, Default)]
pub struct OwnAddresses {
    read: Mutex<Option<(Instant, HashSet<IpAddr>)>>,
}

const OWN_AGE: Duration = Duration::from_secs(5);

impl OwnAddresses {
    /// True for an address of an interface of this machine.
    pub fn contain(&self, address: IpAddr) -> bool {
        let mut read = self.read.lock();
        let stale = read.as_ref().is_none_or(|(at, _)| at.elapsed() > OWN_AGE);
        if stale {
            *read = Some((Instant::now(), interfaces()));
        }
        read.as_ref().is_some_and(|(_, own)| own.contains(&canonical(address)))
    }

    /// The class of an address. A public address of this machine is [`Class::Own`].
    pub fn class(&self, address: IpAddr) -> Class {
        let class = class(address);
        let is_own = class == Class::Public && self.contain(embedded(address));
        if is_own { Class::Own } else { class }
    }

    #[cfg(test)]
    pub fn fixed(addresses: &[IpAddr]) -> Self {
        let far = Instant::now() + Duration::from_secs(86_400);
        Self { read: Mutex::new(Some((far, addresses.iter().copied().collect()))) }
    }
}

fn embedded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
    }
}

fn interfaces() -> HashSet<IpAddr> {
    let Ok(list) = nix::ifaddrs::getifaddrs() else { return HashSet::new() };
    list.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|found| canonical(IpAddr::V6(found.ip()))))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Class) {
        assert_eq!(class(text.parse().unwrap()), expected, "{text}");
    }

    #[test]
    fn public_addresses_are_public() {
        for text in [
            "93.184.216.34",
            "192.88.98.1",
            "100.128.0.1",
            "100.63.255.255",
            "172.32.0.1",
            "198.20.0.1",
            "1.1.1.1",
            "223.255.255.255",
            "168.63.129.15",
            "2606:2800:220:1::1",
            "2001:4860:4860::8888",
            "64:ff9b::5db8:d822",
            "2002:5db8:d822::",
            "::ffff:8.8.8.8",
            "2001:200::1",
            "2a00:1450::1",
        ] {
            check(text, Class::Public);
        }
    }

    #[test]
    fn the_rest_has_a_class() {
        use Class::*;
        for (text, expected) in [
            ("0.0.0.0", Unspecified),
            ("0.1.2.3", Unspecified),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("172.31.0.1", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Shared),
            ("127.0.0.1", Loopback),
            ("127.255.255.254", Loopback),
            ("169.254.1.1", LinkLocal),
            ("169.254.169.254", Metadata),
            ("100.100.100.200", Metadata),
            ("168.63.129.16", Metadata),
            ("192.0.0.192", Metadata),
            ("fd00:ec2::254", Metadata),
            ("::ffff:169.254.169.254", Metadata),
            ("64:ff9b::a9fe:a9fe", Metadata),
            ("2002:a83f:8110::1", Metadata),
            ("192.0.0.8", Protocol),
            ("192.0.2.1", Documentation),
            ("192.31.196.1", Protocol),
            ("192.52.193.1", Protocol),
            ("192.88.99.1", Protocol),
            ("192.175.48.1", Protocol),
            ("198.19.255.255", Benchmark),
            ("198.51.100.1", Documentation),
            ("203.0.113.1", Documentation),
            ("224.0.0.1", Multicast),
            ("255.255.255.255", Reserved),
            ("240.0.0.1", Reserved),
            ("100::1", Reserved),
            ("64:ff9b:1::5db8:d822", Reserved),
            ("2001::1", Protocol),
            ("2001:2::1", Benchmark),
            ("2001:20::1", Protocol),
            ("2001:1ff::1", Protocol),
            ("2001:db8::1", Documentation),
            ("2620:4f:8000::1", Protocol),
            ("3fff::1", Documentation),
            ("3ffe::1", Reserved),
            ("5f00::1", Reserved),
            ("fec0::1", Private),
            ("ff02::1", Multicast),
            ("::127.0.0.1", Reserved),
            ("::8.8.8.8", Reserved),
            ("2002:c058:6301::", Protocol),
            ("::1", Loopback),
            ("::", Unspecified),
            ("::ffff:127.0.0.1", Loopback),
            ("fe80::1", LinkLocal),
            ("fd00::1", UniqueLocal),
            ("64:ff9b::7f00:1", Loopback),
            ("2002:7f00:1::", Loopback),
            ("2002:a00:1::", Private),
            ("::ffff:0:7f00:1", Reserved),
        ] {
            check(text, expected);
        }
    }

    #[test]
    fn a_public_address_of_the_machine_is_its_own_in_every_form() {
        let own = OwnAddresses::fixed(&["8.8.8.8".parse().unwrap()]);
        for text in ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"] {
            assert_eq!(own.class(text.parse().unwrap()), Class::Own, "{text}");
        }
        assert_eq!(own.class("8.8.4.4".parse().unwrap()), Class::Public);
    }

    #[test]
    fn the_interfaces_of_the_machine_are_read() {
        assert!(OwnAddresses::default().contain("127.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn every_form_of_an_ipv4_address_has_its_class(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let expected = class(IpAddr::V4(v4));
            for form in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(class(IpAddr::V6(form)), expected, "{}", form);
            }
        }

        #[test]
        fn what_std_calls_local_is_never_public(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let local = v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation()
                || v4.is_unspecified();
            prop_assert!(!local || class(IpAddr::V4(v4)) != Class::Public);
        }

        #[test]
        fn outside_of_global_unicast_nothing_native_is_public(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let outside = bits >> 125 != 1 && embedded_v4(v6).is_none();
            prop_assert!(!outside || class(IpAddr::V6(v6)) != Class::Public);
        }
    }
}
