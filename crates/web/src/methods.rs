//! Methods that are not served: those that are registered get 405, and others 501 (RFC 9110, 9.1).

use http::Method;

/// The registry's at iana.org/assignments/http-methods, without those that `http` has constants for.
const REGISTERED: [&str; 31] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "ORDERPATCH",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

/// Whether a method has a meaning that a server may be expected to know.
pub(crate) fn is_registered(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::POST
            | Method::PUT
            | Method::DELETE
            | Method::CONNECT
            | Method::OPTIONS
            | Method::TRACE
            | Method::PATCH
    ) || REGISTERED.binary_search(&method.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_methods_are_found_by_their_exact_name() {
        assert!(REGISTERED.is_sorted());
        for (name, is) in
            [("GET", true), ("PROPFIND", true), ("ACL", true), ("get", false), ("FOO", false)]
        {
            let method = Method::from_bytes(name.as_bytes()).expect("a method");
            assert_eq!(is_registered(&method), is, "{name}");
        }
    }
}
