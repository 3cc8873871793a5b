//! MLflow's search expressions: comparisons joined by AND, and orders
//! ([reference](https://mlflow.org/docs/latest/search-runs.html)). OR and brackets are not in that
//! language.

use std::cmp::Ordering;

use super::error::Refusal;

/// The most bytes of an expression, and the most comparisons in one.
const MAX_BYTES: usize = 16 << 10;
const MAX_COMPARISONS: usize = 100;

/// What is compared or ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    Metric(String),
    Param(String),
    Tag(String),
    Attribute(String),
}

/// What a term is of one run or experiment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    Number(f64),
    Text(String),
    Missing,
}

/// Comparisons that all have to hold.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter(Vec<Comparison>);

#[derive(Debug, PartialEq)]
struct Comparison {
    term: Term,
    test: Test,
}

#[derive(Debug, PartialEq)]
enum Test {
    /// Which outcomes of a comparison with this number hold.
    Number(Relation, f64),
    /// The same with a text.
    Text(Relation, String),
    Like {
        pattern: String,
        fold: bool,
    },
    In {
        values: Vec<String>,
        negated: bool,
    },
    Present(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One term to order by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) term: Term,
    descending: bool,
}

impl Filter {
    /// Reads an expression; an empty one holds for everything.
    ///
    /// # Errors
    /// It is none: the message says where.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut tokens = Tokens::of(text)?;
        let mut comparisons = Vec::new();
        if tokens.is_done() {
            return Ok(Self::default());
        }
        loop {
            comparisons.push(comparison(&mut tokens)?);
            if comparisons.len() > MAX_COMPARISONS {
                return Err(tokens.refuse(&format!("at most {MAX_COMPARISONS} comparisons")));
            }
            if tokens.is_done() {
                return Ok(Self(comparisons));
            }
            if !tokens.eat_word("and") {
                return Err(tokens.refuse("AND, or the end"));
            }
        }
    }

    /// Whether all comparisons hold.
    pub(crate) fn holds(&self, find: impl Fn(&Term) -> Found) -> bool {
        self.0.iter().all(|one| one.test.holds(&find(&one.term)))
    }

    /// Whether nothing but attributes is compared.
    pub(crate) fn is_of_attributes(&self) -> bool {
        self.0
            .iter()
            .all(|one| matches!(one.term, Term::Attribute(_)))
    }
}

impl Order {
    /// Reads `metrics.loss DESC`.
    ///
    /// # Errors
    /// It is no order.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut tokens = Tokens::of(text)?;
        let term = term(&mut tokens)?;
        let descending = tokens.eat_word("desc");
        if !descending {
            tokens.eat_word("asc");
        }
        if tokens.is_done() {
            Ok(Self { term, descending })
        } else {
            Err(tokens.refuse("ASC, DESC, or the end"))
        }
    }

    /// Which of two comes first; what is missing comes last.
    pub(crate) fn compare(&self, a: &Found, b: &Found) -> Ordering {
        let order = match (a, b) {
            (Found::Missing, Found::Missing) => return Ordering::Equal,
            (Found::Missing, _) => return Ordering::Greater,
            (_, Found::Missing) => return Ordering::Less,
            (Found::Number(a), Found::Number(b)) => a.total_cmp(b),
            (Found::Text(a), Found::Text(b)) => a.cmp(b),
            (Found::Number(_), Found::Text(_)) => Ordering::Less,
            (Found::Text(_), Found::Number(_)) => Ordering::Greater,
        };
        if self.descending {
            order.reverse()
        } else {
            order
        }
    }
}

impl Test {
    fn holds(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Present(wanted), found) => (*found != Found::Missing) == *wanted,
            (_, Found::Missing) => false,
            (Self::Number(relation, wanted), found) => number(found)
                .and_then(|found| found.partial_cmp(wanted))
                .map_or(*relation == Relation::Unequal, |order| {
                    relation.holds(order)
                }),
            (Self::Text(relation, wanted), found) => {
                relation.holds(shown(found).as_str().cmp(wanted))
            }
            (
                Self::Like {
                    pattern,
                    fold: false,
                },
                found,
            ) => like(pattern, &shown(found)),
            (
                Self::Like {
                    pattern,
                    fold: true,
                },
                found,
            ) => like(&pattern.to_lowercase(), &shown(found).to_lowercase()),
            (Self::In { values, negated }, found) => values.contains(&shown(found)) != *negated,
        }
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

fn number(found: &Found) -> Option<f64> {
    match found {
        Found::Number(number) => Some(*number),
        Found::Text(text) => text.parse().ok(),
        Found::Missing => None,
    }
}

fn shown(found: &Found) -> String {
    match found {
        Found::Text(text) => text.clone(),
        Found::Number(number) => number.to_string(),
        Found::Missing => String::new(),
    }
}

/// SQL's LIKE: `%` is any text, `_` any character.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `%` stands, and how much of the text it has taken.
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '_' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match &mut back {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}

fn comparison(tokens: &mut Tokens<'_>) -> Result<Comparison, Refusal> {
    let term = term(tokens)?;
    let test = if tokens.eat_word("is") {
        let negated = tokens.eat_word("not");
        if !tokens.eat_word("null") {
            return Err(tokens.refuse("NULL"));
        }
        Test::Present(negated)
    } else if tokens.eat_word("not") {
        if !tokens.eat_word("in") {
            return Err(tokens.refuse("IN after NOT"));
        }
        Test::In {
            values: list(tokens)?,
            negated: true,
        }
    } else if tokens.eat_word("in") {
        Test::In {
            values: list(tokens)?,
            negated: false,
        }
    } else if tokens.eat_word("like") {
        Test::Like {
            pattern: text(tokens)?,
            fold: false,
        }
    } else if tokens.eat_word("ilike") {
        Test::Like {
            pattern: text(tokens)?,
            fold: true,
        }
    } else {
        let relation = relation(tokens)?;
        match tokens.next() {
            Some(Token::Quoted(value)) => Test::Text(relation, value),
            Some(Token::Word(word)) if word.parse::<f64>().is_ok() => {
                Test::Number(relation, word.parse().unwrap_or(f64::NAN))
            }
            _ => return Err(tokens.refuse("a number, or a text in quotation marks")),
        }
    };
    Ok(Comparison { term, test })
}

/// `metrics.loss`, ``params.`batch size` ``, `attributes.status`, `status`.
fn term(tokens: &mut Tokens<'_>) -> Result<Term, Refusal> {
    const EXPECTED: &str = "metrics.…, params.…, tags.… or attributes.…";
    let Some(Token::Word(word)) = tokens.next() else {
        return Err(tokens.refuse(EXPECTED));
    };
    let Some((of, name)) = word.split_once('.') else {
        return Ok(Term::Attribute(word));
    };
    let name = match (name, tokens.peek()) {
        ("", Some(Token::Quoted(quoted) | Token::Name(quoted))) => {
            let quoted = quoted.clone();
            tokens.next();
            quoted
        }
        _ => name.to_owned(),
    };
    if name.is_empty() {
        return Err(tokens.refuse(EXPECTED));
    }
    match of.to_lowercase().as_str() {
        "metric" | "metrics" => Ok(Term::Metric(name)),
        "param" | "params" | "parameter" | "parameters" => Ok(Term::Param(name)),
        "tag" | "tags" => Ok(Term::Tag(name)),
        "attr" | "attribute" | "attributes" | "run" => Ok(Term::Attribute(name)),
        _ => Err(tokens.refuse(EXPECTED)),
    }
}

fn relation(tokens: &mut Tokens<'_>) -> Result<Relation, Refusal> {
    match tokens.next() {
        Some(Token::Operator("=" | "==")) => Ok(Relation::Equal),
        Some(Token::Operator("!=" | "<>")) => Ok(Relation::Unequal),
        Some(Token::Operator("<")) => Ok(Relation::Less),
        Some(Token::Operator("<=")) => Ok(Relation::LessOrEqual),
        Some(Token::Operator(">")) => Ok(Relation::Greater),
        Some(Token::Operator(">=")) => Ok(Relation::GreaterOrEqual),
        _ => Err(tokens.refuse("a comparison: =, !=, <, <=, >, >=, LIKE, ILIKE, IN, IS NULL")),
    }
}

fn text(tokens: &mut Tokens<'_>) -> Result<String, Refusal> {
    match tokens.next() {
        Some(Token::Quoted(text)) => Ok(text),
        _ => Err(tokens.refuse("a text in quotation marks")),
    }
}

fn list(tokens: &mut Tokens<'_>) -> Result<Vec<String>, Refusal> {
    const EXPECTED: &str = "texts in brackets: ('a', 'b')";
    let mut values = Vec::new();
    if tokens.next() != Some(Token::Operator("(")) {
        return Err(tokens.refuse(EXPECTED));
    }
    loop {
        values.push(text(tokens)?);
        match tokens.next() {
            Some(Token::Operator(",")) => {}
            Some(Token::Operator(")")) => return Ok(values),
            _ => return Err(tokens.refuse(EXPECTED)),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// In single or double quotation marks.
    Quoted(String),
    /// In backticks.
    Name(String),
    Operator(&'static str),
}

/// The tokens of an expression, and how many were taken.
struct Tokens<'a> {
    text: &'a str,
    read: Vec<Token>,
    at: usize,
}

const OPERATORS: [&str; 11] = ["==", "!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", ","];

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Result<Self, Refusal> {
        let mut all = Self {
            text,
            read: Vec::new(),
            at: 0,
        };
        if text.len() > MAX_BYTES {
            return Err(Refusal::invalid(format!(
                "the expression has {} bytes, expected at most {MAX_BYTES}",
                text.len()
            )));
        }
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, length) = if let '\'' | '"' | '`' = first {
                let Some(end) = rest[1..].find(first) else {
                    return Err(all.refuse("the closing quotation mark"));
                };
                let inner = rest[1..=end].to_owned();
                let token = if first == '`' {
                    Token::Name(inner)
                } else {
                    Token::Quoted(inner)
                };
                (token, end + 2)
            } else if let Some(operator) = OPERATORS.iter().find(|it| rest.starts_with(**it)) {
                (Token::Operator(operator), operator.len())
            } else {
                let ends = |c: char| c.is_whitespace() || "'\"`=!<>(),".contains(c);
                let end = rest.find(ends).unwrap_or(rest.len());
                if end == 0 {
                    return Err(all.refuse("a name, a value or a comparison"));
                }
                (Token::Word(rest[..end].to_owned()), end)
            };
            all.read.push(token);
            rest = rest[length..].trim_start();
        }
        Ok(all)
    }

    fn peek(&self) -> Option<&Token> {
        self.read.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn eat_word(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(found);
        found
    }

    fn is_done(&self) -> bool {
        self.at >= self.read.len()
    }

    fn refuse(&self, expected: &str) -> Refusal {
        Refusal::invalid(format!(
            "`{}` cannot be read at its token {}: expected {expected}",
            self.text.chars().take(200).collect::<String>(),
            self.at.max(1)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(term: &Term) -> Found {
        match term {
            Term::Metric(name) if name == "loss" => Found::Number(0.25),
            Term::Metric(name) if name == "eval/reward margin" => Found::Number(3.0),
            Term::Metric(name) if name == "broken" => Found::Number(f64::NAN),
            Term::Param(name) if name == "optim" => Found::Text("adamw_torch".to_owned()),
            Term::Tag(name) if name == "mlflow.source.type" => Found::Text("LOCAL".to_owned()),
            Term::Attribute(name) if name == "status" => Found::Text("RUNNING".to_owned()),
            Term::Attribute(name) if name == "start_time" => Found::Number(1_000.0),
            _ => Found::Missing,
        }
    }

    #[test]
    fn comparisons_hold_or_do_not() {
        for (text, expected) in [
            ("", true),
            ("metrics.loss < 0.5", true),
            ("metrics.loss >= .5", false),
            (
                "metrics.`eval/reward margin` = 3 and metric.\"loss\" != 1",
                true,
            ),
            (
                "params.optim = 'adamw_torch' AND attributes.status = \"RUNNING\"",
                true,
            ),
            ("params.optim LIKE 'adam%'", true),
            ("params.optim LIKE 'ADAM%'", false),
            ("params.optim ILIKE 'ADAM_%torch'", true),
            ("tags.mlflow.source.type = 'LOCAL'", true),
            ("status IN ('FINISHED', 'RUNNING')", true),
            ("attributes.status NOT IN ('FINISHED')", true),
            ("start_time > 999", true),
            ("params.missing != 'x'", false),
            ("params.missing IS NULL and params.optim is not null", true),
            ("metrics.broken > 0", false),
            ("metrics.broken != 0", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().holds(find), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "metrics.loss",
            "metrics.loss <",
            "metrics.loss < x",
            "metrics.loss < 1 or metrics.loss > 2",
            "(metrics.loss < 1)",
            "params.a = 'x",
            "metrics. < 1",
            "loss.x = 1",
            "status IN 'a'",
            "status IN ('a' 'b')",
            "status IS 'a'",
            "!",
            "é = 'a' §",
        ] {
            assert!(Filter::parse(text).is_err(), "{text}");
        }
        assert!(Filter::parse(&"a".repeat(MAX_BYTES + 1)).is_err());
        assert!(Order::parse("metrics.loss DOWN").is_err());
    }

    #[test]
    fn what_is_missing_comes_last_in_either_order() {
        let (one, two) = (Found::Number(1.0), Found::Number(2.0));
        let ascending = Order::parse("metrics.loss").unwrap();
        let descending = Order::parse("metrics.loss DESC").unwrap();
        assert_eq!(ascending.compare(&one, &two), Ordering::Less);
        assert_eq!(descending.compare(&one, &two), Ordering::Greater);
        for order in [ascending, descending] {
            assert_eq!(order.compare(&Found::Missing, &one), Ordering::Greater);
        }
    }

    #[test]
    fn like_is_sqls() {
        for (pattern, text, expected) in [
            ("%", "", true),
            ("a%c", "abbc", true),
            ("a%c", "abcd", false),
            ("%b%", "abc", true),
            ("_", "é", true),
            ("", "a", false),
            ("a%b%c", "a-b-b-c", true),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }
}
