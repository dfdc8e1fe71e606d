//! Which file imports which, by the paths that it writes; and the files that import each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{code, sources};

/// The path of a module from its crate's root.
type Module = Vec<String>;

/// The modules of one crate.
pub(super) struct Modules(BTreeMap<Module, File>);

struct File {
    shown: String,
    code: String,
    imports: Vec<Import>,
}

/// One path of a `use`.
struct Import {
    path: Vec<String>,
    /// What the path is called from then on; `*` for everything in it.
    name: String,
    /// Whether others may use it from here.
    public: bool,
}

impl Modules {
    /// Reads a folder, without the modules that are for tests alone.
    pub(super) fn of(folder: &str) -> Self {
        let mut files = BTreeMap::new();
        let mut tests = BTreeSet::new();
        for (path, text) in sources(folder) {
            let module = module(&path);
            for name in test_modules(&text) {
                tests.insert([module.clone(), vec![name]].concat());
            }
            let (imports, code) = imports(&code(&text));
            files.insert(module, File { shown: path.display().to_string(), code, imports });
        }
        files.retain(|module, _| !(1..=module.len()).any(|length| tests.contains(&module[..length])));
        files.remove(&vec!["main".to_owned()]);
        Self(files)
    }

    /// All groups of files that import each other, directly or through others.
    pub(super) fn circles(&self) -> BTreeSet<BTreeSet<&str>> {
        let edges: BTreeMap<&Module, BTreeSet<&Module>> =
            self.0.iter().map(|(module, file)| (module, self.imported_by(module, file))).collect();
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            edges.keys().map(|&module| (module, reachable(module, &edges))).collect();
        let circle = |module: &&Module| -> BTreeSet<&str> {
            let back = reached[*module].iter().filter(|other| reached[**other].contains(*module));
            back.map(|other| self.0[*other].shown.as_str()).collect()
        };
        edges.keys().map(circle).filter(|circle| circle.len() > 1).collect()
    }

    fn imported_by<'m>(&'m self, module: &Module, file: &File) -> BTreeSet<&'m Module> {
        let mut imported = BTreeSet::new();
        for import in &file.imports {
            let of_child = self.resolved(module, &import.path, 0).is_some_and(|to| to.starts_with(module));
            if !(import.public && of_child) {
                imported.extend(self.resolved(module, &import.path, 0));
            }
        }
        for path in paths_in(&file.code, |name| self.has_child(module, name)) {
            imported.extend(self.resolved(module, &path, 0));
        }
        imported.remove(module);
        imported
    }

    fn has_child(&self, module: &[String], name: &str) -> bool {
        self.0.contains_key(&[module, &[name.to_owned()]].concat())
    }

    /// The module that has what a path names, along re-exports.
    fn resolved(&self, from: &[String], path: &[String], depth: usize) -> Option<&Module> {
        let mut at: Module = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => from.to_vec(),
            name if self.has_child(from, name) => from.to_vec(),
            _ => return None,
        };
        let names = if path[0] == "crate" || path[0] == "self" { &path[1..] } else { path };
        for name in names {
            if name == "super" {
                at.pop()?;
            } else if self.has_child(&at, name) {
                at.push(name.clone());
            } else {
                let here = self.0.get_key_value(&at)?.0;
                return Some(self.re_exported(here, name, depth).unwrap_or(here));
            }
        }
        self.0.get_key_value(&at).map(|(module, _)| module)
    }

    fn re_exported(&self, module: &Module, name: &str, depth: usize) -> Option<&Module> {
        if depth > 8 {
            return None;
        }
        let imports = &self.0[module].imports;
        if let Some(import) = imports.iter().find(|import| import.name == name) {
            return self.resolved(module, &import.path, depth + 1);
        }
        let mut all = imports.iter().filter(|import| import.name == "*");
        all.find_map(|import| {
            let to = self.resolved(module, &import.path, depth + 1)?;
            defines(&self.0[to].code, name).then_some(to)
        })
    }
}

fn reachable<'m>(
    from: &'m Module,
    edges: &BTreeMap<&'m Module, BTreeSet<&'m Module>>,
) -> BTreeSet<&'m Module> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(edges[module].iter().filter(|to| reached.insert(**to)));
    }
    reached
}

/// The path of the module in a file.
fn module(path: &Path) -> Module {
    let mut parts: Module =
        path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// The modules in other files that only tests have.
fn test_modules(text: &str) -> Vec<String> {
    let after = text.split("#[cfg(test)]").skip(1);
    let names = after.filter_map(|rest| rest.trim_start().strip_prefix("mod ")?.split_once(['{', ';']));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn defines(code: &str, name: &str) -> bool {
    ["struct", "enum", "trait", "fn", "const", "static", "type", "mod"].iter().any(|kind| {
        let start = format!("{kind} {name}");
        code.match_indices(&start).any(|(at, _)| !code[at + start.len()..].starts_with(is_name))
    })
}

/// All imports of a file, and the code without them.
fn imports(code: &str) -> (Vec<Import>, String) {
    let (mut imports, mut rest, mut open) = (Vec::new(), String::new(), None);
    for line in code.lines() {
        let begins = |line: &str| {
            let after =
                line.strip_prefix("pub").map(|after| after.split_once(' ').map_or("", |(_, after)| after));
            after.unwrap_or(line).strip_prefix("use ").map(|tree| (after.is_some(), tree.to_owned()))
        };
        open = match open.take() {
            Some((public, tree)) => Some((public, format!("{tree}{line}"))),
            None => begins(line.trim_start()),
        };
        let Some((public, tree)) = &open else {
            rest.push_str(line);
            rest.push('\n');
            continue;
        };
        if let Some((tree, _)) = tree.split_once(';') {
            add_tree(tree, &[], *public, &mut imports);
            open = None;
        }
    }
    (imports, rest)
}

fn add_tree(tree: &str, before: &[String], public: bool, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    if tree.is_empty() {
        return;
    }
    if let Some((head, group)) = tree.split_once('{') {
        let head = head.trim().trim_end_matches("::").split("::").map(str::trim).map(str::to_owned);
        let path: Vec<String> = before.iter().cloned().chain(head.filter(|part| !part.is_empty())).collect();
        let mut depth = 0;
        // Words of a text can look like an import.
        let Some(group) = group.trim_end().strip_suffix('}') else { return };
        let parts = group.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        parts.for_each(|part| add_tree(part, &path, public, imports));
        return;
    }
    let (path, alias) =
        tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim())));
    let parts = path.split("::").map(|part| part.trim().to_owned());
    let mut path: Vec<String> = before.iter().cloned().chain(parts).collect();
    let last = path.last().unwrap().clone();
    if last == "*" || (last == "self" && path.len() > 1) {
        path.pop();
    }
    let name = match (alias, last.as_str()) {
        (Some(alias), _) => alias.to_owned(),
        (None, "self") => path.last().unwrap().clone(),
        (None, _) => last,
    };
    imports.push(Import { path, name, public });
}

/// The paths in a file that begin at the crate, at a parent, or at a module of its own.
fn paths_in(code: &str, is_child: impl Fn(&str) -> bool) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("::") {
        let first = code[..at].rsplit(|c| !is_name(c)).next().unwrap();
        let before = &code[..at - first.len()];
        // Neither the rest of a path nor who may see an item.
        if before.ends_with("::") || before.ends_with("(in ") || first.is_empty() {
            continue;
        }
        if !matches!(first, "crate" | "super" | "self") && !is_child(first) {
            continue;
        }
        let rest = &code[at - first.len()..];
        let end = rest.find(|c| !is_name(c) && c != ':').unwrap_or(rest.len());
        let path = rest[..end].trim_end_matches(':').split("::");
        paths.push(path.map(str::to_owned).collect());
    }
    paths
}

#[test]
fn every_form_of_an_import_is_read() {
    let code =
        "pub(super) use self::a::{\n    B, c::{self, D as E}};\nfn x() {\n    use crate::f::*;\n    i::J }";
    let (read, rest) = imports(code);
    assert_eq!(rest, "fn x() {\n    i::J }\n");
    let read: Vec<(String, String, bool)> =
        read.into_iter().map(|import| (import.path.join("::"), import.name, import.public)).collect();
    let expected = [
        ("self::a::B", "B", true),
        ("self::a::c", "c", true),
        ("self::a::c::D", "E", true),
        ("crate::f", "*", false),
    ];
    assert_eq!(read, expected.map(|(path, name, public)| (path.to_owned(), name.to_owned(), public)));
    let paths = paths_in("super::g::h(i::J, x::K)", |name| name == "i");
    assert_eq!(paths, [vec!["super", "g", "h"], vec!["i", "J"]]);
}

#[test]
fn a_circle_is_found_through_re_exports() {
    let file = |shown: &str, code: &str| {
        let (imports, code) = imports(code);
        File { shown: shown.to_owned(), code, imports }
    };
    let path = |text: &str| -> Module {
        text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let modules = Modules(
        [
            ("", "mod.rs", "pub use self::a::A;\npub use self::b::*;"),
            ("a", "a.rs", "use super::B;\nstruct A;"),
            ("b", "b.rs", "use super::c;\nstruct B;"),
            ("c", "c.rs", "fn f() { crate::A::new() }"),
        ]
        .into_iter()
        .map(|(at, shown, code)| (path(at), file(shown, code)))
        .collect(),
    );
    assert_eq!(modules.circles(), BTreeSet::from([BTreeSet::from(["a.rs", "b.rs", "c.rs"])]));
}
