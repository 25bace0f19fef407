//! Rust as words and marks: as much of a lexer as it takes to see which paths a file names.

/// One token. Literals are left out; everything that is neither a word nor a `::` is a mark of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    PathSeparator,
    Mark(char),
}

impl Token {
    pub(crate) fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own == word)
    }

    pub(crate) fn is_mark(&self, mark: char) -> bool {
        *self == Token::Mark(mark)
    }
}

/// The tokens of a text without comments, and without the items that only tests have.
pub(crate) fn tokens(code: &str) -> Vec<Token> {
    without_tests(&all_tokens(code))
}

fn all_tokens(code: &str) -> Vec<Token> {
    let letters: Vec<char> = code.chars().collect();
    let at = |index: usize| letters.get(index).copied().unwrap_or(' ');
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut tokens = Vec::new();
    let mut index = 0;
    while index < letters.len() {
        match at(index) {
            '"' => index = behind_string(&letters, index),
            '\'' if at(index + 1) == '\\' => {
                index += 3;
                while index < letters.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            }
            '\'' if at(index + 2) == '\'' => index += 3,
            'r' if at(index + 1) == '"' || (at(index + 1) == '#' && matches!(at(index + 2), '#' | '"')) => {
                index = behind_raw_string(&letters, index + 1);
            }
            letter if is_word(letter) => {
                let begin = index;
                while is_word(at(index)) {
                    index += 1;
                }
                tokens.push(Token::Word(letters[begin..index].iter().collect()));
            }
            ':' if at(index + 1) == ':' => {
                tokens.push(Token::PathSeparator);
                index += 2;
            }
            letter => {
                if !letter.is_whitespace() {
                    tokens.push(Token::Mark(letter));
                }
                index += 1;
            }
        }
    }
    tokens
}

fn behind_string(letters: &[char], begin: usize) -> usize {
    let mut index = begin + 1;
    while index < letters.len() && letters[index] != '"' {
        index += if letters[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// `begin` is behind the `r`.
fn behind_raw_string(letters: &[char], begin: usize) -> usize {
    let hashes = letters[begin..].iter().take_while(|letter| **letter == '#').count();
    let mut index = begin + hashes + 1;
    while index < letters.len() {
        let closed = letters[index] == '"' && letters[index + 1..].iter().take(hashes).all(|letter| *letter == '#');
        index += 1;
        if closed {
            return index + hashes;
        }
    }
    index
}

/// Cuts each item behind a `#[cfg(test)]`, up to its semicolon or its closing brace.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let only_tests = all_tokens("#[cfg(test)]");
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if !tokens[index..].starts_with(&only_tests) {
            kept.push(tokens[index].clone());
            index += 1;
            continue;
        }
        index += only_tests.len();
        let mut depth = 0usize;
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token {
                Token::Mark('{' | '(' | '[') => depth += 1,
                Token::Mark('}') if depth == 1 => break,
                Token::Mark('}' | ')' | ']') => depth = depth.saturating_sub(1),
                Token::Mark(';') if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}
