//! What the rules say, by tables.

use crate::access::*;

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn config(deny: &[&str], allow: &[&str], lookups: Lookups) -> AccessConfig {
    AccessConfig { deny: list(deny), allow: list(allow), lookups, ..AccessConfig::default() }
}

fn rules(deny: &[&str], allow: &[&str], lookups: Lookups) -> Rules {
    Rules::new(&config(deny, allow, lookups)).expect("the rules make sense")
}

fn address(text: &str) -> Option<IpAddr> {
    Some(text.parse().expect(text))
}

/// Whether a client with this address, and maybe this name, comes in.
fn comes_in(rules: &Rules, from: &str, name: Option<&Name>) -> bool {
    let peer = Peer { address: address(from), name };
    let verdict = rules.decide(&peer);
    // What the address alone settles is never contradicted by a name.
    if let Some(early) = rules.decide_by_address(peer.address) {
        assert_eq!(early.allowed, verdict.allowed, "{from} {name:?}: {early} or {verdict}");
    }
    verdict.allowed
}

fn claimed(name: &str) -> Name {
    Name::Claimed(name.into())
}

fn verified(name: &str) -> Name {
    Name::Verified(name.into())
}

#[test]
fn addresses_by_the_table() {
    for (deny, allow, from, expected) in [
        // No rules.
        (&[][..], &[][..], "192.0.2.1", true),
        (&[], &[], "2001:db8::1", true),
        // Only rules that allow.
        (&[], &["10.0.0.0/8"], "10.1.2.3", true),
        (&[], &["10.0.0.0/8"], "11.0.0.1", false),
        (&[], &["10.0.0.0/8"], "::1", false),
        // Only rules that deny.
        (&["10.0.0.0/8"], &[], "10.1.2.3", false),
        (&["10.0.0.0/8"], &[], "11.0.0.1", true),
        (&["10.0.0.0/8"], &[], "::1", true),
        // Both: deny first, however narrow the other is.
        (&["10.0.0.0/8"], &["10.1.2.3"], "10.1.2.3", false),
        (&["10.1.2.3"], &["10.0.0.0/8"], "10.1.2.3", false),
        (&["10.1.2.3"], &["10.0.0.0/8"], "10.1.2.4", true),
        (&["10.1.2.3"], &["10.0.0.0/8"], "11.0.0.1", false),
        (&["all"], &["10.0.0.1"], "10.0.0.1", false),
        (&["10.0.0.1"], &["all"], "::1", true),
        // Ranges.
        (&[], &["10.0.0.5-10.0.0.20"], "10.0.0.4", false),
        (&[], &["10.0.0.5-10.0.0.20"], "10.0.0.5", true),
        (&[], &["10.0.0.5-10.0.0.20"], "10.0.0.20", true),
        (&[], &["10.0.0.5-10.0.0.20"], "10.0.0.21", false),
        // Both families in one list.
        (&[], &["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"], "2001:db8:1::1", true),
        (&[], &["2001:db8::/32", "10.0.0.0/8"], "10.0.0.1", true),
        (&[], &["2001:db8::/32", "10.0.0.0/8"], "2001:db9::1", false),
        // Mapped, in clients and in rules.
        (&[], &["10.0.0.0/8"], "::ffff:10.0.0.1", true),
        (&["10.0.0.1"], &[], "::ffff:10.0.0.1", false),
        (&["::ffff:10.0.0.1"], &[], "10.0.0.1", false),
        (&[], &["::ffff:10.0.0.0/104"], "::ffff:10.9.9.9", true),
        (&[], &[r"~ 10\.0\.0\.1"], "::ffff:10.0.0.1", true),
        (&["::/0"], &[], "::ffff:10.0.0.1", true),
        (&["0.0.0.0/0"], &[], "::ffff:10.0.0.1", false),
        // Patterns are about the whole address.
        (&[], &[r"~ 10\.0\.0\.1|192\.168\.1\.1"], "10.0.0.1", true),
        (&[], &[r"~ 10\.0\.0\.1|192\.168\.1\.1"], "192.168.1.1", true),
        (&[], &[r"~ 10\.0\.0\.1|192\.168\.1\.1"], "10.0.0.199", false),
        (&[], &[r"~ 10\.0\.0\.1|192\.168\.1\.1"], "110.0.0.1", false),
        (&[], &["~ 2001:DB8:.*"], "2001:db8::1", true),
        // A pattern and a network: either will do.
        (&[r"~ 10\..*", "192.0.2.0/24"], &[], "10.0.0.1", false),
        (&[r"~ 10\..*", "192.0.2.0/24"], &[], "192.0.2.1", false),
    ] {
        let found = comes_in(&rules(deny, allow, Lookups::Off), from, None);
        assert_eq!(found, expected, "deny {deny:?}, allow {allow:?}, from {from}");
    }
}

#[test]
fn names_by_the_table() {
    for (deny, allow, name, expected) in [
        (&[][..], &["www.example.org"][..], "www.example.org", true),
        (&[], &["www.example.org"], "WWW.Example.ORG.", true),
        (&[], &["www.example.org"], "a.www.example.org", false),
        (&[], &[".example.org"], "example.org", true),
        (&[], &[".Example.org"], "a.b.EXAMPLE.org", true),
        (&[], &[".example.org"], "badexample.org", false),
        (&[], &[".example.org"], "example.org.evil.net", false),
        (&[], &[r"~ ^host[0-9]+\.example\.org$"], "HOST7.example.org", true),
        (&[], &[r"~ host[0-9]+\.example\.org"], "xhost7.example.org", false),
        (&[], &[r"~ a\.example|b\.example"], "a.example.evil.net", false),
        (&[r"~ foo\.com"], &[], "FOO.com", false),
        (&["foo.com"], &[], "FOO.com", false),
        (&["foo.com"], &[], "bar.com", true),
        // A name that is denied, at an address that is allowed, and the other way round.
        (&[".evil.net"], &["192.0.2.0/24"], "x.evil.net", false),
        (&["192.0.2.0/24"], &[".example.org"], "x.example.org", false),
        // Neither.
        (&[".evil.net"], &[".example.org"], "other.net", false),
    ] {
        for (lookups, name) in
            [(Lookups::Reverse, claimed(name)), (Lookups::Double, verified(name))]
        {
            let found = comes_in(&rules(deny, allow, lookups), "192.0.2.1", Some(&name));
            assert_eq!(found, expected, "deny {deny:?}, allow {allow:?}, {name:?}");
        }
    }
}

#[test]
fn a_client_without_a_name_matches_no_rule_about_names() {
    for name in [None, Some(&Name::Missing), Some(&Name::Failed(Failure::TimedOut))] {
        let allow = rules(&[], &[".example.org"], Lookups::Reverse);
        assert!(!comes_in(&allow, "192.0.2.1", name));
        let deny = rules(&[".example.org"], &[], Lookups::Reverse);
        assert!(comes_in(&deny, "192.0.2.1", name));
    }
}

#[test]
fn without_lookups_a_name_means_nothing() {
    let rules = rules(&[r"~ .*\.example\.org"], &[], Lookups::Off);
    assert!(comes_in(&rules, "192.0.2.1", Some(&verified("www.example.org"))));
}

#[test]
fn with_the_double_lookup_who_is_not_verified_stays_out() {
    let mismatch = Name::Mismatch("www.example.org".into());
    let failed = Name::Failed(Failure::Busy);
    let claimed = claimed("www.example.org");
    for allow in [&[][..], &["all"], &["www.example.org"]] {
        let rules = rules(&[], allow, Lookups::Double);
        for name in [None, Some(&Name::Missing), Some(&mismatch), Some(&failed), Some(&claimed)] {
            assert!(!comes_in(&rules, "192.0.2.1", name), "{allow:?} {name:?}");
            let unix = rules.decide(&Peer { address: None, name });
            assert!(unix.allowed);
        }
        assert!(comes_in(&rules, "::ffff:192.0.2.1", Some(&verified("www.example.org"))));
    }
}

#[test]
fn a_client_of_a_unix_socket_comes_in_whatever_the_rules_say() {
    for lookups in [Lookups::Off, Lookups::Reverse, Lookups::Double] {
        let mut config = config(&["all"], &["10.0.0.1"], lookups);
        config.default = Some(Decision::Deny);
        let rules = Rules::new(&config).unwrap();
        let verdict = rules.decide(&Peer::default());
        assert_eq!((verdict.allowed, verdict.reason), (true, Reason::Unix));
        assert_eq!(rules.decide_by_address(None), Some(verdict));
    }
}

#[test]
fn a_default_decides_about_the_rest() {
    for (deny, allow) in [(&[][..], &[][..]), (&["10.0.0.1"], &[]), (&[], &["10.0.0.2"])] {
        for (default, expected) in [(Decision::Allow, true), (Decision::Deny, false)] {
            let mut config = config(deny, allow, Lookups::Off);
            config.default = Some(default);
            let verdict_of = |from| {
                let rules = Rules::new(&config).unwrap();
                let verdict = rules.decide(&Peer { address: address(from), name: None });
                (verdict.allowed, verdict.reason == Reason::Default)
            };
            assert_eq!(verdict_of("192.0.2.1"), (expected, true));
            assert_eq!(verdict_of("10.0.0.1").0, expected && deny.is_empty());
            assert_eq!(verdict_of("10.0.0.2").0, expected || !allow.is_empty());
        }
    }
}

#[test]
fn a_name_is_needed_only_where_it_can_change_something() {
    let needs = |deny: &[&str], allow: &[&str], lookups| rules(deny, allow, lookups).needs_name();
    assert!(!needs(&["~ a"], &["10.0.0.0/8"], Lookups::Off));
    assert!(!needs(&["10.0.0.0/8"], &["all", "::1"], Lookups::Reverse));
    assert!(needs(&["~ a"], &[], Lookups::Reverse) && needs(&[], &["a.b"], Lookups::Reverse));
    assert!(needs(&[], &[".a.b"], Lookups::Reverse) && needs(&[], &[], Lookups::Double));

    let early = |rules: &Rules, from| rules.decide_by_address(address(from)).map(|v| v.allowed);
    let mixed = rules(&["192.0.2.0/24"], &["10.0.0.0/8", ".example.org"], Lookups::Reverse);
    assert_eq!(early(&mixed, "192.0.2.1"), Some(false), "denied whatever its name");
    assert_eq!(early(&mixed, "10.0.0.1"), Some(true), "allowed whatever its name");
    assert_eq!(early(&mixed, "198.51.100.1"), None);
    let deny = rules(&[".evil.net"], &["10.0.0.0/8"], Lookups::Reverse);
    assert_eq!(early(&deny, "10.0.0.1"), None, "its name may be denied");
    let double = rules(&["192.0.2.0/24"], &["10.0.0.0/8"], Lookups::Double);
    assert_eq!(early(&double, "192.0.2.1"), Some(false));
    assert_eq!(early(&double, "10.0.0.1"), None);
}

#[test]
fn names_without_lookups_are_refused() {
    for (deny, allow) in [(&["a.example"][..], &[][..]), (&[], &[".example"])] {
        let error = Rules::new(&config(deny, allow, Lookups::Off)).unwrap_err();
        assert!(error.is_config() && error.to_string().contains("lookups"), "{error}");
    }
}

#[test]
fn a_verdict_says_why() {
    let text = |rules: &Rules, from, name| {
        rules.decide(&Peer { address: address(from), name }).to_string()
    };
    let named = rules(&["10.0.0.0/8"], &[".example.org"], Lookups::Reverse);
    assert_eq!(text(&named, "10.0.0.1", None), r#"denied: the rule "10.0.0.0/8""#);
    let name = claimed("a.example.org");
    let expected = r#"allowed: the rule ".example.org" (it calls itself a.example.org)"#;
    assert_eq!(text(&named, "192.0.2.1", Some(&name)), expected);
    assert_eq!(text(&named, "192.0.2.1", None), "denied: no rule allows it");
    let name = Name::Mismatch("a.example.org".into());
    let double = rules(&[], &[], Lookups::Double);
    let expected = "denied: it calls itself a.example.org, which does not lead back to it";
    assert_eq!(text(&double, "192.0.2.1", Some(&name)), expected);
}
