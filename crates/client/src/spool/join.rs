//! Finding a stream to write to: the one that is here, or a new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::kinds::RunStarted;
use record::{Draft, PublicKey, Scope, StreamName, Subject};
use serde_json::Value;

use super::core::Core;
use super::dir::{Lock, Purpose};
use super::error::SpoolError;
use super::load::load;
use super::names::{Taken, free_name, random_name};
use super::options::RunSpec;
use super::outgoing::Outgoing;
use crate::error::ClientError;
use crate::types::StreamSummary;

/// What is left of a stream is mostly sent within so long.
const PASSING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A stream of a scope by that name, if it is here and can be gone on with, or a new one.
pub(super) fn join(core: &Core, scope: Scope, wanted: &str) -> Result<Arc<Outgoing>, SpoolError> {
    core.check_open()?;
    let name = StreamName::parse(wanted).ok_or_else(|| SpoolError::Name {
        found: wanted.to_owned(),
    })?;
    if let Some(stream) = joined(core, scope, name, |stream| !stream.is_adopted()) {
        return Ok(stream);
    }
    let asked = ask(core, scope)?;
    let at_server = asked.iter().flatten().find(|found| found.stream == name);
    if let Some(stream) = go_on(core, scope, name, at_server)? {
        return Ok(stream);
    }
    let taken = match asked {
        Some(streams) => Taken::Known(streams.iter().map(|found| found.stream).collect()),
        None => Taken::Unknown,
    };
    loop {
        let free = free_name(core, scope, name, &taken);
        if let Some(stream) = Outgoing::create(core, scope, free, None)? {
            core.streams().push(stream.clone());
            return Ok(stream);
        }
    }
}

/// The stream, if this process has it already, and it is as it has to be.
fn joined(
    core: &Core,
    scope: Scope,
    name: StreamName,
    fits: impl Fn(&Outgoing) -> bool,
) -> Option<Arc<Outgoing>> {
    // The sender lets go what nobody has joined.
    let _taking = core.taking();
    let stream = of_this_process(core, scope, name)?;
    let joined = stream.is_open() && fits(&stream);
    joined.then(|| {
        stream.join();
        stream
    })
}

/// The stream as it is here, where it can be gone on with. A process that only sends what a dead one left of it is waited
/// for.
fn go_on(
    core: &Core,
    scope: Scope,
    name: StreamName,
    at_server: Option<&StreamSummary>,
) -> Result<Option<Arc<Outgoing>>, SpoolError> {
    let dir = core.layout.stream(scope, name);
    let deadline = Instant::now() + PASSING;
    let lock = loop {
        if let Some(stream) = joined(core, scope, name, |_| true) {
            return catch_up(core, stream, at_server);
        }
        if !dir.exists() || of_this_process(core, scope, name).is_some() {
            return Ok(None);
        }
        if let Some(lock) = Lock::take(&dir, Purpose::Writes)? {
            break lock;
        }
        if !Lock::is_passing(&dir) || Instant::now() >= deadline {
            return Ok(None);
        }
        let _: Option<()> = core.moved.wait_until(Instant::now() + LOOK_AGAIN, || None);
    };
    let stream = {
        let _taking = core.taking();
        let stream = load(core, dir, lock)?;
        // Where nobody can go on with it, what is left of it is sent.
        core.streams().push(stream.clone());
        if !stream.is_open() {
            return Ok(None);
        }
        stream.join();
        stream
    };
    catch_up(core, stream, at_server)
}

/// The first stream of a new run, with `run.started` in it.
pub(super) fn start(core: &Core, run: &RunSpec) -> Result<Arc<Outgoing>, SpoolError> {
    core.check_open()?;
    let id = record::RunId::generate(&*core.options.clock, &*core.options.entropy);
    let draft = started(run, core.public_key());
    let stream = Outgoing::create(core, id.into(), run.stream, None)?;
    // No run has the id of another.
    let stream = stream.ok_or_else(|| SpoolError::Closed {
        what: format!("the stream {id}/{}", run.stream),
        why: "the clock or the randomness given with the options repeats itself".to_owned(),
    })?;
    // Nobody else has it yet, so it cannot have moved.
    if let Err(error) = stream.write(core, vec![draft]) {
        let _ = std::fs::remove_dir_all(&stream.dir);
        return Err(error);
    }
    core.streams().push(stream.clone());
    core.bell.ring();
    Ok(stream)
}

fn started(run: &RunSpec, owner: PublicKey) -> Draft {
    let mut body = RunStarted::new(run.name.clone(), owner);
    body.experiment.clone_from(&run.experiment);
    body.model.clone_from(&run.model);
    body.config = Some(run.config.clone()).filter(|config| !config.is_empty());
    let draft = Draft::new(body);
    match &run.description {
        Some(text) => draft.seal("description", &Value::from(text.as_str()), Subject::Run),
        None => draft,
    }
}

/// A new stream, in a process that was forked from the one whose stream had this name.
pub(super) fn forked(
    core: &Core,
    scope: Scope,
    parents: StreamName,
) -> Result<Arc<Outgoing>, SpoolError> {
    loop {
        let name = random_name(&*core.options.entropy, parents);
        if let Some(stream) = Outgoing::create(core, scope, name, None)? {
            core.streams().push(stream.clone());
            return Ok(stream);
        }
    }
}

fn of_this_process(core: &Core, scope: Scope, name: StreamName) -> Option<Arc<Outgoing>> {
    let streams = core.streams();
    let found = streams
        .iter()
        .find(|stream| (stream.scope, stream.name) == (scope, name));
    found.cloned()
}

/// The streams of a scope as the server has them; `None` where it does not answer.
fn ask(core: &Core, scope: Scope) -> Result<Option<Vec<StreamSummary>>, SpoolError> {
    let Ok(client) = core.hasty() else {
        return Ok(None);
    };
    if let Scope::Run(run) = scope {
        match client.run(run.as_str()) {
            Ok(found) if found.status != "open" => {
                return Err(SpoolError::Closed {
                    what: format!("run {run}"),
                    why: format!(
                        "it is sealed ({}); late records go to the scope ledger, naming the run",
                        found.status
                    ),
                });
            }
            Ok(_) => {}
            // Whoever starts it has not sent it yet.
            Err(ClientError::Refused(problem)) if problem.status == 404 => {
                return Ok(Some(Vec::new()));
            }
            Err(_) => return Ok(None),
        }
    }
    Ok(client.streams(scope.as_str()).ok())
}

/// The stream, if it can be gone on with as the server has it: after a loss of power that may have more of it.
fn catch_up(
    core: &Core,
    stream: Arc<Outgoing>,
    at_server: Option<&StreamSummary>,
) -> Result<Option<Arc<Outgoing>>, SpoolError> {
    let Some(there) = at_server else {
        return Ok(Some(stream));
    };
    if there.key != core.public_key() {
        // Somebody else has the name; what is left of ours the server will say.
        return Ok(None);
    }
    if there.next_seq > stream.queue().next_seq {
        stream.skip_to(core, there)?;
    }
    Ok(Some(stream))
}
