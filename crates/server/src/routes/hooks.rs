//! Hooks: made, listed and removed by admins; and what platforms deliver to them.

use axum::Json;
use axum::body::Body;
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ledger::{Hook, HookTarget, Ledger};

use crate::api::{Delivered, FreshHook, Hook as Listed, Hooks, NewHook};
use crate::body;
use crate::extract::{Named, Object};
use crate::hooks::{self, Platform};
use crate::problem::Problem;
use crate::state::State;

/// The most bytes of a delivery: a platform sends what was annotated along with the annotations.
const MAX_DELIVERY_BYTES: usize = 16 << 20;
/// The most characters of an experiment's name.
const MAX_NAME_CHARS: usize = 128;

/// Make a hook
///
/// An address to which Label Studio or Argilla delivers what annotators do, as it happens.
#[utoipa::path(
    post,
    path = "/v1/hooks",
    operation_id = "makeHook",
    tag = "Hooks",
    request_body = NewHook,
    responses(
        (status = 201, description = "Made", body = FreshHook),
        (status = 404, description = "`not-found`: no such run", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`hook-exists`, `ambiguous-name`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`bad-object`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn create(
    Extracted(state): Extracted<State>,
    Object(wanted): Object<NewHook>,
) -> Result<(StatusCode, Json<FreshHook>), Problem> {
    let made = state.blocking(move |ledger| make(ledger, wanted)).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

fn make(ledger: &Ledger, wanted: NewHook) -> Result<FreshHook, Problem> {
    let platform: Platform = wanted.platform.parse()?;
    let target = match (wanted.run, wanted.experiment) {
        (Some(run), None) => HookTarget::Run(ledger.find_run(&run)?.id),
        (None, Some(name)) if (1..=MAX_NAME_CHARS).contains(&name.chars().count()) => {
            HookTarget::Experiment(name)
        }
        _ => {
            return Err(Problem::unprocessable(
                "bad-object",
                format!(
                    "expected either `run`, a run's id or name, or `experiment`, a name of 1 to \
                     {MAX_NAME_CHARS} characters"
                ),
            ));
        }
    };
    let (secret, shown) = secret(ledger, platform, wanted.secret)?;
    let hook = Hook {
        name: wanted.name,
        platform: platform.name().to_owned(),
        target,
        created: ledger.clock().now(),
    };
    if !ledger.add_hook(&hook, secret.as_bytes())? {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "hook-exists",
            format!(
                "a hook is called `{}` already; remove it first, or take another name",
                hook.name
            ),
        ));
    }
    Ok(FreshHook {
        path: format!("/v1/hooks/{}", hook.name),
        name: hook.name,
        secret: shown.then_some(secret),
    })
}

/// The hook's secret, and whether it was made here and has to be shown.
fn secret(
    ledger: &Ledger,
    platform: Platform,
    given: Option<String>,
) -> Result<(String, bool), Problem> {
    match (platform, given) {
        (Platform::Argilla, Some(secret)) if hooks::key_of(&secret).is_some() => {
            Ok((secret, false))
        }
        (Platform::Argilla, _) => Err(Problem::unprocessable(
            "bad-object",
            "expected `secret`: the one that Argilla shows for the webhook, in base64",
        )),
        (Platform::LabelStudio, Some(secret)) if secret.len() >= 16 && secret.is_ascii() => {
            Ok((secret, false))
        }
        (Platform::LabelStudio, Some(_)) => Err(Problem::unprocessable(
            "bad-object",
            "the secret has to have 16 ASCII characters or more; leave it away and one is made",
        )),
        (Platform::LabelStudio, None) => {
            let mut random = [0; 32];
            ledger.entropy().fill(&mut random);
            Ok((format!("hook_{}", URL_SAFE_NO_PAD.encode(random)), true))
        }
    }
}

/// List hooks
#[utoipa::path(
    get,
    path = "/v1/hooks",
    operation_id = "listHooks",
    tag = "Hooks",
    responses((status = 200, description = "All hooks, without their secrets", body = Hooks)),
    security(("token" = ["admin"]))
)]
pub(crate) async fn list(Extracted(state): Extracted<State>) -> Result<Json<Hooks>, Problem> {
    let hooks = state.blocking(Ledger::hooks).await?;
    let listed = hooks.into_iter().map(|hook| {
        let (run, experiment) = match hook.target {
            HookTarget::Run(run) => (Some(run.to_string()), None),
            HookTarget::Experiment(name) => (None, Some(name)),
        };
        Listed {
            name: hook.name,
            platform: hook.platform,
            run,
            experiment,
            created: hook.created.to_string(),
        }
    });
    Ok(Json(Hooks {
        hooks: listed.collect(),
    }))
}

/// Remove a hook
///
/// At once: what is delivered from then on is refused. What was recorded stays.
#[utoipa::path(
    delete,
    path = "/v1/hooks/{name}",
    operation_id = "removeHook",
    tag = "Hooks",
    params(("name" = String, Path, description = "The hook's name")),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "`not-found`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"]))
)]
pub(crate) async fn remove(
    Extracted(state): Extracted<State>,
    Named(name): Named<String>,
) -> Result<StatusCode, Problem> {
    let missing = Problem::not_found("not-found", format!("no hook is called `{name}`"));
    let found = state
        .blocking(move |ledger| ledger.remove_hook(&name))
        .await?;
    if found {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(missing)
    }
}

/// Deliver to a hook
///
/// What Label Studio and Argilla send by webhook. A new annotation is recorded, one that changed is
/// recorded anew and supersedes the old, one that was deleted is withdrawn; the same again changes
/// nothing. Label Studio shows the hook's secret (`authorization: Bearer …`), Argilla signs with it
/// (Standard Webhooks).
#[utoipa::path(
    post,
    path = "/v1/hooks/{name}",
    operation_id = "deliver",
    tag = "Hooks",
    params(("name" = String, Path, description = "The hook's name")),
    request_body(description = "The platform's event, at most 16 MiB", content((Object = "application/json"))),
    responses(
        (status = 200, description = "Recorded and durable, or nothing to record", body = Delivered),
        (status = 401, description = "`unproven-delivery`: no such hook, or not its secret", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "`body-too-large`", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "`bad-payload`: not what the platform sends; the log has an incident", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`overloaded`, `unavailable`, `not-published`: send it again", body = Problem, content_type = "application/problem+json"),
    ),
    security(("hook" = []))
)]
pub(crate) async fn deliver(
    Extracted(state): Extracted<State>,
    Named(name): Named<String>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Json<Delivered>, Problem> {
    let stall = state.options().body_stall;
    let (bytes, taken) =
        body::read_into(&mut body, MAX_DELIVERY_BYTES, stall, state.room()).await?;
    let asked = state.clone();
    // A platform that does not wait for the answer has delivered all the same.
    let outcome = tokio::task::spawn_blocking(move || {
        let _taken = taken;
        hooks::deliver(&asked, &name, &headers, &bytes)
    });
    let outcome = outcome.await.map_err(|error| Problem::internal(&error))??;
    Ok(Json(Delivered {
        recorded: outcome.recorded,
        superseded: outcome.superseded,
        withdrawn: outcome.withdrawn,
        ignored: outcome.ignored.map(str::to_owned),
    }))
}
