//! Chains of certificates and keys as people have them in files: read as OpenSSL reads them, or refused with the line
//! and the true reason.

mod support;

use std::fs;
use std::process::Command;

use support::{Served, fixture, pair, start_with};
use testkit::base64::{decode, encode};
use testkit::tls::{Authority, Connector, Identity};
use testkit::{TempDir, require_peer};

/// A root, one below it, and servers of that one.
struct Family {
    root: Authority,
    middle: Authority,
    /// Knows the root alone.
    connector: Connector,
}

impl Family {
    fn new() -> Self {
        let root = Authority::root("root");
        let middle = root.authority("middle");
        let connector = Connector::trusting(&[&root.own]);
        Self { root, middle, connector }
    }
}

/// PEM with another word before `CERTIFICATE`.
fn marked(pem: &str, word: &str) -> String {
    pem.replace(" CERTIFICATE", &format!(" {word} CERTIFICATE"))
}

/// As `openssl x509 -trustout` writes it: with what it is trusted for behind it.
fn trusted(pem: &str) -> String {
    // An empty X509_CERT_AUX.
    let all = [body(pem), vec![0x30, 0]].concat();
    marked(&format!("{}\n{}\n{}\n", BEGIN, encode(&all), END), "TRUSTED")
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Files that come to the same two certificates, and more that are sent with them.
fn readable(family: &Family, own: &Identity) -> Vec<(&'static str, String, usize)> {
    let (leaf, middle) = (own.certificate.as_str(), family.middle.own.certificate.as_str());
    let root = family.root.own.certificate.as_str();
    let cross = Authority::root("another").cross_sign(&family.middle).certificate;
    let both = format!("{leaf}{middle}");
    let indented =
        |text: &str| text.lines().map(|line| format!("  {line}\t\n")).collect::<String>();
    vec![
        ("as it should be", both.clone(), 2),
        ("no line end between the two", format!("{}{middle}", leaf.trim_end()), 2),
        ("that, and a byte order mark", format!("{}\u{feff}{middle}", leaf.trim_end()), 2),
        ("no line end at the end", both.trim_end().to_owned(), 2),
        ("a byte order mark", format!("\u{feff}{both}"), 2),
        ("one before the second", format!("{leaf}\u{feff}{middle}"), 2),
        ("blanks around every line", indented(&both), 2),
        ("line ends of Windows", both.replace('\n', "\r\n"), 2),
        ("line ends of an old Mac", both.replace('\n', "\r"), 2),
        ("empty lines", both.replace('\n', "\n\n"), 2),
        ("base64 on one line", format!("{leaf}{BEGIN}\n{}\n{END}\n", encode(&body(middle))), 2),
        ("X509", format!("{leaf}{}", marked(middle, "X509")), 2),
        ("TRUSTED", format!("{}{}", trusted(leaf), trusted(middle)), 2),
        (
            "text around",
            format!(
                "subject=/CN=front-end certificate-authority\n{leaf}\n# {BEGIN}\n 0 s:x i:y\n{middle}bye\n"
            ),
            2,
        ),
        ("a key in the same file", format!("{}{both}", own.key), 2),
        (
            "parameters",
            format!(
                "{leaf}-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n{middle}"
            ),
            2,
        ),
        ("the root", format!("{both}{root}"), 3),
        ("another order", format!("{leaf}{root}{middle}"), 3),
        ("a cross-signed one", format!("{both}{cross}"), 3),
        ("the first one twice", format!("{leaf}{both}"), 2),
        (
            "a stranger behind a whole chain",
            format!("{both}{root}{}", Authority::root("x").own.certificate),
            4,
        ),
    ]
}

fn body(pem: &str) -> Vec<u8> {
    decode(&pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
}

#[test]
fn a_chain_in_any_form_that_openssl_reads_is_sent_whole() {
    let family = Family::new();
    let directory = TempDir::new().expect("a directory");
    let mut all = Vec::new();
    for number in 0..readable(&family, &family.middle.own).len() {
        let host = format!("host{number}.test");
        let own = family.middle.server(&[&host]);
        let (what, chain, sent) = readable(&family, &own).swap_remove(number);
        let (certificate, key) = own.write(directory.path(), &host);
        fs::write(&certificate, chain).expect("a file");
        // Keys have byte order marks, too.
        fs::write(&key, format!("\u{feff}{}", own.key)).expect("a file");
        all.push((what, host, sent, pair(&certificate, &key)));
    }
    let it = start_with(directory, all.iter().map(|(.., pair)| pair));
    for (what, host, sent, _) in all {
        let client = family.connector.try_connect(&it.address(), &host);
        let client = client.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(client.tls().map(testkit::tls::Tls::chain), Some(sent), "{what}");
    }
    Served::stop(it);
}

/// What a start says of a certificate and a key, which it refuses.
fn refused(certificate: impl AsRef<[u8]>, key: &str) -> String {
    let directory = TempDir::new().expect("a directory");
    let files = [("chain.pem", certificate.as_ref()), ("its.key", key.as_bytes())];
    let [certificate, key] = files.map(|(name, text)| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        path
    });
    let server = fixture(directory.path()).args(["--listen", "127.0.0.1:0/tls", "--pair"]);
    let running = server.arg(pair(&certificate, &key)).start();
    assert_eq!(running.wait_exit().code(), Some(2), "{:?}", running.lines());
    running.lines().join("\n")
}

#[test]
fn what_cannot_be_used_of_a_chain_is_an_error_with_its_line() {
    let family = Family::new();
    let own = family.middle.server(&["localhost"]);
    let (leaf, middle) = (own.certificate.as_str(), family.middle.own.certificate.as_str());
    let stranger = Authority::root("middle").own.certificate;
    let second = leaf.lines().count() + 1;
    let root = family.root.own.certificate.as_str();
    let third = second + middle.lines().count();
    let wrong = [
        ("a dash lost", middle.replacen("-----BEGIN", "----BEGIN", 1), second),
        ("small letters", middle.replacen("BEGIN CERT", "begin cert", 1), second),
        ("no BEGIN", middle.lines().skip(1).collect::<Vec<_>>().join("\n"), third - 2),
        ("no END", middle.replace(&format!("{END}\n"), ""), second),
        (
            "no END before another",
            format!("{}{root}", middle.replace(&format!("{END}\n"), "")),
            third - 1,
        ),
        ("another END", middle.replace("END CERT", "END X509 CERT"), third - 1),
        ("no certificate", format!("{BEGIN}\nAAAA\n{END}\n"), second),
        ("half of one", format!("{BEGIN}\n{}\n{END}\n", encode(&body(middle)[..200])), second),
        (
            "bytes behind one",
            format!("{BEGIN}\n{}\n{END}\n", encode(&[body(middle), vec![0]].concat())),
            second,
        ),
        ("no base64", middle.replacen("MII", "M*I", 1), second + 1),
        ("cut base64", middle.replacen("MII", "MI", 1), second),
        ("line ends lost", middle.replace('\n', " "), second),
        ("line ends as text", middle.replace('\n', "\\n"), second),
        ("another kind", middle.replace("CERTIFICATE", "PKCS7"), second),
        ("a misspelt kind", middle.replace("CERTIFICATE", "CERTIFCATE"), second),
        ("an issuer of the same name", stranger.clone(), second),
        ("an issuer of another name", Authority::root("x").own.certificate, second),
        ("a stranger at the end", format!("{middle}{stranger}"), third),
        ("a bundle", root_bundle(), second + 100 * 4 - 4),
    ];
    for (what, rest, line) in wrong {
        let said = refused(format!("{leaf}{rest}"), &own.key);
        assert!(said.contains("chain.pem cannot be used"), "{what}: {said}");
        assert!(said.contains(&format!(": line {line}: ")), "{what}, line {line}: {said}");
    }
    let utf16 = leaf.bytes().flat_map(|byte| [byte, 0]);
    let said = refused([0xff, 0xfe].into_iter().chain(utf16).collect::<Vec<u8>>(), &own.key);
    assert!(said.contains(": line 1: the text is UTF-16"), "{said}");
}

/// More than any chain has: it is not looked at what they are.
fn root_bundle() -> String {
    let one = format!("{BEGIN}\nAAAA\n{END}\n\n");
    one.repeat(100)
}

/// Keys that openssl makes with these words, and what is said of them.
const KEYS: [(&str, &str); 8] = [
    ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", "an RSA key of 1024 bits"),
    ("genrsa -traditional 1024", "an RSA key of 1024 bits"),
    ("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048", "an RSA-PSS key"),
    ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "secp256k1"),
    ("ecparam -name secp256k1 -genkey", "secp256k1"),
    ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-224", "P-224"),
    ("genpkey -algorithm ED448", "an Ed448 key"),
    ("genpkey -algorithm X25519", "a key for key agreement"),
];

#[test]
fn a_key_that_cannot_be_used_gets_the_true_reason() {
    let own = Identity::new(&["localhost"]);
    // In the part that the other part is checked against.
    let (before, after) = own.key.split_at(own.key.len() - 60);
    let damaged = format!("{before}AAAA{}", &after[4..]);
    let ssh = own.key.replace("PRIVATE", "OPENSSH PRIVATE");
    let no_line_ends = own.key.replace('\n', "\\n");
    for (what, key, reason) in [
        ("damaged", damaged.as_str(), "cannot be used: it is damaged"),
        ("ssh", &ssh, "line 1: a key in the form OPENSSH PRIVATE KEY"),
        ("no line ends", &no_line_ends, "line 1: the BEGIN line does not end after its dashes"),
        (
            "old and encrypted",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAA\n-----END RSA PRIVATE KEY-----\n",
            "is encrypted",
        ),
    ] {
        let said = refused(&own.certificate, key);
        assert!(said.contains("its.key") && said.contains(reason), "{what}: {said}");
    }
    if !require_peer("openssl") {
        return;
    }
    // Its label is of another form than it has: it is read all the same, and then is another certificate's.
    let made = Command::new("openssl").args(["genpkey", "-algorithm", "RSA"]).output();
    let key = String::from_utf8(made.expect("it runs").stdout).expect("PEM");
    let said = refused(&own.certificate, &key.replace("PRIVATE KEY", "RSA PRIVATE KEY"));
    assert!(said.contains("its.key does not belong to the certificate"), "{said}");
    for (words, reason) in KEYS {
        let made = Command::new("openssl").args(words.split(' ')).output().expect("it runs");
        assert!(made.status.success(), "{words}: {}", String::from_utf8_lossy(&made.stderr));
        let said = refused(&own.certificate, &String::from_utf8_lossy(&made.stdout));
        assert!(said.contains("its.key cannot be used: it is ") && said.contains(reason), "{said}");
    }
}
