//! What an address is: public, private, or one that no job has any business with.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The kind of an address, as far as the proxy treats it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An address of the internet.
    Public,
    /// An address of a private network, or one that is not routed on the internet.
    Private,
    /// A cloud's metadata service, which gives out credentials of the machine.
    Metadata,
    LinkLocal,
    Loopback,
    Unspecified,
    /// Multicast or broadcast.
    Multicast,
}

impl Class {
    /// The class of an address. One that contains an IPv4 address (mapped, compatible, NAT64, 6to4) is what
    /// that address is, because that is where its packets go.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// Whether no mode and no allow list permits it.
    pub fn is_forbidden(self) -> bool {
        !matches!(self, Self::Public | Self::Private)
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        // AWS, GCP, Azure and others use 169.254.169.254. Besides: Azure's wire server, Alibaba Cloud, and
        // Oracle Cloud's first generation.
        const METADATA: [[u8; 4]; 4] =
            [[169, 254, 169, 254], [168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]];
        let octets = address.octets();
        if METADATA.contains(&octets) {
            return Self::Metadata;
        }
        match octets {
            // Linux takes 0.0.0.0 for this machine.
            [0, ..] => Self::Unspecified,
            [127, ..] => Self::Loopback,
            [169, 254, ..] => Self::LinkLocal,
            [224..=239, ..] | [255, 255, 255, 255] => Self::Multicast,
            // RFC 1918; CGNAT (RFC 6598); IETF assignments (RFC 6890), benchmarks (RFC 2544), and reserved.
            [10 | 240..=255, ..]
            | [172, 16..=31, ..]
            | [192, 168, ..]
            | [100, 64..=127, ..]
            | [192, 0, 0, _]
            | [198, 18 | 19, ..] => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let v4 =
            |high: u16, low: u16| Self::of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Unspecified,
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            // Mapped, and compatible (RFC 4291); translated (RFC 2765); NAT64 (RFC 6052); 6to4 (RFC 3056).
            [0, 0, 0, 0, 0, 0xffff | 0, high, low]
            | [0, 0, 0, 0, 0xffff, 0, high, low]
            | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            | [0x2002, high, low, ..] => v4(high, low),
            // AWS serves metadata, DNS, time and pod credentials in this range; GCP metadata at the other.
            [0xfd00, 0xec2, ..] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Self::Metadata,
            [0xfe80..=0xfebf, ..] => Self::LinkLocal,
            [0xff00..=0xffff, ..] => Self::Multicast,
            // ULA (RFC 4193), site-local (RFC 3879), local NAT64 (RFC 8215), discard (RFC 6666), and Teredo
            // (RFC 4380), which contains the address of a relay.
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..]
            | [0x64, 0xff9b, 1, ..]
            | [0x100, 0, 0, 0, ..]
            | [0x2001, 0, ..] => Self::Private,
            _ => Self::Public,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Private => "a private address",
            Self::Metadata => "an address of a cloud's metadata service",
            Self::LinkLocal => "a link-local address",
            Self::Loopback => "a loopback address",
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast or broadcast address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_range_has_its_class_up_to_its_edges() {
        for (class, addresses) in [
            (
                Class::Public,
                "1.1.1.1 9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 100.63.255.255 100.128.0.0 \
                 192.167.255.255 192.169.0.0 169.253.255.255 169.255.0.0 223.255.255.255 128.0.0.1 192.0.1.0 \
                 2606:4700::1111 2001:db8::1 2001:4860:4860::8888 ::ffff:1.1.1.1 64:ff9b::101:101 \
                 2002:101:101::1 fbff:: fe7f::1",
            ),
            (
                Class::Private,
                "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 100.64.0.0 \
                 100.127.255.255 198.18.0.1 240.0.0.1 192.0.0.8 fc00::1 fdff::1 fd00:ec3::254 fd20:ce::255 fec0::1 \
                 64:ff9b:1::a00:1 2001::1 100::1 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::a00:1 2002:a00:1::1 \
                 ::ffff:0:10.0.0.1",
            ),
            (
                Class::Metadata,
                "169.254.169.254 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 fd00:ec2::23 \
                 fd20:ce::254 ::ffff:169.254.169.254 ::169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::",
            ),
            (
                Class::LinkLocal,
                "169.254.0.0 169.254.170.2 169.254.255.255 fe80::1 febf::1 ::ffff:169.254.1.1",
            ),
            (Class::Loopback, "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1"),
            (Class::Unspecified, "0.0.0.0 0.255.255.255 :: ::ffff:0.0.0.0"),
            (Class::Multicast, "224.0.0.1 239.255.255.255 255.255.255.255 ff02::1 ff00:: ::ffff:224.0.0.251"),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(Class::of(address.parse().unwrap()), class, "{address}");
            }
        }
    }

    #[test]
    fn only_public_and_private_addresses_can_be_permitted() {
        use Class::{LinkLocal, Loopback, Metadata, Multicast, Private, Public, Unspecified};
        for class in [Metadata, LinkLocal, Loopback, Unspecified, Multicast] {
            assert!(class.is_forbidden(), "{class}");
        }
        assert!(!Public.is_forbidden() && !Private.is_forbidden());
    }
}
