//! XML, as far as routers use it: elements by their local names, and the text in them. Attributes, comments and declarations are skipped,
//! and of entities only the five that need no declaration are known.

/// How deep elements may stand in each other.
const DEPTH_MAX: usize = 32;

/// What comes next in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An element begins; its name without prefix.
    Open(&'a str),
    /// The innermost element ends.
    Close,
    /// A text that is not only white space, as it stands there.
    Text(&'a str),
}

/// A document's tokens. It ends early at what is no XML: what was read until then stands.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
    depth: usize,
    /// An element without content has begun: its end comes next.
    closes: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Tokens { rest: text, depth: 0, closes: false }
    }

    fn close(&mut self) -> Option<Token<'a>> {
        self.depth = self.depth.checked_sub(1)?;
        Some(Token::Close)
    }

    /// Goes on behind `end`.
    fn skip(&mut self, end: &str) -> Option<&'a str> {
        let (before, after) = self.rest.split_once(end)?;
        self.rest = after;
        Some(before)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        if core::mem::take(&mut self.closes) {
            return self.close();
        }
        loop {
            let Some(markup) = self.rest.strip_prefix('<') else {
                let end = self.rest.find('<')?;
                let (text, rest) = self.rest.split_at_checked(end)?;
                self.rest = rest;
                if !text.trim().is_empty() {
                    return Some(Token::Text(text.trim()));
                }
                continue;
            };
            if let Some(rest) = markup.strip_prefix("!--") {
                self.rest = rest;
                self.skip("-->")?;
            } else if let Some(rest) = markup.strip_prefix("![CDATA[") {
                self.rest = rest;
                let text = self.skip("]]>")?;
                if !text.trim().is_empty() {
                    return Some(Token::Text(text.trim()));
                }
            } else if markup.starts_with('?') {
                self.skip("?>")?;
            } else if markup.starts_with('!') {
                // A document type may declare what we would have to follow.
                return None;
            } else if markup.starts_with('/') {
                self.skip(">")?;
                return self.close();
            } else {
                self.rest = markup;
                let tag = self.skip(">")?;
                let (tag, is_empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
                let name = tag.split(|c: char| c.is_ascii_whitespace()).next()?;
                let name = name.rsplit_once(':').map_or(name, |(_, local)| local);
                self.depth += 1;
                if name.is_empty() || self.depth > DEPTH_MAX {
                    self.rest = "";
                    return None;
                }
                self.closes = is_empty;
                return Some(Token::Open(name));
            }
        }
    }
}

/// The first text in the first element of this name.
pub(super) fn text_of(document: &str, name: &str) -> Option<String> {
    let mut tokens = Tokens::new(document);
    tokens.find(|token| *token == Token::Open(name))?;
    match tokens.next()? {
        Token::Text(text) => Some(plain(text)),
        Token::Open(_) | Token::Close => None,
    }
}

/// A text with its entities as what they stand for.
pub(super) fn plain(text: &str) -> String {
    // The last one last, or it would make new ones.
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .into_iter()
        .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_and_texts_are_read_and_the_rest_is_skipped() {
        let text = "<?xml version=\"1.0\"?><!-- no <a> --><s:a x='1'><b/> <c>one &amp; two</c><![CDATA[<raw>]]></s:a>";
        let tokens: Vec<Token<'_>> = Tokens::new(text).collect();
        let expected = [
            Token::Open("a"),
            Token::Open("b"),
            Token::Close,
            Token::Open("c"),
            Token::Text("one &amp; two"),
            Token::Close,
            Token::Text("<raw>"),
            Token::Close,
        ];
        assert_eq!(tokens, expected);
        assert_eq!(text_of(text, "c").as_deref(), Some("one & two"));
        assert_eq!(text_of(text, "b"), None);
        assert_eq!(plain("&amp;lt;"), "&lt;");
    }

    #[test]
    fn what_declares_entities_nests_without_end_or_stops_short_is_read_no_further() {
        assert_eq!(Tokens::new("<!DOCTYPE a [<!ENTITY b 'bb'>]><a>&b;</a>").count(), 0);
        assert_eq!(Tokens::new(&"<a>".repeat(1000)).count(), DEPTH_MAX);
        assert_eq!(Tokens::new("<a><b").collect::<Vec<_>>(), [Token::Open("a")]);
        assert_eq!(Tokens::new("</a></a>").count(), 0);
    }

    proptest! {
        #[test]
        fn a_text_comes_to_its_end(text in "[<>/!?a&;: \\-\\[\\]]{0,200}") {
            prop_assert!(Tokens::new(&text).count() <= text.len());
        }
    }
}
