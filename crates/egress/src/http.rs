//! One request, one answer.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;

use crate::dial::{Connections, NoAnswer};
use crate::egress::{Egress, NotAdmitted};
use crate::url::RemoteUrl;

/// An HTTP/1.1 client for strangers.
#[derive(Debug)]
pub struct Http {
    egress: Egress,
    connections: Connections,
}

impl Http {
    /// A client that goes where `egress` lets it.
    #[must_use]
    pub fn new(egress: Egress) -> Self {
        Self { egress, connections: Connections::default() }
    }

    /// Sends a request to its URI, which is a whole one, and reads the answer, whatever its status; redirects are answers
    /// like others. `extra_root_pem` is trusted beside the machine's roots. GET, HEAD, PUT and DELETE are sent once more
    /// where a connection that was kept turns out to be closed; any other only if nothing of it was sent. The caller
    /// bounds how long it takes.
    ///
    /// # Errors
    /// [`NoAnswer`]; [`NoAnswer::TooLong`] if the body has more than `max_body` bytes. Where a proxy is configured,
    /// [`NotAdmitted::Policy`].
    pub async fn send(
        &self,
        extra_root_pem: Option<&str>,
        request: Request<Bytes>,
        max_body: usize,
    ) -> Result<Response<Bytes>, NoAnswer> {
        let (response, is_whole) = self.send_and_cut(extra_root_pem, request, max_body).await?;
        if is_whole { Ok(response) } else { Err(NoAnswer::TooLong(max_body)) }
    }

    /// The same for who does not need all of the answer: its first `max_body` bytes, and whether that is all of it.
    ///
    /// # Errors
    /// As [`Http::send`], but for [`NoAnswer::TooLong`].
    pub async fn send_and_cut(
        &self,
        extra_root_pem: Option<&str>,
        request: Request<Bytes>,
        max_body: usize,
    ) -> Result<(Response<Bytes>, bool), NoAnswer> {
        let (origin, authority, target) = parts_of(request.uri())?;
        let route = self.egress.admit(&origin).await?;
        if route.addresses.is_empty() {
            let message = format!("{} cannot be asked through the proxy", route.host);
            return Err(NotAdmitted::Policy { message }.into());
        }
        let (mut head, body) = request.into_parts();
        head.uri = target;
        head.headers.insert(HOST, authority);
        head.headers.remove(CONNECTION);
        head.headers.remove(TRANSFER_ENCODING);
        let may_be_repeated =
            matches!(head.method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
        let request = Request::from_parts(head, Full::new(body));
        let answer = self.connections.send(&route, extra_root_pem, request, may_be_repeated).await?;
        let mut response = Response::new(());
        *response.status_mut() = answer.head().status();
        response.headers_mut().clone_from(answer.head().headers());
        let (body, is_whole) = self.connections.read(answer, max_body).await?;
        Ok((response.map(|()| body), is_whole))
    }
}

/// Where a URI leads, what it is called there, and what is asked for there.
fn parts_of(uri: &Uri) -> Result<(RemoteUrl, HeaderValue, Uri), NoAnswer> {
    let unusable = |why: &dyn std::fmt::Display| NoAnswer::Here(format!("a URL cannot be used: {why}"));
    let (Some(scheme @ ("https" | "http")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(unusable(&"it does not begin with https:// or http:// and a host"));
    };
    let origin: RemoteUrl = format!("{scheme}://{authority}").parse().map_err(|error| unusable(&error))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = target.parse().map_err(|error| unusable(&error))?;
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|error| unusable(&error))?;
    Ok((origin, authority, target))
}
