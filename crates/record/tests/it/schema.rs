//! The JSON Schemas say what the parser says: both are held against the same good and bad records.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use proptest::prelude::*;
use record::*;
use serde_json::{Value, json};

use crate::samples;

static VALIDATORS: LazyLock<BTreeMap<(Kind, u16), Validator>> = LazyLock::new(|| {
    let validator = |(kind, version): (Kind, u16)| {
        let schema = schema::json_schema_of(kind, version);
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        ((kind, version), validator)
    };
    Kind::all_versions().map(validator).collect()
});

/// The schema that a record says it is under.
fn validator(record: &Value) -> &'static Validator {
    let kind = Kind::parse(record["kind"].as_str().unwrap()).unwrap();
    let version = u16::try_from(record["v"].as_u64().unwrap()).unwrap();
    &VALIDATORS[&(kind, version)]
}

static RECORDS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    samples::records()
        .iter()
        .chain(&samples::least())
        .map(|submission| serde_json::from_slice(&submission.record).unwrap())
        .collect()
});

#[test]
fn checked_in_schemas_are_current() {
    for (kind, version) in Kind::all_versions() {
        let path = format!(
            "{}/../../docs/spec/schemas/{kind}.v{version}.json",
            env!("CARGO_MANIFEST_DIR"),
        );
        let found: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            found,
            schema::json_schema_of(kind, version),
            "run `cargo run -p xtask -- schemas`"
        );
    }
}

#[test]
fn good_records_are_good_to_both() {
    for record in RECORDS.iter() {
        let bytes = canonical::to_canonical(record);
        assert!(Record::parse(&bytes).is_ok(), "{record}");
        if let Err(error) = validator(record).validate(record) {
            panic!("{record}: {error} at {}", error.instance_path());
        }
    }
}

/// Every member of every record, by the path to it.
fn paths(value: &Value, at: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (escape(name), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .collect(),
        _ => return,
    };
    for (name, child) in children {
        let path = format!("{at}/{name}");
        paths(child, &path, out);
        out.push(path);
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn odd_values() -> Vec<Value> {
    let texts = [
        "",
        "a",
        "b",
        "-",
        "a-b",
        "a--b",
        "A",
        "ledger",
        "run",
        "a b",
        "a\u{1}b",
        "a\u{7f}b",
        "a\nb",
        "a\"b\\c",
        "\u{1f600}",
        "completed",
        "granted",
        "info",
        "operator",
        "no_preference",
        "2026-11-23T08:00:00.123456Z",
        "2026-02-30T08:00:00.123456Z",
        "2024-02-29T00:00:00.000000Z",
        "2026-11-23T24:00:00.000000Z",
        "2026-11-23T08:00:60.000000Z",
        "2026-11-23T08:00:00Z",
        "2026-11-23T08:00:00.123456+00:00",
        "p-0h3qkz8t1v5x7y9b2d4f6g8j0k",
        "p-8h3qkz8t1v5x7y9b2d4f6g8j0k",
        "p-0i3qkz8t1v5x7y9b2d4f6g8j0k",
        "01KAQZB9G0VXA1ZD3Q4RW7M2PN",
        "81KAQZB9G0VXA1ZD3Q4RW7M2PN",
        "01KAQZB9G0VXA1ZD3Q4RW7M2PI",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
    ];
    let mut values: Vec<Value> = texts.iter().map(|text| json!(text)).collect();
    for len in [64, 65, 128, 129, 512, 513] {
        values.push(json!("a".repeat(len)));
        values.push(json!("é".repeat(len)));
    }
    values.extend([
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(2),
        json!(-1),
        json!(1.5),
        json!(-0.0),
        json!(1e21),
        json!(1e300),
        json!(65_535),
        json!(9_007_199_254_740_991_u64),
        json!(9_007_199_254_740_992_u64),
        json!(-9_007_199_254_740_991_i64),
        json!(-9_007_199_254_740_992_i64),
        json!([]),
        json!([1]),
        json!(["a"]),
        json!([1, 2.5]),
        json!(vec!["a"; 33]),
        json!(vec![1; 256]),
        json!(vec![1; 257]),
        json!({}),
        json!({"a": 1}),
        json!({"a": "b"}),
        json!({"": 1}),
        json!({"a\u{7f}": 1}),
        json!({"a\"b": 1.5}),
        json!({"a".repeat(129): 1}),
        json!({"dataset": "d", "row": 0}),
        json!({"dataset": "d", "row": 0, "more": 0}),
        Value::Object((0..257).map(|name| (name.to_string(), json!(1))).collect()),
        Value::Object((0..256).map(|name| (name.to_string(), json!(1))).collect()),
    ]);
    values
}

#[derive(Clone, Debug)]
enum Mutation {
    Remove,
    Replace(Value),
    Add(String, Value),
    Rename(String),
}

fn mutate(record: &mut Value, path: &str, mutation: &Mutation) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let taken = match (record.pointer_mut(parent).unwrap(), mutation) {
        (Value::Object(members), Mutation::Remove | Mutation::Rename(_)) => members.remove(&name),
        (Value::Array(items), Mutation::Remove) => Some(items.remove(name.parse().unwrap())),
        _ => None,
    };
    match mutation {
        Mutation::Remove => {}
        Mutation::Replace(value) => *record.pointer_mut(path).unwrap() = value.clone(),
        Mutation::Add(name, value) => {
            if let Value::Object(members) = record.pointer_mut(parent).unwrap() {
                members.insert(name.clone(), value.clone());
            }
        }
        Mutation::Rename(new) => {
            if let (Value::Object(members), Some(taken)) =
                (record.pointer_mut(parent).unwrap(), taken)
            {
                members.insert(new.clone(), taken);
            }
        }
    }
}

fn any_mutation() -> impl Strategy<Value = Mutation> {
    let value = prop::sample::select(odd_values());
    let name = prop::sample::select(vec![
        "a",
        "annotator",
        "at",
        "bytes",
        "item",
        "metrics",
        "name",
        "prompt",
        "rationale",
        "run",
        "sealed",
        "prev",
        "source",
        "step",
        "stream",
        "zz",
        "",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        1 => Just(Mutation::Remove),
        4 => value.clone().prop_map(Mutation::Replace),
        1 => (name.clone(), value).prop_map(|(name, value)| Mutation::Add(name, value)),
        1 => name.prop_map(Mutation::Rename),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn mutated_records_are_judged_alike(
        at in any::<prop::sample::Index>(),
        member in any::<prop::sample::Index>(),
        mutation in any_mutation(),
    ) {
        let original = at.get(&RECORDS);
        let mut all = Vec::new();
        paths(original, "", &mut all);
        let path = member.get(&all);
        // Kind and version choose the schema; without them there is nothing to compare.
        prop_assume!(path != "/kind" && path != "/v");
        let mut record = original.clone();
        mutate(&mut record, path, &mutation);
        prop_assume!(record["kind"] == original["kind"] && record["v"] == original["v"]);

        let bytes = canonical::to_canonical(&record);
        // What a validator gets to see is what stands in the bytes: 1.0 is 1 there.
        let seen: Value = serde_json::from_slice(&bytes).unwrap();
        let parsed = Record::parse(&bytes);
        let valid = validator(original).validate(&seen);
        prop_assert_eq!(
            parsed.is_ok(),
            valid.is_ok(),
            "{} {:?}: parser {:?}, schema {:?}",
            path,
            mutation,
            parsed.err().map(|error| error.to_string()),
            valid.err().map(|error| error.to_string()),
        );
    }
}

/// Not left to chance: every member of every record removed, renamed, and given each odd value.
#[test]
fn every_member_with_every_odd_value_is_judged_alike() {
    let (mut accepted, mut refused) = (0, 0);
    for original in RECORDS.iter() {
        let validator = validator(original);
        let mut all = Vec::new();
        paths(original, "", &mut all);
        let mutations: Vec<_> = odd_values()
            .into_iter()
            .map(Mutation::Replace)
            .chain([Mutation::Remove, Mutation::Rename("zz".into())])
            .collect();
        for path in all.iter().filter(|path| *path != "/kind" && *path != "/v") {
            for mutation in &mutations {
                let mut record = original.clone();
                mutate(&mut record, path, mutation);
                let bytes = canonical::to_canonical(&record);
                let seen: Value = serde_json::from_slice(&bytes).unwrap();
                let parsed = Record::parse(&bytes);
                let valid = validator.is_valid(&seen);
                assert_eq!(
                    parsed.is_ok(),
                    valid,
                    "{path} {mutation:?}: {parsed:?}\n{seen}"
                );
                if valid { accepted += 1 } else { refused += 1 }
            }
        }
    }
    assert!(
        accepted > 1_000 && refused > 10_000,
        "{accepted} accepted, {refused} refused"
    );
}
