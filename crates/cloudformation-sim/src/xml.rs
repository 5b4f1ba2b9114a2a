//! Writes the XML of Query answers.

/// A growing XML document. Elements are closed in the reverse order of opening, by construction.
#[derive(Debug, Default)]
pub(crate) struct Xml {
    text: String,
}

impl Xml {
    /// Writes `<name>…</name>` around what `inside` writes.
    pub(crate) fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.element_with(name, "", inside);
    }

    /// Writes an element with attributes, given as they stand in the tag (with a leading space).
    pub(crate) fn element_with(&mut self, name: &str, attributes: &str, inside: impl FnOnce(&mut Self)) {
        self.text.push('<');
        self.text.push_str(name);
        self.text.push_str(attributes);
        self.text.push('>');
        inside(self);
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// Writes an element that holds text.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.element(name, |xml| escape_into(&mut xml.text, text));
    }

    /// Writes text into the open element.
    pub(crate) fn write_text(&mut self, text: &str) {
        escape_into(&mut self.text, text);
    }

    /// Writes an element that holds text, if there is one.
    pub(crate) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    /// Writes a list in the Query protocol's form: one `member` element an item.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for item in items {
                xml.element("member", |xml| each(xml, item));
            }
        });
    }

    /// Writes a list of strings.
    pub(crate) fn strings<'a>(&mut self, name: &str, items: impl IntoIterator<Item = &'a String>) {
        self.element(name, |xml| {
            for item in items {
                xml.leaf("member", item);
            }
        });
    }

    /// Appends what another writer has written.
    pub(crate) fn append(&mut self, xml: &str) {
        self.text.push_str(xml);
    }

    /// The finished document.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// Escapes `text` for element content. A carriage return is written as a reference, because a parser would turn a
/// bare one into a newline; what XML 1.0 cannot hold at all becomes U+FFFD.
fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Xml;

    #[test]
    fn text_is_escaped_so_that_a_parser_gives_it_back() {
        let check = |text: &str, expect: &str| {
            let mut xml = Xml::default();
            xml.leaf("a", text);
            assert_eq!(xml.finish(), format!("<a>{expect}</a>"));
        };
        check("plain", "plain");
        check("a < b && c > \"d\"", "a &lt; b &amp;&amp; c &gt; &quot;d&quot;");
        check("one\r\ntwo\tthree", "one&#xD;\ntwo\tthree");
        check("]]>", "]]&gt;");
        check("nul\u{0}bell\u{7}", "nul\u{fffd}bell\u{fffd}");
        check("grün 🙂", "grün 🙂");
    }

    #[test]
    fn lists_have_member_elements() {
        let mut xml = Xml::default();
        xml.strings("Capabilities", &["A".to_owned(), "B".to_owned()]);
        assert_eq!(xml.finish(), "<Capabilities><member>A</member><member>B</member></Capabilities>");
    }
}
