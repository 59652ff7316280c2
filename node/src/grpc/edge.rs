//! The outermost layer: errors that tonic makes before a service sees the request get a reason.
//!
//! Bytes that are no protobuf, and requests above the size limit, never reach our code; tonic
//! answers them with a bare status. This layer replaces those answers by ours. It looks only at
//! replies without a body, which carry the status in their headers.

use super::refusal::Refusal;
use axum::http::{Request, Response};
use skerry_proto::v1::ErrorReason;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

/// Adds [`Reasons`] to a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReasonLayer;

impl<S> Layer<S> for ReasonLayer {
    type Service = Reasons<S>;
    fn layer(&self, inner: S) -> Reasons<S> {
        Reasons { inner }
    }
}

/// Gives tonic's own errors a reason.
#[derive(Clone, Debug)]
pub(super) struct Reasons<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Reasons<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(with_reason(answer.await?)) })
    }
}

fn with_reason<R: Default>(response: Response<R>) -> Response<R> {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    match replacement(&status) {
        Some(refusal) => Status::from(refusal).into_http(),
        None => response,
    }
}

/// The messages are tonic's; a test with a real server holds them in place.
fn replacement(status: &Status) -> Option<Refusal> {
    if !status.details().is_empty() {
        return None;
    }
    let message = status.message();
    let malformed = message.contains("failed to decode Protobuf message");
    let too_large = message.contains("message length too large");
    match status.code() {
        Code::Internal if malformed => Some(Refusal::new(
            ErrorReason::RequestMalformed,
            format!("the request is not a message of this method: {message}"),
        )),
        Code::OutOfRange | Code::ResourceExhausted if too_large => {
            Some(Refusal::new(ErrorReason::RequestTooLarge, message))
        }
        _ => None,
    }
}
