//! The small pages of a site's own: errors and redirections. Nothing of the request is repeated in
//! them.

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use percent_encoding::{CONTROLS, utf8_percent_encode};
use tine_http::FileBody;

use crate::methods::is_registered;
use crate::path::Name;

/// A page that says no more than the status.
pub(crate) fn status(status: StatusCode) -> Response<FileBody> {
    let title = format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n</html>\n"
    );
    let length = page.len();
    let mut response = Response::new(FileBody::from(bytes::Bytes::from(page)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// What a method gets that is neither GET nor HEAD (RFC 9110, 15.5.6 and 15.6.2).
pub(crate) fn wrong_method(method: &Method) -> Response<FileBody> {
    if !is_registered(method) {
        return status(StatusCode::NOT_IMPLEMENTED);
    }
    let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Sends the client to the same path with a `/` at its end, the query kept.
///
/// The path is written anew from the name it stands for: as it came it may begin with two slashes, and would be an address
/// on another host then.
pub(crate) fn with_slash(name: &Name, uri: &Uri, method: &Method) -> Response<FileBody> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    moved(Some(format!("{}{query}", name.as_directory())), method)
}

/// Sends the client there, with a status of redirects.
pub(crate) fn redirect(
    location: Result<HeaderValue, http::header::InvalidHeaderValue>,
    redirect: StatusCode,
) -> Response<FileBody> {
    let Ok(location) = location else { return status(StatusCode::BAD_REQUEST) };
    let mut response = status(redirect);
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Sends the client there; says that it has asked for nothing that there is, if there is no telling.
///
/// For GET and HEAD with 301, which every client follows; others would turn their method into GET then, and are told 308
/// (RFC 9110, 15.4).
pub(crate) fn moved(location: Option<String>, method: &Method) -> Response<FileBody> {
    // Bytes beyond ASCII are accepted in a request, and have no place in a field (RFC 9110, 5.5).
    let location = location.map(|it| utf8_percent_encode(&it, CONTROLS).to_string());
    match location.map(HeaderValue::try_from) {
        Some(Ok(location)) => {
            let mut response = status(match *method {
                Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
                _ => StatusCode::PERMANENT_REDIRECT,
            });
            response.headers_mut().insert(LOCATION, location);
            response
        }
        _ => status(StatusCode::BAD_REQUEST),
    }
}
