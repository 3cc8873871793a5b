//! The small world in which the demo trains: questions, candidate answers, and the annotators who compare them.
//!
//! Everything here is computed from the seed. It knows nothing of records; `super::script` turns what happens here
//! into them.

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

/// What an answer is like, each in 0..=1: correct, complete, clear, long, polite.
pub(super) const FEATURES: usize = 5;
/// How many candidate answers each question has.
pub(super) const ANSWERS: usize = 6;

/// What makes an answer good, in truth. Length is worth nothing by itself.
const TRUE_WEIGHTS: [f64; FEATURES] = [2.4, 1.2, 0.9, 0.0, 0.3];

const QUESTIONS: [&str; 24] = [
    "Why is the sky blue?",
    "How do I undo the last commit without losing my changes?",
    "What is the difference between weather and climate?",
    "Is it safe to leave cooked rice out overnight?",
    "How does a bicycle stay upright?",
    "What does a privacy budget limit?",
    "Why do leaves change colour in autumn?",
    "How long should I boil an egg for a soft yolk?",
    "What is a transparency log good for?",
    "Why do we have leap seconds?",
    "How do vaccines train the immune system?",
    "What is the median, and when does it beat the mean?",
    "How can I tell whether a mushroom is edible?",
    "Why does ice float?",
    "What is the difference between a virus and a bacterium?",
    "How do I read a nutrition label?",
    "Why is the ocean salty?",
    "What should I do when I smell gas at home?",
    "How do noise-cancelling headphones work?",
    "What is a reward model?",
    "Why do cats purr?",
    "How do I choose a strong password?",
    "What causes tides?",
    "When should an assistant say that it does not know?",
];

/// The manner of an answer and its typical features.
const MANNERS: [(&str, [f64; FEATURES]); ANSWERS] = [
    ("in one correct sentence", [0.9, 0.3, 0.8, 0.1, 0.5]),
    ("step by step, with an example", [0.9, 0.9, 0.8, 0.7, 0.6]),
    (
        "at length, repeating the question",
        [0.6, 0.7, 0.3, 1.0, 0.7],
    ),
    ("with confidence, and wrongly", [0.1, 0.5, 0.9, 0.4, 0.5]),
    ("hedging each clause", [0.7, 0.4, 0.3, 0.6, 0.9]),
    (
        "with a joke instead of an answer",
        [0.2, 0.1, 0.6, 0.2, 0.4],
    ),
];

/// One candidate answer to a question.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) features: [f64; FEATURES],
}

impl Answer {
    fn true_quality(&self) -> f64 {
        dot(&TRUE_WEIGHTS, &self.features)
    }
}

/// A question with its candidate answers.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) text: &'static str,
    pub(super) answers: Vec<Answer>,
}

/// How somebody decides: the noisier, the smaller `sharpness`; `length_bias` prefers long answers for their length.
#[derive(Debug, Clone)]
pub(super) struct Annotator {
    pub(super) name: String,
    sharpness: f64,
    length_bias: f64,
    /// Below this difference in perceived quality, no preference is stated.
    indifference: f64,
}

/// The outcome of a comparison of the answers `first` and `second` of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    First,
    Second,
    NoPreference,
}

/// A comparison made by an annotator; the fields index into [`World`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Comparison {
    pub(super) annotator: usize,
    pub(super) question: usize,
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) choice: Choice,
}

/// Questions and annotators, drawn from one seed.
#[derive(Debug)]
pub(super) struct World {
    pub(super) questions: Vec<Question>,
    pub(super) annotators: Vec<Annotator>,
}

impl World {
    /// Draws a world. The same seed gives the same world.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let questions = QUESTIONS
            .iter()
            .map(|&text| question(text, &mut rng))
            .collect();
        let annotators = (0..8).map(|n| annotator(n, &mut rng)).collect();
        Self {
            questions,
            annotators,
        }
    }

    /// Has three annotators compare each pair of answers of each question, in shuffled order.
    pub(super) fn comparisons(&self, rng: &mut ChaCha12Rng) -> Vec<Comparison> {
        let mut comparisons = Vec::new();
        for (question, asked) in self.questions.iter().enumerate() {
            for a in 0..ANSWERS {
                for b in a + 1..ANSWERS {
                    let start = rng.random_range(0..self.annotators.len());
                    // Sides are drawn once a pair, so that those who compare it see the same.
                    let (first, second) = if rng.random_bool(0.5) { (a, b) } else { (b, a) };
                    for k in 0..3 {
                        let annotator = (start + 3 * k) % self.annotators.len();
                        let choice = self.annotators[annotator].compare(
                            &asked.answers[first],
                            &asked.answers[second],
                            rng,
                        );
                        comparisons.push(Comparison {
                            annotator,
                            question,
                            first,
                            second,
                            choice,
                        });
                    }
                }
            }
        }
        for i in (1..comparisons.len()).rev() {
            comparisons.swap(i, rng.random_range(0..=i));
        }
        comparisons
    }

    /// The mean true quality of the answers under a policy's `probabilities` (question by answer).
    pub(super) fn mean_quality(&self, probabilities: &[[f64; ANSWERS]]) -> f64 {
        let total: f64 = self
            .questions
            .iter()
            .zip(probabilities)
            .flat_map(|(q, p)| q.answers.iter().zip(p).map(|(a, p)| p * a.true_quality()))
            .sum();
        total / self.questions.len() as f64
    }
}

impl Annotator {
    fn compare(&self, first: &Answer, second: &Answer, rng: &mut ChaCha12Rng) -> Choice {
        let perceived = |a: &Answer| a.true_quality() + self.length_bias * a.features[3];
        let difference = perceived(first) - perceived(second);
        if difference.abs() < self.indifference {
            return Choice::NoPreference;
        }
        if rng.random::<f64>() < sigmoid(self.sharpness * difference) {
            Choice::First
        } else {
            Choice::Second
        }
    }
}

fn question(text: &'static str, rng: &mut ChaCha12Rng) -> Question {
    let answers = MANNERS
        .iter()
        .map(|(manner, typical)| {
            let features = typical.map(|f| (f + 0.3 * (rng.random::<f64>() - 0.5)).clamp(0.0, 1.0));
            Answer {
                text: format!("(answers {manner}: “{text}”)"),
                features,
            }
        })
        .collect();
    Question { text, answers }
}

fn annotator(n: usize, rng: &mut ChaCha12Rng) -> Annotator {
    // Six careful people, one who likes long answers, and one who hardly looks.
    let (sharpness, length_bias) = match n {
        6 => (2.0, 2.5),
        7 => (0.2, 0.0),
        _ => (2.0 + 2.0 * rng.random::<f64>(), 0.0),
    };
    Annotator {
        name: format!("annotator-{n}@example.org"),
        sharpness,
        length_bias,
        indifference: 0.15,
    }
}

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

pub(super) fn dot(a: &[f64; FEATURES], b: &[f64; FEATURES]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_comparisons() {
        let draw = |seed| {
            let world = World::new(seed);
            world
                .comparisons(&mut ChaCha12Rng::seed_from_u64(seed))
                .iter()
                .map(|c| c.choice)
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn careful_annotators_find_the_better_answer_more_often_than_careless_ones() {
        let world = World::new(1);
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let mut right = [0_u32; 8];
        let mut decided = [0_u32; 8];
        for c in world.comparisons(&mut rng) {
            let answers = &world.questions[c.question].answers;
            let first_better = answers[c.first].true_quality() > answers[c.second].true_quality();
            if c.choice != Choice::NoPreference {
                decided[c.annotator] += 1;
                right[c.annotator] += u32::from((c.choice == Choice::First) == first_better);
            }
        }
        let rate = |n: usize| f64::from(right[n]) / f64::from(decided[n]);
        assert!(
            rate(0) > rate(7) + 0.15,
            "careful {} careless {}",
            rate(0),
            rate(7)
        );
    }
}
