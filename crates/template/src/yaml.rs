//! The YAML reader: parser events to a tree, without recursion.
//!
//! The parser is a port of libyaml: the YAML 1.1 family to which CloudFormation's own reader and cfn-lint's belong. A parser of
//! YAML 1.2 refuses what they accept, such as a `]` in the column of its key. The events are pulled one by one and the
//! open collections kept on a stack of ours, whose height is the depth limit: no loader that recurses, and nothing
//! after the first breach of a limit is read.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use libyaml_safer::{Event, EventData, Mark, Parser, ScalarStyle};

use crate::parse::{Dialect, Document, Flaw};
use crate::{Kind, Limits, Node, Span, scalar, tags};

/// Reads a stream of exactly one document.
pub(crate) fn read(text: &str, limits: &Limits, dialect: Dialect) -> Result<Document, Flaw> {
    refuse_control_characters(text)?;
    let mut builder = Builder::new(limits, dialect);
    let mut documents = 0;
    let mut last = Span { line: 1, column: 1 };
    let padded = Padded::new(text);
    let mut input = padded.text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    loop {
        // The parser panics where some malformed tags and directives end early; that is a syntax error like any other.
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse()));
        let Ok(event) = parsed else {
            return Err(Flaw::at(last, "syntax", "YAML is not well-formed after this position"));
        };
        let event = event.map_err(|error| {
            let at = error.problem_mark().or(error.context_mark()).map(span_of);
            Flaw {
                span: at.or(Some(crate::parse::position_after(text))),
                rule: "syntax",
                message: reason(&error),
            }
        })?;
        let at = span_of(event.start_mark);
        last = at;
        match event.data {
            EventData::StreamEnd => break,
            EventData::DocumentStart { .. } => {
                documents += 1;
                if documents > 1 {
                    let message = "a second document begins here; only one is allowed";
                    return Err(Flaw::at(at, "several-documents", message));
                }
            }
            _ => {}
        }
        builder.event(padded.without_padding(event), at)?;
    }
    match builder.root {
        Some(root) if root.is_null() => Err(Flaw::empty()),
        Some(root) => {
            Ok(Document { root, first_alias: builder.first_alias, not_strings: builder.not_strings })
        }
        None => Err(Flaw::empty()),
    }
}

/// The text with a line end after its last line: the parser panics where a block scalar or an escape ends the input.
struct Padded<'a> {
    text: Cow<'a, str>,
    /// The index of the end, in bytes, when a line end was added to a line that is not blank.
    added_at: Option<u64>,
}

impl<'a> Padded<'a> {
    fn new(text: &'a str) -> Self {
        if text.is_empty() || text.ends_with(['\n', '\r']) {
            return Self { text: Cow::Borrowed(text), added_at: None };
        }
        let last_line = text.rsplit(['\n', '\r']).next().unwrap_or_default();
        let end = u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(1);
        let added_at = (!last_line.trim().is_empty()).then_some(end);
        Self { text: Cow::Owned(format!("{text}\n")), added_at }
    }

    /// Takes the added line end out of a block scalar that it ended up in.
    fn without_padding(&self, mut event: Event) -> Event {
        if let EventData::Scalar { value, style: ScalarStyle::Literal | ScalarStyle::Folded, .. } =
            &mut event.data
            && self.added_at == Some(event.end_mark.index)
            && value.ends_with('\n')
        {
            value.pop();
        }
        event
    }
}

fn span_of(mark: Mark) -> Span {
    let from_one = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).saturating_add(1);
    Span { line: from_one(mark.line), column: from_one(mark.column) }
}

/// The parser's own words, without the position before them: the finding has it.
fn reason(error: &libyaml_safer::Error) -> String {
    let text = error.to_string();
    let words = text.splitn(3, ": ").last().unwrap_or_default();
    format!("YAML is not well-formed: {words}")
}

/// The parser takes U+0000 for the end of its input and would ignore what follows; YAML allows no control characters
/// but tab and line ends anyway.
fn refuse_control_characters(text: &str) -> Result<(), Flaw> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | '\u{85}') || !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
    };
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        None => Ok(()),
        Some((index, c)) => {
            let message = format!("the control character {c:?} is not allowed");
            Err(Flaw::at(crate::parse::position_after(&text[..index]), "control-character", message))
        }
    }
}

/// A collection that has begun and not ended.
struct Open {
    span: Span,
    /// The long name of its CloudFormation tag.
    function: Option<String>,
    anchor: Option<String>,
    content: Content,
    /// The values of its subtree so far, itself included.
    nodes: usize,
    /// The bytes of text of its subtree so far.
    bytes: usize,
    /// The collections below it on the deepest path so far.
    depth: usize,
}

enum Content {
    Items(Vec<Node>),
    Entries(Entries),
}

/// A mapping's entries so far.
#[derive(Default)]
struct Entries {
    own: Vec<Entry>,
    /// Where each own key stands.
    seen: HashMap<String, Span>,
    /// What merge keys brought, the strongest last.
    merged: Vec<Entry>,
    key: Option<Key>,
}

type Entry = (String, Span, Node);

/// A key that waits for its value.
enum Key {
    Name(String, Span),
    Merge,
}

impl Entries {
    /// Takes the next value: a key, or the value of the key before it.
    fn push(&mut self, value: Measured, dialect: Dialect) -> Result<(), Flaw> {
        let span = value.node.span;
        match self.key.take() {
            Some(Key::Name(name, span)) => self.own.push((name, span, value.node)),
            Some(Key::Merge) => self.merge(value.node)?,
            None if value.plain && value.node.as_str() == Some("<<") => match dialect {
                Dialect::Template => {
                    let message = "CloudFormation does not support merge keys (<<); write the keys out";
                    return Err(Flaw::at(span, "merge-key", message));
                }
                Dialect::DeploymentFile => self.key = Some(Key::Merge),
            },
            None => {
                let name = key_text(&value.node)?;
                if let Some(first) = self.seen.insert(name.clone(), span) {
                    return Err(Flaw::duplicate_key(span, &name, first));
                }
                self.key = Some(Key::Name(name, span));
            }
        }
        Ok(())
    }

    /// Merges a mapping, or a list of mappings of which the first is the strongest.
    fn merge(&mut self, value: Node) -> Result<(), Flaw> {
        let span = value.span;
        let sources = match value.kind {
            Kind::Sequence(items) => items,
            kind => vec![Node { span, kind }],
        };
        for source in sources.into_iter().rev() {
            match source.kind {
                Kind::Mapping(entries) => self.merged.extend(entries),
                _ => {
                    let message = "a merge key (<<) needs a mapping or a list of mappings";
                    return Err(Flaw::at(source.span, "merge-key", message));
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Vec<Entry> {
        if self.merged.is_empty() {
            return self.own;
        }
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut entries: Vec<Entry> = Vec::new();
        for entry in self.merged.into_iter().chain(self.own) {
            match places.get(&entry.0) {
                Some(&place) => entries[place] = entry,
                None => {
                    places.insert(entry.0.clone(), entries.len());
                    entries.push(entry);
                }
            }
        }
        entries
    }
}

/// A complete value and what copying it costs.
#[derive(Clone)]
struct Measured {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
    /// Its type comes from its text: only such a `<<` is a merge.
    plain: bool,
}

struct Builder<'a> {
    limits: &'a Limits,
    dialect: Dialect,
    open: Vec<Open>,
    anchors: HashMap<String, Measured>,
    root: Option<Node>,
    first_alias: Option<Span>,
    not_strings: HashSet<Span>,
    nodes: usize,
    copied_bytes: usize,
}

impl<'a> Builder<'a> {
    fn new(limits: &'a Limits, dialect: Dialect) -> Self {
        Self {
            limits,
            dialect,
            open: Vec::new(),
            anchors: HashMap::new(),
            root: None,
            first_alias: None,
            not_strings: HashSet::new(),
            nodes: 0,
            copied_bytes: 0,
        }
    }

    fn event(&mut self, event: Event, at: Span) -> Result<(), Flaw> {
        match event.data {
            EventData::Scalar { anchor, tag, value, plain_implicit, .. } => {
                let node = scalar_node(&value, plain_implicit, tag.as_deref(), at)?;
                self.count(at, 1)?;
                if plain_implicit && scalar::is_no_string(&value) {
                    self.not_strings.insert(at);
                }
                let value = Measured { node, nodes: 1, bytes: value.len(), depth: 0, plain: plain_implicit };
                self.complete(value, anchor)
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                let function = collection_function(tag.as_deref(), "seq", at)?;
                self.begin(Content::Items(Vec::new()), function, anchor, at)
            }
            EventData::MappingStart { anchor, tag, .. } => {
                let function = collection_function(tag.as_deref(), "map", at)?;
                self.begin(Content::Entries(Entries::default()), function, anchor, at)
            }
            EventData::SequenceEnd | EventData::MappingEnd => self.end(),
            EventData::Alias { anchor } => {
                self.first_alias.get_or_insert(at);
                let Some(value) = self.anchors.get(&anchor).cloned() else {
                    let open = self.open.iter().any(|open| open.anchor.as_deref() == Some(anchor.as_str()));
                    return Err(if open {
                        Flaw::at(at, "recursive-alias", "the alias stands inside the value that it names")
                    } else {
                        Flaw::at(
                            at,
                            "unknown-alias",
                            format!("no anchor before this alias is named {anchor}"),
                        )
                    });
                };
                self.charge_copy(&value, at)?;
                if self.open.len() + value.depth > self.limits.depth {
                    return Err(Flaw::too_deep(at, self.limits));
                }
                self.complete(value, None)
            }
            EventData::StreamStart { .. }
            | EventData::StreamEnd
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. } => Ok(()),
        }
    }

    fn count(&mut self, at: Span, nodes: usize) -> Result<(), Flaw> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limits.nodes {
            return Err(Flaw::too_many_nodes(at, self.limits));
        }
        Ok(())
    }

    /// Pays for a copy of a value, be it the one kept for an anchor or the one an alias puts in the tree.
    fn charge_copy(&mut self, value: &Measured, at: Span) -> Result<(), Flaw> {
        self.count(at, value.nodes)?;
        self.copied_bytes = self.copied_bytes.saturating_add(value.bytes);
        if self.copied_bytes > self.limits.copied_bytes {
            let message = format!("aliases expand to more than {} bytes of text", self.limits.copied_bytes);
            return Err(Flaw::at(at, "too-many-values", message));
        }
        Ok(())
    }

    fn begin(
        &mut self,
        content: Content,
        function: Option<String>,
        anchor: Option<String>,
        span: Span,
    ) -> Result<(), Flaw> {
        if self.open.len() >= self.limits.depth {
            return Err(Flaw::too_deep(span, self.limits));
        }
        if let Some(Open { content: Content::Entries(Entries { key: None, .. }), .. }) = self.open.last() {
            return Err(Flaw::at(span, "complex-key", "a key must be a scalar, not a list or mapping"));
        }
        self.count(span, 1)?;
        self.open.push(Open { span, function, anchor, content, nodes: 1, bytes: 0, depth: 0 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Flaw> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let kind = match open.content {
            Content::Items(items) => Kind::Sequence(items),
            Content::Entries(entries) => Kind::Mapping(entries.finish()),
        };
        let node = Node { span: open.span, kind };
        let node = match open.function {
            Some(name) => tags::long_form(name, open.span, node),
            None => node,
        };
        let value =
            Measured { node, nodes: open.nodes, bytes: open.bytes, depth: open.depth + 1, plain: false };
        self.complete(value, open.anchor)
    }

    /// Puts a complete value where it belongs: under its key, into its list, or at the root.
    fn complete(&mut self, value: Measured, anchor: Option<String>) -> Result<(), Flaw> {
        if let Some(anchor) = anchor {
            self.charge_copy(&value, value.node.span)?;
            self.anchors.insert(anchor, value.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(value.node);
            return Ok(());
        };
        parent.nodes = parent.nodes.saturating_add(value.nodes);
        parent.bytes = parent.bytes.saturating_add(value.bytes);
        parent.depth = parent.depth.max(value.depth);
        match &mut parent.content {
            Content::Items(items) => {
                items.push(value.node);
                Ok(())
            }
            Content::Entries(entries) => entries.push(value, self.dialect),
        }
    }
}

fn key_text(key: &Node) -> Result<String, Flaw> {
    match key.scalar_text() {
        Some(text) => Ok(text.to_owned()),
        None if key.is_null() => {
            Err(Flaw::at(key.span, "null-key", "a key must not be null; quote it if it is a name"))
        }
        None => Err(Flaw::at(key.span, "complex-key", "a key must be a scalar, not a list or mapping")),
    }
}

/// A tag, its handle resolved: `!!str`, `!<tag:yaml.org,2002:str>` and a `%TAG` of one's own may all be the same.
enum Meaning {
    /// The tag `!` alone.
    NonSpecific,
    /// A tag of YAML's own, such as `str`.
    Core(String),
    /// The long name of a function of CloudFormation.
    Function(String),
    /// Any other, as text for a message.
    Unknown(String),
}

impl Meaning {
    fn of(full: &str) -> Self {
        if full == "!" {
            Self::NonSpecific
        } else if let Some(name) = full.strip_prefix("tag:yaml.org,2002:") {
            Self::Core(name.to_owned())
        } else if let Some(name) = full.strip_prefix('!').and_then(tags::long_name) {
            Self::Function(name)
        } else {
            Self::Unknown(full.to_owned())
        }
    }
}

fn unknown_tag(name: &str, at: Span) -> Flaw {
    Flaw::at(at, "unknown-tag", format!("the tag {name} is not one CloudFormation knows"))
}

/// What a scalar is by its tag, or else, when it is `plain`, by its text.
fn scalar_node(text: &str, plain: bool, tag: Option<&str>, at: Span) -> Result<Node, Flaw> {
    let string = || Kind::String(text.to_owned());
    let number = || Kind::Number { text: text.to_owned() };
    let kind = match tag.map(Meaning::of) {
        // The parser calls what has the tag `!` plain, quoted or not, as SnakeYAML and PyYAML do.
        None | Some(Meaning::NonSpecific) if plain => scalar::resolve(text),
        None | Some(Meaning::NonSpecific) => string(),
        Some(Meaning::Core(name)) => match name.as_str() {
            "str" => string(),
            "null" if scalar::is_null(text) => Kind::Null,
            "bool" if scalar::as_bool(text).is_some() => scalar::resolve(text),
            "int" if scalar::is_integer(text) => number(),
            "float" if scalar::is_integer(text) || scalar::is_float(text) => number(),
            "null" | "bool" | "int" | "float" => {
                return Err(Flaw::at(at, "wrong-tag", format!("{text:?} is no value of the tag !!{name}")));
            }
            _ => return Err(unknown_tag(&format!("!!{name}"), at)),
        },
        Some(Meaning::Function(name)) => {
            return Ok(tags::long_form(name, at, Node { span: at, kind: string() }));
        }
        Some(Meaning::Unknown(name)) => return Err(unknown_tag(&name, at)),
    };
    Ok(Node { span: at, kind })
}

/// The function a collection's tag names; `own` is the core tag that changes nothing (`seq` or `map`).
fn collection_function(tag: Option<&str>, own: &str, at: Span) -> Result<Option<String>, Flaw> {
    match tag.map(Meaning::of) {
        None | Some(Meaning::NonSpecific) => Ok(None),
        Some(Meaning::Core(name)) if name == own => Ok(None),
        Some(Meaning::Core(name)) => Err(unknown_tag(&format!("!!{name}"), at)),
        Some(Meaning::Function(name)) => Ok(Some(name)),
        Some(Meaning::Unknown(name)) => Err(unknown_tag(&name, at)),
    }
}
