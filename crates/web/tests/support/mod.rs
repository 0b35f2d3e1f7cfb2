//! A site for the tests, and words to ask it with.
#![allow(dead_code, reason = "each test uses some of it")]

use std::fs::{self, File};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tine_http::FileBody;
use tine_web::Files;
use tower_service::Service as _;

/// A site of these files, beside a secret.
pub struct Site {
    pub directory: TempDir,
    pub files: Files,
}

impl Site {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("secret"), "secret").expect("a file");
        let root = directory.path().join("root");
        fs::create_dir(&root).expect("a directory");
        for (name, content) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("it is beneath")).expect("directories");
            fs::write(path, content).expect("a file");
        }
        let files = Files::new(root).expect("the root exists").recheck_after(Duration::ZERO);
        Self { files, directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("root").join(name)
    }

    pub fn ask(&self, request: Request<()>) -> Response<FileBody> {
        let mut files = self.files.clone();
        let ready = std::future::poll_fn(|context| {
            tower_service::Service::<Request<()>>::poll_ready(&mut files, context)
        });
        block_on(ready).expect("infallible");
        block_on(files.call(request)).expect("infallible")
    }

    pub fn get(&self, path: &str) -> Response<FileBody> {
        self.ask(request(Method::GET, path))
    }

    /// Says that a file was last written to so many seconds ago.
    pub fn age(&self, name: &str, seconds: u64) {
        let file = File::options().append(true).open(self.path(name)).expect("it is there");
        let then = SystemTime::now() - Duration::from_secs(seconds);
        file.set_modified(then).expect("it is ours");
    }

    /// A GET with these fields.
    pub fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Response<FileBody> {
        let mut request = request(Method::GET, path);
        for (name, value) in fields {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        self.ask(request)
    }

    #[track_caller]
    pub fn assert_status(&self, path: &str, expected: StatusCode) {
        let response = self.get(path);
        assert_eq!(response.status(), expected, "{path}");
        let text = text(response);
        assert!(!text.contains("secret"), "{path}: {text}");
    }
}

pub fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(path).body(()).expect("a request")
}

/// What waits here lets others in for a moment, and goes on when asked again.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}

pub fn bytes(response: Response<FileBody>) -> Vec<u8> {
    let collected = block_on(response.into_body().collect()).expect("it can be read");
    collected.to_bytes().to_vec()
}

pub fn text(response: Response<FileBody>) -> String {
    String::from_utf8(bytes(response)).expect("text")
}

pub fn field(response: &Response<FileBody>, name: HeaderName) -> &str {
    let value = response.headers().get(&name).unwrap_or_else(|| panic!("no {name}"));
    value.to_str().expect("text")
}
