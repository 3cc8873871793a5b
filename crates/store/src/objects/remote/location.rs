//! From a URL and options to a client.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, RetryConfig};

use super::{Inner, said};
use crate::error::{Result, StoreError};
use crate::objects::check_key;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(3);
/// How long nothing may come while an answer is waited for.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a request may take in all; the largest object has 16 MiB or so.
const REQUEST: Duration = Duration::from_mins(1);

fn bad<T>(what: &'static str, reason: impl Into<String>) -> Result<T> {
    Err(StoreError::BadConfig {
        what,
        reason: reason.into(),
    })
}

/// Whether a place that somebody names is an object store's URL, and no directory.
pub fn is_object_store(place: &str) -> bool {
    place.contains("://")
}

pub(super) fn connect(url: &str, options: &[(String, String)]) -> Result<Inner> {
    const FORMS: &str =
        "it has to be s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";
    let Some((scheme, place)) = url.split_once("://") else {
        return bad("the objects' URL", FORMS);
    };
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = prefix.trim_end_matches('/');
    let named = !bucket.is_empty()
        && bucket
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if !named || (!prefix.is_empty() && check_key(prefix).is_err()) {
        return bad(
            "the objects' URL",
            format!("{FORMS}, in letters, digits, `.`, `-` and `_`; credentials are options"),
        );
    }
    // Whoever made the process's choice of cryptography before has made it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = match scheme {
        "s3" => s3(bucket, options),
        "gs" => gcs(bucket, options),
        "az" => azure(bucket, options),
        _ => return bad("the objects' URL", FORMS),
    };
    Ok(Inner {
        client: client.or_else(|error| bad("the object store", said(&error)))?,
        prefix: Path::from(prefix),
        server: format!("{scheme}://{bucket}/{prefix}"),
    })
}

type Client = Result<Arc<dyn super::Client>, object_store::Error>;

fn s3(bucket: &str, options: &[(String, String)]) -> Client {
    let client = client_options(options);
    let mut builder = AmazonS3Builder::new()
        .with_client_options(client)
        .with_retry(no_retries());
    for (key, value) in known(options) {
        builder = builder.with_config(key, value);
    }
    Ok(Arc::new(builder.with_bucket_name(bucket).build()?))
}

fn gcs(bucket: &str, options: &[(String, String)]) -> Client {
    let client = client_options(options);
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_client_options(client)
        .with_retry(no_retries());
    for (key, value) in known(options) {
        builder = builder.with_config(key, value);
    }
    Ok(Arc::new(builder.with_bucket_name(bucket).build()?))
}

fn azure(container: &str, options: &[(String, String)]) -> Client {
    let client = client_options(options);
    let mut builder = MicrosoftAzureBuilder::new()
        .with_client_options(client)
        .with_retry(no_retries());
    for (key, value) in known(options) {
        builder = builder.with_config(key, value);
    }
    Ok(Arc::new(builder.with_container_name(container).build()?))
}

/// The options that this store has. The others are somebody else's: they come out of a whole environment.
fn known<K: FromStr>(options: &[(String, String)]) -> impl Iterator<Item = (K, &str)> {
    options
        .iter()
        .filter_map(|(key, value)| Some((key.to_ascii_lowercase().parse().ok()?, value.as_str())))
}

fn client_options(options: &[(String, String)]) -> ClientOptions {
    let plain = options.iter().any(|(key, value)| {
        let key = key.to_ascii_lowercase();
        (key.contains("endpoint") || key.ends_with("base_url")) && value.starts_with("http://")
    });
    ClientOptions::new()
        .with_allow_http(plain)
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
        .with_timeout(REQUEST)
}

fn no_retries() -> RetryConfig {
    RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    }
}
