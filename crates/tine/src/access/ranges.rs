//! Ranges of addresses of both families, asked in logarithmic time.

use std::net::IpAddr;

/// Ranges, both ends included, each with the number of its rule. Starts and ends both only grow: what lies
/// within another range is left out, so the last one that starts at or before an address is the only one
/// that can hold it, or holds it if any does.
#[derive(Debug, Default)]
pub(super) struct Ranges(Vec<(IpAddr, IpAddr, usize)>);

impl Ranges {
    /// The ends of a range are of the same family, and in order. IPv4 stands before IPv6 in their order
    /// (as [`IpAddr`]s are ordered), so that no range can touch one of the other family.
    pub(super) fn new(mut ranges: Vec<(IpAddr, IpAddr, usize)>) -> Self {
        ranges
            .sort_unstable_by(|one, other| (one.0, other.1, one.2).cmp(&(other.0, one.1, other.2)));
        ranges.dedup_by(|next, kept| next.1 <= kept.1);
        Self(ranges)
    }

    /// The rule of the widest range that holds this address.
    pub(super) fn find(&self, address: IpAddr) -> Option<usize> {
        let after = self.0.partition_point(|range| range.0 <= address);
        let (_, end, rule) = self.0.get(after.checked_sub(1)?)?;
        (address <= *end).then_some(*rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn address(number: u8, v6: bool) -> IpAddr {
        if v6 {
            Ipv6Addr::from(u128::from(number)).into()
        } else {
            Ipv4Addr::from(u32::from(number)).into()
        }
    }

    proptest! {
        #[test]
        fn they_hold_what_a_look_at_each_says(
            ranges in prop::collection::vec((0_u8..64, 0_u8..64, any::<bool>()), 0..20),
        ) {
            let ranges: Vec<_> = ranges
                .into_iter()
                .enumerate()
                .map(|(rule, (a, b, v6))| (address(a.min(b), v6), address(a.max(b), v6), rule))
                .collect();
            let sorted = Ranges::new(ranges.clone());
            for asked in (0..66).flat_map(|number| [address(number, false), address(number, true)]) {
                let holds = |range: &&(IpAddr, IpAddr, usize)| range.0 <= asked && asked <= range.1;
                match sorted.find(asked) {
                    Some(rule) => prop_assert!(holds(&&ranges[rule])),
                    None => prop_assert_eq!(ranges.iter().find(holds), None),
                }
            }
        }
    }
}
