//! A service that is for HTTPS alone, and sends others there.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::HOST;
use http::{HeaderMap, Method, Request, Response, Uri};
use pin_project_lite::pin_project;
use tine_http::{Client, FileBody};
use tower_service::Service;

use crate::page;

/// A service for clients that speak HTTPS; the others are sent to the same address there: GET and HEAD
/// with a 301, other methods with a 308.
///
/// Who speaks HTTPS is [`Client::is_https`]'s matter: with us, or with a proxy that is trusted.
#[derive(Clone, Debug)]
pub struct HttpsOnly<S> {
    service: S,
    port: u16,
}

impl<S> HttpsOnly<S> {
    /// `port` is where clients find HTTPS.
    #[must_use]
    pub fn new(service: S, port: u16) -> Self {
        Self { service, port }
    }

    fn elsewhere(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<FileBody> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // The asterisk of OPTIONS is the server as a whole, which has no address.
        let host = host(uri, headers).filter(|_| path.starts_with('/'));
        let location = host.map(|host| match self.port {
            443 => format!("https://{host}{path}"),
            port => format!("https://{host}:{port}{path}"),
        });
        page::moved(location, method)
    }
}

pin_project! {
    /// The answer of the service, or one that sends the client to HTTPS.
    #[derive(Debug)]
    pub struct HttpsOnlyFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[project = Answering]
    #[derive(Debug)]
    enum Answer<F> {
        Service { #[pin] answer: F },
        Elsewhere { response: Option<Response<FileBody>> },
    }
}

impl<F, B, E> Future for HttpsOnlyFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: From<FileBody>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            Answering::Service { answer } => answer.poll(context),
            Answering::Elsewhere { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(B::from))),
                None => Poll::Pending,
            },
        }
    }
}

impl<S, A, B> Service<Request<A>> for HttpsOnly<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: From<FileBody>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = HttpsOnlyFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let answer = match request.extensions().get::<Client>() {
            Some(client) if client.is_https() => {
                Answer::Service { answer: self.service.call(request) }
            }
            _ => {
                let response = self.elsewhere(request.method(), request.uri(), request.headers());
                Answer::Elsewhere { response: Some(response) }
            }
        };
        HttpsOnlyFuture { answer }
    }
}

/// Whom the client believes to speak to, without the port. `tine-http` has let no other bytes in than a host can have.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(host) = uri.host() {
        return Some(host);
    }
    let host = headers.get(HOST)?.to_str().ok()?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use http::header::LOCATION;
    use http::{HeaderValue, StatusCode};

    use super::*;
    use crate::Files;

    #[test]
    fn a_client_is_sent_to_the_same_place() {
        let files = Files::new("/".into()).expect("a directory");
        let only = |port| HttpsOnly::new(files.clone(), port);
        for (port, uri, host, location) in [
            (443, "/a/b?c=d", Some("example.org"), Some("https://example.org/a/b?c=d")),
            (443, "/", Some("example.org:80"), Some("https://example.org/")),
            (8443, "/", Some("example.org:8080"), Some("https://example.org:8443/")),
            (8443, "/", Some("[::1]:80"), Some("https://[::1]:8443/")),
            (443, "/", Some("[::1]"), Some("https://[::1]/")),
            (443, "http://other.test:81/x", Some("example.org"), Some("https://other.test/x")),
            (443, "//evil.test/x", Some("example.org"), Some("https://example.org//evil.test/x")),
            (443, "/\u{e4}", Some("example.org"), Some("https://example.org/%C3%A4")),
            (443, "/", None, None),
            (443, "/", Some(":80"), None),
            (8443, "*", Some("example.org"), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(host.map(|host| (HOST, HeaderValue::from_static(host))));
            let uri = uri.parse().expect("an address");
            for (method, moved) in [
                (Method::GET, StatusCode::MOVED_PERMANENTLY),
                (Method::HEAD, StatusCode::MOVED_PERMANENTLY),
                (Method::POST, StatusCode::PERMANENT_REDIRECT),
            ] {
                let answer = only(port).elsewhere(&method, &uri, &headers);
                let told = answer.headers().get(LOCATION).map(|told| told.to_str().expect("text"));
                assert_eq!(told, location, "{uri} {host:?}");
                let expected = if location.is_some() { moved } else { StatusCode::BAD_REQUEST };
                assert_eq!(answer.status(), expected, "{method}");
            }
        }
    }
}
