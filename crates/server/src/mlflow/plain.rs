//! What of a run's parameters and tags stands in the clear. Everything else is sealed.
//!
//! Clients log whatever they are configured with: prompts, directories with a person's name in them,
//! machines, accounts. So a text is in the clear only under a name that is known to hold a plain
//! setting, and if it looks like one; numbers and truth values are, unless their name says that they
//! are about a person. Who started a run is not taken over at all: the log knows by which token.

/// The longest text that is a plain setting.
const MAX_PLAIN: usize = 128;

/// Names, by their last part, whose texts are settings of training.
const SETTINGS: &[&str] = &[
    "accelerator",
    "activation",
    "adv_estimator",
    "algo",
    "algorithm",
    "attn_implementation",
    "base_model",
    "dataset",
    "dataset_name",
    "device",
    "dtype",
    "eval_strategy",
    "evaluation_strategy",
    "hub_strategy",
    "init_lora_weights",
    "kl_ctrl",
    "kl_penalty",
    "logging_strategy",
    "loss",
    "loss_agg_mode",
    "loss_type",
    "lr_scheduler",
    "lr_scheduler_type",
    "method",
    "metric_for_best_model",
    "mode",
    "model",
    "model_id",
    "model_name",
    "model_name_or_path",
    "model_type",
    "optim",
    "optimizer",
    "padding_side",
    "peft_type",
    "precision",
    "quant_method",
    "ref_model",
    "reward_model",
    "rollout_backend",
    "save_strategy",
    "scheduler",
    "strategy",
    "task",
    "task_type",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "warmup_type",
];

/// Parts of names of what is about people, and of what opens doors.
const PERSONAL: &[&str] = &[
    "account",
    "annotator",
    "author",
    "credential",
    "email",
    "employee",
    "entity",
    "key",
    "labeler",
    "owner",
    "passwd",
    "password",
    "person",
    "phone",
    "secret",
    "user",
    "username",
    "worker",
];

/// Names that have such a part and are settings all the same.
const IMPERSONAL: &[&str] = &[
    "num_key_value_heads",
    "dataloader_num_workers",
    "num_workers",
];

/// Whether a parameter stands in the clear.
pub(super) fn param(name: &str, value: &str) -> bool {
    if is_personal(name) {
        return false;
    }
    is_number(value) || (is_setting(name) && is_word(value))
}

/// A tag that stands in the clear: what MLflow itself says of the code, in its own words.
pub(super) fn tag(name: &str, value: &str) -> bool {
    match name {
        "mlflow.parentRunId" => record::RunId::parse(value).is_some(),
        "mlflow.source.git.commit" => {
            (7..=64).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_hexdigit())
        }
        "mlflow.source.type" => {
            ["JOB", "LOCAL", "NOTEBOOK", "PROJECT", "RECIPE", "UNKNOWN"].contains(&value)
        }
        _ => false,
    }
}

/// A tag that is not recorded: it names a person, and the log knows by which token they came.
pub(super) fn is_dropped(name: &str) -> bool {
    name == "mlflow.user"
}

/// A path whose names are plain words stands in the clear.
pub(super) fn path(path: &str) -> bool {
    path.len() <= MAX_PLAIN
        && path
            .split('/')
            .all(|name| !name.is_empty() && plain_bytes(name))
}

/// Numbers, truth values and nothing, as Python prints them.
fn is_number(value: &str) -> bool {
    let word = ["True", "False", "None", "true", "false", "null"].contains(&value);
    word || (value.len() <= 32 && value.parse::<f64>().is_ok())
}

fn is_setting(name: &str) -> bool {
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    // verl calls a model's name its path.
    let model_path = name.ends_with("model.path") || name.ends_with("model/path");
    model_path || SETTINGS.contains(&last.to_lowercase().as_str())
}

/// A word, or two with a slash between them as models and data sets are called.
fn is_word(value: &str) -> bool {
    let mut parts = value.split('/');
    let (first, second, more) = (parts.next(), parts.next(), parts.next());
    let plain = |part: &str| {
        part.bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
            && plain_bytes(part)
    };
    value.len() <= MAX_PLAIN
        && first.is_some_and(plain)
        && second.is_none_or(plain)
        && more.is_none()
}

fn plain_bytes(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._+=-".contains(&byte))
}

fn is_personal(name: &str) -> bool {
    let last = name.rsplit(['.', '/']).next().unwrap_or(name);
    if IMPERSONAL.contains(&last) {
        return false;
    }
    name.split(|c: char| !c.is_alphanumeric()).any(|part| {
        PERSONAL.contains(&part.to_lowercase().trim_end_matches('s'))
            || PERSONAL.contains(&part.to_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_in_the_clear_and_everything_else_is_sealed() {
        for (name, value, clear) in [
            ("learning_rate", "5e-05", true),
            ("max_prompt_length", "512", true),
            ("bf16", "True", true),
            ("warmup_steps", "None", true),
            ("optim", "adamw_torch", true),
            ("actor_rollout_ref.model.path", "Qwen/Qwen3-0.6B", true),
            ("model_name_or_path", "meta-llama/Llama-3.1-8B", true),
            ("num_key_value_heads", "8", true),
            ("model_name_or_path", "/home/alice/model", false),
            ("model_name_or_path", "~/model", false),
            ("model_name_or_path", "a/b/c", false),
            ("model", "my model", false),
            ("output_dir", "out", false),
            ("logging_dir", "runs/Nov27_02-25-10_alices-laptop", false),
            ("system_prompt", "Be kind.", false),
            ("system_prompt", "kind", false),
            ("hub_token", "hf_abc", false),
            ("user_id", "4711", false),
            ("annotators", "3", false),
            ("api_key", "123", false),
            ("run_by", "alice", false),
            ("contact", "alice@example.com", false),
        ] {
            assert_eq!(param(name, value), clear, "{name}={value}");
        }
    }

    #[test]
    fn tags_are_sealed_but_for_mlflows_own_words() {
        for (name, value, clear) in [
            ("mlflow.source.type", "LOCAL", true),
            ("mlflow.source.type", "alice", false),
            ("mlflow.source.git.commit", "c7ee041", true),
            ("mlflow.source.git.commit", "alice", false),
            ("mlflow.parentRunId", "01KAQZB9G0VXA1ZD3Q4RW7M2PN", true),
            ("mlflow.source.name", "train.py", false),
            ("mlflow.note.content", "5", false),
            ("stage", "pilot", false),
        ] {
            assert_eq!(tag(name, value), clear, "{name}={value}");
        }
        assert!(is_dropped("mlflow.user"));
        assert!(path("checkpoint-500/model-00001-of-00002.safetensors"));
        assert!(!path("notes of alice.txt") && !path("a//b") && !path("alice@example"));
    }
}
