//! A small lexer for Rust: words, numbers and marks with their lines, and comments apart.
//!
//! It knows just enough to never take a comment, a string or a character for code, and to tell
//! which tokens belong to tests. It accepts any input; on text that does not compile its answer
//! means little, but the compiler runs in the same CI.

/// A word, a number or a mark; `::` is one mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
    /// Inside an item that is compiled for tests only.
    pub(super) in_test: bool,
}

/// A line of a comment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) text: String,
    pub(super) line: usize,
}

/// A Rust file, taken apart.
#[derive(Debug, Default)]
pub(super) struct Lexed {
    pub(super) tokens: Vec<Token>,
    pub(super) comments: Vec<Comment>,
}

/// Takes a file apart.
pub(super) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer {
        chars: text.chars().collect(),
        at: 0,
        line: 1,
        out: Lexed::default(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    mark_tests(&mut lexer.out.tokens);
    lexer.out
}

/// The token ranges of all attributes, from `#` to the closing bracket.
pub(super) fn attributes(tokens: &[Token]) -> Vec<&[Token]> {
    (0..tokens.len())
        .filter_map(|at| tokens.get(at..attribute_end(tokens, at)?))
        .collect()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Lexed,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let char = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(char == '\n');
        Some(char)
    }

    fn push(&mut self, text: String, line: usize) {
        self.out.tokens.push(Token {
            text,
            line,
            in_test: false,
        });
    }

    fn step(&mut self) {
        let Some(first) = self.peek(0) else { return };
        match (first, self.peek(1)) {
            ('/', Some('/')) => self.line_comment(),
            ('/', Some('*')) => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', Some(':')) => {
                self.push("::".to_owned(), self.line);
                self.at += 2;
            }
            (char, _) if char.is_ascii_digit() => self.number(),
            (char, _) if is_word(char) => self.word(),
            (char, _) => {
                if !char.is_whitespace() {
                    self.push(char.to_string(), self.line);
                }
                self.bump();
            }
        }
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while let Some(char) = self.peek(0).filter(|char| *char != '\n') {
            text.push(char);
            self.bump();
        }
        self.out.comments.push(Comment { text, line });
    }

    fn block_comment(&mut self) {
        let (start, mut depth, mut text) = (self.line, 0_usize, String::new());
        while let Some(char) = self.peek(0) {
            let pair = (char, self.peek(1));
            if matches!(pair, ('/', Some('*')) | ('*', Some('/'))) {
                if pair.0 == '/' {
                    depth += 1;
                } else {
                    depth -= 1;
                }
                self.at += 2;
                if depth == 0 {
                    break;
                }
            } else {
                text.push(char);
                self.bump();
            }
        }
        let lines = text.lines().zip(start..);
        self.out.comments.extend(lines.map(|(text, line)| Comment {
            text: text.to_owned(),
            line,
        }));
    }

    fn string(&mut self) {
        self.bump();
        while let Some(char) = self.bump() {
            match char {
                '\\' => {
                    self.bump();
                }
                '"' => break,
                _ => {}
            }
        }
    }

    fn raw_string(&mut self, hashes: usize) {
        self.at += hashes + 1;
        while let Some(char) = self.bump() {
            if char == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.at += hashes;
                break;
            }
        }
    }

    /// A character, or the mark of a lifetime or label.
    fn quote(&mut self) {
        if self.peek(1) == Some('\\') {
            self.at += 3;
            while self.bump().is_some_and(|char| char != '\'') {}
        } else if self.peek(2) == Some('\'') {
            self.bump();
            self.bump();
            self.bump();
        } else {
            self.push("'".to_owned(), self.line);
            self.bump();
        }
    }

    fn word(&mut self) {
        let line = self.line;
        let mut text = String::new();
        while let Some(char) = self.peek(0).filter(|char| is_word(*char)) {
            text.push(char);
            self.bump();
        }
        if matches!(text.as_str(), "r" | "br" | "cr") {
            let hashes = (0..)
                .take_while(|ahead| self.peek(*ahead) == Some('#'))
                .count();
            if self.peek(hashes) == Some('"') {
                return self.raw_string(hashes);
            }
            if text == "r" && hashes == 1 && self.peek(1).is_some_and(is_word) {
                self.bump();
                return self.word();
            }
        }
        // The prefix of a byte string, C string or byte character is no word of its own.
        if !(matches!(text.as_str(), "b" | "c") && matches!(self.peek(0), Some('"' | '\''))) {
            self.push(text, line);
        }
    }

    /// A number with its suffix. The field `0` in `pair.0.1` takes no fraction.
    fn number(&mut self) {
        let previous = |back: usize| self.at.checked_sub(back).and_then(|at| self.chars.get(at));
        let is_field = previous(1) == Some(&'.') && previous(2) != Some(&'.');
        let line = self.line;
        let mut text = String::new();
        while let Some(char) = self.peek(0) {
            let is_fraction = char == '.'
                && !is_field
                && !text.contains('.')
                && self.peek(1).is_some_and(|next| next.is_ascii_digit());
            if !is_word(char) && !is_fraction {
                break;
            }
            text.push(char);
            self.bump();
        }
        self.push(text, line);
    }
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

/// Marks the items that an attribute restricts to tests.
fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute_end(tokens, at) else {
            at += 1;
            continue;
        };
        let attribute = tokens.get(at..end).unwrap_or_default();
        if !is_for_tests(attribute) {
            at = end;
            continue;
        }
        let is_inner = attribute.get(1).is_some_and(|token| token.text == "!");
        let item_end = if is_inner {
            tokens.len()
        } else {
            item_end(tokens, end)
        };
        for token in tokens.get_mut(at..item_end).unwrap_or_default() {
            token.in_test = true;
        }
        at = item_end;
    }
}

/// `#[test]`, `#[tokio::test]`, or a `cfg` that names `test` outside `not(…)`.
fn is_for_tests(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|token| token.text.as_str()).collect();
    match words
        .strip_prefix(&["#", "!", "["])
        .or_else(|| words.strip_prefix(&["#", "["]))
    {
        Some(["test", "]"] | [_, "::", "test", ..]) => true,
        Some(["cfg", rest @ ..]) => rest.contains(&"test") && !rest.contains(&"not"),
        _ => false,
    }
}

/// Where the attribute that starts at `at` ends.
fn attribute_end(tokens: &[Token], at: usize) -> Option<usize> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    let open = match (is(at, "#"), is(at + 1, "!")) {
        (true, true) => at + 2,
        (true, false) => at + 1,
        (false, _) => return None,
    };
    is(open, "[").then(|| closing(tokens, open, "[", "]"))
}

/// Where the item behind an attribute ends: at its semicolon or its closing brace.
fn item_end(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" => return at + 1,
            "{" => return closing(tokens, at, "{", "}"),
            "(" => at = closing(tokens, at, "(", ")"),
            "[" => at = closing(tokens, at, "[", "]"),
            _ => at += 1,
        }
    }
    at
}

/// One past the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize, left: &str, right: &str) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.text == left {
            depth += 1;
        } else if token.text == right {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}
