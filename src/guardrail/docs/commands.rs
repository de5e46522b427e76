//! Commands that a document tells its reader to type.
//!
//! `npm run x` and `… start x` count wherever they stand. `make`, `just` and `cargo` are words of
//! everyday English, so they count in code only, and only where a command begins.

use super::markdown::{Document, Kind, Piece};

/// A name that a document expects the project to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    pub what: What,
    /// The words before the name, such as `npm run`.
    pub words: String,
    /// The name as the reference reads it: letters, digits, `:`, `_` and `-`.
    pub name: String,
    /// The same with what else may be part of it, such as the dot of `build.prod`.
    pub long: String,
    /// The folder that a `cd` before it went to.
    pub folder: Option<String>,
}

/// What a name is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A script of `package.json`.
    Script,
    /// A pipeline.
    Pipeline,
    /// A target of the makefile.
    MakeTarget,
    /// A recipe of the justfile.
    JustRecipe,
    /// An alias of `.cargo/config.toml`.
    CargoAlias,
}

/// Words that call a script.
const SCRIPT: [&str; 5] = ["npm run", "npm run-script", "pnpm run", "yarn run", "bun run"];
/// Words that start a pipeline.
const START: [&str; 3] = ["codex-orchestrator start", "git orchestrate start", "git-orchestrate start"];

/// Options of `start` that the next word belongs to, and those that stand alone. Behind any other
/// option nobody can tell what a word is.
const START_VALUES: [&str; 7] =
    ["--task", "--target", "--target-stage", "--format", "--parent-run", "--approval-policy", "--run"];
const START_FLAGS: [&str; 5] = ["--interactive", "--ui", "--no-interactive", "--detach", "--reuse"];
/// The same of the script runners.
const SCRIPT_FLAGS: [&str; 8] =
    ["-s", "--silent", "-q", "--quiet", "--verbose", "--ignore-scripts", "--foreground-scripts", "-d"];
/// Options that mean another project, or that the script need not be there.
const ELSEWHERE: [&str; 12] = [
    "-w",
    "--workspace",
    "--workspaces",
    "-ws",
    "--prefix",
    "-C",
    "--dir",
    "--cwd",
    "--filter",
    "-F",
    "--if-present",
    "-r",
];

/// So many words behind a name may be options of its command, and so many bytes.
const OPTIONS: usize = 32;
const OPTIONS_BYTES: usize = 1024;

/// Returns every mention in a document, and the byte where it begins.
pub fn mentions(document: &Document<'_>) -> Vec<(usize, Mention)> {
    let mut found = Vec::new();
    let mut folder = None;
    let mut block = 0;
    let mut prompts = false;
    for (at, piece) in document.pieces.iter().enumerate() {
        let line = &document.text[piece.range.clone()];
        if piece.block == 0 || piece.block != block {
            folder = None;
            block = piece.block;
            prompts = piece.block > 0 && has_prompts(document.text, &document.pieces[at..]);
        }
        let mut add = |at: usize, mention| found.push((piece.range.start + at, mention));
        let simple = match piece.kind {
            Kind::Text | Kind::Html | Kind::Other => Vec::new(),
            Kind::Code | Kind::Shell => simple_commands(line, false),
            Kind::Untagged => simple_commands(line, prompts),
            Kind::Console => simple_commands(line, true),
        };
        // What stands before the first `cd` of a line runs where the lines above led to.
        let mut went: Vec<(usize, Option<String>)> = vec![(0, folder.clone())];
        for command in &simple {
            if let Some(to) = goes_to(command) {
                went.push((command[0].0, to.clone()));
                folder = to;
            }
        }
        let where_at = |at: usize| went[went.partition_point(|(from, _)| *from <= at) - 1].1.clone();
        let phrases = SCRIPT.iter().map(|words| (*words, What::Script));
        for (words, what) in phrases.chain(START.iter().map(|words| (*words, What::Pipeline))) {
            for at in phrase(line, words) {
                let rest = &line[at + words.len()..];
                let name = match what {
                    What::Script => script_name(rest),
                    _ => pipeline_name(rest),
                };
                if let Some((name, long)) = name {
                    let folder = where_at(at);
                    add(at, Mention { what, words: words.to_owned(), name, long, folder });
                }
            }
        }
        for command in &simple {
            let names = project_names(command, piece.kind == Kind::Untagged && !prompts);
            for (what, words, name) in names {
                let at = command[0].0;
                let mention = Mention {
                    what,
                    words: words.to_owned(),
                    name: name.to_owned(),
                    long: name.to_owned(),
                    folder: where_at(at),
                };
                add(at, mention);
            }
        }
    }
    found
}

/// Whether a block shows commands behind a prompt, so that all other lines are output.
fn has_prompts(text: &str, pieces: &[Piece]) -> bool {
    let lines = pieces.iter().take_while(|piece| piece.block == pieces[0].block);
    lines.map(|piece| &text[piece.range.clone()]).any(|line| line.trim_start().starts_with("$ "))
}

/// Returns where a phrase stands as words of its own, with one blank behind it.
fn phrase<'t>(line: &'t str, words: &'t str) -> impl Iterator<Item = usize> + 't {
    line.match_indices(words).map(|(at, _)| at).filter(move |at| {
        let before = line[..*at].chars().next_back();
        let alone = before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_'));
        let rest = &line[at + words.len()..];
        // More blanks are a table that says what the command does.
        alone && rest.starts_with(' ') && !rest.starts_with("  ")
    })
}

/// The word at the start of `text`, and what follows it. A word ends where prose or a shell would end it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches(' ');
    let end = text.find(|c: char| c.is_whitespace() || "`'\"()<>|&;,\\".contains(c)).unwrap_or(text.len());
    text.split_at(end)
}

/// Returns the name that a word is, in its short and its long form, unless it stands for many.
fn name_of(word: &str, after: &str) -> Option<(String, String)> {
    let end = word.find(|c: char| !c.is_ascii_alphanumeric() && !":_-".contains(c)).unwrap_or(word.len());
    let long = word.trim_end_matches(['.', ':', '!', '?', '…']);
    let is_placeholder = long.contains(['*', '{', '}', '[', ']', '$', '<', '…', '%'])
        || (after.starts_with('<') && !after.starts_with("</"));
    let short = word[..end].trim_end_matches(':');
    (!short.is_empty() && !is_placeholder).then(|| (short.to_owned(), long.to_owned()))
}

fn script_name(mut rest: &str) -> Option<(String, String)> {
    loop {
        let (next, after) = word(rest);
        rest = after;
        if next.is_empty() || next == "--" || ELSEWHERE.iter().any(|it| is_option(next, it)) {
            return None;
        }
        if next.starts_with('-') {
            if SCRIPT_FLAGS.contains(&next) || (next.starts_with("--") && next.contains('=')) {
                continue;
            }
            return None;
        }
        let name = name_of(next, after)?;
        // No name of a long line reads all of its rest.
        let near = &after[..after.floor_char_boundary(OPTIONS_BYTES)];
        for option in near.split('\n').next().unwrap_or(near).split_whitespace().take(OPTIONS) {
            let end = option.find(['`', '&', '|', ';']);
            let option = &option[..end.unwrap_or(option.len())];
            if ELSEWHERE.iter().any(|it| is_option(option, it)) {
                return None;
            }
            if option == "--" || end.is_some() {
                break;
            }
        }
        return Some(name);
    }
}

fn pipeline_name(mut rest: &str) -> Option<(String, String)> {
    loop {
        let (next, after) = word(rest);
        rest = after;
        if next.is_empty() {
            return None;
        }
        if !next.starts_with('-') {
            return name_of(next, after);
        }
        if START_VALUES.contains(&next) {
            let value = rest.trim_start_matches(' ');
            // A value may be quoted or a placeholder; either way it is one word.
            rest = value.find(char::is_whitespace).map_or("", |end| &value[end..]);
        } else if !(START_FLAGS.contains(&next) || (next.starts_with("--") && next.contains('='))) {
            return None;
        }
    }
}

/// Whether a word is an option, alone or with its value behind `=`.
fn is_option(word: &str, option: &str) -> bool {
    word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// A word of a command, and the byte where it stands in its line.
type Word<'t> = (usize, &'t str);

/// Returns the commands of a line, each with at least one word: without the prompt, what is only set
/// for it (`A=b`), and who is asked to run it (`sudo`).
fn simple_commands(line: &str, prompted: bool) -> Vec<Vec<Word<'_>>> {
    let trimmed = line.trim_start();
    let mut start = line.len() - trimmed.len();
    match ["$ ", "% ", "> "].iter().find(|prompt| trimmed.starts_with(**prompt)) {
        Some(_) => start += 2,
        None if prompted => return Vec::new(),
        None => {}
    }
    let mut commands = vec![Vec::new()];
    let mut at = start;
    let mut rest = &line[start..];
    while let Some(c) = rest.chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            rest = &line[at..];
            continue;
        }
        if c == '#' {
            break;
        }
        if ";&|()".contains(c) {
            commands.push(Vec::new());
            at += 1;
            rest = &line[at..];
            continue;
        }
        let end = rest.find(|c: char| c.is_whitespace() || ";&|()".contains(c)).unwrap_or(rest.len());
        if let Some(command) = commands.last_mut() {
            command.push((at, &rest[..end]));
        }
        at += end;
        rest = &line[at..];
    }
    for command in &mut commands {
        let is_before = |word: &str| {
            matches!(
                word,
                "sudo" | "time" | "env" | "exec" | "nohup" | "nice" | "then" | "do" | "else" | "!" | "if"
            ) || is_assignment(word)
        };
        let before = command.iter().take_while(|(_, word)| is_before(word)).count();
        command.drain(..before);
    }
    commands.retain(|command| !command.is_empty());
    commands
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Returns where a `cd` goes to, or nothing for another command.
fn goes_to(command: &[Word<'_>]) -> Option<Option<String>> {
    let [(_, "cd" | "pushd"), rest @ ..] = command else { return None };
    Some(match rest {
        [(_, to)] => super::paths::normal(to.trim_matches(['"', '\''])),
        _ => None,
    })
}

/// Returns the names that a call of `make`, `just` or `cargo` needs. `may_be_prose` is whether the
/// line might be no command at all.
fn project_names<'t>(command: &[Word<'t>], may_be_prose: bool) -> Vec<(What, &'static str, &'t str)> {
    let Some(((_, program), words)) = command.split_first() else { return Vec::new() };
    let words: Vec<&'t str> = words.iter().map(|(_, word)| *word).collect();
    match *program {
        "make" | "gmake" => {
            let targets = make_targets(&words).unwrap_or_default();
            // Nobody asks for three targets in a block that is not even said to be commands.
            match may_be_prose && targets.len() > 2 {
                true => Vec::new(),
                false => targets.into_iter().map(|target| (What::MakeTarget, "make", target)).collect(),
            }
        }
        "just" => just_recipe(&words).map(|recipe| (What::JustRecipe, "just", recipe)).into_iter().collect(),
        "cargo" => cargo_command(&words).map(|name| (What::CargoAlias, "cargo", name)).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether a word is a plain name, with nothing in it that a shell or a reader would replace.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:+@".contains(&byte))
}

fn make_targets<'t>(words: &[&'t str]) -> Option<Vec<&'t str>> {
    let mut targets = Vec::new();
    for word in words {
        if is_redirection(word) {
            break;
        }
        if word.starts_with('-') {
            let harmless = [
                "-n",
                "-B",
                "-k",
                "-s",
                "-i",
                "-q",
                "-t",
                "-w",
                "-e",
                "--silent",
                "--dry-run",
                "--keep-going",
                "--always-make",
            ];
            if !harmless.contains(word) && !word.starts_with("-j") && !word.starts_with("-O") {
                return None;
            }
        } else if !is_assignment(word) && !word.bytes().all(|byte| byte.is_ascii_digit()) {
            let word = word.trim_end_matches(['.', ',', ':']);
            is_plain(word).then(|| targets.push(word))?;
        }
    }
    Some(targets)
}

fn just_recipe<'t>(words: &[&'t str]) -> Option<&'t str> {
    let flags = ["-q", "--quiet", "-v", "--verbose", "-n", "--dry-run", "--yes"];
    let recipe = words.iter().find(|word| !flags.contains(word) && !is_assignment(word))?;
    let recipe = recipe.trim_end_matches(['.', ',']);
    (is_plain(recipe) && !recipe.starts_with('-') && !recipe.contains([':', '/'])).then_some(recipe)
}

fn cargo_command<'t>(words: &[&'t str]) -> Option<&'t str> {
    let flags = ["-q", "--quiet", "-v", "-vv", "--verbose", "--locked", "--offline", "--frozen"];
    let name = words.iter().find(|word| !flags.contains(word) && !word.starts_with('+'))?;
    let name = name.trim_end_matches(['.', ',']);
    (is_plain(name) && !name.starts_with('-') && !name.contains([':', '/'])).then_some(name)
}

fn is_redirection(word: &str) -> bool {
    word.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['>', '<'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Vec<String> {
        let document = Document::parse(text);
        mentions(&document).into_iter().map(|(_, it)| format!("{} {}", it.words, it.name)).collect()
    }

    #[test]
    fn a_line_of_nothing_but_names_is_read_once() {
        // If each name read the rest of the line, this would take many minutes.
        let text = "npm run ".repeat(60_000);
        let document = Document::parse(&text);
        assert_eq!(mentions(&document).len(), 59_999);
        let options = format!("npm run a {}--prefix x", "-x ".repeat(OPTIONS - 1));
        assert_eq!(seen(&options), [""; 0]);
        assert_eq!(seen(&options.replace("a ", "a b ")), ["npm run a"], "that is too far away");
        assert_eq!(
            seen("npm run a; npm run b -- --prefix; npm run c --prefix=x"),
            ["npm run a", "npm run b"]
        );
    }

    #[test]
    fn scripts_and_pipelines_count_wherever_they_stand() {
        let cases: &[(&str, &[&str])] = &[
            ("Use npm run build:all_2-x now.", &["npm run build:all_2-x"]),
            ("`npm run lint`", &["npm run lint"]),
            ("```\nnpm run lint\n```", &["npm run lint"]),
            ("```json\n\"x\": \"npm run lint && npm run test\"\n```", &["npm run lint", "npm run test"]),
            ("<p>npm run lint</p>", &["npm run lint"]),
            ("pnpm run a, yarn run b and bun run c", &["pnpm run a", "yarn run b", "bun run c"]),
            ("npm run-script old", &["npm run-script old"]),
            ("`npx codex-orchestrator start gate --format json`", &["codex-orchestrator start gate"]),
            ("`git orchestrate start gate`", &["git orchestrate start gate"]),
            ("`git-orchestrate start --task 0101 gate`", &["git-orchestrate start gate"]),
            (
                "`codex-orchestrator start --task <task-id> --no-interactive gate`",
                &["codex-orchestrator start gate"],
            ),
            // Options are no names.
            ("`npm run -s lint`", &["npm run lint"]),
            ("`npm run --silent`", &[]),
            ("`codex-orchestrator start --format json`", &[]),
            ("`codex-orchestrator start --format=json gate`", &["codex-orchestrator start gate"]),
            ("`codex-orchestrator start --unknown gate`", &[]),
            // Another project's scripts, and those that need not be there.
            ("`npm run build -w packages/a`", &[]),
            ("`npm run -w packages/a build`", &[]),
            ("`npm run build --if-present`", &[]),
            ("`npm run build -- --if-present`", &["npm run build"]),
            // Names that stand for others.
            ("`npm run <script>` `npm run test:<x>` `npm run test:*` `npm run $X`", &[]),
            ("`codex-orchestrator start <pipeline>`", &[]),
            ("`npm run`, `git orchestrate start` again", &[]),
            ("`git orchestrate start  runs it` npm run  x", &[]),
            ("xnpm run a and e-npm run b", &[]),
            ("npm runs a; npm\nrun b", &[]),
            ("See npm run build: it compiles, or npm run test.", &["npm run build", "npm run test"]),
        ];
        for (text, expected) in cases {
            assert_eq!(seen(text), *expected, "{text}");
        }
    }

    #[test]
    fn make_just_and_cargo_count_where_a_command_begins() {
        let cases: &[(&str, &[&str])] = &[
            ("make sure, just do it, cargo cult", &[]),
            ("`make build`", &["make build"]),
            ("`make`", &[]),
            ("`A=1 sudo make -j 4 V=1 all test`", &["make all", "make test"]),
            ("`make -C sub x`", &[]),
            ("`make $(TARGET)` `make <target>` `make all-*`", &[]),
            ("`we make things`", &[]),
            ("```sh\nmake a && make b # make c\n```", &["make a", "make b"]),
            ("```text\nmake sure\n```", &[]),
            ("```\nmake sure that it works\n```", &[]),
            ("```console\n$ make a\nmake: Nothing to be done\n```", &["make a"]),
            ("```\n$ make a\nmake b\n```", &["make a"]),
            ("    make a\n", &["make a"]),
            ("`just fmt --check`", &["just fmt"]),
            ("`just --list` `just sub/x` `just mod::x`", &[]),
            ("`just v=1 rel arg`", &["just rel"]),
            ("`cargo xtask ci`", &["cargo xtask"]),
            ("`cargo +nightly --locked lints`", &["cargo lints"]),
            ("`cargo --version` `cargo`", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(seen(text), *expected, "{text}");
        }
    }

    #[test]
    fn a_folder_that_the_reader_went_to_is_remembered() {
        let text = "```sh\nnpm run a\ncd packages/x\nnpm run b\ncd ..\nnpm run c\n```\n\n`cd y && npm run d`, npm run e";
        let document = Document::parse(text);
        let seen: Vec<_> = mentions(&document).into_iter().map(|(_, it)| (it.name, it.folder)).collect();
        let expected = [("a", None), ("b", Some("packages/x")), ("c", None), ("d", Some("y")), ("e", None)];
        assert_eq!(seen, expected.map(|(name, folder)| (name.to_owned(), folder.map(str::to_owned))));
    }
}
