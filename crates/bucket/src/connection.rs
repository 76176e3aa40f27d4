//! The way to a bucket: what is made when the first file goes there.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use tokio::runtime::{Builder, Runtime};

use crate::address::{Address, Provider};
use crate::reason::reason;

/// How long a request that fails is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// The longest pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How long a host may take to accept a connection.
const CONNECT: &str = "5 seconds";

/// How long one request may take with all its tries; none has more than a part of a file.
const REQUEST: Duration = Duration::from_secs(30);

/// A store, and the runtime that drives requests to it. The runtime has no thread of its own: those
/// who wait for their requests drive it, together where there are several.
pub(crate) struct Connection {
    pub runtime: Runtime,
    pub store: Arc<dyn ObjectStore>,
}

impl Connection {
    /// The way to the bucket of an address, with what the environment says about it.
    ///
    /// # Errors
    /// The environment lacks something, or has something wrong.
    pub fn open(address: &Address) -> Result<Self, String> {
        // One that somebody else has chosen before does as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::to(of_environment(address).map_err(|error| reason(&error))?)
    }

    /// A connection to this store.
    ///
    /// # Errors
    /// The system is out of something.
    pub fn to(store: Arc<dyn ObjectStore>) -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // For the resolution of names alone; they end when there is nothing to resolve.
            .max_blocking_threads(2)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { runtime, store })
    }

    /// Does one request, and gives it up when it takes too long.
    ///
    /// # Errors
    /// The store's reason.
    pub async fn request<T>(
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(REQUEST, request).await {
            Ok(outcome) => outcome.map_err(|error| reason(&error)),
            Err(_) => Err(format!("no answer within {} s", REQUEST.as_secs())),
        }
    }
}

/// The store of an address. The builders read the variables with the prefix of their provider: the
/// whole environment, as options, would have a `BUCKET` or `TOKEN` of something else in it.
fn of_environment(address: &Address) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig {
        retry_timeout: RETRY,
        backoff: BackoffConfig {
            max_backoff: RETRY_PAUSE,
            ..BackoffConfig::default()
        },
        ..RetryConfig::default()
    };
    let connect = ClientConfigKey::ConnectTimeout;
    let url = address.text();
    Ok(match address.provider() {
        Provider::Amazon => Arc::new(
            AmazonS3Builder::from_env()
                .with_url(url)
                .with_config(AmazonS3ConfigKey::Client(connect), CONNECT)
                .with_retry(retry)
                .build()?,
        ),
        Provider::Google => Arc::new(
            GoogleCloudStorageBuilder::from_env()
                .with_url(url)
                .with_config(GoogleConfigKey::Client(connect), CONNECT)
                .with_retry(retry)
                .build()?,
        ),
        Provider::Azure => Arc::new(
            MicrosoftAzureBuilder::from_env()
                .with_url(url)
                .with_config(AzureConfigKey::Client(connect), CONNECT)
                .with_retry(retry)
                .build()?,
        ),
    })
}
