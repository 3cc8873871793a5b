//! Canonical form: the examples of RFC 8785, another implementation, and what must be refused.

use proptest::prelude::*;
use record::canonical::{check, to_canonical};
use serde_json::{Map, Value};

/// RFC 8785 appendix B: IEEE 754 bits and the number's canonical text.
const NUMBERS: &[(u64, &str)] = &[
    (0x0000_0000_0000_0000, "0"),
    (0x8000_0000_0000_0000, "0"),
    (0x0000_0000_0000_0001, "5e-324"),
    (0x8000_0000_0000_0001, "-5e-324"),
    (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
    (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
    (0x4340_0000_0000_0000, "9007199254740992"),
    (0xc340_0000_0000_0000, "-9007199254740992"),
    (0x4430_0000_0000_0000, "295147905179352830000"),
    (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
    (0x44b5_2d02_c7e1_4af6, "1e+23"),
    (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
    (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
    (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
    (0x444b_1ae4_d6e2_ef50, "1e+21"),
    (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
    (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
    (0x41b3_de43_5555_5553, "333333333.3333332"),
    (0x41b3_de43_5555_5554, "333333333.33333325"),
    (0x41b3_de43_5555_5555, "333333333.3333333"),
    (0x41b3_de43_5555_5556, "333333333.3333334"),
    (0x41b3_de43_5555_5557, "333333333.33333343"),
    (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
    (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
];

#[test]
fn numbers_of_rfc_8785_appendix_b() {
    for (bits, text) in NUMBERS {
        let value = Value::from(f64::from_bits(*bits));
        assert_eq!(String::from_utf8(to_canonical(&value)).unwrap(), *text);
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn not_a_number_and_infinity_have_no_form() {
    for text in ["NaN", "Infinity", "-Infinity", "1e400", "-1e400"] {
        assert!(check(text.as_bytes()).is_err(), "{text}");
    }
}

/// RFC 8785 §3.2.2: the sample input and what must come out.
#[test]
fn sample_of_rfc_8785() {
    let input = r#"{
      "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
      "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
      "literals": [null, true, false]
    }"#;
    let expected = concat!(
        r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"#,
        r#""string":"€$\u000f\nA'B\"\\\\\"/"}"#
    );
    let canonical = to_canonical(&serde_json::from_str(input).unwrap());
    assert_eq!(String::from_utf8(canonical).unwrap(), expected);
    assert_eq!(check(expected.as_bytes()), Ok(()));
    assert!(check(input.as_bytes()).is_err());
}

/// RFC 8785 §3.2.3: the sorting example.
#[test]
fn sorting_of_rfc_8785() {
    let input = r#"{
      "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let expected = concat!(
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",",
        "\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",",
        "\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
    );
    let canonical = to_canonical(&serde_json::from_str(input).unwrap());
    assert_eq!(String::from_utf8(canonical).unwrap(), expected);
    assert_eq!(check(expected.as_bytes()), Ok(()));
    // By UTF-8 bytes the last two would stand the other way round.
    let by_bytes = "{\"\u{fb33}\":1,\"😀\":2}";
    assert!(check(by_bytes.as_bytes()).is_err());
}

/// The test data of RFC 8785's reference implementation: French, structures, weird.
#[test]
fn french_structures_and_weird() {
    let cases = [
        (
            r#"{"peach": "This sorting order", "péché": "is wrong according to French",
               "pêche": "but canonicalization MUST", "sin": "ignore locale"}"#,
            r#"{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}"#,
        ),
        (
            r#"{"1": {"f": {"f": "hi","F": 5} ,"\n": 56.0}, "10": { }, "": "empty",
               "a": { }, "111": [ {"e": "yes","E": "no" } ], "A": { }}"#,
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
        ),
        (
            r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\u000a": "Newline", "1": "One",
               "\u0080": "Control\u007f", "\ud83d\ude02": "Smiley",
               "\u00f6": "Latin Small Letter O With Diaeresis",
               "\ufb33": "Hebrew Letter Dalet With Dagesh", "</script>": "Browser Challenge"}"#,
            "{\"\\n\":\"Newline\",\"\\r\":\"Carriage Return\",\"1\":\"One\",\"</script>\":\"Browser Challenge\",\"\u{80}\":\"Control\u{7f}\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😂\":\"Smiley\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
    ];
    for (input, expected) in cases {
        let canonical = to_canonical(&serde_json::from_str(input).unwrap());
        assert_eq!(String::from_utf8(canonical).unwrap(), expected);
        assert_eq!(check(expected.as_bytes()), Ok(()));
    }
}

#[test]
fn refused_forms() {
    for (text, expected) in [
        ("", "a JSON value"),
        (" 1", "a JSON value"),
        ("1 ", "the end"),
        ("1.0", "the number written as 1"),
        ("1e0", "the number written as 1"),
        ("1E5", "the number written as 100000"),
        ("-0", "the number written as 0"),
        ("01", "the number written as 1"),
        ("+1", "a JSON value"),
        (".5", "a JSON value"),
        ("1.", "the number written as 1"),
        ("--1", "a JSON number"),
        ("9007199254740993", "the number written as 9007199254740992"),
        ("1e21", "the number written as 1e+21"),
        ("100000000000000000000000", "the number written as 1e+23"),
        ("\"\\u0041\"", "an escape that is needed"),
        ("\"\\/\"", "an escape that is needed"),
        ("\"\\u000A\"", "an escape that is needed"),
        ("\"\\u000a\"", "an escape that is needed"),
        ("\"\\u001F\"", "an escape that is needed"),
        ("\"\\ud800\"", "an escape that is needed"),
        ("\"\u{1}\"", "`\"` or an escape"),
        ("\"abc", "`\"` or an escape"),
        ("{\"a\":1,\"a\":1}", "each member once"),
        (
            "{\"b\":1,\"a\":1}",
            "in the order of their UTF-16 code units",
        ),
        ("{\"a\":1,}", "a string"),
        ("{\"a\" :1}", "`:`"),
        ("{1:1}", "a string"),
        ("[1,]", "a JSON value"),
        ("[1,2", "`]`"),
        ("tru", "a JSON value"),
        ("nulll", "the end"),
    ] {
        let fault = check(text.as_bytes()).expect_err(text);
        assert!(fault.to_string().contains(expected), "{text}: {fault}");
        assert!(
            fault.canonical || fault.expected == "a string",
            "{text}: {fault:?}"
        );
    }
    assert!(
        check(b"\"\xff\"")
            .unwrap_err()
            .to_string()
            .contains("expected UTF-8, found byte 0xff")
    );
    assert!(check(b"\"\xed\xa0\x80\"").is_err(), "a surrogate in UTF-8");
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(check(nested(64).as_bytes()), Ok(()));
    assert!(
        check(nested(65).as_bytes())
            .unwrap_err()
            .to_string()
            .contains("64 levels")
    );
    assert!(check("[".repeat(1_000_000).as_bytes()).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        any::<String>(),
        // Where UTF-16 and UTF-8 order differ.
        prop::sample::select(vec![
            "\u{ffff}",
            "\u{10000}",
            "\u{e000}",
            "\u{1f600}a",
            "\u{fb33}"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        (-1_000_i64..1_000).prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |double| double.is_finite())
            .prop_map(Value::from),
        (-1e6..1e6_f64).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #[test]
    fn written_is_accepted_and_means_the_same(value in any_json()) {
        let canonical = to_canonical(&value);
        prop_assert_eq!(check(&canonical), Ok(()));
        let read: Value = serde_json::from_slice(&canonical).unwrap();
        // -0 becomes 0 and 1.0 becomes 1, so that the second writing is what must not change.
        prop_assert_eq!(to_canonical(&read), canonical);
    }

    #[test]
    fn another_implementation_writes_the_same(value in any_json()) {
        let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
        prop_assert_eq!(String::from_utf8(to_canonical(&value)), String::from_utf8(theirs));
    }

    /// Whatever is accepted is what writing it again gives: there is one form only.
    #[test]
    fn accepted_is_canonical(value in any_json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = to_canonical(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if check(&bytes).is_ok() {
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(to_canonical(&read), bytes);
        }
    }

    /// Accepted without being written again or refused: both as another implementation writes the number.
    #[test]
    fn a_fraction_is_accepted_if_and_only_if_another_implementation_writes_it_so(
        text in prop_oneof![
            "-?(0|[1-9][0-9]{0,16})\\.[0-9]{1,18}",
            "-?0\\.0{0,8}[0-9]{1,18}",
            "-?0{0,2}[0-9]{0,3}\\.[0-9]{0,3}",
        ]
    ) {
        let theirs = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| serde_json_canonicalizer::to_vec(&value).ok());
        prop_assert_eq!(check(text.as_bytes()).is_ok(), theirs == Some(text.into_bytes()));
    }

    #[test]
    fn a_space_anywhere_outside_a_string_is_refused(value in any_json(), space in "[ \t\n\r]") {
        let bytes = to_canonical(&value);
        let (mut in_string, mut escaped) = (false, false);
        for at in 0..=bytes.len() {
            if !in_string {
                let mut spaced = bytes.clone();
                spaced.splice(at..at, space.bytes());
                prop_assert!(check(&spaced).is_err(), "{:?}", String::from_utf8_lossy(&spaced));
            }
            match bytes.get(at) {
                _ if escaped => escaped = false,
                Some(b'\\') => escaped = true,
                Some(b'"') => in_string = !in_string,
                _ => {}
            }
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in any::<Vec<u8>>()) {
        let _ = check(&bytes);
    }

    #[test]
    fn any_json_like_text_is_answered(text in "[\\[\\]{}\",:0-9eE.+\\-\\\\untrfalse ]{0,40}") {
        if check(text.as_bytes()).is_ok() {
            let read: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(to_canonical(&read), text.into_bytes());
        }
    }
}
