//! How the house rules read the papers: which files they name, and which names they say stand in them.

use std::fs;
use std::path::Path;

/// Where a path begins that a paper names. Folders that a published package comes without are looked at where they are.
const ROOTS: [&str; 8] = ["src/", "tests/", "benches/", "examples/", "node/", "fuzz/", ".ci/", ".github/"];

/// What a paper says of files that is not so, one sentence each, and how many things it said.
///
/// A code span that is a path names a file or a folder. Plain names that follow "`path`:" in the same item or row stand in
/// that file.
pub(crate) fn faults(paper: &str) -> (Vec<String>, usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(paper)).unwrap();
    let (mut faults, mut said) = (Vec::new(), 0);
    for item in items(&text) {
        // The text of the file that names are looked up in.
        let mut file: Option<(&str, String)> = None;
        let spans: Vec<&str> = item.split('`').collect();
        for (index, span) in spans.iter().enumerate().skip(1).step_by(2) {
            let after = spans.get(index + 1).copied().unwrap_or_default();
            if is_path(span) {
                file = None;
                let folder = span.split_inclusive('/').next().unwrap_or_default();
                if folder.len() < span.len() && !root.join(folder).exists() {
                    continue;
                }
                said += 1;
                if !root.join(span).exists() {
                    faults.push(format!("{paper}: names {span}, which is not there"));
                } else if after.starts_with(':') {
                    file = Some((span, fs::read_to_string(root.join(span)).unwrap_or_default()));
                }
            } else if let Some((path, text)) = file.as_ref().filter(|_| is_name(span)) {
                said += 1;
                let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
                if !words.any(|word| word == *span) {
                    faults.push(format!("{paper}: says that `{span}` is in {path}, which does not have it"));
                }
            }
        }
    }
    (faults, said)
}

fn is_path(span: &str) -> bool {
    let root_file = (span.ends_with(".md") || span.ends_with(".toml")) && !span.contains('/');
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    plain && (root_file || ROOTS.iter().any(|root| span.starts_with(root)))
}

fn is_name(span: &str) -> bool {
    !span.is_empty() && span.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Paragraphs, items of lists and rows of tables, without what stands between fences.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let begins =
            line.is_empty() || line.starts_with(['|', '-', '#']) || line.starts_with(|c: char| c.is_ascii_digit());
        if begins || fenced {
            items.push(String::new());
        }
        if let Some(item) = items.last_mut().filter(|_| !fenced && !line.starts_with("```")) {
            item.push_str(line);
            item.push(' ');
        }
    }
    items
}
