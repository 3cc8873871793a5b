//! `rlhf-audit health`: asks a server whether it can do its work, as container engines and scripts want to know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::tls::TlsConfig;

use crate::duration::duration;
use crate::outcome::{Failure, Outcome};

/// Ask a server whether it can do its work
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 it can, 1 it answers that it cannot, 3 it does not answer.")]
pub(crate) struct Args {
    /// The server's address [default: where `serve` listens with this configuration]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Ask only whether the process is alive
    #[arg(long)]
    live: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = duration)]
    timeout: Duration,
    // As `serve` has them, from the same configuration.
    #[arg(
        long,
        hide = true,
        default_value = "127.0.0.1",
        env = "RLHF_AUDIT_HOST"
    )]
    host: IpAddr,
    #[arg(long, hide = true, default_value_t = 8000, env = "PORT")]
    port: u16,
    #[arg(long, hide = true, env = "RLHF_AUDIT_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    #[arg(long, hide = true, env = "RLHF_AUDIT_TLS_CERT")]
    tls_cert: Option<PathBuf>,
}

impl Args {
    /// Where to ask.
    fn base(&self) -> String {
        if let Some(url) = &self.url {
            return url.trim_end_matches('/').to_owned();
        }
        if let Some(address) = self.metrics_listen {
            return format!("http://{}", reachable(address));
        }
        let scheme = if self.tls_cert.is_some() {
            "https"
        } else {
            "http"
        };
        let address = reachable(SocketAddr::new(self.host, self.port));
        format!("{scheme}://{address}")
    }
}

/// Who listens everywhere is asked on the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

pub(crate) fn run(args: &Args, json: bool) -> Result<Outcome, Failure> {
    let path = if args.live {
        "/health/live"
    } else {
        "/health/ready"
    };
    let url = format!("{}{path}", args.base());
    let (status, answer) = ask(args, &url)?;
    let well = status == 200;
    if json {
        println!("{}", json!({ "well": well, "url": url, "answer": answer }));
    } else {
        println!("{}", told(status, &answer));
    }
    Ok(if well { Outcome::True } else { Outcome::False })
}

fn ask(args: &Args, url: &str) -> Result<(u16, Value), Failure> {
    let silent = |error: ureq::Error| {
        Failure::unavailable(format!("{url} does not answer: {error}")).with_hint(
            "see that the server runs (its log says why not) and listens there; --url names another address",
        )
    };
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(args.timeout))
        .proxy(None);
    if args.url.is_none() {
        // The certificate names the host that others see, and this process asks itself.
        config = config.tls_config(TlsConfig::builder().disable_verification(true).build());
    }
    let agent: ureq::Agent = config.build().into();
    let mut answer = agent.get(url).call().map_err(silent)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().read_to_string().map_err(silent)?;
    Ok((
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    ))
}

/// The answer in a line: what is not well, if anything is not.
fn told(status: u16, answer: &Value) -> String {
    let word = answer["status"]
        .as_str()
        .map_or_else(|| format!("HTTP {status}"), str::to_owned);
    let parts = answer["parts"].as_object().into_iter().flatten();
    let ill = parts.filter(|(_, part)| part["status"] != "ok");
    ill.fold(word, |line, (name, part)| {
        let state = part["status"].as_str().unwrap_or_default();
        let detail = part["detail"].as_str().unwrap_or_default();
        format!("{line}; {name} {state}: {detail}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_here() {
        for (listens, asked) in [
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8000", "[::1]:8000"),
            ("10.0.0.7:9", "10.0.0.7:9"),
        ] {
            let address: SocketAddr = listens.parse().unwrap();
            assert_eq!(reachable(address).to_string(), asked);
        }
    }

    #[test]
    fn what_is_not_well_is_told() {
        let answer = json!({ "status": "unavailable", "parts": {
            "index": { "status": "ok", "detail": "" }, "journal": { "status": "failed", "detail": "no space" },
        }});
        assert_eq!(told(503, &answer), "unavailable; journal failed: no space");
        assert_eq!(told(404, &json!("not here")), "HTTP 404");
    }
}
