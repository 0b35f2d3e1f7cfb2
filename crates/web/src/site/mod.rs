//! Sites: which host a request is for, which rules it must fulfil, and what answers it.
//!
//! The path is normalised once, before any rule sees it, so that no other spelling of a path gets past a guard.

mod guard;
mod names;
mod pattern;
mod redirect;
mod route;
mod target;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tine_http::{Client, FileBody};
use tower_service::Service;

pub use guard::Guard;
use names::Names;
pub use pattern::Pattern;
pub use route::{Missing, Route};

use crate::Files;
use crate::page;

/// What is wrong with a site.
#[derive(Debug)]
pub struct SiteError(String);

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SiteError {}

/// A site: names of hosts, guards and routes.
#[derive(Debug, Default)]
pub struct Site {
    names: Vec<String>,
    canonical: bool,
    default: bool,
    /// Which certificate it has, by any name.
    certificate: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    guards: Vec<Guard>,
    routes: Vec<Route>,
}

impl Site {
    /// For these hosts. `*.example.org` is every name beneath; a name that is not a wildcard wins over one, a longer
    /// wildcard over a shorter.
    ///
    /// # Errors
    /// When a name cannot be that of a host.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, SiteError> {
        let names = names.into_iter().map(|name| names::plain(name.as_ref()));
        Ok(Self { names: names.collect::<Result<_, _>>()?, ..Self::default() })
    }

    /// Clients that use another of its names are redirected to the first.
    #[must_use]
    pub fn canonical(self) -> Self {
        Self { canonical: true, ..self }
    }

    /// It answers requests for hosts that no site has.
    #[must_use]
    pub fn default_site(self) -> Self {
        Self { default: true, ..self }
    }

    /// It has the certificate of this name. A request that comes over a connection whose TLS asked for a host with another
    /// certificate is answered 421 (RFC 9110, 15.5.20).
    #[must_use]
    pub fn certificate(self, name: impl Into<String>) -> Self {
        Self { certificate: Some(name.into()), ..self }
    }

    /// Sets a field of answers that no route gives: those of guards, and 404 where no route matches.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a guard: every one that matches must allow a request.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// Adds a route: the first that matches answers.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    fn answer<B>(&self, host: &str, request: &Request<B>) -> Response<FileBody> {
        let mut response = match target::normal(request.uri().path()) {
            Err(status) => page::status(status),
            Ok(path) => {
                let refused = self.guards.iter().find_map(|guard| guard.refuse(&path, request));
                let answer = || {
                    let mut answers =
                        self.routes.iter().filter_map(|route| route.answer(&path, host, request));
                    answers.next()
                };
                match refused {
                    Some(refusal) => refusal,
                    None => match answer() {
                        Some(response) => return response,
                        None => page::status(StatusCode::NOT_FOUND),
                    },
                }
            }
        };
        route::set(&mut response, &self.headers);
        if request.method() == Method::HEAD {
            *response.body_mut() = FileBody::empty();
        }
        response
    }

    /// The redirect to its first name.
    fn to_canonical<B>(&self, request: &Request<B>, written: &str) -> Response<FileBody> {
        let https = request.extensions().get::<Client>().is_some_and(Client::is_https);
        let scheme = if https { "https" } else { "http" };
        let port = written.rsplit_once(':').map_or("", |(_, port)| port);
        let port = match port.parse::<u16>() {
            Ok(port) => format!(":{port}"),
            Err(_) => String::new(),
        };
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let location = format!("{scheme}://{}{port}{path}", self.names[0]);
        page::moved(Some(location), request.method())
    }
}

/// All sites: a tower service that has each request answered by the site of its host. 404 for a host that no site has.
///
/// Cheap to clone. The request's body is not looked at.
#[derive(Clone, Debug)]
pub struct Sites(Arc<Table>);

#[derive(Debug)]
struct Table {
    sites: Vec<Site>,
    names: Names,
    default: Option<usize>,
    /// What is served of, to be tidied.
    files: Vec<Files>,
}

impl Sites {
    /// These sites. `files` are those that their routes serve, which [`let_go`](Self::let_go) tidies.
    ///
    /// # Errors
    /// When two have one name, or two are the default.
    pub fn new(sites: Vec<Site>, files: Vec<Files>) -> Result<Self, SiteError> {
        let (mut names, mut default) = (Names::default(), None);
        for (index, site) in sites.iter().enumerate() {
            for name in &site.names {
                names.add(name, index)?;
            }
            if site.default && default.replace(index).is_some() {
                return Err(SiteError("two sites are the default".to_owned()));
            }
        }
        Ok(Self(Arc::new(Table { sites, names, default, files })))
    }

    /// The index of the site of a host, as a client writes it.
    #[must_use]
    pub fn find(&self, host: &str) -> Option<usize> {
        self.0.names.find(&names::host_of(host)).or(self.0.default)
    }

    /// Closes files that no request has used for two seconds; says when to call it again.
    #[must_use = "it says when to call it again"]
    pub fn let_go(&self) -> Option<Duration> {
        self.0.files.iter().filter_map(Files::let_go).min()
    }

    /// Closes all files that are only remembered.
    pub fn let_go_of_all(&self) {
        self.0.files.iter().for_each(Files::let_go_of_all);
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<FileBody> {
        let table = &*self.0;
        let field = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let written = request.uri().authority().map(|it| it.as_str()).or(field).unwrap_or_default();
        let host = names::host_of(written);
        let named = table.names.find(&host);
        let Some(index) = named.or(table.default) else {
            return page::status(StatusCode::NOT_FOUND);
        };
        let site = &table.sites[index];
        let client = request.extensions().get::<Client>();
        if let Some(asked) = client.and_then(Client::tls).and_then(|tls| tls.server_name()) {
            let other = self.find(asked).map(|other| &table.sites[other].certificate);
            if other.is_some_and(|other| *other != site.certificate) {
                return page::status(StatusCode::MISDIRECTED_REQUEST);
            }
        }
        if site.canonical && named.is_some() && site.names[0] != *host {
            return site.to_canonical(request, written);
        }
        site.answer(&host, request)
    }
}

impl<B> Service<Request<B>> for Sites {
    type Response = Response<FileBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<FileBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(&request)))
    }
}
