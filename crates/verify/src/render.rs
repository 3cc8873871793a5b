//! A report as plain text: the verdict, what was checked, what failed, what it rests on, and what it
//! does not prove. No colours: the CLI adds those it wants.

mod model;

use std::fmt::{self, Write as _};

use crate::report::{Failure, Named, Report, SealedValues, Subject, Verdict};

/// A screen has room for a few names; JSON has the rest.
const SHOWN: usize = 10;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Incomplete => "nothing wrong, but not everything could be checked",
            Self::Failed => "FAILED",
            Self::NothingToCheck => "nothing to check (which is no success)",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.check)?;
        if let Some(index) = self.index {
            write!(f, ", record {index}")?;
        }
        if let Some(path) = &self.path {
            write!(f, ", {}", Printable(path))?;
        }
        if let Some(run) = &self.run {
            write!(f, ", run {}", Printable(run))?;
        }
        if let Some(stream) = &self.stream {
            write!(f, ", stream {}", Printable(stream))?;
        }
        if let Some(seq) = self.seq {
            write!(f, ", seq {seq}")?;
        }
        write!(
            f,
            "\n    expected {}\n    found    {}",
            Printable(&self.expected),
            Printable(&self.found)
        )
    }
}

/// Text from the log without what a terminal would obey: a file's name can hold anything.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            f.write_char(if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            })
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.subject {
            Subject::Log => "log",
            Subject::Bundle => "bundle",
            Subject::Proof => "proof",
        };
        writeln!(f, "{what} {}: {}", self.source, self.verdict)?;
        self.checked(f)?;
        self.failed(f)?;
        list(f, "not checked", &self.unchecked)?;
        list(f, "note", &self.notes)?;
        list(f, "this verdict rests on", &self.rests_on())?;
        if self.failures_total == 0 && self.counts.entries > 0 {
            list(f, "it does not prove", &self.does_not_prove())?;
        }
        Ok(())
    }
}

impl Report {
    fn checked(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        if let Some(signed) = &self.checkpoint {
            writeln!(
                f,
                "  checkpoint  {} of {} entries",
                signed.origin,
                number(signed.size)
            )?;
            writeln!(f, "  root        {}", signed.root)?;
        }
        if let Some(run) = &self.run {
            writeln!(f, "  run         {run}")?;
        }
        writeln!(
            f,
            "  entries     {} hashed ({} bytes{})",
            number(c.entries),
            number(c.bytes),
            if c.files > 0 {
                format!(", {} files", number(c.files))
            } else {
                String::new()
            }
        )?;
        if self.hashes_only {
            return writeln!(f, "  records     not read: only hashes were asked for");
        }
        writeln!(
            f,
            "  records     {} parsed under their schemas",
            number(c.records)
        )?;
        if self.subject == Subject::Proof {
            return Ok(());
        }
        writeln!(
            f,
            "  streams     {} in {} runs, {} of them sealed; {} signatures",
            number(c.streams),
            number(c.runs),
            number(c.sealed_runs),
            number(c.signatures)
        )?;
        if c.unsigned_records > 0 {
            writeln!(
                f,
                "  unsigned    {} records that no signature covers yet",
                number(c.unsigned_records)
            )?;
        }
        self.changes(f)?;
        self.beside(f)?;
        for (kind, count) in &c.unknown {
            writeln!(
                f,
                "  unknown     {} of kind {kind}: hashes verified, meaning unchecked",
                number(*count)
            )?;
        }
        if let Some(document) = &self.document {
            writeln!(
                f,
                "  document    issued as {} for run {} by record {}",
                document.name, document.run, document.index
            )?;
        }
        if let Some(model) = &self.model {
            model::show(f, model)?;
        }
        named(
            f,
            "run not sealed, completeness not shown",
            &self.unsealed_runs,
        )?;
        named(f, "stream that no seal lists", &self.unlisted_streams)?;
        named(
            f,
            "stream that went on after another continued it",
            &self.resumed_streams,
        )?;
        named(f, "attachment not at hand", &self.absent_attachments)
    }

    /// What belongs to the records and is not in them.
    fn beside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        match self.sealed_values {
            SealedValues::NotGiven => writeln!(
                f,
                "  sealed      {} commitments, not opened: sealed values were not given",
                number(c.commitments)
            )?,
            SealedValues::Checked => writeln!(
                f,
                "  sealed      {} of {} commitments opened, {} erased",
                number(c.opened),
                number(c.commitments),
                number(c.erased)
            )?,
        }
        if c.attachments > 0 {
            writeln!(
                f,
                "  attachments {} named, {} held against their SHA-256 ({} bytes), {} not at hand",
                number(c.attachments),
                number(c.attachments_checked),
                number(c.attachment_bytes),
                number(self.absent_attachments.total)
            )?;
        }
        Ok(())
    }

    /// What the log says of its keys, its end and its beginning.
    fn changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.key_changes {
            let whose = change.producer.as_deref().unwrap_or(&change.purpose);
            writeln!(
                f,
                "  new key     of {whose}, by record {}: {}",
                number(change.index),
                change.new
            )?;
        }
        if let Some(before) = &self.predecessor {
            writeln!(
                f,
                "  goes on     from {}, closed at {} entries, root {} (not looked at)",
                Printable(&before.origin),
                number(before.size),
                before.root
            )?;
        }
        if let Some(closed) = &self.closed {
            write!(
                f,
                "  closed      for good by record {}",
                number(closed.index)
            )?;
            match &closed.successor {
                Some(successor) => writeln!(f, "; {} goes on", Printable(successor))?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }

    fn failed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.failures_total == 0 {
            return Ok(());
        }
        writeln!(f, "\n{} failed:", number(self.failures_total))?;
        for failure in &self.failures {
            writeln!(f, "  {failure}")?;
        }
        let more = self.failures_total - self.failures.len() as u64;
        if more > 0 {
            writeln!(f, "  and {} more", number(more))?;
        }
        for conclusion in &self.conclusions {
            writeln!(f, "  so: {conclusion}")?;
        }
        Ok(())
    }

    /// What had to be trusted, a sentence each.
    pub fn rests_on(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let trust = &self.trust;
        if trust.log_keys.is_empty() {
            lines.push("no good signature of the log".to_owned());
        } else {
            lines.push(format!("the log's keys: {}", trust.log_keys.join(", ")));
        }
        for followed in &trust.rotations {
            lines.push(format!(
                "the policy's keys having been kept secret up to entry {}: the log's keys were changed \
                 by record {}, which they vouch for; a policy with the new ones needs no such trust",
                number(followed.size),
                number(followed.index)
            ));
        }
        lines.push(if trust.witnesses.is_empty() {
            "no witness".to_owned()
        } else {
            format!("the witnesses: {}", trust.witnesses.join(", "))
        });
        if self.subject == Subject::Proof {
            return lines;
        }
        lines.push(match trust.since {
            Some(size) => format!("an earlier checkpoint, of {} entries", number(size)),
            None => "no earlier checkpoint".to_owned(),
        });
        lines.extend(self.existed());
        if self.hashes_only {
            return lines;
        }
        lines.push(match trust.pinned_keys {
            0 => "no pinned producer key".to_owned(),
            keys => format!(
                "{} pinned producer keys, under which {} streams were opened",
                number(keys),
                number(trust.pinned_streams)
            ),
        });
        let unpinned = &trust.unpinned_producers;
        if trust.pinned_keys > 0 && unpinned.total > 0 {
            let more = unpinned.total - unpinned.names.len() as u64;
            lines.push(format!(
                "the log's word for the keys of {} producers: {}{}",
                number(unpinned.total),
                unpinned.names.join(", "),
                if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                }
            ));
        }
        lines
    }

    /// What trusted timestamps say: the first and the last where there are several.
    fn existed(&self) -> Vec<String> {
        let trusted: Vec<_> = self.timestamps.iter().filter(|t| t.trusted).collect();
        let ends = [trusted.first(), trusted.last()];
        let several = trusted.len() > 1;
        ends.iter()
            .take(if several { 2 } else { 1 })
            .flatten()
            .map(|stamped| {
                format!(
                    "a timestamp: the first {} entries existed before {} according to {}",
                    number(stamped.size),
                    stamped.before,
                    Printable(&stamped.authority)
                )
            })
            .collect()
    }

    /// What a clean verdict leaves open, a sentence each; `docs/what-verify-proves.md` says more.
    pub fn does_not_prove(&self) -> Vec<String> {
        let mut lines = vec!["that the first producer told the truth".to_owned()];
        let trust = &self.trust;
        if trust.witnesses.is_empty() {
            match (trust.since, trust.pinned_streams) {
                (None, 0) => lines.push(
                    "that nothing was rewritten: who holds the log's keys can sign another history, \
                     and no earlier checkpoint, witness or producer key was at hand to find it"
                        .to_owned(),
                ),
                (Some(size), 0) => lines.push(format!(
                    "that what came after entry {} was not rewritten: no witness or producer key was \
                     at hand",
                    number(size)
                )),
                _ => lines.push(
                    "that streams under keys not pinned were not rewritten by who holds the log's keys"
                        .to_owned(),
                ),
            }
        }
        if self.hashes_only {
            lines.push("anything about what the records say".to_owned());
        }
        if self.absent_attachments.total > 0 {
            lines.push(format!(
                "anything about {} attachments that were not at hand",
                number(self.absent_attachments.total)
            ));
        }
        match self.subject {
            Subject::Log if !self.hashes_only && self.unsealed_runs.total > 0 => {
                lines.push("that runs not sealed are complete".to_owned());
            }
            Subject::Bundle => lines.push(
                "that the log holds no further stream of this run: only a check of the whole log \
                 finds one; nor the chains of ledger-wide streams, of which a bundle has a part"
                    .to_owned(),
            ),
            Subject::Proof => lines
                .push("anything about other records: only that this one is in the log".to_owned()),
            Subject::Log => {}
        }
        lines
    }
}

fn list(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "  - {line}"))
}

fn named(f: &mut fmt::Formatter<'_>, what: &str, named: &Named) -> fmt::Result {
    for name in named.names.iter().take(SHOWN) {
        writeln!(f, "  {what}: {name}")?;
    }
    let more = named.total - named.names.len().min(SHOWN) as u64;
    if more > 0 {
        writeln!(f, "  {what}: {} more", number(more))
    } else {
        Ok(())
    }
}

/// 1234567 as 1,234,567.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Check;

    #[test]
    fn numbers_have_their_commas() {
        let shown: Vec<_> = [0, 999, 1000, 123_456, 1_000_000].map(number).into();
        assert_eq!(shown, ["0", "999", "1,000", "123,456", "1,000,000"]);
    }

    #[test]
    fn an_empty_report_is_no_success_and_says_so() {
        let report = Report::new(Subject::Log, "here").finish();
        assert_eq!(report.verdict, Verdict::NothingToCheck);
        assert_eq!(report.verdict.exit_code(), 1);
        assert!(report.to_string().contains("nothing to check"));
    }

    #[test]
    fn nothing_from_the_log_reaches_the_terminal_as_a_command() {
        let failure = Failure::new(Check::UnexpectedFile, "a", "b\x1b[2J").path("tile/\u{9b}\r\nx");
        let text = failure.to_string();
        assert_eq!(text.lines().count(), 3, "{text:?}");
        assert!(
            !text.chars().any(|c| c.is_control() && c != '\n'),
            "{text:?}"
        );
    }

    #[test]
    fn failures_beyond_those_kept_are_counted() {
        let mut report = Report::new(Subject::Log, "here");
        report.counts.entries = 1;
        for index in 0..250 {
            report.fail(Failure::new(Check::Leaf, "a", "b").at(index));
        }
        let report = report.finish();
        assert_eq!(
            (report.failures_total, report.failures.len()),
            (250, crate::KEPT)
        );
        assert_eq!(report.verdict, Verdict::Failed);
        let text = report.to_string();
        assert!(
            text.contains("250 failed") && text.contains("and 150 more"),
            "{text}"
        );
        assert!(
            !text.contains("does not prove"),
            "a failure needs no fine print"
        );
    }
}
