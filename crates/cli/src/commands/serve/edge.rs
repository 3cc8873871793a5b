//! What stands between the server and whoever asks: encryption, proxies, rates, origins, an address for metrics.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use axum::http::HeaderValue;
use server::{Rate, Tls, TrustedProxies};

use crate::operation::OperationArgs;
use crate::outcome::Failure;

/// Who may read the key of a certificate: its owner and the group.
const OTHERS: u32 = 0o007;

#[derive(Debug, clap::Args)]
pub(super) struct EdgeArgs {
    #[command(flatten)]
    operation: OperationArgs,
    /// Encrypt connections with this certificate, followed by those between it and the root (PEM); read anew on SIGHUP
    #[arg(
        long,
        value_name = "FILE",
        env = "RLHF_AUDIT_TLS_CERT",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "RLHF_AUDIT_TLS_KEY",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// A proxy, or a network of proxies such as 10.0.0.0/8, whose X-Forwarded-For is believed; several with commas
    #[arg(
        long,
        value_name = "NETWORK",
        value_delimiter = ',',
        env = "RLHF_AUDIT_TRUSTED_PROXIES"
    )]
    trusted_proxy: Vec<String>,
    /// An origin whose web pages may ask and read answers, such as `https://audit.example`; several with commas
    #[arg(
        long,
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin,
        env = "RLHF_AUDIT_CORS_ORIGINS"
    )]
    cors_origin: Vec<HeaderValue>,
    /// The most requests a second of one token, and after a colon how many at once, as in 50:200
    #[arg(long, value_name = "RATE[:BURST]", value_parser = rate, env = "RLHF_AUDIT_RATE_LIMIT")]
    rate_limit: Option<Rate>,
    /// The same for one address without a token
    #[arg(
        long,
        value_name = "RATE[:BURST]",
        value_parser = rate,
        env = "RLHF_AUDIT_RATE_LIMIT_ADDRESS"
    )]
    rate_limit_address: Option<Rate>,
    /// New admins and changes of keys need the approval of a second admin
    #[arg(long, env = "RLHF_AUDIT_REQUIRE_APPROVAL")]
    require_approval: bool,
}

impl EdgeArgs {
    pub(super) fn require_approval(&self) -> bool {
        self.require_approval
    }

    /// A server's options.
    pub(super) fn options(&self) -> Result<server::Options, Failure> {
        let trusted_proxies = TrustedProxies::parse(&self.trusted_proxy).map_err(|error| {
            Failure::input(format!("--trusted-proxy: {error}"))
                .with_hint("give an address or a network, such as 10.0.0.7 or 10.0.0.0/8")
        })?;
        Ok(server::Options {
            identity_rate: self.rate_limit,
            address_rate: self.rate_limit_address,
            trusted_proxies,
            cors_origins: self.cors_origin.clone(),
            require_approval: self.require_approval,
            tls: self.tls()?,
            ..server::Options::default()
        })
    }

    /// The socket for health and metrics, where they have one.
    pub(super) fn metrics_listener(&self) -> Result<Option<TcpListener>, Failure> {
        self.operation.listener()
    }

    fn files(&self) -> Option<(&Path, &Path)> {
        self.tls_cert.as_deref().zip(self.tls_key.as_deref())
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let Some((certificate, key)) = self.files() else {
            return Ok(None);
        };
        let (certificates, secret) = read(certificate, key)?;
        let tls = Tls::from_pem(&certificates, &secret).map_err(|error| {
            Failure::input(format!(
                "{} and {}: {error}",
                certificate.display(),
                key.display()
            ))
        })?;
        Ok(Some(tls))
    }

    /// Reads certificate and key anew. What cannot be used changes nothing.
    pub(super) fn renew(&self, tls: &Tls) {
        let Some((certificate, key)) = self.files() else {
            return;
        };
        let renewed = read(certificate, key).and_then(|(certificates, secret)| {
            tls.replace(&certificates, &secret).map_err(Failure::input)
        });
        match renewed {
            Ok(()) => tracing::info!("the certificate was read anew"),
            Err(error) => tracing::error!(%error, "the certificate stays as it was"),
        }
    }
}

fn read(certificate: &Path, key: &Path) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let contents = |path: &Path| {
        std::fs::read(path)
            .map_err(|e| Failure::unavailable(format!("cannot read {}: {e}", path.display())))
    };
    let certificates = contents(certificate)?;
    let secret = contents(key)?;
    let mode = std::fs::metadata(key).map_or(0, |it| it.permissions().mode());
    if mode & OTHERS != 0 {
        return Err(
            Failure::input(format!("{} can be read by everybody", key.display()))
                .with_hint(format!("chmod 640 {}", key.display())),
        );
    }
    Ok((certificates, secret))
}

/// A scheme, a host and perhaps a port, as browsers send them.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let expected = "expected an origin such as https://audit.example, without a path";
    let (scheme, host) = text.split_once("://").ok_or(expected)?;
    let good = matches!(scheme, "http" | "https")
        && !host.is_empty()
        && !host.contains(['/', '*', ' ', ',', '@', '?', '#']);
    if !good {
        return Err(expected.to_owned());
    }
    HeaderValue::from_str(text).map_err(|_| expected.to_owned())
}

fn rate(text: &str) -> Result<Rate, String> {
    let expected =
        "expected requests a second, such as 50, and perhaps how many at once, as in 50:200";
    let (rate, burst) = match text.split_once(':') {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (text, None),
    };
    let per_second: f64 = rate.parse().map_err(|_| expected)?;
    if !(0.001..=1e9).contains(&per_second) {
        return Err(expected.to_owned());
    }
    let burst = match burst {
        Some(burst) => burst.parse().map_err(|_| expected)?,
        None => whole(per_second),
    };
    if burst == 0 {
        return Err(expected.to_owned());
    }
    Ok(Rate { per_second, burst })
}

#[expect(
    clippy::cast_sign_loss,
    reason = "a rate is more than 0 and at most a billion"
)]
fn whole(rate: f64) -> u32 {
    rate.ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let read = |text| rate(text).map(|rate| (rate.per_second, rate.burst));
        assert_eq!(read("50"), Ok((50.0, 50)));
        assert_eq!(read("0.5"), Ok((0.5, 1)));
        assert_eq!(read("50:200"), Ok((50.0, 200)));
        for wrong in ["", "0", "-1", "inf", "nan", "50:", "50:0", "a", "50:1:2"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins() {
        for good in ["https://audit.example", "http://localhost:5173"] {
            assert!(origin(good).is_ok(), "{good}");
        }
        for bad in [
            "*",
            "audit.example",
            "https://",
            "https://*",
            "https://a/b",
            "file://x",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }
}
