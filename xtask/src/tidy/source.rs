//! One Rust source file, taken apart just far enough for the rules.
//!
//! [`Source`] owns the text of a file and two copies of it with holes: in `code` everything inside comments,
//! strings and character literals is blank, in `comments` everything else is. Holes keep the line structure, so an
//! offset in any copy has the same line. Rules then search plain text without meeting a keyword inside a string, or
//! a brace inside a comment.
//!
//! Non-ASCII characters are blanked in `code` as well, which makes every byte offset there a character boundary.
//!
//! Rejected: `syn`. It drops comments, which half of the rules are about, and it costs more build time than all of
//! xtask. Rejected: regular expressions over the raw text, because the word `unsafe` in a sentence is not unsafe
//! code.

use std::ops::Range;

/// A source file with its comment and code halves.
pub struct Source {
    /// Relative to the root of the repository, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// Code only.
    pub code: String,
    /// Comments only, doc comments included.
    pub comments: String,
    /// For each line, whether it belongs to an item under `#[cfg(test)]`.
    test_lines: Vec<bool>,
    /// Where each line starts in `code`.
    line_starts: Vec<usize>,
}

impl Source {
    /// Takes a file apart.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let (code, comments) = Splitter::new(&text).split();
        let starts = code.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts: Vec<usize> = std::iter::once(0).chain(starts).collect();
        let test_lines = vec![false; line_starts.len()];
        let mut source =
            Source { path: path.into(), text, code, comments, test_lines, line_starts };
        source.mark_tests();
        source
    }

    /// The line of a byte offset in `code`, counted from 1.
    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    /// Does this line (from 1) belong to an item under `#[cfg(test)]`?
    pub fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.get(line - 1).copied().unwrap_or(false)
    }

    /// The text of a line, counted from 1.
    pub fn line(&self, line: usize) -> &str {
        self.text.lines().nth(line - 1).unwrap_or("")
    }

    /// All identifiers and keywords of the code, with their offsets.
    pub fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    /// All attributes `#[..]` and `#![..]`, as ranges of `code`.
    pub fn attributes(&self) -> Vec<Range<usize>> {
        let bytes = self.code.as_bytes();
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices('#') {
            let open = if bytes.get(at + 1) == Some(&b'!') { at + 2 } else { at + 1 };
            if bytes.get(open) == Some(&b'[')
                && let Some(end) = self.closing(open)
            {
                found.push(at..end + 1);
            }
        }
        found
    }

    /// The offset of the bracket that closes the one at `open`; `None` if the file ends before.
    pub fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (offset, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(offset);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// Where the item that starts at `from` ends: at its `;`, or at the brace that closes its body.
    pub fn item_end(&self, from: usize) -> Option<usize> {
        let bytes = self.code.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            match bytes[at] {
                b';' => return Some(at),
                b'{' => return self.closing(at),
                b'(' | b'[' => at = self.closing(at)?,
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// Fills `test_lines`.
    fn mark_tests(&mut self) {
        for attribute in self.attributes() {
            let text = &self.code[attribute.clone()];
            if !is_test_cfg(text) {
                continue;
            }
            let end = if text.starts_with("#!") {
                self.code.len()
            } else {
                self.item_end(attribute.end).unwrap_or(self.code.len())
            };
            for line in self.line_of(attribute.start)..=self.line_of(end) {
                self.test_lines[line - 1] = true;
            }
        }
    }
}

/// Is this attribute `cfg(test)`, or a `cfg` that needs `test`?
fn is_test_cfg(attribute: &str) -> bool {
    let mut parts = words(attribute).map(|(_, word)| word);
    parts.next() == Some("cfg") && parts.any(|w| w == "test") && !attribute.contains("not(test")
}

/// All identifiers, keywords and numbers of a text, with their offsets.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + text[rest..].find(is_word)?;
        let end = text[start..].find(|c| !is_word(c)).map_or(text.len(), |n| start + n);
        rest = end;
        Some((start, &text[start..end]))
    })
}

/// Cuts a text into code and comments.
struct Splitter {
    input: Vec<char>,
    at: usize,
    code: String,
    comments: String,
}

impl Splitter {
    fn new(text: &str) -> Splitter {
        Splitter {
            input: text.chars().collect(),
            at: 0,
            code: String::with_capacity(text.len()),
            comments: String::with_capacity(text.len()),
        }
    }

    fn split(mut self) -> (String, String) {
        while let Some(c) = self.peek(0) {
            match (c, self.peek(1)) {
                ('/', Some('/')) => self.comment_until(|s| s.peek(0) == Some('\n')),
                ('/', Some('*')) => self.block_comment(),
                ('"', _) => self.string(),
                ('r' | 'b' | 'c', _) if !self.follows_word() && self.raw_hashes().is_some() => {
                    self.raw_string()
                }
                ('\'', Some(next)) if next == '\\' || self.peek(2) == Some('\'') => {
                    self.character()
                }
                _ => self.put_code(),
            }
        }
        (self.code, self.comments)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.input.get(self.at + ahead).copied()
    }

    fn follows_word(&self) -> bool {
        let before = self.at.checked_sub(1).map(|at| self.input[at]);
        before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    }

    /// Moves one character on; it is shown in the copies that ask for it and blank in the others.
    fn put(&mut self, in_code: bool, in_comments: bool) {
        let Some(c) = self.peek(0) else { return };
        self.at += 1;
        let shown = |show: bool, c: char| if show || c == '\n' { c } else { ' ' };
        self.code.push(shown(in_code && c.is_ascii(), c));
        self.comments.push(shown(in_comments, c));
    }

    fn put_code(&mut self) {
        self.put(true, false);
    }

    fn comment_until(&mut self, mut done: impl FnMut(&Splitter) -> bool) {
        while self.at < self.input.len() && !done(self) {
            self.put(false, true);
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.input.len() {
            let step = match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => 1,
                (Some('*'), Some('/')) => -1,
                _ => 0,
            };
            self.put(false, true);
            if step != 0 {
                self.put(false, true);
                depth += step;
                if depth == 0 {
                    return;
                }
            }
        }
    }

    /// From quote to quote, with escapes. The quotes stay in the code.
    fn string(&mut self) {
        self.put_code();
        while let Some(c) = self.peek(0) {
            match c {
                '"' => return self.put_code(),
                '\\' if self.peek(1).is_some() => {
                    self.put(false, false);
                    self.put(false, false);
                }
                _ => self.put(false, false),
            }
        }
    }

    /// At `r`, `br` or `cr` of a raw string: how many `#` it has.
    fn raw_hashes(&self) -> Option<usize> {
        let prefix = if self.peek(0) == Some('r') { 1 } else { 2 };
        if prefix == 2 && self.peek(1) != Some('r') {
            return None;
        }
        let mut hashes = 0;
        while self.peek(prefix + hashes) == Some('#') {
            hashes += 1;
        }
        (self.peek(prefix + hashes) == Some('"')).then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        while self.peek(0).is_some_and(|c| c != '"') {
            self.put_code();
        }
        self.put_code();
        while self.at < self.input.len() {
            let ends = self.peek(0) == Some('"')
                && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            if ends {
                (0..=hashes).for_each(|_| self.put_code());
                return;
            }
            self.put(false, false);
        }
    }

    fn character(&mut self) {
        self.put_code();
        if self.peek(0) == Some('\\') {
            self.put(false, false);
        }
        self.put(false, false);
        while self.peek(0).is_some_and(|c| c != '\'' && c != '\n') {
            self.put(false, false);
        }
        if self.peek(0) == Some('\'') {
            self.put_code();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("a.rs", text).code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_strings_leave_the_code() {
        assert_eq!(code("a(); // unsafe {\nb(/* x /* y */ z */);"), "a(); b( );");
        assert_eq!(
            code(r##"a("un\"safe", r#"un"safe"#, b"x", br"y")"##),
            r##"a(" ", r#" "#, b" ", br" ")"##
        );
    }

    #[test]
    fn quotes_of_characters_and_lifetimes_are_told_apart() {
        assert_eq!(
            code("f::<'a>('\"', '\\'', '\\u{7f}', b'{') 'l: loop {}"),
            "f::<'a>(' ', ' ', ' ', b' ') 'l: loop {}"
        );
        assert_eq!(code("r#type + r"), "r#type + r");
    }

    #[test]
    fn comments_keep_their_lines() {
        let source = Source::new("a.rs", "let x = \"// no\"; // yes\n/// doc é\nfn f() {}\n");
        let comments: Vec<&str> = source.comments.lines().map(str::trim).collect();
        assert_eq!(comments, ["// yes", "/// doc é", ""]);
        assert_eq!(source.line_of(source.code.find("fn").unwrap()), 3);
    }

    #[test]
    fn test_lines_end_with_their_item() {
        let text = "fn a() {}\n#[cfg(all(test, loom))]\nmod t {\n fn b() {}\n}\nfn c() {}\n\
                    #[cfg(not(test))]\nfn d() {}\n";
        let source = Source::new("a.rs", text);
        let marked: Vec<usize> = (1..=8).filter(|&line| source.is_test_line(line)).collect();
        assert_eq!(marked, [2, 3, 4, 5]);
    }

    #[test]
    fn an_unfinished_file_does_not_stop_the_walk() {
        for text in ["\"abc", "/* abc", "'\\", "r#\"abc", "#[cfg(test", "fn f() {", "'"] {
            let source = Source::new("a.rs", text);
            assert_eq!(source.code.chars().count(), text.chars().count(), "{text}");
        }
    }
}
