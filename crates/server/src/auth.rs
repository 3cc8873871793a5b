//! Who asks, and whether they may: bearer tokens (RFC 6750), roles, one rule per route.
//!
//! Not where tokens are kept or made; that is the ledger's.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{FromRequestParts, Request, State as Extracted};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger::{Principal, Role};

use crate::limits::Meter;
use crate::problem::Problem;
use crate::router::APPENDS;
use crate::routes::append;
use crate::state::State;
use crate::words::either;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, with or without a token: what the log is.
    Public,
    /// Everybody, and as often as they like: health and metrics, which may have an address of their own.
    Operation,
    /// Holders of a token with one of these roles.
    Roles(&'static [Role]),
    /// Whoever shares a hook's secret and proves it in the request itself; tokens say nothing here.
    Proof,
}

impl Access {
    /// Whether a caller with `role` (`None`: without a token) gets as far as the handler.
    pub fn admits(self, role: Option<Role>) -> bool {
        match self {
            Self::Public | Self::Operation | Self::Proof => true,
            Self::Roles(roles) => role.is_some_and(|role| roles.contains(&role)),
        }
    }
}

/// The caller, established before the handler runs and before a byte of the body is read.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Principal);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(unauthenticated)
    }
}

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Who is let in, and what they have left.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) principal: Principal,
    pub(crate) meter: Option<Arc<Meter>>,
}

impl Holder {
    /// Somebody whom nothing limits.
    fn unlimited(principal: Principal) -> Self {
        Self {
            principal,
            meter: None,
        }
    }
}

/// Lets a request pass to its handler, or answers 401, 403 or 429.
pub(crate) async fn guard(
    Extracted((state, access)): Extracted<(State, Access)>,
    request: Request,
    next: Next,
) -> Response {
    match access {
        Access::Operation => return next.run(request).await,
        Access::Public | Access::Proof => {
            return match count(&state, &request) {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            };
        }
        Access::Roles(_) => {}
    }
    let peer = peer(&request);
    match admitted(&state, access, request.headers(), Schemes::Bearer, peer).await {
        Ok(holder) => pass(holder, access, request, next)
            .await
            .unwrap_or_else(IntoResponse::into_response),
        Err(problem) => problem.into_response(),
    }
}

pub(crate) fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.0)
}

/// Counts a request that needs no token, where such are counted.
fn count(state: &State, request: &Request) -> Result<(), Problem> {
    let limits = state.limits();
    match peer(request) {
        Some(peer) if limits.counts_addresses() => {
            limits.count_address(state.client_address(peer, request.headers()))
        }
        _ => Ok(()),
    }
}

/// Hands a request on, with who asks; and counts what it appends.
///
/// # Errors
/// 429 where nothing is left of a quota, 411 where it could not be held to it.
pub(crate) async fn pass(
    holder: Holder,
    access: Access,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Holder { principal, meter } = holder;
    request.extensions_mut().insert(Caller(principal));
    let Some(meter) = meter.filter(|_| access == APPENDS) else {
        return Ok(next.run(request).await);
    };
    if request.uri().path() == append::PATH {
        // That one counts records, once it has read them.
        request.extensions_mut().insert(Metered(meter));
        return Ok(next.run(request).await);
    }
    meter.quota()?;
    let bytes = request.body().size_hint().exact().ok_or_else(|| {
        Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "length-required",
            "this token has a quota, so that a request has to say how long it is (`content-length`)",
        )
    })?;
    let records = u64::from(request.method() != Method::PUT);
    let response = next.run(request).await;
    if response.status().is_success() {
        meter.appended(records, bytes);
    }
    Ok(response)
}

/// What the caller has left, where its records are counted.
#[derive(Clone, Debug)]
pub(crate) struct Metered(pub(crate) Arc<Meter>);

/// How a token may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schemes {
    /// As a bearer token.
    Bearer,
    /// Or as the password of basic authentication (RFC 7617), whatever the user's name.
    BearerOrBasic,
}

/// Who asks, if `access` lets them in.
///
/// # Errors
/// 401 where nobody is known to ask, 403 where who asks may not, 429 where they ask too often.
pub(crate) async fn admitted(
    state: &State,
    access: Access,
    headers: &HeaderMap,
    schemes: Schemes,
    peer: Option<IpAddr>,
) -> Result<Holder, Problem> {
    let holder = authenticate(state, headers, schemes, peer).await?;
    if let Some(meter) = &holder.meter {
        meter.request()?;
    }
    let Access::Roles(roles) = access else {
        return Ok(holder);
    };
    if access.admits(Some(holder.principal.role)) {
        return Ok(holder);
    }
    let allowed: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(Problem::forbidden(format!(
        "a token with the role {} may not do this; it takes {}",
        holder.principal.role,
        either(&allowed),
    )))
}

async fn authenticate(
    state: &State,
    headers: &HeaderMap,
    schemes: Schemes,
    peer: Option<IpAddr>,
) -> Result<Holder, Problem> {
    if state.options().no_auth {
        return local(headers).map(Holder::unlimited);
    }
    let header = headers.get(AUTHORIZATION).ok_or_else(unauthenticated)?;
    let header = header.to_str().ok();
    let password = header
        .filter(|_| schemes == Schemes::BearerOrBasic)
        .and_then(basic);
    let token = header
        .and_then(bearer)
        .or(password.as_deref())
        .ok_or_else(|| {
            Problem::unauthorized(
                "invalid-token",
                "the authorization header has to read `Bearer rat_…`",
            )
        })?;
    let session = state.options().session_token.as_deref();
    if session.is_some_and(|session| same(session.as_bytes(), token.as_bytes())) {
        return Ok(Holder::unlimited(Principal::local()));
    }
    let lookup = match state.known(token) {
        Ok(holder) => return Ok(holder),
        Err(lookup) => lookup,
    };
    let address = peer.map(|peer| state.client_address(peer, headers));
    if let Some(address) = address {
        state.limits().may_try(address)?;
    }
    if let Some(holder) = state.look_up(token, &lookup).await? {
        return Ok(holder);
    }
    if let Some(address) = address {
        state.limits().failed(address);
    }
    Err(Problem::unauthorized(
        "invalid-token",
        "this token is unknown, has expired or was revoked; ask an admin for a new one (POST /v1/tokens)",
    ))
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The password of `Basic <base64 of user:password>`.
fn basic(value: &str) -> Option<String> {
    let (scheme, credentials) = value.split_once(' ')?;
    let decoded = STANDARD.decode(credentials.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    (scheme.eq_ignore_ascii_case("basic") && !password.is_empty()).then(|| password.to_owned())
}

/// Without authentication the browser of whoever sits at the machine is the danger: a page from
/// elsewhere whose name is made to resolve to 127.0.0.1 would be admin. Its `Host` gives it away.
fn local(headers: &HeaderMap) -> Result<Principal, Problem> {
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let loopback = address
        .parse()
        .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    if loopback || name.eq_ignore_ascii_case("localhost") {
        return Ok(Principal::local());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "foreign-host",
        "without authentication this server answers to localhost and loopback addresses only",
    ))
}

/// Compares without saying, by the time it takes, where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

fn unauthenticated() -> Problem {
    Problem::unauthorized(
        "unauthenticated",
        "this needs a token: send the header `authorization: Bearer rat_…`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_a_token() {
        assert_eq!(bearer("Bearer rat_x"), Some("rat_x"));
        assert_eq!(bearer("bearer  rat_x "), Some("rat_x"));
        for bad in ["", "Bearer", "Bearer ", "Basic rat_x", "rat_x"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_token_may_be_a_password_where_that_is_said() {
        // mlflow:rat_x, :rat_x and rat_x
        assert_eq!(basic("Basic bWxmbG93OnJhdF94").as_deref(), Some("rat_x"));
        assert_eq!(basic("basic OnJhdF94").as_deref(), Some("rat_x"));
        for bad in [
            "Basic cmF0X3g=",
            "Basic",
            "Basic !",
            "Bearer bWxmbG93OnJhdF94",
        ] {
            assert_eq!(basic(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_same_bytes_are_the_same() {
        assert!(same(b"abc", b"abc"));
        for other in [b"abd".as_slice(), b"bbc", b"ab", b"abcd", b""] {
            assert!(!same(b"abc", other));
        }
    }

    #[test]
    fn without_authentication_only_local_names_are_answered() {
        let asked = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            local(&headers).is_ok()
        };
        for good in [
            "localhost",
            "LocalHost:8000",
            "127.0.0.1:8000",
            "[::1]:8000",
            "[::1]",
        ] {
            assert!(asked(good), "{good}");
        }
        for bad in [
            "evil.example:8000",
            "evil.example",
            "10.0.0.1",
            "localhost.evil.example",
            "",
        ] {
            assert!(!asked(bad), "{bad}");
        }
        assert!(local(&HeaderMap::new()).is_err());
    }
}
