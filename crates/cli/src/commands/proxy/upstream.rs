//! Where calls are passed on to.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{PathAndQuery, Scheme};

/// The service behind the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// `host:port`, or `host` as it was given: what stands in the header `host`.
    pub(super) authority: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// What comes before a call's own path, without a slash at its end.
    prefix: String,
}

impl Upstream {
    /// The path of a call, there.
    pub(super) fn path(&self, call: &Uri) -> String {
        let own = call.path_and_query().map_or("/", PathAndQuery::as_str);
        match (self.prefix.as_str(), own.strip_prefix('/')) {
            // Called at its root, it is the upstream's address as it was given.
            (prefix, Some(rest))
                if !prefix.is_empty() && (rest.is_empty() || rest.starts_with('?')) =>
            {
                format!("{prefix}{rest}")
            }
            (prefix, _) => format!("{prefix}{own}"),
        }
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected an address like http://rewards.internal:5000";
        let uri: Uri = text.parse().map_err(|e| format!("{EXPECTED}: {e}"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(format!("{EXPECTED}; TLS is not spoken to the reward model"));
        }
        if uri.query().is_some() {
            return Err(format!("{EXPECTED}, without a query"));
        }
        let authority = uri.authority().ok_or(EXPECTED)?;
        if authority.as_str().contains('@') {
            return Err(format!(
                "{EXPECTED}, without a user: headers are passed on as they come"
            ));
        }
        let host = authority.host();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host: bare.unwrap_or(host).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::Upstream;

    #[test]
    fn a_call_keeps_its_path_behind_the_upstreams() {
        let path = |upstream: &str, call: &str| {
            let upstream: Upstream = upstream.parse().unwrap();
            upstream.path(&call.parse().unwrap())
        };
        assert_eq!(path("http://rm:5000", "/get_reward?a=b"), "/get_reward?a=b");
        assert_eq!(path("http://rm/v1/", "/get_reward"), "/v1/get_reward");
        assert_eq!(path("http://rm/get_reward", "/"), "/get_reward");
        assert_eq!(path("http://rm/get_reward", "/?a=b"), "/get_reward?a=b");
        assert_eq!(path("http://rm", "/"), "/");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "rm:5000",
            "https://rm",
            "http://rm/?a",
            "http://u:p@rm",
            "http://",
            "unix:/x",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }
}
