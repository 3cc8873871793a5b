//! Who asks, and whether they may: bearer tokens (RFC 6750), three roles, one rule per route.
//!
//! Not where tokens are kept or made; that is the ledger's.

use axum::extract::{FromRequestParts, Request, State as Extracted};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ledger::{Principal, Role};

use crate::problem::Problem;
use crate::state::State;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody, with or without a token.
    Public,
    /// Holders of a token with one of these roles.
    Roles(&'static [Role]),
}

impl Access {
    /// Whether a caller with `role` (`None`: without a token) gets in.
    pub fn admits(self, role: Option<Role>) -> bool {
        match self {
            Self::Public => true,
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

/// Lets a request pass to its handler, or answers 401 or 403.
pub(crate) async fn guard(
    Extracted((state, access)): Extracted<(State, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Access::Roles(roles) = access else {
        return next.run(request).await;
    };
    match admit(&state, roles, request.headers()).await {
        Ok(principal) => {
            request.extensions_mut().insert(Caller(principal));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who asks, if that is somebody with one of `roles`; else the problem with status 401 or 403.
pub(crate) async fn admit(
    state: &State,
    roles: &[Role],
    headers: &HeaderMap,
) -> Result<Principal, Problem> {
    let principal = authenticate(state, headers).await?;
    if roles.contains(&principal.role) {
        return Ok(principal);
    }
    let allowed: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    Err(Problem::forbidden(format!(
        "a token with the role {} may not do this; it takes {}",
        principal.role,
        allowed.join(" or "),
    )))
}

async fn authenticate(state: &State, headers: &HeaderMap) -> Result<Principal, Problem> {
    if state.options().no_auth {
        return local(headers);
    }
    let header = headers.get(AUTHORIZATION).ok_or_else(unauthenticated)?;
    let token = header.to_str().ok().and_then(bearer).ok_or_else(|| {
        Problem::unauthorized(
            "invalid-token",
            "the authorization header has to read `Bearer rat_…`",
        )
    })?;
    let session = state.options().session_token.as_deref();
    if session.is_some_and(|session| same(session.as_bytes(), token.as_bytes())) {
        return Ok(Principal::local());
    }
    state.principal(token).await?.ok_or_else(|| {
        Problem::unauthorized(
            "invalid-token",
            "this token is unknown or was revoked; ask an admin for a new one (POST /v1/tokens)",
        )
    })
}

/// The token of `Bearer <token>`; the scheme's case does not matter (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
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
