use record::{Kind, Record, kinds::Choice};
use report::{Evidence, ModelCard, ReportError, Status};
use tlog::LeafIndex;

use crate::runs::{STEPS, annotators, bare, indices, preference, whole};

fn listed(evidence: &Evidence) -> Vec<u64> {
    evidence
        .ranges()
        .flat_map(|(first, last)| first.get()..=last.get())
        .collect()
}

#[test]
fn every_number_names_exactly_its_records() {
    let written = whole();
    let card = written.card();
    for (kind, cited) in [
        (Kind::PolicyUpdated, &card.training.updates),
        (Kind::RewardScored, &card.training.scored),
        (
            Kind::AnnotationPreference,
            &card.annotations.kinds["annotation.preference"],
        ),
        (
            Kind::AnnotationCritique,
            &card.annotations.kinds["annotation.critique"],
        ),
        (Kind::PolicyUpdated, &card.kinds["policy.updated"]),
    ] {
        assert_eq!(listed(&cited.evidence), indices(&written, kind), "{kind}");
        assert_eq!(cited.value, cited.evidence.records());
    }
    assert_eq!(card.training.updates.value, STEPS);
    // The whole log but the server's opening, enrolment and finding.
    assert_eq!(card.records.value, written.log.size() - 3);
    assert_eq!(card.ledger_records.value, 1);
    assert_eq!(card.run.status, Status::Completed);
    assert_eq!(
        listed(&card.run.sealed.as_ref().unwrap().evidence),
        [written.log.size() - 1]
    );
}

#[test]
fn first_and_last_values_are_those_of_their_records() {
    let written = whole();
    let card = written.card();
    let updates = indices(&written, Kind::PolicyUpdated);
    for series in [
        &card.training.reward,
        &card.training.kl,
        &card.training.loss,
    ] {
        let (first, last) = (
            series.first.as_ref().unwrap(),
            series.last.as_ref().unwrap(),
        );
        assert_eq!(listed(&first.evidence), updates[..1]);
        assert_eq!(listed(&last.evidence), updates[updates.len() - 1..]);
        assert_eq!(series.points.len() as u64, STEPS);
        for point in &series.points {
            let entry = &written.log.entries()[point.index as usize];
            let text = String::from_utf8_lossy(entry);
            assert!(text.contains(&format!("\"step\":{}", point.step)), "{text}");
        }
    }
}

#[test]
fn what_was_withdrawn_or_replaced_does_not_count() {
    let written = whole();
    let card = written.card();
    let preferences = indices(&written, Kind::AnnotationPreference);
    let annotations = &card.annotations;
    assert_eq!(listed(&annotations.withdrawn.evidence), [preferences[3]]);
    assert_eq!(listed(&annotations.superseded.evidence), [preferences[4]]);
    let choices: u64 = annotations.choices.values().map(|n| n.value).sum();
    assert_eq!(choices, preferences.len() as u64 - 2);
    assert!(!listed(&annotations.agreement[0].judgements.evidence).contains(&preferences[3]));
    let bars: u64 = annotations.over_time.bins.iter().map(|bin| bin.count).sum();
    assert_eq!(bars, annotations.total.value - 2);
    assert_eq!(annotations.annotators.value, annotators().len() as u64);
}

#[test]
fn agreement_of_two_on_four_items_is_as_computed_by_hand() {
    use Choice::{A, B};
    let mut written = bare("two");
    let mut stream = written.log.stream(written.run.into(), "people", "p", 3);
    let who = annotators();
    for (item, (x, y)) in [(A, A), (B, B), (A, B), (A, A)].into_iter().enumerate() {
        for (person, choice) in [(0, x), (1, y)] {
            let draft = preference(Some(who[person]), item as u64, choice);
            written.log.write(&mut stream, draft);
        }
    }
    written.log.write(&mut stream, preference(None, 0, B));
    let card = written.card();
    let agreement = &card.annotations.agreement[0];
    assert_eq!(agreement.criterion.as_deref(), Some("helpfulness"));
    assert_eq!(
        (agreement.items, agreement.shared_items, agreement.pairs),
        (4, 4, 4)
    );
    assert_eq!(agreement.equal_pairs, Some(0.75));
    // Eight values, five a and three b: expected disagreement 2*5*3/(8*7), observed 2/8.
    let alpha = 1.0 - (2.0 / 8.0) / (30.0 / 56.0);
    assert!((agreement.alpha.unwrap() - alpha).abs() < 1e-12);
    assert_eq!(card.annotations.anonymous.value, 1);
}

#[test]
fn streams_name_producers_keys_and_who_let_them_in() {
    let card = whole().card();
    let [people, trainer] = &card.streams[..] else {
        panic!("{:?}", card.streams)
    };
    assert_eq!(
        (people.stream.as_str(), trainer.stream.as_str()),
        ("annotators", "trainer")
    );
    assert_eq!(trainer.producer.as_ref().unwrap().value, "demo/trainer");
    assert_eq!(trainer.enrolled_by.as_ref().unwrap().value, "admin");
    assert_eq!(people.enrolled_by, None);
    assert!(people.signatures.value >= 1 && trainer.signatures.value >= 1);
}

#[test]
fn a_bare_run_says_what_is_missing_and_invents_nothing() {
    let card = bare("bare").card();
    assert_eq!(card.run.status, Status::Open);
    assert!(
        card.not_recorded
            .iter()
            .any(|what| what.contains("not sealed"))
    );
    assert!(
        card.not_recorded
            .iter()
            .any(|what| what.starts_with("Which model"))
    );
    let (markdown, html) = (card.markdown().unwrap(), card.html().unwrap());
    assert!(markdown.matches("not recorded").count() > 10);
    assert!(!html.contains("<svg"), "no plot of nothing");
}

#[test]
fn records_of_another_run_are_refused() {
    let (one, other) = (whole(), bare("other"));
    let mut card = ModelCard::collect(one.run);
    let record = Record::parse(&other.log.entries()[0]).unwrap();
    let refused = card.add(LeafIndex(0), &record);
    assert!(
        matches!(refused, Err(ReportError::OtherRun { .. })),
        "{refused:?}"
    );
    assert!(matches!(
        card.finish(one.view()),
        Err(ReportError::Empty(_))
    ));
}

#[test]
fn the_same_log_gives_the_same_bytes() {
    let (one, two) = (whole().card(), whole().card());
    assert_eq!(one.markdown().unwrap(), two.markdown().unwrap());
    assert_eq!(one.html().unwrap(), two.html().unwrap());
    assert_eq!(one.json().unwrap(), two.json().unwrap());
}
