//! Where a request comes from, if it came by proxies.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose word about a request's origin counts.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Addresses and networks as people write them: `10.0.0.7`, `10.0.0.0/8`, `::1`.
    ///
    /// # Errors
    /// Which of them is neither.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let networks = texts.iter().map(|text| {
            let text = text.trim();
            let network = text
                .parse()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network.map_err(|_| format!("`{text}` is neither an address nor a network"))
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the client behind `peer`: going back through `X-Forwarded-For` from its end, the first hop that no
    /// trusted proxy is. What stands left of it anybody can have written. A hop that is no address ends the way too.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() || !self.trusts(client) {
            return client;
        }
        let values = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let hops = values
            .flat_map(|value| value.to_str().unwrap_or("?").rsplit(','))
            .map(hop);
        for hop in hops {
            let Some(hop) = hop else { break };
            client = hop;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: bare, or with a port.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().map(|it| it.ip()).ok();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    Some(bare.or_else(with_port).or_else(bracketed)?.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies = ["10.0.0.0/8", "::1"].map(str::to_owned);
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, value.parse().unwrap());
        }
        TrustedProxies::parse(&proxies)
            .unwrap()
            .client(peer.parse().unwrap(), &headers)
            .to_string()
    }

    #[test]
    fn the_rightmost_hop_that_is_no_trusted_proxy_is_the_client() {
        let stranger = "203.0.113.9";
        // Nobody believes a stranger.
        assert_eq!(client(stranger, &["198.51.100.1"]), stranger);
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[stranger]), stranger);
        // What the client wrote itself stands to the left.
        assert_eq!(client("10.0.0.1", &["1.2.3.4, 203.0.113.9"]), stranger);
        assert_eq!(
            client("10.0.0.1", &["1.2.3.4, 203.0.113.9, 10.1.1.1"]),
            stranger
        );
        assert_eq!(client("10.0.0.1", &["1.2.3.4", "203.0.113.9"]), stranger);
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9:4711"]), stranger);
        assert_eq!(client("::1", &["[2001:db8::1]:80"]), "2001:db8::1");
        // All of them are ours: the farthest.
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        // A hop that is none hides what is before it.
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"]),
            "10.0.0.2"
        );
    }
}
