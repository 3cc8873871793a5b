//! Many clients that append at once, each in a closed loop, or at a rate that is kept whatever the server does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::{Appended, Client, Problem, Receipt, Wait};
use tlog::Hash;

use super::connection::{Address, Answer, Connection};
use super::host::Host;
use super::latency::Latencies;
use super::load::{Form, Producer, Run, Sent};
use crate::outcome::Failure;
use crate::place::client_failure;

/// How often the checkpoint is looked at: the error of what is said about publishing.
const LOOK: Duration = Duration::from_millis(5);
/// A server that is gone for so long is not waited for.
const GONE: Duration = Duration::from_secs(30);
/// What is acknowledged is published long before.
const PUBLISHED: Duration = Duration::from_mins(1);

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) clients: usize,
    /// Records in a request.
    pub(super) batch: usize,
    /// So long, or fewer.
    pub(super) time: Duration,
    /// So many records, or fewer.
    pub(super) records: Option<u64>,
    /// Records a second, of all clients together.
    pub(super) rate: Option<f64>,
    pub(super) form: Form,
}

/// Records that were acknowledged together and follow one another in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ack {
    /// Since the load began.
    pub(super) at: Duration,
    pub(super) first: u64,
    pub(super) count: u64,
    /// Of a single record its leaf hash, of several the SHA-256 of their leaf hashes.
    pub(super) digest: Hash,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) time: Duration,
    pub(super) acks: Vec<Ack>,
    pub(super) records: u64,
    pub(super) requests: u64,
    /// Of the records, without their openings.
    pub(super) bytes: u64,
    pub(super) latencies: Latencies,
    /// From a request's acknowledgement to a checkpoint that covers it.
    pub(super) published: Latencies,
    pub(super) turned_away: u64,
    pub(super) broken: u64,
    /// Receipts for something else than what was sent.
    pub(super) wrong_receipts: u64,
}

impl Done {
    fn new() -> Self {
        Self {
            time: Duration::ZERO,
            acks: Vec::new(),
            records: 0,
            requests: 0,
            bytes: 0,
            latencies: Latencies::new(),
            published: Latencies::new(),
            turned_away: 0,
            broken: 0,
            wrong_receipts: 0,
        }
    }

    fn merge(&mut self, one: &Self) {
        self.acks.extend_from_slice(&one.acks);
        self.latencies.merge(&one.latencies);
        self.records += one.records;
        self.requests += one.requests;
        self.bytes += one.bytes;
        self.turned_away += one.turned_away;
        self.broken += one.broken;
        self.wrong_receipts += one.wrong_receipts;
    }
}

/// What all clients of a load have in common.
struct Common {
    plan: Plan,
    address: Address,
    begin: Instant,
    /// Records that clients have taken up to send.
    taken: AtomicU64,
}

/// Loads the host, and returns once everything acknowledged is published.
pub(super) fn drive(host: &Host, plan: &Plan) -> Result<Done, Failure> {
    let address = Address::of_appends(&host.url, host.token.as_deref())?;
    let patient = host.patient_client()?;
    let (run, opening) = Run::start()?;
    patient
        .append(&opening, Wait::Durable)
        .map_err(client_failure)?;
    let mut producers = (0..plan.clients)
        .map(|number| run.producer(number, plan.form))
        .collect::<Result<Vec<_>, _>>()?;
    // The streams are opened before the clock starts.
    for producer in &mut producers {
        let records = producer.records(1)?;
        let records: Vec<_> = records.into_iter().map(|sent| sent.submission).collect();
        patient
            .append(&records, Wait::Durable)
            .map_err(client_failure)?;
    }
    if let Some(own) = &host.own {
        own.forget_peak();
    }
    let begin = Instant::now();
    let common = Arc::new(Common {
        plan: *plan,
        address,
        begin,
        taken: AtomicU64::new(0),
    });
    let watcher = host.client()?;
    let over = AtomicBool::new(false);
    let (loaded, checkpoints) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&watcher, begin, &over));
        let loaded = load(&common, producers);
        over.store(true, Ordering::Relaxed);
        (loaded, watching.join().unwrap_or_default())
    });
    let (mut done, producers) = loaded?;
    let end = done.acks.iter().map(|ack| ack.first + ack.count).max();
    let checkpoints = wait_published(&patient, checkpoints, end.unwrap_or(0), begin)?;
    done.published = lags(&mut done.acks, &checkpoints);
    if let Some(seal) = run.seal(&producers) {
        let sealed = patient
            .append(&[seal], Wait::Published)
            .map_err(client_failure)?;
        if sealed.published != Some(true) {
            return Err(Failure::unavailable(
                "the run's seal was not published in time",
            ));
        }
    }
    Ok(done)
}

/// Runs the clients to their end.
fn load(common: &Arc<Common>, producers: Vec<Producer>) -> Result<(Done, Vec<Producer>), Failure> {
    // A thread for each core and no work handed between them: waking one another would cost more than the requests.
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shares: Vec<Vec<(u32, Producer)>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, producer) in (0..).zip(producers) {
        shares[number as usize % threads].push((number, producer));
    }
    let finished: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(|| clients(common, share)))
            .collect();
        running
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect()
    });
    let mut done = Done::new();
    done.time = common.begin.elapsed();
    let mut producers = Vec::new();
    for share in finished {
        for one in share.map_err(|_| died())?? {
            let (of_one, producer) = one?;
            done.merge(&of_one);
            producers.push(producer);
        }
    }
    Ok((done, producers))
}

type Finished = Result<(Done, Producer), Failure>;

/// Runs some clients to their end, in this thread.
fn clients(common: &Arc<Common>, share: Vec<(u32, Producer)>) -> Result<Vec<Finished>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::unavailable)?;
    runtime.block_on(async {
        let running: Vec<_> = share
            .into_iter()
            .map(|(number, producer)| tokio::spawn(client(Arc::clone(common), number, producer)))
            .collect();
        let mut finished = Vec::with_capacity(running.len());
        for client in running {
            finished.push(client.await.map_err(|_| died())?);
        }
        Ok(finished)
    })
}

fn died() -> Failure {
    Failure::unavailable("a client died of a defect")
}

/// One client, to its end.
async fn client(
    common: Arc<Common>,
    number: u32,
    mut producer: Producer,
) -> Result<(Done, Producer), Failure> {
    let plan = &common.plan;
    let mut connection = Connection::new(&common.address);
    let mut done = Done::new();
    let pace = plan
        .rate
        .map(|rate| Duration::from_secs_f64(plan.clients as f64 * plan.batch as f64 / rate));
    for turn in 0_u32.. {
        let mut intended = None;
        if let Some(pace) = pace {
            // Whoever is late sends at once, and its lateness counts as the server's.
            let offset = pace.mul_f64(f64::from(number) / plan.clients as f64);
            let at = common.begin + offset + pace * turn;
            tokio::time::sleep_until(at.into()).await;
            intended = Some(at);
        }
        let taken = common.taken.fetch_add(plan.batch as u64, Ordering::Relaxed);
        if common.begin.elapsed() >= plan.time || plan.records.is_some_and(|most| taken >= most) {
            break;
        }
        let records = producer.records(plan.batch)?;
        let from = intended.unwrap_or_else(Instant::now);
        send(&common, &mut connection, &records, from, &mut done).await?;
    }
    Ok((done, producer))
}

/// Sends one request until it is answered, and checks the answer. Its latency counts from `from`.
async fn send(
    common: &Common,
    connection: &mut Connection<'_>,
    records: &[Sent],
    from: Instant,
    done: &mut Done,
) -> Result<(), Failure> {
    let bytes: usize = records
        .iter()
        .map(|sent| sent.submission.record.len())
        .sum();
    let mut lines = Vec::with_capacity(bytes + records.len());
    for record in records {
        let submission = &record.submission;
        if submission.openings.is_empty() {
            lines.extend_from_slice(&submission.record);
        } else {
            lines.extend_from_slice(&submission.to_line());
        }
        lines.push(b'\n');
    }
    let first_try = Instant::now();
    let answer: Appended = loop {
        match connection.append(&lines).await {
            Answer::Done(body) => {
                break serde_json::from_slice(body).map_err(|e| {
                    Failure::unavailable(format!("the server's answer is none: {e}"))
                })?;
            }
            Answer::Later(rest) => {
                done.turned_away += 1;
                tokio::time::sleep(rest).await;
            }
            Answer::Refused(status, body) => return Err(refused(status, body)),
            Answer::Broken(why) if first_try.elapsed() > GONE => {
                return Err(Failure::unavailable(format!(
                    "the server does not answer: {why}"
                )));
            }
            // The same bytes again are harmless, should they have been recorded.
            Answer::Broken(_) => {
                done.broken += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    done.latencies.add(from.elapsed());
    let at = common.begin.elapsed();
    done.requests += 1;
    done.records += records.len() as u64;
    done.bytes += bytes as u64;
    let right = answer.records.len() == records.len()
        && records
            .iter()
            .zip(&answer.records)
            .all(|(sent, receipt)| receipt.leaf_hash == sent.leaf.into());
    done.wrong_receipts += u64::from(!right);
    let follows = |a: &Receipt, b: &Receipt| a.index + 1 == b.index;
    for part in answer.records.chunk_by(follows) {
        let hashes: Vec<Hash> = part.iter().map(|one| one.leaf_hash.into()).collect();
        done.acks.push(Ack {
            at,
            first: part.first().map_or(0, |one| one.index),
            count: part.len() as u64,
            digest: digest(&hashes),
        });
    }
    Ok(())
}

/// See [`Ack::digest`].
pub(super) fn digest(hashes: &[Hash]) -> Hash {
    match hashes {
        [one] => *one,
        several => {
            let bytes: Vec<u8> = several.iter().flat_map(|hash| *hash.as_bytes()).collect();
            tlog::sha256(&bytes).into()
        }
    }
}

fn refused(status: u16, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or(Problem {
        status,
        code: status.to_string(),
        detail: "the server refused".to_owned(),
        line: None,
    });
    let failure = Failure::input(&problem);
    match status {
        401 | 403 => failure.with_hint("give a producer's or an admin's token with --token"),
        _ => failure,
    }
}

/// When which size was first seen published.
type Checkpoints = Vec<(Duration, u64)>;

fn watch(client: &Client, begin: Instant, over: &AtomicBool) -> Checkpoints {
    let mut seen = Vec::new();
    while !over.load(Ordering::Relaxed) {
        look(client, begin, &mut seen);
        std::thread::sleep(LOOK);
    }
    seen
}

fn look(client: &Client, begin: Instant, seen: &mut Checkpoints) {
    // One that cannot be had now is had at the next look.
    let size = client
        .checkpoint()
        .ok()
        .and_then(|note| note.lines().nth(1)?.parse().ok());
    if let Some(size) = size
        && seen.last().is_none_or(|(_, last)| *last < size)
    {
        seen.push((begin.elapsed(), size));
    }
}

fn wait_published(
    client: &Client,
    mut seen: Checkpoints,
    end: u64,
    begin: Instant,
) -> Result<Checkpoints, Failure> {
    let deadline = Instant::now() + PUBLISHED;
    while seen.last().is_none_or(|(_, size)| *size < end) {
        if Instant::now() > deadline {
            return Err(Failure::unavailable(format!(
                "what was acknowledged was not published within {} s",
                PUBLISHED.as_secs()
            )));
        }
        look(client, begin, &mut seen);
        std::thread::sleep(LOOK);
    }
    Ok(seen)
}

/// How long each acknowledgement was ahead of the first checkpoint that covers it.
fn lags(acks: &mut [Ack], checkpoints: &Checkpoints) -> Latencies {
    let mut lags = Latencies::new();
    acks.sort_unstable_by_key(|ack| ack.first);
    let mut checkpoints = checkpoints.iter().peekable();
    for ack in acks {
        while checkpoints
            .next_if(|(_, size)| *size < ack.first + ack.count)
            .is_some()
        {}
        if let Some((at, _)) = checkpoints.peek() {
            // The checkpoint may have been there before the answer was read.
            lags.add(at.saturating_sub(ack.at));
        }
    }
    lags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_waits_for_the_first_checkpoint_that_covers_all_of_it() {
        let ms = Duration::from_millis;
        let ack = |at, first, count| Ack {
            at: ms(at),
            first,
            count,
            digest: Hash::default(),
        };
        let mut acks = [ack(50, 10, 10), ack(10, 0, 10)];
        let checkpoints = vec![(ms(20), 15), (ms(350), 20)];
        let lags = lags(&mut acks, &checkpoints).json();
        let rounded = |name: &str| lags[name].as_f64().map(f64::round);
        assert_eq!(rounded("p50"), Some(10.0));
        assert_eq!(rounded("max"), Some(300.0));
    }
}
