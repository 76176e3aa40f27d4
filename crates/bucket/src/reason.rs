//! Why something with a bucket failed, in words that can be shown.

use std::error::Error;

/// The longest reason, in characters: some stores answer with pages.
const REASON_CHARACTERS: usize = 600;

/// Why something with a bucket failed. The text names the bucket, and has no secrets.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct BucketError {
    /// Of the file or the bucket.
    pub address: String,
    pub reason: String,
}

impl BucketError {
    pub(crate) fn new(address: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            reason: reason.into(),
        }
    }
}

/// The texts of an error and of what caused it, without what addresses may have in them beside the
/// place.
pub(crate) fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Most texts have those of their causes in them.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    let words: Vec<String> = text.split_whitespace().map(without_secrets).collect();
    let text = words.join(" ");
    match text.char_indices().nth(REASON_CHARACTERS) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    }
}

/// Signatures are in the queries of some stores; a proxy's password comes before its host.
fn without_secrets(word: &str) -> String {
    let Some((before, address)) = word.split_once("://") else {
        return word.to_owned();
    };
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = address.split_at(address.find('/').unwrap_or(address.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{before}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot PUT (http://key:hidden@host:1/a/b?sig=hidden&x=1): refused")]
    struct Inner;

    #[test]
    fn causes_are_told_and_secrets_are_not() {
        let text = reason(&Outer(Inner));
        assert_eq!(text, "outer: cannot PUT (http://host:1/a/b refused");
    }

    #[test]
    fn pages_are_cut() {
        let text = reason(&std::io::Error::other("ä".repeat(10_000)));
        assert_eq!(text.chars().count(), REASON_CHARACTERS + 4);
    }
}
