//! GET /v1/findings: what this ledger's servers found odd.

use axum::Json;
use axum::extract::State as Extracted;
use ledger::{Ledger, LedgerError};
use record::kinds::FindingRaised;
use record::{Kind, Record, RunId, Scope};

use crate::api::{Finding, FindingPage, FindingParams};
use crate::extract::Params;
use crate::problem::Problem;
use crate::routes::records::page;
use crate::state::State;
use crate::watching::own_finding;

/// Findings are few. Still a request looks at no more than this many.
const MOST_READ: usize = 10_000;

/// List findings
///
/// What the rules of the server have found in what was recorded (docs/operations/watching.md), by index, a page at a
/// time. A finding that somebody else has recorded is a record like any other and not listed here.
#[utoipa::path(
    get,
    path = "/v1/findings",
    operation_id = "listFindings",
    tag = "Records",
    params(FindingParams),
    responses(
        (status = 200, description = "A page", body = FindingPage),
        (status = 400, description = "`bad-parameter`", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["reader", "admin"]))
)]
pub(crate) async fn list(
    Extracted(state): Extracted<State>,
    Params(params): Params<FindingParams>,
) -> Result<Json<FindingPage>, Problem> {
    let wanted = Wanted {
        run: params.run.as_deref().map(run).transpose()?,
        rule: params.rule,
        limit: page(params.limit)?,
    };
    let after = params.after;
    let found = state
        .blocking(move |ledger| wanted.read(ledger, after))
        .await?;
    Ok(Json(found))
}

struct Wanted {
    run: Option<RunId>,
    rule: Option<String>,
    limit: usize,
}

impl Wanted {
    fn read(&self, ledger: &Ledger, after: Option<u64>) -> Result<FindingPage, LedgerError> {
        let query = ledger::Query {
            scope: Some(Scope::Ledger),
            kind: Some(Kind::FindingRaised),
            after,
            limit: MOST_READ,
        };
        let read = ledger.query(&query)?;
        let mut page = FindingPage {
            findings: Vec::new(),
            next: read.next,
        };
        for (index, bytes) in read.records {
            let record = Record::parse_envelope(&bytes)?;
            let Some(body) = own_finding(&record).filter(|body| self.has(body)) else {
                continue;
            };
            if page.findings.len() == self.limit {
                page.next = page.findings.last().map(|last| last.index);
                break;
            }
            page.findings.push(told(index, &record, body));
        }
        Ok(page)
    }

    fn has(&self, body: &FindingRaised) -> bool {
        self.run.is_none_or(|run| body.run == Some(run))
            && self.rule.as_ref().is_none_or(|rule| body.finding == *rule)
    }
}

fn told(index: u64, record: &Record<'_>, body: FindingRaised) -> Finding {
    Finding {
        index,
        time: record.time().to_string(),
        rule: body.finding,
        detail: body.detail,
        run: body.run.map(|run| run.to_string()),
        stream: body.stream.map(|stream| stream.to_string()),
        severity: body.severity.map(|severity| severity.to_string()),
        evidence: body.evidence.unwrap_or_default(),
    }
}

fn run(text: &str) -> Result<RunId, Problem> {
    RunId::parse(text).ok_or_else(|| {
        Problem::bad_request(
            "bad-parameter",
            format!("run is `{text}`; expected a run's id (26 characters)"),
        )
    })
}
