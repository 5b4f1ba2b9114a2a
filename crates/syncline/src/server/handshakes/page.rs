//! The pages of handshakes: plain HTML without scripts or styles, of which nothing is kept, framed or told to the next site.
//!
//! **Architecture Invariant:** a page is made of [`text`] and of texts of this program; nothing else is ever HTML.

use std::fmt::Write as _;

use axum::body::Body;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderValue, StatusCode};

/// A text as it stands in HTML, between tags or in an attribute's quotes.
pub(super) fn text(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c if c.is_control() => html.push(' '),
            c => html.push(c),
        }
    }
    html
}

/// A form with one button, sent to somebody else's site.
pub(super) fn form(action: &str, fields: &[(&str, &str)], button: &str) -> String {
    let mut html = format!("<form method=\"post\" action=\"{}\">", text(action));
    for (name, value) in fields {
        let _ = write!(html, "<input type=\"hidden\" name=\"{}\" value=\"{}\">", text(name), text(value));
    }
    let _ = write!(html, "<p><button>{}</button></p></form>", text(button));
    html
}

/// A link to somebody else's site.
pub(super) fn link(url: &str, words: &str) -> String {
    format!("<p><a rel=\"noreferrer noopener\" href=\"{}\">{}</a></p>", text(url), text(words))
}

/// A page; `posts_to` is the origin that its form is sent to.
pub(super) fn page(status: StatusCode, title: &str, body: &str, posts_to: Option<&str>) -> Response {
    let title = text(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} - Syncline</title></head><body><main><h1>{title}</h1>{body}</main></body></html>\n"
    );
    let mut response = Response::new(Body::from(html));
    *response.status_mut() = status;
    let policy = format!(
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action {}",
        posts_to.unwrap_or("'none'")
    );
    let headers = response.headers_mut();
    let none = || HeaderValue::from_static("default-src 'none'");
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::try_from(policy).unwrap_or_else(|_| none()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_a_text() {
        let hostile = "</p><script>alert('1')</script>\" onload=\"x&\n";
        let expect = "&lt;/p&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; onload=&quot;x&amp; ";
        assert_eq!(text(hostile), expect);
        for html in [form(hostile, &[(hostile, hostile)], hostile), link(hostile, hostile)] {
            assert!(!html.contains("<script") && !html.contains("\" onload"), "{html}");
        }
    }
}
