//! One request to a forge, and how its answer is read.

use std::fmt::{self, Write as _};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::Access;
use super::refusal::{self, Refusal};
use crate::Forge;

/// The version of Azure DevOps' API that answers are read as.
const AZURE_VERSION: &str = "api-version=7.1";

type Read<T> = Box<dyn FnOnce(&Access, Response<Bytes>) -> Result<T, Refusal> + Send>;

/// A request to a forge whose answer is a `T`.
pub struct Question<T> {
    point: &'static str,
    access: Access,
    request: Result<Request<Bytes>, Refusal>,
    read: Read<T>,
}

impl<T> fmt::Debug for Question<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("point", &self.point).field("request", &self.request).finish()
    }
}

/// Some of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// These.
    pub items: Vec<T>,
    /// Asks for those that follow; `None` if there are none.
    pub next: Option<Question<Page<T>>>,
}

impl<T: 'static> Question<T> {
    /// The fault point under which it is asked.
    #[must_use]
    pub fn point(&self) -> &'static str {
        self.point
    }

    /// What is to be sent.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if it cannot be written as HTTP.
    pub fn request(&self) -> Result<Request<Bytes>, Refusal> {
        self.request.clone()
    }

    /// What it means that it could not be sent, for a reason in somebody's words.
    #[must_use]
    pub fn unsent(&self, why: &str) -> Refusal {
        Refusal::Unreached(refusal::scrubbed(&self.access, why))
    }

    /// What it means that nothing came of sending it, for a reason in somebody's words.
    #[must_use]
    pub fn unanswered(&self, why: &str) -> Refusal {
        Refusal::Unavailable(refusal::scrubbed(&self.access, why))
    }

    /// What the answer means, which came at `now_ms`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn answered(self, response: Response<Bytes>, now_ms: i64) -> Result<T, Refusal> {
        match refusal::of(&self.access, &response, now_ms) {
            Some(refusal) => Err(refusal),
            None => (self.read)(&self.access, response),
        }
    }

    /// The same question, whose answer is made into something else.
    #[must_use]
    pub fn map<U: 'static>(self, make: impl FnOnce(T) -> U + Send + 'static) -> Question<U> {
        self.and_then(|answer| Ok(make(answer)))
    }

    /// The same question, whose answer is made into something else or turns out to be none.
    #[must_use]
    pub fn and_then<U: 'static>(
        self,
        make: impl FnOnce(T) -> Result<U, Refusal> + Send + 'static,
    ) -> Question<U> {
        let Self { point, access, request, read } = self;
        let read: Read<U> = Box::new(move |access, response| read(access, response).and_then(make));
        Question { point, access, request, read }
    }
}

impl Access {
    /// Asks for the object at a path below the API's base, which begins with a slash and may have a query.
    #[must_use]
    pub fn get<T: DeserializeOwned + 'static>(&self, point: &'static str, path: &str) -> Question<T> {
        self.ask(point, Method::GET, path, None)
    }

    /// Sends a JSON body by `method`, and reads the answer.
    #[must_use]
    pub fn send<T: DeserializeOwned + 'static>(
        &self,
        point: &'static str,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Question<T> {
        self.ask(point, method, path, Some(to_json(body)))
    }

    /// Posts a form, and reads the answer.
    #[must_use]
    pub(crate) fn form<T: DeserializeOwned + 'static>(
        &self,
        point: &'static str,
        path: &str,
        form: String,
    ) -> Question<T> {
        let mut question = self.ask(point, Method::POST, path, Some(form.into()));
        if let Ok(request) = &mut question.request {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, form);
        }
        question
    }

    /// Has something done whose answer says nothing.
    #[must_use]
    pub fn act(&self, point: &'static str, method: Method, path: &str, body: Option<&Value>) -> Question<()> {
        let request = self.request(method, path, body.map(to_json));
        Question { point, access: self.clone(), request, read: Box::new(|_, _| Ok(())) }
    }

    /// Asks for a list, page by page.
    #[must_use]
    pub fn list<T: DeserializeOwned + 'static>(&self, point: &'static str, path: &str) -> Question<Page<T>> {
        let (request, asked) = (self.request(Method::GET, path, None), path.to_owned());
        let read: Read<Page<T>> = Box::new(move |access, response| page(access, point, &asked, &response));
        Question { point, access: self.clone(), request, read }
    }

    fn ask<T: DeserializeOwned + 'static>(
        &self,
        point: &'static str,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Question<T> {
        let request = self.request(method, path, body);
        // A structure could also be read from a list of its members.
        let read: Read<T> = Box::new(|_, response| {
            let object: serde_json::Map<String, Value> = read(&response)?;
            serde_json::from_value(Value::Object(object)).map_err(|_| odd(&response))
        });
        Question { point, access: self.clone(), request, read }
    }

    fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Request<Bytes>, Refusal> {
        let unusable = |what: &str| Refusal::Invalid(format!("{what} cannot be sent in a request"));
        let mut url = format!("{}{path}", self.base());
        if self.forge() == Forge::AzureDevOps && !path.contains("api-version=") {
            let _ = write!(url, "{}{AZURE_VERSION}", if path.contains('?') { '&' } else { '?' });
        }
        let mut request = Request::new(body.unwrap_or_default());
        *request.uri_mut() = url.parse::<Uri>().map_err(|_| unusable("the path of what is asked for"))?;
        *request.headers_mut() = self.headers().ok_or_else(|| unusable("the token"))?;
        if method != Method::GET && method != Method::DELETE {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        *request.method_mut() = method;
        Ok(request)
    }
}

fn to_json(body: &impl Serialize) -> Bytes {
    // Our own bodies have no maps whose keys are not texts.
    serde_json::to_vec(body).unwrap_or_default().into()
}

fn read<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Refusal> {
    if !refusal::is_json(response.headers()) {
        let message = format!("{}, but no JSON: a page, or somebody in between", response.status());
        return Err(Refusal::Unavailable(message));
    }
    serde_json::from_slice(response.body()).map_err(|_| odd(response))
}

/// Not in the words of whoever cannot read it, which may be the answer's.
fn odd(response: &Response<Bytes>) -> Refusal {
    Refusal::Unavailable(format!("{}, but not the JSON that was asked for", response.status()))
}

/// A list's members, and the question for those that follow.
fn page<T: DeserializeOwned + 'static>(
    access: &Access,
    point: &'static str,
    asked: &str,
    response: &Response<Bytes>,
) -> Result<Page<T>, Refusal> {
    let mut body: Value = read(response)?;
    let next = match access.forge() {
        Forge::Bitbucket => body.get("next").and_then(Value::as_str).and_then(|url| below(access, url)),
        Forge::AzureDevOps => {
            let more = response.headers().get("x-ms-continuationtoken").and_then(|more| more.to_str().ok());
            let without = asked.split("&continuationToken=").next().unwrap_or(asked);
            let and = if without.contains('?') { '&' } else { '?' };
            more.map(|more| format!("{without}{and}continuationToken={}", segment(more)))
        }
        Forge::GitHub | Forge::GitLab | Forge::Gitea | Forge::Git => {
            next_link(response.headers()).and_then(|url| below(access, &url))
        }
    };
    let items = match access.forge() {
        Forge::Bitbucket => body.get_mut("values").map(Value::take),
        Forge::AzureDevOps => body.get_mut("value").map(Value::take),
        Forge::GitHub | Forge::GitLab | Forge::Gitea | Forge::Git => Some(body),
    };
    let items = serde_json::from_value(items.ok_or_else(|| odd(response))?).map_err(|_| odd(response))?;
    Ok(Page { items, next: next.map(|path| access.list(point, &path)) })
}

/// The URL with `rel="next"` of a `Link` header (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    links.flat_map(|link| link.split(",")).find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|one| matches!(one.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then(|| url.to_owned())
    })
}

/// The path of a URL below the API's base, wherever else the URL leads.
fn below(access: &Access, url: &str) -> Option<String> {
    let base = access.base().parse::<Uri>().ok()?;
    let url = url.parse::<Uri>().ok()?;
    let path = url.path_and_query()?.as_str();
    let rest = path.strip_prefix(base.path().trim_end_matches('/'))?;
    rest.starts_with('/').then(|| rest.to_owned())
}

/// A text as one segment of a path, or as a value of a query.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
