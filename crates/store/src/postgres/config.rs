//! Where the database is, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::error::{Result, StoreError};
use crate::schema::PROGRAM;

/// How a ledger is kept in PostgreSQL.
#[derive(Clone)]
pub struct PgOptions {
    /// `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=FILE`. Several hosts may be named,
    /// separated by commas: the one that accepts writes is used.
    pub url: String,
    /// The schema that holds the tables, so that one database has room for several ledgers; lower-case letters, digits
    /// and `_`.
    pub schema: String,
    /// How many connections a process opens at most, besides the journal's.
    pub connections: usize,
    /// How long groups of the journal are kept after they were published, for other processes to read them there. It
    /// is cheaper than the published log.
    pub retain: Duration,
}

impl PgOptions {
    /// The usual for a database.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "rlhf_audit".to_owned(),
            connections: 8,
            retain: Duration::from_secs(30),
        }
    }

    pub(super) fn check_schema(&self) -> Result<()> {
        let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if self.schema.is_empty()
            || self.schema.len() > 60
            || !self.schema.bytes().all(fine)
            || self.schema.starts_with("pg_")
        {
            return bad(format!(
                "`{}` is no name for its schema: use lower-case letters, digits and `_`",
                self.schema
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for PgOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PgOptions")
            .field("schema", &self.schema)
            .field("connections", &self.connections)
            .field("retain", &self.retain)
            .finish_non_exhaustive()
    }
}

/// What the server's certificate is held against, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verify {
    /// `prefer`, `require`: it encrypts, and does not know to whom.
    Nothing,
    /// `verify-ca`
    Authority,
    /// `verify-full`
    Host,
}

/// A URL, taken apart.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) verify: Verify,
    /// The authorities to believe, instead of the system's.
    pub(super) roots: Option<PathBuf>,
    /// Hosts and database.
    pub(super) server: String,
}

pub(super) fn bad<T>(reason: impl Into<String>) -> Result<T> {
    Err(StoreError::BadConfig {
        what: "the database's URL",
        reason: reason.into(),
    })
}

impl Target {
    /// The client knows `sslmode` up to `require`, so what has to do with TLS is taken out of the URL first.
    pub(super) fn parse(url: &str) -> Result<Self> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return bad("it has to start with postgres:// or postgresql://");
        }
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut mode, mut roots) = (Vec::new(), None, None);
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let decoded = || percent_decode_str(value).decode_utf8_lossy().into_owned();
            match name {
                "sslmode" => mode = Some(decoded()),
                "sslrootcert" if value == "system" => {}
                "sslrootcert" => roots = Some(PathBuf::from(decoded())),
                _ => kept.push(parameter),
            }
        }
        let (ssl_mode, verify) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, Verify::Nothing),
            None | Some("prefer" | "allow") => (SslMode::Prefer, Verify::Nothing),
            // As libpq: with a root certificate, `require` is `verify-ca`.
            Some("require") if roots.is_some() => (SslMode::Require, Verify::Authority),
            Some("require") => (SslMode::Require, Verify::Nothing),
            Some("verify-ca") => (SslMode::Require, Verify::Authority),
            Some("verify-full") => (SslMode::Require, Verify::Host),
            Some(_) => {
                return bad("sslmode has to be disable, prefer, require, verify-ca or verify-full");
            }
        };
        let separator = if kept.is_empty() { "" } else { "?" };
        // The parser's own error may quote what it could not read, a password included.
        let Ok(mut config) = format!("{place}{separator}{}", kept.join("&")).parse::<Config>()
        else {
            return bad(
                "it cannot be read; special characters in user and password have to be percent-encoded",
            );
        };
        config.ssl_mode(ssl_mode);
        if config.get_hosts().is_empty() {
            return bad("it names no host");
        }
        // After a fail-over, the host that was written to may be the one that only reads.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name(PROGRAM);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(super::session::CONNECT);
        }
        config
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(10));
        let server = name(&config);
        Ok(Self {
            config,
            verify,
            roots,
            server,
        })
    }
}

fn name(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<_> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(position, host)| {
            let port = ports
                .get(position)
                .or(ports.first())
                .copied()
                .unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    let database = config
        .get_dbname()
        .or(config.get_user())
        .unwrap_or_default();
    format!("postgres {}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_servers_hold_no_secrets() {
        let options =
            PgOptions::new("postgres://me:hunter2@db1:5433,db2/audit?sslmode=verify-full");
        let target = Target::parse(&options.url).unwrap();
        assert_eq!(target.server, "postgres db1:5433,db2:5432/audit");
        assert_eq!(target.verify, Verify::Host);
        assert_eq!(target.config.get_ssl_mode(), SslMode::Require);
        assert!(!format!("{options:?} {target:?}").contains("hunter2"));
        // Not percent-encoded.
        let error = Target::parse("postgres://me:hunter%zz2@db:x/audit").unwrap_err();
        assert!(!error.to_string().contains("hunter"), "{error}");
    }

    #[test]
    fn sslmode_is_libpqs() {
        let parse = |query: &str| {
            Target::parse(&format!("postgres://db/audit?{query}"))
                .map(|target| (target.config.get_ssl_mode(), target.verify))
        };
        assert_eq!(parse("").unwrap(), (SslMode::Prefer, Verify::Nothing));
        assert_eq!(
            parse("sslmode=disable").unwrap(),
            (SslMode::Disable, Verify::Nothing)
        );
        assert_eq!(
            parse("sslmode=require").unwrap(),
            (SslMode::Require, Verify::Nothing)
        );
        assert_eq!(
            parse("sslmode=require&connect_timeout=3&sslrootcert=%2Fca.pem").unwrap(),
            (SslMode::Require, Verify::Authority)
        );
        assert_eq!(
            parse("sslmode=verify-ca").unwrap(),
            (SslMode::Require, Verify::Authority)
        );
        for bad in ["sslmode=verify", "nonsense=1"] {
            assert!(
                matches!(parse(bad), Err(StoreError::BadConfig { .. })),
                "{bad}"
            );
        }
        assert!(Target::parse("mysql://db/audit").is_err());
        assert!(Target::parse("postgres:///audit").is_err());
    }
}
