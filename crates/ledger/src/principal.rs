//! Who asks: the holder of a token, the operator, or the server itself.
//!
//! Not who *made* a record: that is the producer, and its key proves it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use record::RunId;
use record::kinds::ReadPart;

use crate::runs::RunInfo;

/// What a token lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything: any run, tokens, hooks, sealed values.
    Admin,
    /// Starts runs and appends to the runs it started. Reads no record.
    Producer,
    /// Reads all runs, but no sealed value.
    Reader,
    /// Reads the parts of the runs that its [`Reach`] names; each read is recorded.
    Auditor,
    /// A witness or a monitor, known by name: what is public, and proofs.
    Witness,
}

impl Role {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Admin,
        Self::Producer,
        Self::Reader,
        Self::Auditor,
        Self::Witness,
    ];

    /// The role's name in requests and in the token table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Producer => "producer",
            Self::Reader => "reader",
            Self::Auditor => "auditor",
            Self::Witness => "witness",
        }
    }

    /// Whether a holder of this role may append at all.
    pub fn may_append(self) -> bool {
        matches!(self, Self::Admin | Self::Producer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = crate::LedgerError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|role| role.name() == s);
        found
            .copied()
            .ok_or_else(|| Self::Err::UnknownRole { seen: s.to_owned() })
    }
}

/// What an auditor may read. Nothing, unless it is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Which runs; `None`: all, and what belongs to none.
    pub runs: Option<BTreeSet<RunId>>,
    /// Which parts of them.
    pub parts: BTreeSet<ReadPart>,
}

/// How much a producer may append. What it does not use of a day is its to use at once, and not
/// more: a bucket of this size that takes a day to fill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Records a day, at least 1.
    pub records: Option<u64>,
    /// Bytes of requests a day, at least 1.
    pub bytes: Option<u64>,
}

/// Who asks, as established by whoever authenticated the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// The token's id (of a token that succeeds another: the other's), or `local` for a process that
    /// holds the data directory itself.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// An auditor's; nobody else has one.
    pub reach: Option<Arc<Reach>>,
    /// A producer's, if it has any.
    pub quota: Option<Quota>,
}

impl Principal {
    /// Somebody of this role, without a reach or a quota.
    pub fn new(id: impl Into<String>, role: Role) -> Self {
        Self {
            id: id.into(),
            role,
            reach: None,
            quota: None,
        }
    }

    /// The operator at the machine: whoever can open the data directory may do everything.
    pub fn local() -> Self {
        Self::new("local", Role::Admin)
    }

    /// Whether this part of a run is the principal's to read; with `None`, of all runs and of what
    /// belongs to none.
    pub fn may_read(&self, part: ReadPart, run: Option<RunId>) -> bool {
        match self.role {
            Role::Admin => true,
            Role::Reader => part != ReadPart::Sealed,
            Role::Auditor => self.reach.as_ref().is_some_and(|reach| {
                let covers = match (&reach.runs, run) {
                    (None, _) => true,
                    (Some(runs), Some(run)) => runs.contains(&run),
                    (Some(_), None) => false,
                };
                covers && reach.parts.contains(&part)
            }),
            Role::Producer | Role::Witness => false,
        }
    }

    /// Whether the principal is told that there is such a run: a producer of its own, an auditor of
    /// those within its reach.
    pub fn knows_of(&self, run: &RunInfo) -> bool {
        match self.role {
            Role::Admin | Role::Reader => true,
            Role::Auditor => self.reach.as_ref().is_some_and(|reach| {
                reach
                    .runs
                    .as_ref()
                    .is_none_or(|runs| runs.contains(&run.id))
            }),
            Role::Producer => run.principal == self.id,
            Role::Witness => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_roles_are_read_as_written() {
        for role in Role::ALL {
            assert_eq!(role.name().parse::<Role>().unwrap(), *role);
        }
        for bad in ["", "Admin", "root", "auditor "] {
            assert!(bad.parse::<Role>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_auditor_reads_what_is_named_and_nothing_else() {
        let run = |letter: &str| RunId::parse(&letter.repeat(26)).unwrap();
        let auditor = |reach: Option<Reach>| Principal {
            reach: reach.map(Arc::new),
            ..Principal::new("t-x", Role::Auditor)
        };
        let records = ReadPart::Records;
        let nothing = auditor(None);
        assert!(!nothing.may_read(records, Some(run("0"))) && !nothing.may_read(records, None));
        let one = auditor(Some(Reach {
            runs: Some([run("0")].into()),
            parts: [records].into(),
        }));
        assert!(one.may_read(records, Some(run("0"))));
        assert!(!one.may_read(records, Some(run("1"))), "another run");
        assert!(!one.may_read(records, None), "all runs");
        assert!(
            !one.may_read(ReadPart::Sealed, Some(run("0"))),
            "another part"
        );
        let all = auditor(Some(Reach {
            runs: None,
            parts: [records].into(),
        }));
        assert!(all.may_read(records, Some(run("1"))) && all.may_read(records, None));
        assert!(!all.may_read(ReadPart::Documents, None));
    }

    #[test]
    fn readers_open_nothing_and_producers_read_nothing() {
        let of = |role| Principal::new("t-x", role);
        assert!(of(Role::Reader).may_read(ReadPart::Records, None));
        assert!(!of(Role::Reader).may_read(ReadPart::Sealed, None));
        assert!(of(Role::Admin).may_read(ReadPart::Sealed, None));
        for role in [Role::Producer, Role::Witness] {
            assert!(!of(role).may_read(ReadPart::Aggregates, None));
        }
    }
}
