//! What was found out about a folder of weights, as text.

use std::fmt;

use super::{Printable, SHOWN, number};
use crate::model::{ModelMatch, ModelReport};

/// Which record a model is, or how far it is from the nearest.
pub(super) fn show(f: &mut fmt::Formatter<'_>, model: &ModelReport) -> fmt::Result {
    writeln!(
        f,
        "  model       {}: {} files, {} tensors, {} bytes; held against {} saved models",
        Printable(&model.name),
        number(model.files),
        number(model.parts),
        number(model.bytes),
        number(model.compared)
    )?;
    for found in model.matches.iter().take(SHOWN) {
        let what = if found.missing.total == 0 {
            "it is"
        } else {
            "it is a part of"
        };
        model_of(f, what, found)?;
        if found.missing.total > 0 {
            let more = found.missing.total - found.missing.names.len() as u64;
            let names = found.missing.names.join(", ");
            write!(f, "              without {}", Printable(&names))?;
            match more {
                0 => writeln!(f)?,
                more => writeln!(f, " and {} more", number(more))?,
            }
        }
    }
    let more = model.matches_total - model.matches.len().min(SHOWN) as u64;
    if more > 0 {
        writeln!(f, "              and {} more", number(more))?;
    }
    let Some(nearest) = &model.nearest else {
        return Ok(());
    };
    model_of(f, "nearest is", nearest)?;
    for difference in nearest.differences.iter().take(SHOWN) {
        writeln!(f, "              {}", Printable(&difference.to_string()))?;
    }
    let more = nearest.differences_total - nearest.differences.len().min(SHOWN) as u64;
    if more > 0 {
        writeln!(f, "              and {} differences more", number(more))?;
    }
    Ok(())
}

fn model_of(f: &mut fmt::Formatter<'_>, what: &str, found: &ModelMatch) -> fmt::Result {
    write!(
        f,
        "              {what} {} of run {}",
        Printable(&found.model),
        Printable(&found.run)
    )?;
    if let Some(step) = found.step {
        write!(f, ", step {}", number(step))?;
    }
    writeln!(
        f,
        ": record {}, stream {}, seq {}{}",
        number(found.index),
        Printable(&found.stream),
        number(found.seq),
        if found.by_manifest {
            ""
        } else {
            " (by the files it lists: no manifest was at hand)"
        }
    )
}
