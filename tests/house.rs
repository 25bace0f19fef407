//! The house rules that a compiler does not know: who may name whom, who may touch the world, and what every file has.
//!
//! Each failure says what to write instead.

mod house_support;

use std::collections::BTreeSet;

use house_support::imports::{circles, graph, graph_of, shortest};
use house_support::{code, papers, sources};

/// Layer, and the modules below it, which it may name; the arrows of the design. A layer may name itself, and only the
/// simulator, which plays all of it, may name everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("src/driver", &["link", "nat", "proto", "wire", VALUES]),
    ("src/chain", &["proto", "wire", VALUES]),
    ("src/proto", &["wire", VALUES]),
    ("src/link", &["wire", VALUES]),
    ("src/nat", &[VALUES]),
    ("src/limits.rs", &["wire"]),
    ("src/close.rs", &["wire"]),
    ("src/close", &[]),
    ("src/wire", &[]),
    ("src/rate.rs", &["time", "config"]),
    ("src/address.rs", &["id"]),
    ("src/admit.rs", &[]),
    ("src/frame_start.rs", &["id"]),
    ("src/buggify.rs", &["rng"]),
    ("src/config.rs", &[]),
    ("src/files.rs", &[]),
    ("src/histogram.rs", &[]),
    ("src/id.rs", &[]),
    ("src/invariant.rs", &[]),
    ("src/mapping.rs", &[]),
    ("src/rng.rs", &[]),
    ("src/sharded.rs", &["wire"]),
    ("src/shares.rs", &["address", "source"]),
    ("src/source.rs", &["address"]),
    ("src/time.rs", &[]),
];

/// Among the arrows: every file that is a row of its own.
const VALUES: &str = "values";

/// Where the driver meets proto: the node on real sockets, and the file of its peers. Everything else in it serves any
/// [`Protocol`], and who embeds frames only carries no proto.
const DRIVER_OF_PROTO: &[&str] = &["src/driver/node", "src/driver/store/"];

/// Files that import each other round a circle, in groups, still. A circle can only be understood as one thing, so this list
/// may only become shorter: whoever takes a file out of a group takes it out here.
const CIRCLES: &[&[&str]] = &[];

/// The layers that decide, and so must run the same on a virtual clock and a virtual network.
const PURE: &[&str] = &[
    "src/wire",
    "src/link",
    "src/nat",
    "src/proto",
    "src/sim",
    "src/time.rs",
    "src/rng.rs",
    "src/histogram.rs",
    "src/id.rs",
    "src/invariant.rs",
    "src/mapping.rs",
    "src/address.rs",
    "src/admit.rs",
    "src/frame_start.rs",
    "src/rate.rs",
    "src/shares.rs",
    "src/source.rs",
    "src/limits.rs",
    "src/close.rs",
    "src/close",
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
    ("crate::files", "answer with an output; `driver::store` writes files"),
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

/// What an embedder meets first: each runs in an example of its own.
const SHOWN: &[&str] = &[
    "struct Driver<P",
    "trait Protocol {",
    "struct Net {",
    "struct Handle<C",
    "struct Config {\n    /// What a connection accepts",
    "struct Config {\n    /// Our id",
    "struct Node<C",
    "trait Chain {",
    "struct Tls {",
    "struct Inbox {",
    "struct Outbox {",
    "struct Link {",
    "struct FrameRules {",
];

/// The papers that name files, and how many things they say of them at least.
const PAPERS: &[(&str, usize)] =
    &[("ARCHITECTURE.md", 100), ("CONTRIBUTING.md", 30), ("SECURITY.md", 5), ("README.md", 3)];

/// Where our code is. The program's folders are missing from the library's own package.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "node/src", "node/tests", "node/benches"];

/// Longer files hide a noun that wants a file of its own.
const LINES_MAX: usize = 600;

#[test]
fn layers_name_only_those_below_them() {
    let mut faults = Vec::new();
    let own_name = |layer: &str| layer.trim_start_matches("src/").trim_end_matches(".rs").to_owned();
    let values: Vec<String> =
        ARROWS.iter().filter(|(layer, _)| layer.ends_with(".rs")).map(|(layer, _)| own_name(layer)).collect();
    for (layer, below) in ARROWS {
        assert!(!sources(layer).is_empty(), "{layer} is gone: take its arrows along");
        let may = |module: &String| {
            *module == own_name(layer)
                || below.contains(&module.as_str())
                || (below.contains(&VALUES) && values.contains(module))
        };
        for (path, text) in sources(layer) {
            for module in named_modules(&code(&text)).iter().filter(|module| !may(module)) {
                faults.push(format!(
                    "{path}: names `crate::{module}`; move what is shared below {layer}, or pass it in as an argument"
                ));
            }
        }
    }
    let without: Vec<String> = sources("src")
        .into_iter()
        .map(|(path, _)| path)
        .filter(|path| !path.starts_with("src/sim/") && path != "src/lib.rs")
        .filter(|path| !ARROWS.iter().any(|(layer, _)| path == layer || path.starts_with(&format!("{layer}/"))))
        .collect();
    assert!(without.is_empty(), "{without:?}: say in ARROWS what they may name");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_driver_names_proto_only_where_it_drives_a_node() {
    let mut faults = Vec::new();
    for (path, text) in sources("src/driver") {
        let may = DRIVER_OF_PROTO.iter().any(|place| path.starts_with(place));
        if !may && named_modules(&code(&text)).iter().any(|module| module == "proto") {
            faults.push(format!(
                "{path}: names `crate::proto`; move what both need below proto, as `rate` and `address` are"
            ));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_import_each_other_without_circles_but_for_those_that_are_left() {
    let graph = graph();
    let found = circles(&graph);
    let mut faults = Vec::new();
    for circle in found.iter().filter(|circle| !CIRCLES.iter().any(|allowed| allowed.iter().eq(circle.iter()))) {
        let is_smaller = CIRCLES.iter().any(|allowed| circle.iter().all(|file| allowed.contains(&file.as_str())));
        faults.push(if is_smaller {
            format!("a circle has become smaller: let CIRCLES say {circle:?}")
        } else {
            format!(
                "a circle of imports: {}; move what is shared into a file below both. All of it: {circle:?}",
                shortest(&graph, circle).join(" -> ")
            )
        });
    }
    for allowed in CIRCLES.iter().filter(|allowed| !found.iter().any(|circle| allowed.iter().eq(circle.iter()))) {
        if !found.iter().any(|circle| circle.iter().all(|file| allowed.contains(&file.as_str()))) {
            faults.push(format!("a circle is gone: take it out of CIRCLES: {allowed:?}"));
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
fn a_circle_is_seen_through_names_passed_on_modules_in_files_and_paths_without_use() {
    let graph_of =
        |files: &[(&str, &str)]| graph_of(files.iter().map(|(file, text)| (format!("src/{file}"), (*text).to_owned())));
    let imports = |files: &[(&str, &str)], file: &str| graph_of(files)[&format!("src/{file}")].clone();
    // Whoever takes a name from a module that passes it on imports the file behind it; the module imports nothing.
    let files = [
        ("a/mod.rs", "mod b;\nmod c;\npub use b::{B, Other as Renamed};"),
        ("a/b.rs", "pub struct B;\npub struct Other;"),
        ("a/c.rs", "use super::{B, Renamed};\nuse std::io;"),
    ];
    assert!(imports(&files, "a/mod.rs").is_empty());
    assert_eq!(Vec::from_iter(imports(&files, "a/c.rs")), ["src/a/b.rs"]);
    assert!(circles(&graph_of(&files)).is_empty());
    // But a module that uses what it passes on does, and then its child must not use the module.
    let files =
        [("a/mod.rs", "mod b;\npub use b::B;\npub struct A(B);"), ("a/b.rs", "pub struct B; fn f(_: super::A) {}")];
    assert_eq!(circles(&graph_of(&files)), [["src/a/b.rs", "src/a/mod.rs"]]);
    // Three files round, by a path in the code, a module's alias, and a module inside of a file.
    let files = [
        ("a.rs", "fn f() { crate::b::g::<u8>() }"),
        ("b.rs", "use crate::c;\nfn g<T>() -> c::C { 'c'; \"crate::a\"; }"),
        ("c.rs", "pub struct C;\nmod inner { use super::super::a::*; }"),
    ];
    let graph = graph_of(&files);
    assert_eq!(circles(&graph), [["src/a.rs", "src/b.rs", "src/c.rs"]]);
    assert_eq!(shortest(&graph, &circles(&graph)[0]), ["src/a.rs", "src/b.rs", "src/c.rs", "src/a.rs"]);
    // Neither tests nor comments nor who may see something are imports.
    let files = [
        ("a.rs", "use crate::b::B;"),
        (
            "b.rs",
            "// use crate::a;\npub(in crate::a) struct B;\n#[cfg(test)]\nmod tests { use crate::a::*; }\nfn f() {}",
        ),
    ];
    assert!(imports(&files, "b.rs").is_empty());
}

#[test]
fn what_an_embedder_meets_first_has_an_example() {
    let mut faults = Vec::new();
    for item in SHOWN {
        let declared = format!("\npub {item}");
        let all = sources("src");
        let found = all.iter().find_map(|(_, text)| text.find(&declared).map(|at| &text[..at]));
        // The last example before it, with no other public item between.
        let example = found.and_then(|before| before.rfind("# Examples").map(|at| &before[at..]));
        if !example.is_some_and(|example| example.contains("```") && !example.contains("\npub ")) {
            faults.push(format!("pub {item}: show how it is used, under `# Examples`"));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn the_papers_name_files_that_are_there_and_what_stands_in_them() {
    let mut faults = Vec::new();
    for (paper, least) in PAPERS {
        let (wrong, said) = papers::faults(paper);
        faults.extend(wrong);
        assert!(said >= *least, "{paper}: names only {said} files: is this test still looking in the right places?");
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
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
