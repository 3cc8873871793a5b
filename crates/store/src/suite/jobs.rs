//! The contract of [`JobStore`].

use std::thread;
use std::time::{Duration, Instant};

use crate::{Claim, JobEnd, JobFilter, JobRow, JobState, JobStore, NewJob, Requeued};

const KINDS: &[&str] = &["check", "send"];
/// Longer than a test takes.
const LONG: u64 = 600_000;

fn new(id: &str, kind: &str, key: &str) -> NewJob {
    NewJob {
        id: id.to_owned(),
        kind: kind.to_owned(),
        key: key.to_owned(),
        once: false,
        parent: None,
        payload: format!("{{\"of\":\"{id}\"}}"),
        tries: 3,
        delay: 0,
    }
}

fn claim(store: &impl JobStore, holder: &str, lease: u64) -> Option<JobRow> {
    let claim = Claim {
        holder,
        kinds: KINDS,
        lease,
        id: None,
    };
    store.claim_job(&claim).unwrap()
}

fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn failed(reason: &str) -> JobEnd {
    JobEnd::Retry {
        reason: reason.to_owned(),
        delay: 0,
    }
}

/// A job is taken by one at a time, ends once, and what an earlier attempt says of it counts no more.
pub fn jobs<P, S: JobStore>(make: impl Fn() -> (P, S)) {
    let (_place, store) = make();
    one_after_the_other(&store);
    let (_place, store) = make();
    lost_workers(&store);
    let (_place, store) = make();
    lost_before_waiting(&store);
    let (_place, store) = make();
    requeues(&store);
    let (_place, store) = make();
    keys(&store);
    let (_place, store) = make();
    schedules(&store);
    let (_place, store) = make();
    many_at_once(&store);
}

fn one_after_the_other(store: &impl JobStore) {
    assert_eq!(claim(store, "a", LONG), None);
    assert!(store.add_job(&new("1", "check", "x")).unwrap());
    assert!(store.add_job(&new("2", "other", "x")).unwrap());
    let later = NewJob {
        delay: LONG,
        ..new("3", "check", "later")
    };
    assert!(store.add_job(&later).unwrap());
    let taken = claim(store, "a", LONG).unwrap();
    assert_eq!(
        (&*taken.id, taken.state, taken.attempt, taken.tries),
        ("1", JobState::Running, 1, 3)
    );
    assert_eq!(
        (taken.holder.as_deref(), &*taken.payload),
        (Some("a"), "{\"of\":\"1\"}")
    );
    assert_eq!(
        claim(store, "b", LONG),
        None,
        "taken, of another kind, or not due"
    );
    assert!(store.beat_job("1", 1, LONG, 4, 10).unwrap());
    assert!(!store.beat_job("1", 2, LONG, 9, 10).unwrap());
    let seen = store.job("1").unwrap().unwrap();
    assert_eq!((seen.done, seen.total), (4, 10));
    // Waiting for something is no failure.
    let again = JobEnd::Again {
        delay: 0,
        done: 5,
        total: 10,
    };
    assert!(store.end_job("1", 1, &again).unwrap());
    let seen = store.job("1").unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.tries, seen.done),
        (JobState::Queued, 4, 5)
    );
    let taken = eventually("it is due again", || claim(store, "b", LONG));
    assert_eq!(taken.attempt, 2);
    assert!(store.end_job("1", 2, &failed("no luck")).unwrap());
    let seen = store.job("1").unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.reason.as_deref()),
        (JobState::Retrying, Some("no luck"))
    );
    let taken = eventually("it is tried again", || claim(store, "b", LONG));
    let done = JobEnd::Done {
        result: "{}".to_owned(),
    };
    assert!(!store.end_job("1", taken.attempt - 1, &done).unwrap());
    assert!(store.end_job("1", taken.attempt, &done).unwrap());
    assert!(
        !store.end_job("1", taken.attempt, &failed("late")).unwrap(),
        "it has ended"
    );
    let seen = store.job("1").unwrap().unwrap();
    assert_eq!(
        (seen.state, seen.result.as_deref(), seen.reason),
        (JobState::Done, Some("{}"), None)
    );
    assert_eq!((seen.done, seen.total), (10, 10));
    assert!(seen.finished.is_some() && seen.started.is_some());
    let counts = store.count_jobs(None).unwrap();
    let expected = [
        ("check".to_owned(), JobState::Done, 1),
        ("check".to_owned(), JobState::Queued, 1),
        ("other".to_owned(), JobState::Queued, 1),
    ];
    assert_eq!(counts, expected);
    let ids = |filter: JobFilter<'_>| -> Vec<String> {
        let filter = JobFilter {
            limit: 10,
            ..filter
        };
        let rows = store.list_jobs(&filter).unwrap();
        rows.into_iter().map(|row| row.id).collect()
    };
    assert_eq!(ids(JobFilter::default()), ["3", "2", "1"]);
    let of = |state| JobFilter {
        state: Some(state),
        ..JobFilter::default()
    };
    assert_eq!(ids(of(JobState::Queued)), ["3", "2"]);
    let before = JobFilter {
        before: Some("3"),
        kind: Some("check"),
        ..JobFilter::default()
    };
    assert_eq!(ids(before), ["1"]);
    assert_eq!(store.prune_jobs(LONG, 0).unwrap(), 0);
    let forgotten = eventually("it is forgotten", || {
        Some(store.prune_jobs(0, 0).unwrap()).filter(|n| *n > 0)
    });
    assert_eq!((forgotten, store.job("1").unwrap()), (1, None));
}

/// A lost job does not wait behind what came later: with many in the queue that would be long.
fn lost_before_waiting(store: &impl JobStore) {
    store.add_job(&new("1", "check", "lost")).unwrap();
    assert_eq!(claim(store, "frozen", 1).unwrap().id, "1");
    for id in ["2", "3", "4"] {
        store.add_job(&new(id, "check", id)).unwrap();
    }
    eventually("the lease is over", || {
        let row = store.job("1").unwrap().unwrap();
        let now = store.now().unwrap();
        (row.due < now).then_some(())
    });
    let order: Vec<String> = (0..4)
        .map(|_| claim(store, "other", LONG).unwrap().id)
        .collect();
    assert_eq!(order, ["1", "2", "3", "4"]);
}

/// Whoever says nothing loses its job to another, and cannot end it any more; in the last try it dies.
fn lost_workers(store: &impl JobStore) {
    store
        .add_job(&NewJob {
            tries: 2,
            ..new("1", "check", "x")
        })
        .unwrap();
    let frozen = claim(store, "frozen", 1).unwrap();
    let other = eventually("another takes it", || claim(store, "other", 1));
    assert_eq!((frozen.attempt, other.attempt), (1, 2));
    assert!(!store.beat_job("1", frozen.attempt, LONG, 0, 0).unwrap());
    let done = JobEnd::Done {
        result: String::new(),
    };
    assert!(!store.end_job("1", frozen.attempt, &done).unwrap());
    store
        .add_job(&NewJob {
            delay: 5,
            ..new("2", "send", "y")
        })
        .unwrap();
    // It dies when somebody looks for work.
    eventually("it dies", || {
        claim(store, "third", LONG);
        store
            .job("1")
            .unwrap()
            .filter(|job| job.state == JobState::Dead)
    });
    assert!(
        !store.end_job("1", other.attempt, &done).unwrap(),
        "it is dead"
    );
    let outcomes = store.job_outcomes().unwrap();
    let count = |outcome: &str| {
        let mut of = outcomes
            .iter()
            .filter(|o| o.kind == "check" && o.outcome == outcome);
        of.next().map_or(0, |o| o.count)
    };
    assert_eq!((count("lost"), count("dead"), count("done")), (2, 1, 0));
}

fn requeues(store: &impl JobStore) {
    assert_eq!(store.requeue_job("1", 3).unwrap(), Requeued::Missing);
    store.add_job(&new("1", "check", "x")).unwrap();
    assert_eq!(
        store.requeue_job("1", 3).unwrap(),
        Requeued::NotDead(JobState::Queued)
    );
    for attempt in 1..=3 {
        let taken = eventually("it is tried", || claim(store, "a", LONG));
        assert_eq!(taken.attempt, attempt);
        assert!(store.end_job("1", attempt, &failed("broken")).unwrap());
    }
    let dead = store.job("1").unwrap().unwrap();
    assert_eq!(
        (dead.state, dead.reason.as_deref()),
        (JobState::Dead, Some("broken"))
    );
    assert_eq!(claim(store, "a", LONG), None);
    assert_eq!(store.requeue_job("1", 2).unwrap(), Requeued::Queued);
    let taken = eventually("it is tried again", || claim(store, "a", LONG));
    assert_eq!((taken.attempt, taken.tries, taken.requeues), (4, 5, 1));
    let reason = "hopeless".to_owned();
    assert!(store.end_job("1", 4, &JobEnd::Dead { reason }).unwrap());
    store.add_job(&new("2", "check", "x")).unwrap();
    assert_eq!(store.requeue_job("1", 2).unwrap(), Requeued::Taken);
}

fn keys(store: &impl JobStore) {
    assert!(store.add_job(&new("1", "check", "x")).unwrap());
    assert!(
        !store.add_job(&new("1", "check", "x")).unwrap(),
        "the same again"
    );
    assert!(
        !store.add_job(&new("2", "check", "x")).unwrap(),
        "one is open"
    );
    assert!(store.add_job(&new("2", "check", "y")).unwrap());
    let once = NewJob {
        once: true,
        parent: Some("1".to_owned()),
        ..new("3", "send", "x")
    };
    assert!(store.add_job(&once).unwrap());
    let done = JobEnd::Done {
        result: String::new(),
    };
    for _ in 0..3 {
        let taken = claim(store, "a", LONG).unwrap();
        assert!(store.end_job(&taken.id, taken.attempt, &done).unwrap());
    }
    assert!(
        store.add_job(&new("4", "check", "x")).unwrap(),
        "none is open"
    );
    let again = NewJob {
        id: "5".to_owned(),
        ..once
    };
    assert!(!store.add_job(&again).unwrap(), "once is once");
    let parts = store.count_jobs(Some("1")).unwrap();
    assert_eq!(parts, [("send".to_owned(), JobState::Done, 1)]);
}

fn schedules(store: &impl JobStore) {
    assert_eq!(store.last_tick("daily").unwrap(), None);
    assert!(store.tick("daily", 100, &new("1", "check", "x")).unwrap());
    assert!(
        !store.tick("daily", 100, &new("2", "check", "y")).unwrap(),
        "used"
    );
    assert!(
        !store.tick("daily", 99, &new("2", "check", "y")).unwrap(),
        "past"
    );
    // The one before is still open: the time is for later.
    assert!(!store.tick("daily", 101, &new("2", "check", "x")).unwrap());
    assert_eq!(store.last_tick("daily").unwrap(), Some(100));
    assert_eq!(store.job("2").unwrap(), None);
    assert!(store.tick("daily", 101, &new("2", "check", "y")).unwrap());
    assert_eq!(store.last_tick("daily").unwrap(), Some(101));
    assert!(store.now().unwrap() > 1_000_000_000_000);
}

/// No job is taken twice, and none is left.
fn many_at_once(store: &impl JobStore) {
    const JOBS: usize = 40;
    for n in 0..JOBS {
        store
            .add_job(&new(&format!("{n:03}"), "check", &n.to_string()))
            .unwrap();
    }
    let done = JobEnd::Done {
        result: String::new(),
    };
    let mut taken: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|n| {
                let done = &done;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    while let Some(job) = claim(store, &n.to_string(), LONG) {
                        assert!(store.end_job(&job.id, job.attempt, done).unwrap());
                        mine.push(job.id);
                    }
                    mine
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    taken.sort();
    let all: Vec<String> = (0..JOBS).map(|n| format!("{n:03}")).collect();
    assert_eq!(taken, all);
}
