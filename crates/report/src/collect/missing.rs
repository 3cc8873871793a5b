//! What a reader of a model card looks for and the log does not say.

use crate::card::{ModelCard, Status};

/// In whole sentences, in the order of the card.
pub(super) fn not_recorded(card: &ModelCard) -> Vec<String> {
    let annotations = &card.annotations;
    let training = &card.training;
    let annotated = annotations.total.value > 0;
    let trained = training.updates.value > 0;
    let cases = [
        (card.run.model.is_none(), "Which model is trained."),
        (
            card.run.status == Status::Open,
            "How the run ended: it is not sealed. Until it is, nobody can tell whether records are \
             missing at its end.",
        ),
        (card.datasets.is_empty(), "Which data sets were used."),
        (
            card.datasets
                .iter()
                .any(|dataset| dataset.license.is_none()),
            "The licence of each data set.",
        ),
        (
            annotated && card.guidelines.is_empty(),
            "The guidelines that annotators were given.",
        ),
        (
            annotated && annotations.consents.value == 0,
            "That annotators consented.",
        ),
        (!annotated, "Human feedback: the run has no annotation."),
        (
            annotations.anonymous.value > 0,
            "Who made some of the annotations: they name no annotator, not even by pseudonym.",
        ),
        (
            annotated && annotations.agreement.is_empty(),
            "Agreement between annotators: no two annotators are known to have judged the same \
             item.",
        ),
        (!trained, "Updates of a policy: the run has none."),
        (
            trained && training.reward.is_empty(),
            "The mean reward of updates.",
        ),
        (
            trained && training.kl.is_empty(),
            "The divergence from the reference policy.",
        ),
        (trained && training.loss.is_empty(), "The loss of updates."),
        (
            training.scored.value > 0 && training.reward_models.is_empty(),
            "Which reward model scored.",
        ),
        (
            card.checkpoints.is_empty(),
            "Which files the trained model is: no model checkpoint.",
        ),
        (card.evaluations.is_empty(), "Evaluations."),
        (
            card.oversight.is_empty(),
            "Decisions of people about the run or its results.",
        ),
        (
            true,
            "Intended use, limits, and risks of the model: no record is about them.",
        ),
    ];
    cases
        .into_iter()
        .filter(|(missing, _)| *missing)
        .map(|(_, what)| what.to_owned())
        .collect()
}
