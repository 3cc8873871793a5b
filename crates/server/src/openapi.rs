//! The OpenAPI document, made from the handlers and types themselves. A copy is checked in as
//! `docs/openapi.json`; a test holds the two together.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "RLHF Audit Trail",
        description = "A transparency log for training from human feedback.\n\n\
            Records are signed by their producers, appended here, and published under signed \
            checkpoints (C2SP tlog-checkpoint, tlog-tiles). Nobody has to trust this server: \
            `rlhf-audit verify` checks a bundle, or the whole log, against the log's key.\n\n\
            Errors are problem documents (RFC 9457, `application/problem+json`): `code` is stable, \
            `detail` says what to do, `line` names the record of a request that is at fault. With \
            429 or 503 and `Retry-After`, come again; sending the same record again never records it twice.\n\n\
            Below `/api/2.0/mlflow` this server answers MLflow's clients as MLflow documents it; those paths \
            are not repeated here.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        routes::append::append,
        routes::records::list,
        routes::records::one,
        routes::records::proof,
        routes::findings::list,
        routes::attachments::put,
        routes::attachments::read,
        routes::runs::create,
        routes::runs::list,
        routes::runs::one,
        routes::runs::streams,
        routes::runs::seal,
        routes::bundle::bundle,
        routes::card::show,
        routes::card::issue,
        routes::hooks::create,
        routes::hooks::list,
        routes::hooks::deliver,
        routes::hooks::remove,
        routes::jobs::add,
        routes::jobs::list,
        routes::jobs::one,
        routes::jobs::requeue,
        routes::tokens::create,
        routes::tokens::list,
        routes::tokens::show,
        routes::tokens::revoke,
        routes::approvals::create,
        routes::approvals::list,
        routes::approvals::decide,
        routes::log::checkpoint,
        routes::log::cosigned,
        routes::log::entries,
        routes::log::policy,
        routes::log::rotation,
        routes::log::timestamp,
        routes::log::tile,
        routes::health::health,
        routes::health::live,
        routes::health::ready,
        routes::metrics::metrics,
        routes::pages::openapi,
        routes::pages::docs,
        routes::pages::index,
    ),
    components(schemas(crate::Problem)),
    tags(
        (name = "Records", description = "Append records, and read them back."),
        (name = "Attachments", description = "Public values too large for a record, which names them by their SHA-256."),
        (name = "Runs", description = "Training runs, their streams, bundles and model cards."),
        (name = "Log", description = "The log as other tools read it: C2SP tlog-tiles. Checkpoints and hash tiles are public; entry bundles need a reader's token."),
        (name = "Hooks", description = "Where annotation platforms deliver what annotators do, as it happens."),
        (name = "Jobs", description = "What is done behind the log: checks of it, model cards, timestamps, notifications."),
        (name = "Tokens", description = "Who may do what. An admin does everything, a producer starts runs and appends to those it started, a reader reads, an auditor reads what its token names and is recorded, a witness is shown proofs."),
        (name = "Operation", description = "Health, metrics and this documentation. Holds nothing personal and needs no token."),
    ),
    modifiers(&Bearer),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token made by an admin: `rat_` and 43 characters."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A hook's own secret: shown as a bearer token (Label Studio), or proven by a signature in \
                 `webhook-signature` (Argilla, Standard Webhooks). No token of this server.",
            ))
            .build();
        components.add_security_scheme("hook", SecurityScheme::Http(scheme));
    }
}

/// The document, as pretty JSON with a newline at its end: what is served and checked in.
pub fn openapi_json() -> String {
    let mut text = Document::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
