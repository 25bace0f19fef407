//! The house rules that a compiler does not know: who may name whom, who may touch the world, and what every file has.
//!
//! Each failure says what to write instead.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer, and the modules that it must not name; the arrows of the design.
const ARROWS: &[(&str, &[&str])] = &[
    ("src/wire", &["link", "proto", "driver", "sim", "chain", "close"]),
    ("src/link", &["proto", "driver", "sim", "chain"]),
    ("src/proto", &["link", "driver", "sim", "chain"]),
    ("src/driver", &["sim", "chain"]),
    ("src/chain", &["link", "driver", "sim"]),
    ("src/time.rs", &["wire", "link", "proto", "driver", "sim", "chain", "close", "id", "rng"]),
    ("src/rng.rs", &["wire", "link", "proto", "driver", "sim", "chain", "close", "id", "time"]),
    ("src/buggify.rs", &["wire", "link", "proto", "driver", "sim", "chain", "close", "id", "time"]),
    ("src/config.rs", &["wire", "link", "chain", "sim", "close", "id", "rng", "time"]),
    ("src/invariant.rs", &["wire", "link", "proto", "driver", "sim", "chain", "close", "id", "rng", "time"]),
    ("src/id.rs", &["wire", "link", "proto", "driver", "sim", "chain", "close", "rng", "time"]),
];

/// The layers that decide, and so must run the same on a virtual clock and a virtual network.
const PURE: &[&str] = &[
    "src/wire",
    "src/link",
    "src/proto",
    "src/sim",
    "src/time.rs",
    "src/rng.rs",
    "src/id.rs",
    "src/invariant.rs",
    "src/close.rs",
    "src/config.rs",
    "src/buggify.rs",
];

/// What these layers must not write, and what to write instead.
const IMPURE: &[(&str, &str)] = &[
    ("Instant::now", "take `now: Now` as an argument"),
    ("SystemTime", "take `now: Now` as an argument; `now.unix` is the wall clock"),
    ("std::time::Instant", "use `crate::time::Instant`"),
    ("getrandom", "take `rng: &mut Rng` as an argument"),
    ("RandomState", "use a BTreeMap, or hash with a key that is an argument"),
    ("TcpStream", "answer with an output; the driver owns the sockets"),
    ("TcpListener", "answer with an output; the driver owns the sockets"),
    ("UdpSocket", "answer with an output; the driver owns the sockets"),
    ("ToSocketAddrs", "take a `SocketAddr`; the program resolves names"),
    ("mio::", "answer with an output; the driver owns the sockets"),
    ("socket2", "answer with an output; the driver owns the sockets"),
    ("std::fs", "answer with an output; `driver::store` writes files"),
    ("std::thread", "answer with an output; the engine has one thread"),
    ("std::env", "take a setting as an argument"),
];

/// What the library must not say outside of the program, and what to do instead.
const STRAY: &[(&str, &str)] = &[
    ("println!", "return a value or emit an event; only the program prints"),
    ("print!", "return a value or emit an event; only the program prints"),
    ("dbg!", "remove it"),
    ("todo!", "write it, or leave the name out until it is written"),
    ("unimplemented!", "write it, or leave the name out until it is written"),
];

/// Where our code is. The program's folders are missing from the library's own package.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "node/src", "node/tests"];

/// Longer files hide a noun that wants a file of its own.
const LINES_MAX: usize = 600;

#[test]
fn layers_name_only_those_below_them() {
    let mut faults = Vec::new();
    for (layer, forbidden) in ARROWS {
        for (path, text) in sources(layer) {
            for module in named_modules(&code(&text)) {
                if forbidden.contains(&module.as_str()) {
                    faults.push(format!(
                        "{path}: names `crate::{module}`; move what is shared below {layer}, or pass it in as an argument"
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_deciding_layers_touch_no_clock_socket_file_or_chance() {
    let mut faults = Vec::new();
    for (path, text) in PURE.iter().flat_map(|layer| sources(layer)) {
        for (number, line) in code(&text).lines().enumerate() {
            for (word, instead) in IMPURE.iter().filter(|(word, _)| line.contains(word)) {
                faults.push(format!("{path}:{}: `{word}`; {instead}", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_library_neither_prints_nor_has_loose_ends() {
    let mut faults = Vec::new();
    for (path, text) in sources("src") {
        for (number, line) in code(&text).lines().enumerate() {
            for (word, instead) in STRAY.iter().filter(|(word, _)| has_macro(line, word)) {
                faults.push(format!("{path}:{}: `{word}`; {instead}", number + 1));
            }
        }
    }
    for (path, text) in ["src", "node/src"].iter().flat_map(|folder| sources(folder)) {
        for (number, line) in text.lines().enumerate() {
            if ["FIXME", "XXX", "TODO"].iter().any(|mark| line.contains(mark)) {
                faults.push(format!(
                    "{path}:{}: a note to oneself; open an issue, or say what is missing in the docs",
                    number + 1
                ));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_opens_with_its_reason_and_is_of_a_size_to_read() {
    let mut faults = Vec::new();
    for (path, text) in FOLDERS.iter().flat_map(|folder| sources(folder)) {
        if !text.starts_with("//! ") {
            faults.push(format!("{path}: open it with a `//!` line that says why there is a file here"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{path}: {lines} lines; give one of its nouns a file of its own"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whoever runs an audit counts what it looked at by its `AUDITED`: a list that forgets a rule makes that look unchecked.
#[test]
fn an_audit_lists_the_rules_that_it_looks_at() {
    for (list, looks) in [("src/proto/node/invariants.rs", "src/proto"), ("src/driver/audit.rs", "src/driver")] {
        let (_, text) = sources(list).remove(0);
        let (_, rest) = text.split_once("AUDITED: &'static [Invariant] = &[").expect("an audit lists its rules");
        let listed = rest.split(']').next().unwrap_or_default().matches("Invariant::").count();
        let audits = sources(looks).into_iter().filter(|(path, _)| !path.ends_with("_tests.rs"));
        let named: BTreeSet<String> = audits
            .flat_map(|(_, text)| {
                let parts = code(&text);
                let rules = parts.split("Invariant::").skip(1);
                rules.map(|rule| rule.chars().take_while(char::is_ascii_alphanumeric).collect()).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            listed,
            named.len(),
            "{list}: `AUDITED` does not list {named:?}, which the code under {looks} looks at"
        );
    }
}

#[test]
fn the_eyes_of_this_test_see() {
    assert_eq!(code("a // use crate::proto;\n/* b\n */ c \"// d\""), "a \n\n c \"// d\"");
    let modules = named_modules("use crate::wire::Kind; use crate::{id::{ConnId, DialId}, proto, time::Now};");
    assert_eq!(modules, ["wire", "id", "proto", "time"]);
    assert!(has_macro("    print!(\"x\")", "print!") && !has_macro("eprint!(\"x\")", "println!"));
    assert!(!sources("src").is_empty() && sources("src/time.rs").len() == 1);
}

/// `word` as a macro call, not as the end of another one's name. `eprint!` and its like are theirs too.
fn has_macro(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].trim_end_matches('e').chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
    })
}

/// The crate's modules that `code` names, through `crate::name` and `crate::{name, ...}`.
fn named_modules(code: &str) -> Vec<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.push(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut name_begins = true;
        for (index, letter) in group.char_indices() {
            if name_begins && depth == 1 && !letter.is_whitespace() {
                modules.push(word(&group[index..]));
            }
            name_begins = (name_begins && letter.is_whitespace()) || (letter == ',' && depth == 1);
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            if depth == 0 {
                break;
            }
        }
    }
    modules
}

/// A source text without its comments, line by line as it was.
fn code(text: &str) -> String {
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
fn sources(place: &str) -> Vec<(String, String)> {
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
