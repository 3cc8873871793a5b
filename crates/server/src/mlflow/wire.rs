//! What MLflow's clients send, as its protocol buffers print it in JSON. Members that nobody here knows
//! are passed over: another version of the client may send them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A new experiment.
#[derive(Debug, Deserialize)]
pub(crate) struct CreateExperiment {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) tags: Vec<Tag>,
}

/// A tag of an experiment.
#[derive(Debug, Deserialize)]
pub(crate) struct SetExperimentTag {
    pub(crate) experiment_id: String,
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

/// An experiment by id or by name, in a query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExperimentQuery {
    pub(crate) experiment_id: Option<String>,
    pub(crate) experiment_name: Option<String>,
}

/// A search, of experiments or of runs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Search {
    pub(crate) experiment_ids: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) order_by: Vec<String>,
    pub(crate) max_results: Option<Number>,
    pub(crate) page_token: Option<String>,
    pub(crate) run_view_type: Option<String>,
    pub(crate) view_type: Option<String>,
}

/// A new run. Who starts it is not looked at: the token says so.
#[derive(Debug, Deserialize)]
pub(crate) struct CreateRun {
    #[serde(default)]
    pub(crate) experiment_id: Option<String>,
    #[serde(default)]
    pub(crate) run_name: Option<String>,
    #[serde(default)]
    pub(crate) start_time: Option<Number>,
    #[serde(default)]
    pub(crate) tags: Vec<Tag>,
}

/// A run's end, or another name for it.
#[derive(Debug, Deserialize)]
pub(crate) struct UpdateRun {
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    run_uuid: Option<String>,
    #[serde(default)]
    pub(crate) status: Option<Value>,
    #[serde(default)]
    pub(crate) run_name: Option<String>,
}

/// Metrics, parameters and tags of a run at once.
#[derive(Debug, Deserialize)]
pub(crate) struct LogBatch {
    pub(crate) run_id: String,
    #[serde(default)]
    pub(crate) metrics: Vec<Metric>,
    #[serde(default)]
    pub(crate) params: Vec<Tag>,
    #[serde(default)]
    pub(crate) tags: Vec<Tag>,
}

/// One value of a metric.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metric {
    pub(crate) key: String,
    pub(crate) value: Float,
    #[serde(default)]
    pub(crate) timestamp: Number,
    #[serde(default)]
    pub(crate) step: Number,
}

/// A metric with its run.
#[derive(Debug, Deserialize)]
pub(crate) struct LogMetric {
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    run_uuid: Option<String>,
    #[serde(flatten)]
    pub(crate) metric: Metric,
}

/// A parameter or a tag with its run.
#[derive(Debug, Deserialize)]
pub(crate) struct LogText {
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    run_uuid: Option<String>,
    #[serde(flatten)]
    pub(crate) text: Tag,
}

/// A name with a text: a parameter or a tag.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

/// Data sets that a run reads.
#[derive(Debug, Deserialize)]
pub(crate) struct LogInputs {
    pub(crate) run_id: String,
    #[serde(default)]
    pub(crate) datasets: Vec<Value>,
}

/// What MLflow 2 says of a model it has logged.
#[derive(Debug, Deserialize)]
pub(crate) struct LogModel {
    pub(crate) run_id: String,
    pub(crate) model_json: String,
}

/// A run, and what of it, in a query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunQuery {
    run_id: Option<String>,
    run_uuid: Option<String>,
    pub(crate) metric_key: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) page_token: Option<String>,
    pub(crate) max_results: Option<usize>,
}

macro_rules! names_run {
    ($($type:ty),+) => {$(
        impl $type {
            /// The run that is meant; old clients call it `run_uuid`.
            pub(crate) fn run(&self) -> &str {
                self.run_id.as_deref().or(self.run_uuid.as_deref()).unwrap_or("")
            }
        }
    )+};
}
names_run!(UpdateRun, LogMetric, LogText, RunQuery);

/// A whole number, as one or as a text: JSON of protocol buffers has both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) i64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            Value::Null => Some(0),
            _ => None,
        };
        number
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected a whole number"))
    }
}

/// A number that need not be finite: `NaN`, `Infinity` and `-Infinity` are texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Float(pub(crate) f64);

impl<'de> Deserialize<'de> for Float {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            // Rust reads the three texts, and numbers in any other.
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| {
            serde::de::Error::custom("expected a number, NaN, Infinity or -Infinity")
        })
    }
}

/// A number in an answer, which need not be finite.
pub(crate) fn float(value: f64) -> Value {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_numbers_and_as_texts() {
        let metric: Metric = serde_json::from_str(
            r#"{"key":"loss","value":"NaN","timestamp":"1795420800000","step":7,"model_id":"m"}"#,
        )
        .unwrap();
        assert!(metric.value.0.is_nan());
        assert_eq!((metric.timestamp.0, metric.step.0), (1_795_420_800_000, 7));
        let metric: Metric = serde_json::from_str(r#"{"key":"loss","value":"-Infinity"}"#).unwrap();
        assert_eq!((metric.value.0, metric.step.0), (f64::NEG_INFINITY, 0));
        for bad in [
            r#"{"key":"a"}"#,
            r#"{"key":"a","value":true}"#,
            r#"{"key":"a","value":1,"step":1.5}"#,
        ] {
            assert!(serde_json::from_str::<Metric>(bad).is_err(), "{bad}");
        }
        assert_eq!(float(f64::INFINITY), "Infinity");
    }
}
