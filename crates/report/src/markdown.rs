//! The card for a model hub.

use askama::Template;

use crate::{
    ReportError,
    card::ModelCard,
    figure::{Bytes, Count, Number, Percent},
    series::Series,
    yaml::Quoted,
};

/// As many model checkpoints and annotators are listed; the JSON has all.
const MAX_LISTED: usize = 50;

#[derive(Template)]
#[template(path = "card.md")]
struct Text<'a> {
    card: &'a ModelCard,
    quantities: [(&'static str, &'a Series); 3],
    metadata: String,
}

pub(crate) fn render(card: &ModelCard) -> Result<String, ReportError> {
    let training = &card.training;
    let quantities = [
        ("Mean reward", &training.reward),
        ("KL divergence (nats)", &training.kl),
        ("Loss", &training.loss),
    ];
    Ok(Text {
        card,
        quantities,
        metadata: metadata(card),
    }
    .render()?)
}

/// The block of YAML that the Hugging Face hub reads: only what the log says, so neither a licence
/// nor a language. Data sets are named where the name can be one of the hub's.
fn metadata(card: &ModelCard) -> String {
    let mut yaml = String::from("---\n");
    let mut put = |line: String| {
        yaml.push_str(&line);
        yaml.push('\n');
    };
    put(format!("model_name: {}", Quoted(card.title())));
    put("tags:\n- rlhf\n- rlhf-audit-trail".to_owned());
    let mut datasets: Vec<&str> = card
        .datasets
        .iter()
        .map(|d| d.name.as_str())
        .filter(|name| is_hub_id(name))
        .collect();
    datasets.sort_unstable();
    datasets.dedup();
    if !datasets.is_empty() {
        put("datasets:".to_owned());
        for name in datasets {
            put(format!("- {}", Quoted(name)));
        }
    }
    put("rlhf_audit:".to_owned());
    put(format!("  run: {}", Quoted(&card.run.id)));
    put(format!("  status: {}", card.run.status.word()));
    put(format!("  log_origin: {}", Quoted(&card.log.origin)));
    put(format!("  log_size: {}", card.log.size));
    put(format!("  log_root: {}", Quoted(&card.log.root)));
    put("---".to_owned());
    yaml
}

/// `name` or `owner/name`, as the hub allows it.
fn is_hub_id(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with(['.', '-'])
            && !part.ends_with(['.', '-'])
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}
