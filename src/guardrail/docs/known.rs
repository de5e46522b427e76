//! The names that a project has: scripts, pipelines, targets, recipes, aliases.

use std::collections::BTreeSet;

/// The files that [`Known::read`] asks for, for messages.
pub const PACKAGE: &str = "package.json";

/// What commands may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Nothing without a `package.json`.
    pub scripts: Option<Names>,
    pub pipelines: Names,
    /// Nothing without a makefile.
    pub targets: Option<Names>,
    /// Nothing without a justfile.
    pub recipes: Option<Names>,
    pub aliases: Names,
    /// Why `package.json` cannot be read: line, column, and the reason.
    pub bad_package: Option<(usize, usize, String)>,
}

/// Names of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub names: BTreeSet<String>,
    /// Whether there may be more than we can see, such as targets of an included makefile.
    pub open: bool,
}

impl Names {
    /// Whether the name is there, as far as anybody can tell.
    pub fn may_have(&self, name: &str) -> bool {
        self.open || self.names.contains(name)
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self { names: names.into_iter().map(Into::into).collect(), open: false }
    }
}

impl Known {
    /// Collects the names. `read` returns the text of a file in the root, or nothing if there is none.
    pub fn read(read: &dyn Fn(&str) -> Option<String>, pipelines: impl IntoIterator<Item = String>) -> Self {
        let mut known = Self { pipelines: pipelines.into_iter().collect(), ..Self::default() };
        match read(PACKAGE).map(|text| scripts(&text)) {
            None => {}
            Some(Ok(names)) => known.scripts = Some(names),
            Some(Err(bad)) => known.bad_package = Some(bad),
        }
        // The order in which GNU make looks for them.
        known.targets =
            ["GNUmakefile", "makefile", "Makefile"].into_iter().find_map(read).map(|it| targets(&it));
        known.recipes = ["justfile", "Justfile", "JUSTFILE", ".justfile"]
            .into_iter()
            .find_map(read)
            .map(|it| recipes(&it));
        known.aliases = [".cargo/config.toml", ".cargo/config"]
            .into_iter()
            .find_map(read)
            .map(|it| aliases(&it))
            .unwrap_or_default();
        known
    }
}

fn scripts(text: &str) -> Result<Names, (usize, usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let package: serde_json::Value = serde_json::from_str(text).map_err(|err| {
        let said = err.to_string();
        let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
        (err.line().max(1), err.column().max(1), said.to_owned())
    })?;
    let scripts = package.get("scripts").and_then(|scripts| scripts.as_object());
    Ok(scripts.into_iter().flat_map(|scripts| scripts.keys()).cloned().collect())
}

fn targets(text: &str) -> Names {
    let mut found = Names::default();
    let text = text.replace("\\\n", " ").replace("\\\r\n", " ");
    for line in text.lines().filter(|line| !line.starts_with(['\t', '#'])) {
        let line = line.trim_start();
        let first = line.split_whitespace().next().unwrap_or("");
        if matches!(first, "include" | "-include" | "sinclude") || line.starts_with("$(eval") {
            found.open = true;
        }
        let Some((names, rest)) = line.split_once(':') else { continue };
        // `NAME := value` and `NAME ::= value` are no rules, and neither is `NAME = a:b`.
        let is_value = names.contains('=') || rest.trim_start_matches(':').starts_with('=');
        if is_value {
            continue;
        }
        let phony = if names.trim() == ".PHONY" { rest.trim_start_matches(':') } else { "" };
        for name in names.split_whitespace().chain(phony.split_whitespace()) {
            // A pattern or a variable makes names that only make itself can tell.
            found.open |= name.contains(['%', '$']);
            found.names.insert(name.to_owned());
        }
    }
    found
}

fn recipes(text: &str) -> Names {
    let mut found = Names::default();
    for line in text.lines().filter(|line| !line.starts_with([' ', '\t', '#', '['])) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["import" | "import?", ..] => found.open = true,
            ["mod" | "mod?", name, ..] | ["alias", name, ..] => drop(found.names.insert(name.to_owned())),
            [first, ..] if !line.contains(":=") || line.find(':') < line.find(":=") => {
                let name = first.trim_start_matches('@').split(':').next().unwrap_or(first);
                if line.contains(':') && !matches!(first, "set" | "export" | "unexport") {
                    found.names.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }
    found
}

fn aliases(text: &str) -> Names {
    match text.parse::<toml::Table>() {
        Ok(config) => {
            let aliases = config.get("alias").and_then(|alias| alias.as_table());
            let mut names: Names = aliases.into_iter().flat_map(|aliases| aliases.keys()).cloned().collect();
            names.open = config.contains_key("include");
            names
        }
        // cargo says what is wrong with it; we cannot tell what it holds.
        Err(_) => Names { names: BTreeSet::new(), open: true },
    }
}

/// What `cargo` can do by itself, with the names that it shortens.
const CARGO: [&str; 48] = [
    "add",
    "b",
    "bench",
    "build",
    "c",
    "check",
    "clean",
    "clippy",
    "config",
    "d",
    "doc",
    "fetch",
    "fix",
    "fmt",
    "generate-lockfile",
    "help",
    "info",
    "init",
    "install",
    "locate-project",
    "login",
    "logout",
    "metadata",
    "miri",
    "new",
    "owner",
    "package",
    "pkgid",
    "publish",
    "r",
    "read-manifest",
    "remove",
    "report",
    "rm",
    "run",
    "rustc",
    "rustdoc",
    "search",
    "t",
    "test",
    "tree",
    "uninstall",
    "update",
    "vendor",
    "verify-project",
    "version",
    "yank",
    "script",
];

/// Well-known programs that add a command to cargo. They belong to the machine and not to the project.
const CARGO_PROGRAMS: [&str; 45] = [
    "about",
    "afl",
    "asm",
    "audit",
    "binstall",
    "bloat",
    "cache",
    "chef",
    "cross",
    "crev",
    "cyclonedx",
    "deb",
    "deny",
    "depgraph",
    "dist",
    "edit",
    "expand",
    "flamegraph",
    "fuzz",
    "generate",
    "generate-rpm",
    "geiger",
    "hack",
    "insta",
    "leptos",
    "license",
    "llvm-cov",
    "machete",
    "make",
    "modules",
    "msrv",
    "mutants",
    "ndk",
    "nextest",
    "outdated",
    "public-api",
    "release",
    "semver-checks",
    "set-version",
    "shear",
    "sort",
    "sqlx",
    "tarpaulin",
    "udeps",
    "watch",
];

/// Whether `cargo NAME` needs no alias.
pub fn is_cargo_command(name: &str) -> bool {
    CARGO.contains(&name) || CARGO_PROGRAMS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(files: &[(&str, &str)]) -> Known {
        let read =
            |path: &str| files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned());
        Known::read(&read, ["gate".to_owned()])
    }

    fn names(names: &Names) -> Vec<&str> {
        names.names.iter().map(String::as_str).collect()
    }

    #[test]
    fn names_are_read_from_the_files_of_the_project() {
        let known = known(&[
            ("package.json", r#"{"scripts": {"build": "tsc", "test:unit": "x"}}"#),
            ("Makefile", "CC := gcc\nA = b:c\n.PHONY: all \\\n  clean\nall: x\n\techo no: rule\nx y::\n"),
            (
                "justfile",
                "set shell := [\"sh\"]\nv := \"a:b\"\nalias t := test\n@test arg='x':\n  echo: no\n[private]\nbuild: test\nexport E := 'x'\n",
            ),
            (".cargo/config.toml", "[alias]\nxtask = \"run -p xtask\"\n\"ci\" = [\"test\"]\n"),
        ]);
        assert_eq!(names(known.scripts.as_ref().unwrap()), ["build", "test:unit"]);
        assert_eq!(names(known.targets.as_ref().unwrap()), [".PHONY", "all", "clean", "x", "y"]);
        assert_eq!(names(known.recipes.as_ref().unwrap()), ["build", "t", "test"]);
        assert_eq!(names(&known.aliases), ["ci", "xtask"]);
        assert_eq!(names(&known.pipelines), ["gate"]);
    }

    #[test]
    fn what_cannot_be_listed_is_open() {
        let open = |file, text| known(&[(file, text)]);
        assert!(open("Makefile", "include other.mk\n").targets.unwrap().open);
        assert!(open("makefile", "%.o: %.c\n").targets.unwrap().open);
        assert!(open("GNUmakefile", "$(BIN): x\n").targets.unwrap().open);
        assert!(open("justfile", "import 'other.just'\n").recipes.unwrap().open);
        assert!(open(".cargo/config", "not toml").aliases.open);
        assert!(!open("Makefile", "all:\n").targets.unwrap().open);
    }

    #[test]
    fn a_package_file_that_is_no_json_is_named_with_its_place() {
        let known = known(&[("package.json", "{\n  \"scripts\": {,}\n}")]);
        assert_eq!(known.scripts, None);
        let (line, column, said) = known.bad_package.unwrap();
        assert_eq!((line, column), (2, 15), "{said}");
    }
}
