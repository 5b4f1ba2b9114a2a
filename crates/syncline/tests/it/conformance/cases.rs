//! The calls that a shape asks for: each changes one place of an input that succeeds.

use serde_json::{Map, Value, json};
use syncline_wire::Operation;
use syncline_wire::shape::{IntegerRule, ListRule, Member, Shape, TextRule};

use super::texts::witness;
use super::wording::Violation;

/// What the model says of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It keeps every constraint.
    Within,
    /// It breaks these.
    Broken(Vec<Violation>),
    /// It has a value of the wrong type; the message.
    Unreadable(String),
}

/// What a case does to the place.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Leaves it as it is.
    Keep,
    /// Puts another value.
    Put(Value),
    /// Takes the member away.
    Remove,
}

/// One call.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The place in the model: `Tags[].Key`.
    pub(super) site: String,
    /// The place in an input, as a JSON pointer.
    pub(super) pointer: String,
    pub(super) change: Change,
    pub(super) verdict: Verdict,
}

impl Case {
    /// The input with the place changed.
    pub(super) fn apply(&self, mut input: Value) -> Value {
        let (parent, name) = self.pointer.rsplit_once('/').expect("a pointer");
        let parent = input.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} for {}", self.site));
        match (parent, &self.change) {
            (_, Change::Keep) => {}
            (Value::Object(members), Change::Put(value)) => {
                members.insert(name.to_owned(), value.clone());
            }
            (Value::Object(members), Change::Remove) => {
                members.remove(name);
            }
            (Value::Array(items), Change::Put(value)) => {
                items[name.parse::<usize>().expect("an index")] = value.clone();
            }
            (parent, change) => panic!("{change:?} in {parent}"),
        }
        input
    }

    /// The value in the member whose name the site ends with, if it is a text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.change {
            Change::Put(value) => value.as_str(),
            Change::Keep | Change::Remove => None,
        }
    }

    /// True where the place ends up without a value.
    pub(super) fn is_absent(&self) -> bool {
        matches!(&self.change, Change::Remove | Change::Put(Value::Null))
    }
}

/// Where the walk is.
struct Place {
    site: String,
    pointer: String,
    /// As a refusal names it: `tags.2.member.key`.
    path: String,
}

impl Place {
    fn member(&self, name: &str) -> Self {
        let join = |parent: &str, separator: &str, child: &str| match parent {
            "" => child.to_owned(),
            _ => format!("{parent}{separator}{child}"),
        };
        let (first, rest) = name.split_at(1);
        let camel = format!("{}{rest}", first.to_ascii_lowercase());
        Self {
            site: join(&self.site, ".", name),
            pointer: format!("{}/{name}", self.pointer),
            path: join(&self.path, ".", &camel),
        }
    }

    /// The second item: the inputs have two of everything.
    fn item(&self) -> Self {
        Self {
            site: format!("{}[]", self.site),
            pointer: format!("{}/1", self.pointer),
            path: format!("{}.2.member", self.path),
        }
    }
}

/// Every case of an operation.
pub(super) fn cases(operation: Operation) -> Vec<Case> {
    let mut walk = Walk { cases: Vec::new() };
    let root = Place { site: String::new(), pointer: String::new(), path: String::new() };
    let Shape::Structure(members) = operation.input_shape() else { panic!("an input is a structure") };
    walk.structure(&root, members);
    walk.cases
}

/// Every place in an operation's input that the model names.
pub(super) fn sites(operation: Operation) -> Vec<String> {
    fn below(shape: &Shape, site: &str, sites: &mut Vec<String>) {
        match shape {
            Shape::List(rule) => {
                let item = format!("{site}[]");
                sites.push(item.clone());
                below(rule.member, &item, sites);
            }
            Shape::Structure(members) => {
                for member in *members {
                    let site = if site.is_empty() {
                        member.name.to_owned()
                    } else {
                        format!("{site}.{}", member.name)
                    };
                    sites.push(site.clone());
                    below(member.shape, &site, sites);
                }
            }
            _ => {}
        }
    }
    let mut sites = Vec::new();
    below(operation.input_shape(), "", &mut sites);
    sites
}

struct Walk {
    cases: Vec<Case>,
}

impl Walk {
    fn add(&mut self, place: &Place, change: Change, verdict: Verdict) {
        let (site, pointer) = (place.site.clone(), place.pointer.clone());
        self.cases.push(Case { site, pointer, change, verdict });
    }

    fn put(&mut self, place: &Place, value: Value, broken: Vec<String>) {
        let verdict = if broken.is_empty() {
            Verdict::Within
        } else {
            let told = broken.into_iter().map(|rule| Violation::of(&value, &place.path, rule));
            Verdict::Broken(told.collect())
        };
        self.add(place, Change::Put(value), verdict);
    }

    fn structure(&mut self, place: &Place, members: &'static [Member]) {
        self.add(&place.member("Colour"), Change::Put("blue".into()), Verdict::Within);
        for member in members {
            let place = place.member(member.name);
            let absent = || match member.required {
                true => Verdict::Broken(vec![Violation::null(&place.path)]),
                false => Verdict::Within,
            };
            self.add(&place, Change::Keep, Verdict::Within);
            self.add(&place, Change::Remove, absent());
            self.add(&place, Change::Put(Value::Null), absent());
            self.values(&place, member.name, member.shape);
        }
    }

    fn values(&mut self, place: &Place, name: &str, shape: &'static Shape) {
        match shape {
            Shape::Text(rule) => self.texts(place, name, rule),
            Shape::Enum(texts) => self.enumerated(place, texts),
            Shape::Integer(rule) => self.integers(place, rule),
            Shape::List(rule) => self.lists(place, name, rule),
            Shape::Structure(members) => self.structure(place, members),
            other => panic!("no input holds a {other:?}"),
        }
        self.wrong_types(place, shape);
    }

    fn texts(&mut self, place: &Place, name: &str, rule: &TextRule) {
        let witness = witness(rule);
        let lengths = [rule.min.checked_sub(1), Some(rule.min), rule.max, rule.max.map(|max| max + 1)];
        let mut lengths: Vec<usize> = lengths.into_iter().flatten().collect();
        for &bound in witness.bounds() {
            lengths.extend([bound.checked_sub(1), Some(bound), Some(bound + 1)].into_iter().flatten());
        }
        lengths.sort_unstable();
        lengths.dedup();
        let mut texts: Vec<(String, bool)> = Vec::new();
        for length in lengths {
            match witness.at(length, meant(name)) {
                Some(text) => texts.push((text, true)),
                None => texts.push(("a".repeat(length), false)),
            }
        }
        if let Some(max) = rule.max.filter(|_| witness.any) {
            // A character outside the first plane counts once, whatever it takes in UTF-8 and UTF-16.
            texts.extend([max, max + 1].map(|length| ("\u{1d11e}".repeat(length), true)));
        }
        texts.extend(witness.matching.iter().map(|&text| (text.to_owned(), true)));
        texts.extend(witness.unmatched.iter().map(|&text| (text.to_owned(), false)));
        for (text, matches) in texts {
            let length = text.chars().count();
            let mut broken = Vec::new();
            if length < rule.min {
                broken.push(format!("Member must have length greater than or equal to {}", rule.min));
            }
            if let Some(max) = rule.max.filter(|&max| length > max) {
                broken.push(format!("Member must have length less than or equal to {max}"));
            }
            if let Some(pattern) = rule.pattern.filter(|_| !matches) {
                broken.push(format!("Member must satisfy regular expression pattern: {}", pattern.text()));
            }
            self.put(place, text.into(), broken);
        }
    }

    fn enumerated(&mut self, place: &Place, texts: &'static [&'static str]) {
        for &text in texts {
            self.put(place, text.into(), Vec::new());
        }
        let first = texts[0];
        for text in [
            "Nonesuch".to_owned(),
            String::new(),
            first.to_lowercase(),
            format!("{first} "),
            format!("{}\u{212a}", &first[1..]),
        ] {
            assert!(!texts.contains(&text.as_str()), "{text} is one of {texts:?}");
            let rule = format!("Member must satisfy enum value set: [{}]", texts.join(", "));
            self.put(place, text.into(), vec![rule]);
        }
    }

    fn integers(&mut self, place: &Place, rule: &IntegerRule) {
        let (min, max) = (i64::from(rule.min), i64::from(rule.max));
        for value in [min - 1, min, min + 1, max - 1, max, max + 1, i64::from(i32::MIN), i64::from(i32::MAX)]
        {
            let mut broken = Vec::new();
            if value < min {
                broken.push(format!("Member must have value greater than or equal to {min}"));
            }
            if value > max {
                broken.push(format!("Member must have value less than or equal to {max}"));
            }
            self.put(place, value.into(), broken);
        }
        for value in [i64::from(i32::MAX) + 1, i64::from(i32::MIN) - 1, i64::MAX] {
            let told = format!("expected a 32-bit integer at '{}', found an integer", place.path);
            self.add(place, Change::Put(value.into()), Verdict::Unreadable(told));
        }
    }

    fn lists(&mut self, place: &Place, name: &str, rule: &'static ListRule) {
        let lengths = [rule.min.checked_sub(1), Some(rule.min), rule.max, rule.max.map(|max| max + 1)];
        let mut lengths: Vec<usize> = lengths.into_iter().flatten().collect();
        lengths.dedup();
        for length in lengths {
            let mut broken = Vec::new();
            if length < rule.min {
                broken.push(format!("Member must have length greater than or equal to {}", rule.min));
            }
            if let Some(max) = rule.max.filter(|&max| length > max) {
                broken.push(format!("Member must have length less than or equal to {max}"));
            }
            let items: Vec<Value> = (0..length).map(|i| item(rule.member, i)).collect();
            self.put(place, items.into(), broken);
        }
        assert!(!rule.sparse, "no list of an input takes nulls");
        let place = place.item();
        self.add(&place, Change::Keep, Verdict::Within);
        self.add(&place, Change::Put(Value::Null), Verdict::Broken(vec![Violation::null(&place.path)]));
        self.values(&place, name, rule.member);
    }

    fn wrong_types(&mut self, place: &Place, shape: &Shape) {
        let (expected, own) = match shape {
            Shape::Text(_) | Shape::Enum(_) => ("a text", "a text"),
            Shape::Integer(_) => ("a 32-bit integer", "an integer"),
            Shape::List(_) => ("a list", "a list"),
            Shape::Structure(_) => ("an object", "an object"),
            other => panic!("no input holds a {other:?}"),
        };
        let others = [
            ("true or false", json!(true)),
            ("true or false", json!(false)),
            ("an integer", json!(1)),
            ("a number with a fraction", json!(1.5)),
            ("a text", json!("1")),
            ("a list", json!(["a"])),
            ("an object", json!({"Key": "a"})),
        ];
        for (found, value) in others {
            if found != own {
                let told = format!("expected {expected} at '{}', found {found}", place.path);
                self.add(place, Change::Put(value), Verdict::Unreadable(told));
            }
        }
    }
}

/// What the values of a member begin with to be of use.
fn meant(member: &str) -> Option<&'static str> {
    (member == "ProviderEndpoint").then_some("https://git.example.com/")
}

/// One of many items that keep the constraints and differ from each other.
pub(super) fn item(shape: &Shape, i: usize) -> Value {
    match shape {
        Shape::Text(rule) => {
            let witness = witness(rule);
            let least = witness.bounds().iter().copied().max().unwrap_or_default().max(rule.min);
            let text = witness.at(least, None).unwrap_or_else(|| panic!("{rule:?} has no witness"));
            // The ids of the model need not differ; keys do, and take any text.
            (if witness.any { format!("k{i}") } else { text }).into()
        }
        Shape::Structure(members) => {
            let members = members.iter().map(|member| (member.name.to_owned(), item(member.shape, i)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => panic!("no list of an input holds a {other:?}"),
    }
}
