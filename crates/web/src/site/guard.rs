//! What a request must fulfil before anything answers it.

use http::header::{ALLOW, CONTENT_LENGTH};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use tine::access::{AccessConfig, Peer, Rules};
use tine_http::{Client, FileBody};

use super::SiteError;
use super::pattern::Pattern;
use crate::page;

/// A guard: every one whose paths match must allow a request.
#[derive(Debug, Default)]
pub struct Guard {
    pattern: Pattern,
    access: AccessConfig,
    rules: Option<Rules>,
    methods: Vec<Method>,
    /// The methods, as `Allow` lists them.
    allow: Option<HeaderValue>,
    max_body_size: Option<u64>,
}

impl Guard {
    /// For all paths, and with nothing to fulfil.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For these paths.
    #[must_use]
    pub fn pattern(self, pattern: Pattern) -> Self {
        Self { pattern, ..self }
    }

    /// These clients may come in; others get 403. Entries are those of [`tine::access`], without names.
    ///
    /// # Errors
    /// When an entry makes no sense.
    pub fn allow(mut self, entry: &str) -> Result<Self, SiteError> {
        self.access.allow.push(entry.to_owned());
        self.ruled()
    }

    /// These clients may not come in, whatever `allow` says; they get 403.
    ///
    /// # Errors
    /// When an entry makes no sense.
    pub fn deny(mut self, entry: &str) -> Result<Self, SiteError> {
        self.access.deny.push(entry.to_owned());
        self.ruled()
    }

    fn ruled(mut self) -> Result<Self, SiteError> {
        let rules = Rules::new(&self.access).map_err(|error| SiteError(error.to_string()))?;
        self.rules = Some(rules);
        Ok(self)
    }

    /// These methods are allowed; GET brings HEAD along. Others get 405.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods.extend(methods);
        if self.methods.contains(&Method::GET) && !self.methods.contains(&Method::HEAD) {
            self.methods.push(Method::HEAD);
        }
        let names: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        self.allow = HeaderValue::try_from(names.join(", ")).ok();
        self
    }

    /// Longer bodies get 413.
    #[must_use]
    pub fn max_body_size(self, bytes: u64) -> Self {
        Self { max_body_size: Some(bytes), ..self }
    }

    /// The refusal of a request, if it is refused.
    pub(super) fn refuse<B>(&self, path: &str, request: &Request<B>) -> Option<Response<FileBody>> {
        self.pattern.matches(path)?;
        if let Some(rules) = &self.rules {
            let address = request.extensions().get::<Client>().and_then(Client::address);
            if !rules.decide(&Peer { address, name: None }).allowed {
                return Some(page::status(StatusCode::FORBIDDEN));
            }
        }
        if !self.methods.is_empty() && !self.methods.contains(request.method()) {
            let mut response = page::status(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().extend(self.allow.clone().map(|methods| (ALLOW, methods)));
            return Some(response);
        }
        let most = self.max_body_size?;
        let length = request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
        (length > most).then(|| page::status(StatusCode::PAYLOAD_TOO_LARGE))
    }
}
