//! The card as a page.

use askama::Template;

use crate::{
    ReportError,
    card::ModelCard,
    figure::{Count, Number, Percent},
    series::Series,
    svg,
};

/// As many annotators have a bar.
const ANNOTATOR_BARS: usize = 24;

/// As many model checkpoints are listed; the JSON has all.
const MAX_LISTED: usize = 50;

#[derive(Template)]
#[template(path = "card.html")]
struct Page<'a> {
    card: &'a ModelCard,
    plots: Vec<Plot<'a>>,
}

/// A plot of a quantity over steps, and what is said below it.
struct Plot<'a> {
    name: &'static str,
    note: &'static str,
    series: &'a Series,
    full: bool,
    svg: String,
}

pub(crate) fn render(card: &ModelCard) -> Result<String, ReportError> {
    let training = &card.training;
    let mut shown = vec![
        (
            "Reward",
            "mean of each update's batch",
            "reward",
            &training.reward,
        ),
        (
            "KL divergence",
            "from the reference policy, in nats",
            "kl",
            &training.kl,
        ),
        ("Loss", "of each update", "loss", &training.loss),
    ];
    shown.retain(|(.., series)| !series.is_empty());
    // Of an odd number the first has a row of its own.
    let odd = shown.len() % 2 == 1;
    let plots = shown
        .into_iter()
        .enumerate()
        .map(|(i, (name, note, class, series))| {
            let full = odd && i == 0;
            Plot {
                name,
                note,
                series,
                full,
                svg: svg::line(series, name, class, full),
            }
        });
    let plots = plots.collect();
    Ok(Page { card, plots }.render()?)
}
