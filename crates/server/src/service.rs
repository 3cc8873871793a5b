//! What a connection hands its requests to: appends go to their handler, everything else to the router.
//!
//! Not a second way to do anything: the handler is the router's, with the same check of who asks before it and the same
//! headers after it. Matching a path, boxing a future for each layer and cloning a service for each request take more
//! time than appending a record does.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

use axum::Router;
use axum::http::header::ORIGIN;
use axum::http::{Method, Request, Uri};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::auth::Peer;
use crate::observe::observe_append;
use crate::router::router;
use crate::routes::append;
use crate::state::State;

/// See the module.
#[derive(Clone)]
pub(crate) struct Requests {
    state: State,
    router: TowerToHyperService<Router>,
    /// The other end of the connection.
    peer: IpAddr,
}

impl Requests {
    pub(crate) fn new(state: State) -> Self {
        Self {
            router: TowerToHyperService::new(router(state.clone())),
            peer: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            state,
        }
    }

    /// For a connection from there.
    pub(crate) fn of(&self, peer: IpAddr) -> Self {
        Self {
            peer,
            ..self.clone()
        }
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if is_append(request.method(), request.uri()) && !self.is_from_a_page(&request) {
            let answer = observe_append(self.state.clone(), self.peer, request);
            Box::pin(async { Ok(answer.await) })
        } else {
            request.extensions_mut().insert(Peer(self.peer));
            Box::pin(self.router.call(request))
        }
    }
}

impl Requests {
    /// The router knows what a browser is to be told of an answer to a page of another origin.
    fn is_from_a_page(&self, request: &Request<Incoming>) -> bool {
        !self.state.options().cors_origins.is_empty() && request.headers().contains_key(ORIGIN)
    }
}

/// An append that asks for nothing special.
fn is_append(method: &Method, uri: &Uri) -> bool {
    method == Method::POST && uri.path() == append::PATH && uri.query().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_appends_pass_the_router_by() {
        let is = |method: Method, uri: &str| is_append(&method, &uri.parse().unwrap());
        assert!(is(Method::POST, "/v1/records"));
        assert!(!is(Method::GET, "/v1/records"));
        assert!(!is(Method::POST, "/v1/records?wait=published"));
        assert!(!is(Method::POST, "/v1/records/"));
    }
}
