//! Keys of the format that this version cannot serve: they are refused, with what to do meanwhile.

/// Sections that are refused.
pub(crate) fn section(name: &str) -> Option<&'static str> {
    match name {
        "see" => Some("`tine status` shows what the server does; leave the section out"),
        "acme" => Some(
            "get the certificate with another program, and name its files with `tls` in the site",
        ),
        "app" => Some("run the program with `tine start -- COMMAND`; leave the section out"),
        "session" | "sessions" => Some("leave the section out"),
        _ => None,
    }
}

/// Keys that are refused, by the name of their section.
pub(crate) fn key(section: &str, key: &str) -> Option<&'static str> {
    match (section, key) {
        ("a route", "app" | "script") => {
            Some("run the program with `tine start -- COMMAND`, on an address of its own")
        }
        ("a route", "proxy" | "cgi") => {
            Some("a route answers with `files`, `redirect` or `status`")
        }
        ("[[site]]" | "[defaults]", "timeout") => {
            Some("`timeout` in [server] bounds every request of a worker")
        }
        ("[[site]]", "session" | "sessions") => Some("leave it out"),
        _ => None,
    }
}
