//! A run's model card out of a ledger: the records in, the card out, and its digests recorded.

use std::collections::HashSet;

use ledger::{Ledger, LedgerError, Query, Receipt};
use record::kinds::{DocumentFile, DocumentIssued};
use record::{Draft, Kind, Record, RecordHash, RunId, Scope, Sha256};
use report::{LogView, ModelCard, ReportError};
use tlog::LeafIndex;

/// What a card is called in `document.issued`.
pub(crate) const DOCUMENT: &str = "model-card";
/// Records read at a time.
const PAGE: usize = 1_000;

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum CardError {
    /// The ledger could not be read, or did not take `document.issued`.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The records make no card.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A record of the log cannot be read.
    #[error("record {index} of the log cannot be read: {source}")]
    Record {
        /// Which.
        index: u64,
        /// Why.
        source: record::RecordError,
    },
}

/// A card whose digests are in the log.
#[derive(Debug)]
pub struct Issued {
    /// Where `document.issued` went.
    pub receipt: Receipt,
    /// The card in each of its forms.
    pub files: Vec<IssuedFile>,
}

/// One form of a card.
#[derive(Debug)]
pub struct IssuedFile {
    /// What to call it.
    pub name: &'static str,
    /// What it is.
    pub media_type: &'static str,
    /// The text whose digest was recorded.
    pub content: String,
}

/// The card of `run` as the published log has it.
///
/// # Errors
/// [`CardError`]; [`LedgerError::NotPublished`] where the run's beginning is not yet published.
pub fn model_card(ledger: &Ledger, run: RunId) -> Result<ModelCard, CardError> {
    view(ledger, run).map(|(card, ..)| card)
}

/// Makes the card of `run` and records the digests of its forms on the ledger's own stream.
///
/// # Errors
/// [`CardError`]; nothing is recorded then.
pub fn issue(ledger: &Ledger, run: RunId) -> Result<Issued, CardError> {
    let issue = Issue::of(ledger, run)?;
    let ticket = ledger
        .record_own(issue.draft())
        .map_err(LedgerError::from)?;
    let receipts = ticket.wait().map_err(LedgerError::from)?;
    let receipt = receipts.first().copied().ok_or(LedgerError::Corrupt {
        what: "the ledger's own stream".to_owned(),
        reason: "a record of it got no receipt".to_owned(),
    })?;
    Ok(Issued {
        receipt,
        files: issue.files,
    })
}

/// The runs whose cards the log says were issued.
pub(crate) fn issued(ledger: &Ledger) -> Result<HashSet<RunId>, CardError> {
    let mut query = Query {
        scope: Some(Scope::Ledger),
        kind: Some(Kind::DocumentIssued),
        limit: PAGE,
        ..Query::default()
    };
    let mut runs = HashSet::new();
    loop {
        let page = ledger.query(&query)?;
        for (index, bytes) in &page.records {
            let index = *index;
            let unreadable = |source| CardError::Record { index, source };
            let record = Record::parse_envelope(bytes).map_err(unreadable)?;
            if let Ok(issued) = record.decode::<DocumentIssued>()
                && issued.document == DOCUMENT
            {
                runs.insert(issued.run);
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(runs),
        }
    }
}

/// A card that is about to be issued.
pub(crate) struct Issue {
    run: RunId,
    size: u64,
    root: RecordHash,
    files: Vec<IssuedFile>,
}

impl Issue {
    pub(crate) fn of(ledger: &Ledger, run: RunId) -> Result<Self, CardError> {
        let (card, size, root) = view(ledger, run)?;
        let file = |name, media_type, content| IssuedFile {
            name,
            media_type,
            content,
        };
        let files = vec![
            file("model-card.md", "text/markdown", card.markdown()?),
            file("model-card.html", "text/html", card.html()?),
            file("model-card.json", "application/json", card.json()?),
        ];
        Ok(Self {
            run,
            size,
            root,
            files,
        })
    }

    pub(crate) fn files(&self) -> &[IssuedFile] {
        &self.files
    }

    /// The record of it.
    pub(crate) fn draft(&self) -> Draft {
        let named = self.files.iter().map(|file| {
            DocumentFile::new(
                file.content.len() as u64,
                file.media_type.to_owned(),
                file.name.to_owned(),
                Sha256(tlog::sha256(file.content.as_bytes())),
            )
        });
        let named = named.collect();
        Draft::new(DocumentIssued::new(
            DOCUMENT.to_owned(),
            named,
            self.size,
            self.root,
            self.run,
        ))
    }
}

fn view(ledger: &Ledger, run: RunId) -> Result<(ModelCard, u64, RecordHash), CardError> {
    let published = ledger.checkpoint().ok_or(LedgerError::NotPublished {
        index: 0,
        published: 0,
    })?;
    let (size, root) = (published.checkpoint.size.get(), published.checkpoint.root);
    let mut collector = ModelCard::collect(run);
    ledger.run_records::<CardError>(run, &published, &mut |index, bytes| {
        let unreadable = |source| CardError::Record { index, source };
        let record = Record::parse_envelope(bytes).map_err(unreadable)?;
        Ok(collector.add(LeafIndex::from(index), &record)?)
    })?;
    let log = LogView {
        origin: ledger.origin().to_owned(),
        size,
        root: root.to_string(),
        keys: verifier_keys(ledger.policy()),
    };
    match collector.finish(log) {
        // A run that exists and has no published record yet.
        Err(ReportError::Empty(_)) => Err(LedgerError::NotPublished {
            index: size,
            published: size,
        }
        .into()),
        card => Ok((card?, size, root.into())),
    }
}

/// The log's keys in a policy file (C2SP tlog-policy): the lines `log <vkey> …`.
fn verifier_keys(policy: &str) -> Vec<String> {
    let logs = policy.lines().filter_map(|line| line.strip_prefix("log "));
    logs.filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}
