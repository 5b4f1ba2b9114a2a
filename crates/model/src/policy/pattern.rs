//! Patterns: wildcards, policy variables, and the two spellings of this service.

use std::borrow::Cow;

use super::{Context, OLD_SERVICE, SERVICE, canonical_key, canonical_service};

/// The version of the policy language, which says whether `${…}` is a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// 2008-10-17: no variables.
    Old,
    /// 2012-10-17.
    Current,
}

/// A part of a text in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `${key}` or `${key, 'default'}`.
    Variable {
        key: String,
        default: Option<String>,
    },
}

impl Piece {
    /// The character that it is where wildcards are plain. Variables are resolved before.
    fn as_char(&self) -> char {
        match self {
            Self::Char(c) => *c,
            Self::One => '?',
            Self::Many => '*',
            Self::Variable { .. } => '\0',
        }
    }
}

/// A text in a policy: pieces, of which variables get their values with each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Reads a text. `${*}`, `${?}` and `${$}` are the characters themselves; what begins like a variable
    /// and does not end is plain text, as IAM has it.
    pub(super) fn read(text: &str, language: Language) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if language == Language::Current
                && let Some((inner, after)) = rest.strip_prefix("${").and_then(|rest| rest.split_once('}'))
            {
                pieces.push(match inner {
                    "*" | "?" | "$" => Piece::Char(inner.chars().next().unwrap_or('$')),
                    _ => variable(inner),
                });
                rest = after;
                continue;
            }
            pieces.push(match c {
                '*' => Piece::Many,
                '?' => Piece::One,
                c => Piece::Char(c),
            });
            rest = &rest[c.len_utf8()..];
        }
        Self { pieces }
    }

    fn is_fixed(&self) -> bool {
        !self.pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. }))
    }

    pub(super) fn asks_for(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Variable { key, .. } if wanted(key)))
    }

    /// The pieces with the request's values in place of variables. A variable without a value and without a
    /// default makes the whole text equal to nothing.
    fn resolve(&self, context: &Context) -> Option<Vec<Piece>> {
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::Variable { key, default } => {
                    let value = context.only_value(key).or(default.as_deref())?;
                    pieces.extend(value.chars().map(Piece::Char));
                }
                piece => pieces.push(piece.clone()),
            }
        }
        Some(pieces)
    }
}

/// What stands between `${` and `}`.
fn variable(inner: &str) -> Piece {
    if let Some((key, default)) = inner.split_once(',')
        && let Some(default) =
            default.trim().strip_prefix('\'').and_then(|default| default.strip_suffix('\''))
    {
        return Piece::Variable { key: canonical_key(key.trim()), default: Some(default.to_owned()) };
    }
    Piece::Variable { key: canonical_key(inner.trim()), default: None }
}

/// How far a wildcard reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Over everything.
    Far,
    /// Not over a colon.
    Near,
}

impl Reach {
    fn takes(self, c: char) -> bool {
        self == Self::Far || c != ':'
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    One(Reach),
    Many(Reach),
}

/// A pattern without variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    tokens: Vec<Token>,
    mixed: bool,
}

impl Glob {
    fn new(tokens: Vec<Token>) -> Self {
        let has = |reach| tokens.contains(&Token::Many(reach));
        let mixed = has(Reach::Far) && has(Reach::Near);
        Self { tokens, mixed }
    }

    /// A pattern whose wildcards reach over everything.
    fn of_text(pieces: &[Piece]) -> Self {
        Self::new(pieces.iter().map(|piece| token(piece, Reach::Far, Reach::Far)).collect())
    }

    /// A pattern of a resource. In the first five parts of an ARN a wildcard keeps to its part, except for
    /// a `*` that ends it: that one reaches on. The sixth part is the resource's own, colons and all.
    fn of_resource(pieces: &[Piece]) -> Self {
        let mut colons = 0;
        let tokens = pieces.iter().enumerate().map(|(index, piece)| {
            colons += usize::from(*piece == Piece::Char(':'));
            let near = if colons < 5 { Reach::Near } else { Reach::Far };
            let ends = pieces.get(index + 1).is_none_or(|next| *next == Piece::Char(':'));
            token(piece, near, if ends { Reach::Far } else { near })
        });
        Self::new(tokens.collect())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        if self.mixed { self.matches_by_states(text) } else { self.matches_greedily(text) }
    }

    /// The usual two pointers: after a mismatch, the last `*` takes one character more. At most
    /// text × pattern steps. It is right for stars that all reach equally far.
    fn matches_greedily(&self, text: &str) -> bool {
        let (mut at, mut token) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        loop {
            let next = text[at..].chars().next();
            match (self.tokens.get(token), next) {
                (None, None) => return true,
                (Some(Token::Many(_)), _) => {
                    star = Some((token, at));
                    token += 1;
                    continue;
                }
                (Some(one), Some(c)) if one.takes(c) => {
                    token += 1;
                    at += c.len_utf8();
                    continue;
                }
                _ => {}
            }
            let Some((star_token, taken)) = star else { return false };
            let Some(c) = text[taken..].chars().next().filter(|c| self.tokens[star_token].takes(*c)) else {
                return false;
            };
            star = Some((star_token, taken + c.len_utf8()));
            (token, at) = (star_token + 1, taken + c.len_utf8());
        }
    }

    /// All states at once, text × pattern steps: the last star's choice can be wrong where an earlier one
    /// reaches farther.
    fn matches_by_states(&self, text: &str) -> bool {
        let many = |state: usize| matches!(self.tokens.get(state), Some(Token::Many(_)));
        let end = self.tokens.len();
        let mut states = vec![false; end + 1];
        states[0] = true;
        let skip_stars = |states: &mut Vec<bool>| {
            for state in 0..end {
                if states[state] && many(state) {
                    states[state + 1] = true;
                }
            }
        };
        skip_stars(&mut states);
        for c in text.chars() {
            let mut next = vec![false; end + 1];
            for (state, token) in self.tokens.iter().enumerate() {
                if states[state] && token.takes(c) {
                    next[if many(state) { state } else { state + 1 }] = true;
                }
            }
            skip_stars(&mut next);
            states = next;
        }
        states[end]
    }
}

impl Token {
    fn takes(self, c: char) -> bool {
        match self {
            Self::Char(own) => own == c,
            Self::One(reach) | Self::Many(reach) => reach.takes(c),
        }
    }
}

fn token(piece: &Piece, one: Reach, many: Reach) -> Token {
    match piece {
        Piece::Char(c) => Token::Char(*c),
        Piece::One => Token::One(one),
        Piece::Many => Token::Many(many),
        Piece::Variable { .. } => Token::Char(piece.as_char()),
    }
}

/// A value of a request, as given and, if it is an ARN of this service, under the other name.
pub(super) struct Spellings<'r> {
    given: &'r str,
    other: Option<String>,
}

impl<'r> Spellings<'r> {
    pub(super) fn of(given: &'r str) -> Self {
        let respelled = || {
            let (head, rest) = given.split_once(':')?;
            let (partition, rest) = rest.split_once(':')?;
            let (service, rest) = rest.split_once(':')?;
            let other = match service {
                SERVICE => OLD_SERVICE,
                OLD_SERVICE => SERVICE,
                _ => return None,
            };
            (head == "arn").then(|| format!("{head}:{partition}:{other}:{rest}"))
        };
        Self { given, other: respelled() }
    }

    pub(super) fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        matches(self.given) || self.other.as_deref().is_some_and(matches)
    }
}

/// A pattern of actions.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ActionPattern {
    Everything,
    /// The service, or any, and its actions.
    Of {
        service: Option<String>,
        name: Glob,
    },
}

impl ActionPattern {
    /// Reads `*` or `<service>:<name with wildcards>`.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let lower = text.to_lowercase();
        let Some((service, name)) = lower.split_once(':') else {
            return Err(format!("'{text}' must be '*' or <service>:<action>, such as codeconnections:Get*"));
        };
        if name.contains(':') {
            return Err(format!("'{text}' has more than one colon"));
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let service = match service {
            "*" => None,
            _ if !service.is_empty() && service.chars().all(valid) => {
                Some(canonical_service(service).to_owned())
            }
            _ => {
                return Err(format!(
                    "'{text}' has the service '{service}': write its name without wildcards"
                ));
            }
        };
        let name = Glob::of_text(&Template::read(name, Language::Old).pieces);
        Ok(Self::Of { service, name })
    }

    /// An action of a request in the form that [`Self::matches`] takes.
    pub(super) fn canonical(action: &str) -> String {
        let action = action.to_lowercase();
        match action.split_once(':') {
            Some((OLD_SERVICE, name)) => format!("{SERVICE}:{name}"),
            _ => action,
        }
    }

    pub(super) fn matches(&self, canonical_action: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Of { service, name } => canonical_action.split_once(':').is_some_and(|(asked, action)| {
                service.as_ref().is_none_or(|service| service == asked) && name.matches(action)
            }),
        }
    }
}

/// A pattern of resources.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ResourcePattern {
    Everything,
    Fixed(Vec<Glob>),
    Varying(Template),
}

impl ResourcePattern {
    /// Reads `*` or an ARN with wildcards and variables.
    pub(super) fn read(text: &str, language: Language) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        if !text.starts_with("arn:") {
            return Err(format!("'{text}' must be '*' or an ARN"));
        }
        let template = Template::read(text, language);
        Ok(if template.is_fixed() {
            Self::Fixed(resource_globs(&template.pieces))
        } else {
            Self::Varying(template)
        })
    }

    pub(super) fn asks_for(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        matches!(self, Self::Varying(template) if template.asks_for(wanted))
    }

    pub(super) fn matches(&self, resource: &Spellings<'_>, context: &Context) -> bool {
        let globs = match self {
            Self::Everything => return true,
            Self::Fixed(globs) => Cow::Borrowed(globs),
            Self::Varying(template) => match template.resolve(context) {
                Some(pieces) => Cow::Owned(resource_globs(&pieces)),
                None => return false,
            },
        };
        resource.any(|resource| globs.iter().any(|glob| glob.matches(resource)))
    }
}

/// The pattern itself and, if it has fewer than the six parts of an ARN, the one with `*` for each missing
/// part.
fn resource_globs(pieces: &[Piece]) -> Vec<Glob> {
    let mut globs = vec![Glob::of_resource(pieces)];
    let colons = pieces.iter().filter(|piece| **piece == Piece::Char(':')).count();
    if colons < 5 {
        let mut filled = pieces.to_vec();
        for _ in colons..5 {
            filled.extend([Piece::Char(':'), Piece::Many]);
        }
        globs.push(Glob::of_resource(&filled));
    }
    globs
}

/// How texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    /// Character by character; wildcards are plain characters.
    Plain,
    /// The same, whatever the case.
    IgnoringCase,
    /// With wildcards that reach over everything.
    Like,
    /// As ARNs, each of the six parts for itself.
    Arn,
}

/// A text of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextPattern {
    Fixed(Comparable),
    Varying(Template, Comparison),
}

/// A text without variables, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Comparable {
    Plain(String),
    IgnoringCase(String),
    Like(Glob),
    Arn(Vec<Glob>),
}

impl TextPattern {
    pub(super) fn read(text: &str, language: Language, comparison: Comparison) -> Self {
        let template = Template::read(text, language);
        if template.is_fixed() {
            Self::Fixed(Comparable::of(&template.pieces, comparison))
        } else {
            Self::Varying(template, comparison)
        }
    }

    pub(super) fn asks_for(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        matches!(self, Self::Varying(template, _) if template.asks_for(wanted))
    }

    pub(super) fn matches(&self, text: &Spellings<'_>, context: &Context) -> bool {
        let comparable = match self {
            Self::Fixed(comparable) => Cow::Borrowed(comparable),
            Self::Varying(template, comparison) => match template.resolve(context) {
                Some(pieces) => Cow::Owned(Comparable::of(&pieces, *comparison)),
                None => return false,
            },
        };
        text.any(|text| comparable.matches(text))
    }
}

impl Comparable {
    fn of(pieces: &[Piece], comparison: Comparison) -> Self {
        let plain = || pieces.iter().map(Piece::as_char).collect::<String>();
        match comparison {
            Comparison::Plain => Self::Plain(plain()),
            Comparison::IgnoringCase => Self::IgnoringCase(plain().to_lowercase()),
            Comparison::Like => Self::Like(Glob::of_text(pieces)),
            Comparison::Arn => {
                let parts = pieces.splitn(6, |piece| *piece == Piece::Char(':'));
                Self::Arn(parts.map(Glob::of_text).collect())
            }
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Plain(own) => own == text,
            Self::IgnoringCase(own) => *own == text.to_lowercase(),
            Self::Like(glob) => glob.matches(text),
            Self::Arn(globs) => {
                globs.len() == 6
                    && text.splitn(6, ':').count() == 6
                    && globs.iter().zip(text.splitn(6, ':')).all(|(glob, part)| glob.matches(part))
            }
        }
    }
}
