//! Bodies of requests, whole and bounded in size and time.

use axum::body::{Body, Bytes};
use axum::http::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{Limits, Problem};

/// The whole body of a request. Bounds are those of the server that it came through.
pub async fn whole(request: Request<Body>) -> Result<Bytes, Problem> {
    let limits = request.extensions().get::<Limits>().copied().unwrap_or_default();
    let body = Limited::new(request.into_body(), limits.body_bytes_max);
    match timeout(limits.body_within, body.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::of(413).detail(format!("a body has at most {} bytes", limits.body_bytes_max)))
        }
        Ok(Err(_)) => Err(Problem::of(400).detail("the body broke off")),
        Err(_) => Err(Problem::of(408).detail(format!("a body takes at most {:?}", limits.body_within))),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use super::*;

    fn request(body: Body, bytes_max: usize) -> Request<Body> {
        let limits = Limits { body_bytes_max: bytes_max, body_within: Duration::from_secs(5), ..Limits::default() };
        let mut request = Request::new(body);
        request.extensions_mut().insert(limits);
        request
    }

    #[tokio::test(start_paused = true)]
    async fn large_and_slow_bodies_are_refused() {
        assert_eq!(whole(request(Body::from("1234"), 4)).await.unwrap(), "1234");
        assert_eq!(whole(request(Body::from("12345"), 4)).await.unwrap_err().status, 413);
        assert_eq!(whole(request(Body::new(Never), 4)).await.unwrap_err().status, 408);
    }

    /// A body that never comes.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }
}
