//! Addresses of places in buckets, such as `s3://bucket/path`.

use std::fmt;

use object_store::ObjectStoreScheme;
use object_store::path::Path;
use url::Url;

/// Who keeps the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Amazon,
    Google,
    Azure,
}

/// A bucket, and where in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// Without a slash at its end.
    text: String,
    provider: Provider,
    path: Path,
}

/// Why a text names no place in a bucket. The text is what the user reads; it never has more of a
/// wrong address than may be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{0} has none of the schemes file, s3, s3a, gs, az, abfs and abfss")]
    Scheme(String),
    #[error("{text} is no address of a bucket, such as s3://bucket/path: {why}")]
    Malformed { text: String, why: String },
    #[error(
        "the address of the bucket {0} has a password or a query in it: credentials belong into the \
         environment (AWS_SECRET_ACCESS_KEY, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_ACCOUNT_KEY, ...)"
    )]
    Secret(String),
}

impl Address {
    /// Reads an address. Nothing is asked of the bucket.
    ///
    /// # Errors
    /// It is none, or says more than where the bucket is.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let malformed = |shown: &str, why: String| AddressError::Malformed {
            text: shown.to_owned(),
            why,
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::Scheme(text.to_owned()));
        };
        // What comes before the host, and after the path, may be secret.
        let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let (authority, _) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let is_container = scheme.starts_with("abfs") && !user.contains(':');
        if !query.is_empty() || (!user.is_empty() && !is_container) {
            return Err(AddressError::Secret(format!("{scheme}://{host}")));
        }
        let provider = match scheme {
            "s3" | "s3a" => Provider::Amazon,
            "gs" => Provider::Google,
            "az" | "abfs" | "abfss" => Provider::Azure,
            _ => return Err(AddressError::Scheme(text.to_owned())),
        };
        let url = Url::parse(text).map_err(|error| malformed(text, error.to_string()))?;
        let (_, path) = ObjectStoreScheme::parse(&url)
            .map_err(|_| malformed(text, "it names no bucket".to_owned()))?;
        Ok(Self {
            text: text.trim_end_matches('/').to_owned(),
            provider,
            path,
        })
    }

    pub(crate) fn provider(&self) -> Provider {
        self.provider
    }

    /// The whole of it, as it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where in the bucket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_all_providers() -> Result<(), AddressError> {
        for (text, provider, path) in [
            ("s3://bucket", Provider::Amazon, ""),
            ("s3a://bucket/a/b/", Provider::Amazon, "a/b"),
            ("gs://bucket/a", Provider::Google, "a"),
            ("az://container/a", Provider::Azure, "a"),
            (
                "abfss://container@account.dfs.core.windows.net/a",
                Provider::Azure,
                "a",
            ),
        ] {
            let address = Address::parse(text)?;
            assert_eq!(address.provider(), provider);
            assert_eq!(address.path().as_ref(), path);
            assert_eq!(address.to_string(), text.trim_end_matches('/'));
        }
        Ok(())
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in ["bucket/path", "ftp://bucket/path", "memory:///a"] {
            let error = Address::parse(text);
            assert_eq!(error, Err(AddressError::Scheme(text.to_owned())));
        }
        for text in ["s3://", "s3:///path", "gs://b ucket/a"] {
            let error = Address::parse(text);
            assert!(
                matches!(error, Err(AddressError::Malformed { .. })),
                "{text}: {error:?}"
            );
        }
    }

    #[test]
    fn secrets_are_refused_and_not_repeated() {
        for text in [
            "s3://key:hidden@bucket/path",
            "s3://hidden@bucket",
            "az://container/path?sig=hidden",
            "abfss://container:hidden@account.dfs.core.windows.net",
            "ftp://key:hidden@bucket/path",
        ] {
            let Err(error) = Address::parse(text) else {
                panic!("{text} was taken");
            };
            assert!(matches!(error, AddressError::Secret(_)), "{error}");
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }
}
