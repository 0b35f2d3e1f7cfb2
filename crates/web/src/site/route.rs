//! What answers a request.

use std::borrow::Cow;

use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use tine_http::FileBody;

use super::SiteError;
use super::pattern::{Matched, Pattern};
use super::redirect::Redirect;
use crate::Files;
use crate::page;

/// A route: the first whose paths match answers.
#[derive(Debug)]
pub struct Route {
    pattern: Pattern,
    answer: Answer,
    headers: Vec<(HeaderName, HeaderValue)>,
    missing: Missing,
    /// The directory of the pattern is that of the files.
    strip: bool,
}

/// What follows if there is no such file.
#[derive(Clone, Debug, Default)]
pub enum Missing {
    /// 404.
    #[default]
    NotFound,
    /// The next route; also for methods that files do not have.
    Next,
    /// This file, by its path, with 200: for pages that have their routes in the browser.
    File(Uri),
}

#[derive(Debug)]
enum Answer {
    Files(Files),
    Redirect(Redirect),
    Status(StatusCode),
}

impl Route {
    fn with(answer: Answer) -> Self {
        let (pattern, missing) = (Pattern::default(), Missing::default());
        Self { pattern, answer, headers: Vec::new(), missing, strip: false }
    }

    /// Answers with files.
    #[must_use]
    pub fn files(files: Files) -> Self {
        Self::with(Answer::Files(files))
    }

    /// Answers with a redirect. `{path}` stands for the path, `{host}` for the host, `{*}` for what `*` matched, `{1}` for a
    /// group of a regular expression.
    ///
    /// # Errors
    /// When a part of the request could become another host, or the status is none of a redirect.
    pub fn redirect(target: &str, status: u16) -> Result<Self, SiteError> {
        Redirect::new(target, status).map(Answer::Redirect).map(Self::with)
    }

    /// Answers with a status, and a page that says it.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        Self::with(Answer::Status(status))
    }

    /// For these paths.
    #[must_use]
    pub fn pattern(self, pattern: Pattern) -> Self {
        Self { pattern, ..self }
    }

    /// Sets a field of every answer. Cache-Control is not set for errors, which should not be kept as long.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What follows if there is no such file.
    #[must_use]
    pub fn missing(self, missing: Missing) -> Self {
        Self { missing, ..self }
    }

    /// The part of the path that the pattern names is not part of the files' names: with `/static/*`, `/static/a` is
    /// the file `a`.
    #[must_use]
    pub fn strip(self) -> Self {
        Self { strip: true, ..self }
    }

    /// The answer, if this route has one. `path` is normalised.
    pub(super) fn answer<B>(
        &self,
        path: &str,
        host: &str,
        request: &Request<B>,
    ) -> Option<Response<FileBody>> {
        let matched = self.pattern.matches(path)?;
        let mut response = match &self.answer {
            Answer::Status(status) => page::status(*status),
            Answer::Redirect(redirect) => {
                redirect.answer((path, request.uri().query()), host, &matched)
            }
            Answer::Files(files) => self.file(files, &matched, request)?,
        };
        if request.method() == Method::HEAD && !matches!(self.answer, Answer::Files(_)) {
            *response.body_mut() = FileBody::empty();
        }
        set(&mut response, &self.headers);
        Some(response)
    }

    fn file<B>(
        &self,
        files: &Files,
        matched: &Matched<'_>,
        request: &Request<B>,
    ) -> Option<Response<FileBody>> {
        let (method, headers) = (request.method(), request.headers());
        let prefix = self.pattern.prefix().filter(|_| self.strip);
        let uri = match prefix {
            Some(prefix) => Cow::Owned(beneath(request.uri(), prefix, matched)?),
            None => Cow::Borrowed(request.uri()),
        };
        let mut response = files.answer(method, &uri, headers);
        match (&self.missing, response.status()) {
            (Missing::Next, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => return None,
            (Missing::File(file), StatusCode::NOT_FOUND) => {
                return Some(files.answer(method, file, headers));
            }
            _ => {}
        }
        if let Some(prefix) = prefix {
            moved_beneath(response.headers_mut(), prefix);
        }
        Some(response)
    }
}

/// The address of a file whose directory is the pattern's.
fn beneath(uri: &Uri, prefix: &str, matched: &Matched<'_>) -> Option<Uri> {
    let path = uri.path();
    // As it came, where it came as it is: what is remembered of files goes by it.
    let rest = match path.strip_prefix(prefix) {
        Some("") => "/".into(),
        Some(rest) if rest.starts_with('/') && !rest.contains("/.") && !rest.contains('%') => {
            Cow::Borrowed(rest)
        }
        _ => {
            let rest = matched.group(0).as_bytes();
            format!("/{}", percent_encoding::percent_encode(rest, crate::path::ESCAPED)).into()
        }
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Uri::try_from(format!("{rest}{query}")).ok()
}

/// A redirect to a directory names it as the client does.
fn moved_beneath(headers: &mut HeaderMap, prefix: &str) {
    let Some(location) = headers.get(LOCATION).and_then(|location| location.to_str().ok()) else {
        return;
    };
    let prefix = percent_encoding::percent_encode(prefix.as_bytes(), crate::path::ESCAPED);
    if let Ok(location) = HeaderValue::try_from(format!("{prefix}{location}")) {
        headers.insert(LOCATION, location);
    }
}

/// Sets fields of an answer.
pub(super) fn set(response: &mut Response<FileBody>, headers: &[(HeaderName, HeaderValue)]) {
    let error = response.status().is_client_error() || response.status().is_server_error();
    for (name, value) in headers {
        if !(error && name == CACHE_CONTROL) {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
}
