//! What can be served, in one word.

use http::{Request, Response};
use tine::BoxError;
use tower_service::Service;

use crate::body::RequestBody;

/// Any tower service that answers a `Request<`[`RequestBody`]`>` with a response: axum's and tonic's
/// routers, and whatever is around them. Implemented for all of them, and for nothing else.
///
/// It is cloned for each request. Neither it nor its futures need be `Send`.
pub trait HttpService:
    Service<
        Request<RequestBody>,
        Response = Response<<Self as HttpService>::Answer>,
        Error: Into<BoxError>,
        Future: 'static,
    > + Clone
    + 'static
{
    /// The body of its responses.
    type Answer: http_body::Body<Error: Into<BoxError>> + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + 'static,
    S::Error: Into<BoxError>,
    S::Future: 'static,
    B: http_body::Body + 'static,
    B::Error: Into<BoxError>,
{
    type Answer = B;
}
