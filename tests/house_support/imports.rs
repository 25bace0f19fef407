//! Which file imports which: every path in the library's code, followed to the file that defines what it names.
//!
//! A module that only passes a name on (`pub use`) imports nothing, and whoever takes the name from there imports the file
//! behind it. What a file calls by a method alone is not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Token, tokens};
use super::{code, sources};

/// Files and the files that they import.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// A path that a file names.
#[derive(Clone, Debug)]
struct Named {
    /// The modules inside the file in which it stands.
    within: Vec<String>,
    path: Vec<String>,
    /// What a `use` calls it.
    binding: Option<String>,
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    named: Vec<Named>,
    /// Names that are only passed on.
    passed_on: BTreeSet<String>,
    bindings: BTreeMap<String, Vec<String>>,
}

/// The library's modules by their paths.
#[derive(Debug, Default)]
struct Modules(BTreeMap<Vec<String>, Module>);

/// The imports between all files under `src`, those that only tests have left out.
pub(crate) fn graph() -> Graph {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.ends_with("_tests.rs");
    graph_of(sources("src").into_iter().filter(|(path, _)| !is_test(path)))
}

pub(crate) fn graph_of(files: impl IntoIterator<Item = (String, String)>) -> Graph {
    let modules = files.into_iter().map(|(file, text)| (module_path(&file), read(file, &tokens(&code(&text)))));
    let modules = Modules(modules.collect());
    let mut graph = Graph::new();
    for (path, module) in &modules.0 {
        let mut imports = BTreeSet::new();
        for named in &module.named {
            if named.binding.as_ref().is_some_and(|binding| module.passed_on.contains(binding)) {
                continue;
            }
            let from = [&path[..], &named.within].concat();
            imports.extend(modules.resolve(&from, &named.path, 0));
        }
        imports.remove(&module.file);
        graph.insert(module.file.clone(), imports);
    }
    graph
}

/// The groups of files that import each other round a circle, each sorted.
pub(crate) fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph.keys().map(|file| (file, reachable(graph, file))).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (file, reached) in &reach {
        if reached.contains(file) && !seen.contains(file) {
            let circle: Vec<String> =
                reached.iter().filter(|other| reach[*other].contains(file)).map(|other| (*other).clone()).collect();
            seen.extend(reached.iter().filter(|other| reach[*other].contains(file)).copied());
            circles.push(circle);
        }
    }
    circles
}

/// A shortest way round within `circle`, from its first file that has the shortest: where to cut.
pub(crate) fn shortest(graph: &Graph, circle: &[String]) -> Vec<String> {
    let ways = circle.iter().filter_map(|start| {
        let mut ways: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        let mut waiting = std::collections::VecDeque::from([(start, vec![start.clone()])]);
        while let Some((file, way)) = waiting.pop_front() {
            for next in graph[file].iter().filter(|next| circle.contains(next)) {
                let longer = [&way[..], std::slice::from_ref(next)].concat();
                if next == start {
                    return Some(longer);
                }
                if !ways.contains_key(next) {
                    ways.insert(next, longer.clone());
                    waiting.push_back((next, longer));
                }
            }
        }
        None
    });
    ways.min_by_key(Vec::len).unwrap_or_default()
}

fn reachable<'g>(graph: &'g Graph, file: &String) -> BTreeSet<&'g String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&String> = graph[file].iter().collect();
    while let Some(next) = waiting.pop() {
        if reached.insert(next) {
            waiting.extend(&graph[next]);
        }
    }
    reached
}

/// `src/link/tls/mod.rs` is the module `link::tls`.
fn module_path(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = if path == "lib" { "" } else { path.strip_suffix("/mod").unwrap_or(path) };
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

impl Modules {
    /// The file that defines what `path` names in the module `from`; `None` when that is not ours.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<String> {
        let mut at = from.to_vec();
        let mut rest = path;
        let mut rooted = false;
        while let Some((first, behind)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            (rest, rooted) = (behind, true);
        }
        while let Some((first, behind)) = rest.split_first() {
            let child = [&at[..], std::slice::from_ref(first)].concat();
            if !self.0.contains_key(&child) {
                break;
            }
            (at, rest, rooted) = (child, behind, true);
        }
        // The nearest file, for a module inside of one.
        let module = (0..=at.len()).rev().find_map(|len| self.0.get(&at[..len]).map(|module| (len, module)));
        let (len, module) = module?;
        if let Some((name, behind)) = rest.split_first()
            && let Some(target) = module.bindings.get(name).filter(|target| target.as_slice() != path)
            && depth < 8
        {
            return self.resolve(&at[..len], &[&target[..], behind].concat(), depth + 1);
        }
        rooted.then(|| module.file.clone())
    }
}

fn read(file: String, tokens: &[Token]) -> Module {
    let mut module = Module { file, ..Module::default() };
    let mut passed_on = BTreeSet::new();
    let mut used = BTreeSet::new();
    let mut within: Vec<(String, usize)> = Vec::new();
    let (mut depth, mut index) = (0usize, 0);
    while let Some(token) = tokens.get(index) {
        let before = index.checked_sub(1).and_then(|before| tokens.get(before));
        let next = tokens.get(index + 1);
        let modules = || within.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => {
                depth = depth.saturating_sub(1);
                within.retain(|(_, opened)| *opened <= depth);
            }
            // `pub(in crate::link)` says who may see, and imports nothing.
            Token::Word(word) if word == "pub" && next.is_some_and(|token| token.is_mark('(')) => {
                while tokens.get(index + 1).is_some_and(|token| !token.is_mark(')')) {
                    index += 1;
                }
            }
            Token::Word(word) if word == "mod" && tokens.get(index + 2).is_some_and(|token| token.is_mark('{')) => {
                if let Some(Token::Word(name)) = next {
                    within.push((name.clone(), depth + 1));
                }
                index += 1;
            }
            Token::Word(word) if word == "use" && !next.is_some_and(|token| token.is_mark('<')) => {
                let mut trees = Vec::new();
                let is_public = before.is_some_and(|token| token.is("pub") || token.is_mark(')'));
                index = use_tree(tokens, index + 1, &[], &mut trees);
                for (path, binding) in trees {
                    if let Some(binding) = &binding {
                        if is_public {
                            passed_on.insert(binding.clone());
                        }
                        if within.is_empty() {
                            module.bindings.insert(binding.clone(), path.clone());
                        }
                    }
                    module.named.push(Named { within: modules(), path, binding });
                }
                continue;
            }
            Token::Word(word) if !before.is_some_and(|token| *token == Token::PathSeparator || token.is_mark('.')) => {
                used.insert(word.clone());
                let mut path = vec![word.clone()];
                while let (Some(Token::PathSeparator), Some(Token::Word(word))) =
                    (tokens.get(index + 1), tokens.get(index + 2))
                {
                    path.push(word.clone());
                    index += 2;
                }
                if path.len() > 1 {
                    module.named.push(Named { within: modules(), path, binding: None });
                }
            }
            _ => {}
        }
        index += 1;
    }
    module.passed_on = passed_on.difference(&used).cloned().collect();
    module
}

/// Reads one tree of a `use` from `index` on; answers the index behind it.
fn use_tree(
    tokens: &[Token],
    mut index: usize,
    prefix: &[String],
    trees: &mut Vec<(Vec<String>, Option<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut alias = None;
    let mut is_group = false;
    while let Some(token) = tokens.get(index) {
        match token {
            Token::Mark('{') => {
                is_group = true;
                index += 1;
                while tokens.get(index).is_some_and(|token| !token.is_mark('}')) {
                    index = use_tree(tokens, index, &path, trees);
                    if tokens.get(index).is_some_and(|token| token.is_mark(',')) {
                        index += 1;
                    }
                }
            }
            Token::Word(word) if word == "as" => {
                if let Some(Token::Word(name)) = tokens.get(index + 1) {
                    alias = Some(name.clone());
                }
                index += 1;
            }
            Token::Word(word) => path.push(word.clone()),
            Token::PathSeparator => {}
            Token::Mark('*') => path.push("*".to_owned()),
            Token::Mark(_) => break,
        }
        index += 1;
    }
    if !is_group {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let binding = alias.or_else(|| path.last().filter(|last| *last != "*").cloned());
        trees.push((path, binding));
    }
    index
}
