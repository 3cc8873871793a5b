//! Who may do what: every route, every role, cell by cell. A route that is added to the router or to the OpenAPI
//! document and not here fails the test; so does one that lets in others than stand here.

use std::collections::{BTreeMap, BTreeSet};

use ledger::Role;

use crate::support::{Answer, Server, code};

/// `-` without a token, `P`roducer, `R`eader, a`U`ditor (of everything), `W`itness, `A`dmin: a letter is there where the
/// caller gets in. `!`: no token of this server gets in, only what proves itself otherwise.
const TABLE: &str = "
    get    /                           -PRUWA
    get    /docs                       -PRUWA
    get    /openapi.json               -PRUWA
    get    /health                     -PRUWA
    get    /health/live                -PRUWA
    get    /health/ready               -PRUWA
    get    /metrics                    -PRUWA
    get    /log/checkpoint             -PRUWA
    get    /log/checkpoint.cosigned    -PRUWA
    get    /log/policy                 -PRUWA
    get    /log/rotations/{number}     -PRUWA
    get    /log/tile/{level}/{index}   -PRUWA
    get    /log/tile/entries/{index}   RUA
    get    /log/timestamps/{name}      -PRUWA
    post   /v1/runs                    PA
    get    /v1/runs                    PRUA
    get    /v1/runs/{run}              PRUA
    get    /v1/runs/{run}/streams      PRUA
    post   /v1/runs/{run}/seal         PA
    get    /v1/runs/{run}/bundle       RUA
    get    /v1/runs/{run}/card         RUA
    post   /v1/runs/{run}/card         A
    post   /v1/records                 PA
    get    /v1/records                 RUA
    get    /v1/records/{index}         RUA
    get    /v1/records/{index}/proof   PRUWA
    get    /v1/findings                RA
    put    /v1/attachments/{sha256}    PA
    get    /v1/attachments/{sha256}    RUA
    post   /v1/hooks                   A
    get    /v1/hooks                   A
    post   /v1/hooks/{name}            !
    delete /v1/hooks/{name}            A
    post   /v1/jobs                    A
    get    /v1/jobs                    RA
    get    /v1/jobs/{id}               RA
    post   /v1/jobs/{id}/requeue       A
    post   /v1/tokens                  A
    get    /v1/tokens                  A
    get    /v1/tokens/{id}             A
    delete /v1/tokens/{id}             A
    post   /v1/approvals               A
    get    /v1/approvals               A
    post   /v1/approvals/{id}          A
";

/// The same for MLflow's API, below each of its prefixes.
const MLFLOW: &str = "
    post   /mlflow/experiments/create                  PA
    get    /mlflow/experiments/get                     PRA
    get    /mlflow/experiments/get-by-name             PRA
    post   /mlflow/experiments/search                  PRA
    get    /mlflow/experiments/search                  PRA
    post   /mlflow/experiments/set-experiment-tag      PA
    post   /mlflow/runs/create                         PA
    get    /mlflow/runs/get                            PRA
    post   /mlflow/runs/update                         PA
    post   /mlflow/runs/search                         PRA
    post   /mlflow/runs/log-metric                     PA
    post   /mlflow/runs/log-parameter                  PA
    post   /mlflow/runs/log-batch                      PA
    post   /mlflow/runs/log-inputs                     PA
    post   /mlflow/runs/log-model                      PA
    post   /mlflow/runs/set-tag                        PA
    post   /mlflow/runs/delete-tag                     PA
    post   /mlflow/runs/outputs                        PA
    post   /mlflow/logged-models                       PA
    post   /mlflow/logged-models/search                PRA
    get    /mlflow/logged-models/{id}                  PRA
    patch  /mlflow/logged-models/{id}                  PA
    patch  /mlflow/logged-models/{id}/tags             PA
    post   /mlflow/logged-models/{id}/params           PA
    get    /mlflow/metrics/get-history                 PRA
    get    /mlflow/artifacts/list                      PRA
    get    /mlflow-artifacts/artifacts                 PRA
    put    /mlflow-artifacts/artifacts/{*path}         PA
    get    /mlflow-artifacts/artifacts/{*path}         PRA
    post   /mlflow/experiments/delete                  PA
    post   /mlflow/experiments/restore                 PA
    post   /mlflow/experiments/update                  PA
    post   /mlflow/experiments/delete-experiment-tag   PA
    post   /mlflow/runs/delete                         PA
    post   /mlflow/runs/restore                        PA
";

/// A letter for each role.
fn letter(role: Role) -> char {
    match role {
        Role::Admin => 'A',
        Role::Producer => 'P',
        Role::Reader => 'R',
        Role::Auditor => 'U',
        Role::Witness => 'W',
    }
}

fn cells(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    table.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?, words.next()?))
    })
}

/// Everybody there is, by letter.
fn callers(server: &Server) -> Vec<(char, Option<&str>)> {
    let mut callers = vec![('-', None)];
    for role in Role::ALL {
        let token = match role {
            Role::Admin => &server.admin,
            Role::Producer => &server.producer,
            Role::Reader => &server.reader,
            Role::Auditor => &server.auditor,
            Role::Witness => &server.witness,
        };
        callers.push((letter(*role), Some(token.as_str())));
    }
    callers
}

#[track_caller]
fn holds(cell: &str, answer: &Answer, admitted: &str, caller: char) {
    let status = answer.status;
    let cell = format!("{cell} as {caller}: {status} {}", answer.text());
    if admitted == "!" {
        assert_eq!(status, 401, "{cell}");
        assert_eq!(code(answer), "unproven-delivery", "{cell}");
    } else if admitted.contains(caller) {
        assert!(status != 401 && status != 403, "{cell}");
        assert!(status < 500, "{cell}");
    } else if caller == '-' {
        assert_eq!(status, 401, "{cell}");
        assert_eq!(
            answer.header("www-authenticate"),
            r#"Bearer realm="rlhf-audit""#
        );
    } else {
        assert_eq!(status, 403, "{cell}");
    }
}

/// I15, and every other cell.
#[test]
fn every_cell_of_the_table_holds() {
    let server = Server::start();
    let run = server.start_run("table").run;
    for (method, path, admitted) in cells(TABLE) {
        let path = path
            .replace("{run}", run.as_str())
            .replace("tile/{level}/{index}", "tile/0/000.p/1")
            .replace("entries/{index}", "entries/000.p/1")
            .replace("{index}", "0")
            .replace("{sha256}", &"ab".repeat(32))
            .replace("{id}", "nobody")
            .replace("{name}", "nobody");
        for (caller, token) in callers(&server) {
            let answer = server.ask(method, &path, token, None);
            holds(&format!("{method} {path}"), &answer, admitted, caller);
        }
    }
}

#[test]
fn every_cell_of_mlflows_table_holds() {
    let server = Server::start();
    let run = server.start_run("table").run.to_string();
    for prefix in server::MLFLOW_PREFIXES {
        for (method, path, admitted) in cells(MLFLOW) {
            let path = path
                .replace("{id}", &format!("m-{}-1", run.to_lowercase()))
                .replace("{*path}", &format!("0/{run}/artifacts/a"));
            let path = format!("{prefix}{path}");
            for (caller, token) in callers(&server) {
                let answer = server.send(method, &path, token, Some("application/json"), b"{}");
                // What a ledger does not do it does for nobody; who is not let in is not told.
                if admitted.contains(caller) && answer.status == 501 {
                    continue;
                }
                holds(&format!("{method} {path}"), &answer, admitted, caller);
            }
        }
    }
}

#[test]
fn the_tables_the_router_and_the_document_name_the_same_routes() {
    let of = |table| -> BTreeMap<String, &str> {
        cells(table)
            .map(|(method, path, admitted)| (format!("{method} {path}"), admitted))
            .collect()
    };
    for (table, rules) in [
        (of(TABLE), server::ROUTES),
        (of(MLFLOW), server::MLFLOW_ROUTES),
    ] {
        let router: BTreeSet<_> = rules
            .iter()
            .map(|rule| format!("{} {}", rule.method, rule.path))
            .collect();
        let here: BTreeSet<_> = table.keys().cloned().collect();
        assert_eq!(here, router);
    }

    let table = of(TABLE);
    let document: serde_json::Value = serde_json::from_str(&server::openapi_json()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let route = format!("{method} {path}");
            let admitted = table[&route];
            let roles = operation["security"][0]["token"].as_array();
            let roles: BTreeSet<char> = roles
                .into_iter()
                .flatten()
                .map(|role| letter(role.as_str().unwrap().parse().unwrap()))
                .collect();
            let expected: BTreeSet<char> = if admitted.contains(['-', '!']) {
                BTreeSet::new()
            } else {
                admitted.chars().collect()
            };
            assert_eq!(roles, expected, "{route}");
            documented.insert(route);
        }
    }
    assert_eq!(table.into_keys().collect::<BTreeSet<_>>(), documented);
}
