//! How the house rules read the code: the sources, without what is no code.

pub(crate) mod imports;
pub(crate) mod papers;
pub(crate) mod tokens;

use std::fs;
use std::path::{Path, PathBuf};

/// A source text without its comments, line by line as it was.
pub(crate) fn code(text: &str) -> String {
    let mut kept = String::new();
    let (mut in_string, mut in_block) = (false, false);
    for line in text.lines() {
        if !kept.is_empty() || in_block {
            kept.push('\n');
        }
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match (letter, letters.peek()) {
                ('*', Some('/')) if in_block => {
                    letters.next();
                    in_block = false;
                }
                _ if in_block => {}
                ('\\', Some(_)) if in_string => {
                    kept.push(letter);
                    kept.extend(letters.next());
                }
                // A quote as a character literal is not the begin of a string.
                ('\'', Some('"')) if !in_string => {
                    kept.push(letter);
                    kept.extend(letters.next());
                }
                ('"', _) => {
                    in_string = !in_string;
                    kept.push(letter);
                }
                ('/', Some('/')) if !in_string => break,
                ('/', Some('*')) if !in_string => in_block = true,
                _ => kept.push(letter),
            }
        }
    }
    kept
}

/// Every Rust file at or under `place`, as (path from the crate's root, text), in order.
pub(crate) fn sources(place: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting = vec![root.join(place)];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}
