//! The first half of the floor: reads a whole body and answers as an acceptance looks.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use crate::common::fault::Fault;
use crate::common::roles::{Orders, http1};

pub(super) async fn serve(orders: Orders) -> Result<(), Fault> {
    http1::serve(answer, orders, |_| String::new()).await
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_broken) => return with(StatusCode::BAD_REQUEST, String::new()),
    };
    let bytes = body.len();
    with(StatusCode::ACCEPTED, format!(r#"{{"accepted":1,"bytes":{bytes},"ack":"memory"}}"#))
}

fn with(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
