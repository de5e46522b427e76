//! What can be wrong with `codex.orchestrator.json`, and the picture that shows where.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{is_unprintable, shown};
use crate::id::{Flaw, PipelineId, StageId};

/// One problem at one place of the file. It prints as `file:line:column: problem`.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}:{}: {}", shown(&.0.source.name), self.line(), self.column(), .0.problem)]
pub struct ConfigError(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    source: Source,
    problem: Problem,
    primary: Range<usize>,
    label: String,
    /// Other places that explain the problem, each with its label.
    context: Vec<(Range<usize>, String)>,
    hint: String,
}

/// The file as it was read; errors share it, and count lines only when they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: Arc<str>,
    pub(super) text: Arc<str>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("the file is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("invalid JSON: {0}")]
    Json(String),
    #[error("unknown key `{}` in {within}", shown(key))]
    UnknownKey { key: String, within: &'static str },
    #[error("key `{}` appears twice in {within}", shown(key))]
    DuplicateKey { key: String, within: &'static str },
    #[error("{within} has no `{key}`")]
    MissingKey { key: &'static str, within: &'static str },
    #[error("{} must be {expected}, not {found}", shown(what))]
    WrongType { what: String, expected: &'static str, found: &'static str },
    #[error("`{key}` is empty")]
    Blank { key: &'static str },
    #[error("{} holds a NUL character, which no process can be given", shown(what))]
    Nul { what: String },
    #[error("{} cannot be `{}`", shown(what), shown(word))]
    WrongWord { what: String, word: String },
    #[error("an entry of `{key}` cannot be `{}`: {flaw}", shown(text))]
    Pathspec { key: &'static str, text: String, flaw: &'static str },
    #[error("`{}` is no name of a variable", shown(name))]
    VariableName { name: String },
    #[error("`{}` is no valid {kind}: {flaw}", shown(text))]
    Id { kind: &'static str, text: String, flaw: Flaw },
    #[error("{} is no {expected}", shown(what))]
    Amount { what: String, expected: &'static str },
    #[error("`{}` is no regular expression: {}", shown(pattern), shown(reason))]
    Pattern { pattern: String, reason: String },
    #[error("unknown kind `{}` of a stage", shown(kind))]
    UnknownKind { kind: String },
    #[error("two pipelines have the id `{}`", shown(id.as_str()))]
    DuplicatePipeline { id: PipelineId },
    #[error("two stages of pipeline `{}` have the id `{}`", shown(pipeline.as_str()), shown(stage))]
    DuplicateStage { pipeline: PipelineId, stage: String },
    #[error("pipeline `{}` has no stages", shown(id.as_str()))]
    NoStages { id: PipelineId },
    #[error("no pipeline named `{}`", shown(id.as_str()))]
    UnknownPipeline { id: PipelineId },
    #[error("`defaultPipeline` names `{}`, which does not exist", shown(id.as_str()))]
    UnknownDefault { id: PipelineId },
    #[error("stage `{}` of pipeline `{}` needs `{}`, which is no stage of it", shown(stage.as_str()), shown(pipeline.as_str()), shown(need.as_str()))]
    UnknownNeed { pipeline: PipelineId, stage: StageId, need: StageId },
    #[error("{}", needs_circle(path))]
    NeedsCircle {
        /// From a stage back to itself; its name stands at both ends.
        path: Vec<StageId>,
    },
    #[error("pipelines call each other in a circle: {}", circle(path.iter().map(PipelineId::as_str)))]
    Cycle {
        /// From a pipeline back to itself; its name stands at both ends.
        path: Vec<PipelineId>,
    },
}

impl Problem {
    /// Returns what to do about it, as far as the problem alone tells.
    fn hint(&self) -> String {
        match self {
            Self::TooLarge { .. } => "move what is long into scripts that stages call".to_owned(),
            Self::Json(_) => {
                "the file is strict JSON: no comments, no trailing commas, names and texts in double quotes"
                    .to_owned()
            }
            Self::UnknownKey { .. } => "remove it".to_owned(),
            Self::DuplicateKey { .. } => {
                "keep the one that is meant: readers of JSON differ in which of two they take".to_owned()
            }
            Self::MissingKey { key, .. } => format!("add `\"{key}\": {}`", placeholder(key)),
            Self::WrongType { expected, .. } => format!("write {}", form_of(expected)),
            Self::Blank { key } => match *key {
                "cwd" => "leave out `cwd` to run in the root of the worktree".to_owned(),
                _ => "write what the shell is to run, such as `\"make test\"`".to_owned(),
            },
            Self::Nul { .. } => "remove `\\u0000`".to_owned(),
            Self::WrongWord { .. } => "write another value".to_owned(),
            Self::Pathspec { .. } => {
                "write a pathspec of git, such as `dist/`, `*.lock` or `:(glob)**/gen/*.rs`".to_owned()
            }
            Self::VariableName { .. } => "a name is not empty, and holds neither `=` nor NUL".to_owned(),
            Self::Id { flaw, .. } => match flaw {
                Flaw::NoBranch => "choose a name that a branch can have".to_owned(),
                Flaw::Empty => "name it for what it does, such as `build`".to_owned(),
                Flaw::TooLong => "the `title` has room for a long description".to_owned(),
                Flaw::Taken => "choose another name".to_owned(),
                Flaw::Control | Flaw::Reserved | Flaw::LeadingDot | Flaw::Slash => {
                    "letters, digits, `-`, `_` and `.` between them are always safe".to_owned()
                }
            },
            Self::Amount { expected, .. } => match *expected {
                "size of memory" => "write at least `\"1MiB\"`, such as `\"512MiB\"` or `\"2GB\"`".to_owned(),
                "exit code of a failure" => "write whole numbers from 1 to 255".to_owned(),
                "percentage" => "write a whole number from 1 to 100".to_owned(),
                "number of retries" => "write a whole number from 0 to 100".to_owned(),
                _ => "write a number of seconds, or a text such as `\"90s\"` or `\"5m\"`".to_owned(),
            },
            Self::Pattern { .. } => "a `\\` in a pattern is written `\\\\` in JSON".to_owned(),
            Self::UnknownKind { .. } => "kinds: command, subpipeline, manual".to_owned(),
            Self::DuplicatePipeline { .. } => "rename one of them, or remove it".to_owned(),
            Self::DuplicateStage { .. } => "a target and a record could mean either: rename one".to_owned(),
            Self::NoStages { .. } => "a run of nothing would prove nothing: add a stage".to_owned(),
            Self::UnknownPipeline { .. } | Self::UnknownDefault { .. } => {
                "name one that exists, or add it to `pipelines`".to_owned()
            }
            Self::UnknownNeed { .. } => "name a stage of the same pipeline".to_owned(),
            Self::NeedsCircle { .. } => "none of them could ever begin: remove one of these needs".to_owned(),
            Self::Cycle { .. } => "remove one of these calls".to_owned(),
        }
    }
}

/// Returns an example of the value of a key that may not be missing.
fn placeholder(key: &str) -> &'static str {
    match key {
        "kind" => "\"command\"",
        "command" => "\"make test\"",
        "stages" => "[ … ]",
        "pipeline" => "\"diagnostics\"",
        "owner" => "\"ann\"",
        "expires" => "\"2026-12-31\"",
        "max" => "5",
        "specs" => "[ … ]",
        _ => "\"build\"",
    }
}

/// Returns how a value of the kind that was expected is written.
fn form_of(expected: &str) -> &str {
    match expected {
        "a text" => "it in double quotes: `\"…\"`",
        "a list" => "a list: `[ … ]`, also around a single entry",
        "an object" => "an object: `{ \"key\": … }`",
        other => other,
    }
}

fn circle<'a>(path: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = path.map(shown).collect();
    if names.len() > 12 {
        names.splice(8..names.len() - 2, ["…".to_owned()]);
    }
    names.join(" → ")
}

fn needs_circle(path: &[StageId]) -> String {
    match path {
        [stage, _] => format!("stage `{}` needs itself", shown(stage.as_str())),
        path => format!("stages need each other in a circle: {}", circle(path.iter().map(StageId::as_str))),
    }
}

impl ConfigError {
    pub(super) fn new(source: &Source, at: Range<usize>, problem: Problem) -> Self {
        let source = source.clone();
        let hint = problem.hint();
        Self(Box::new(Inner {
            source,
            problem,
            primary: at,
            label: String::new(),
            context: Vec::new(),
            hint,
        }))
    }

    pub(super) fn with_label(mut self, label: impl Into<String>) -> Self {
        self.0.label = label.into();
        self
    }

    pub(super) fn with_context(mut self, at: Range<usize>, label: impl Into<String>) -> Self {
        self.0.context.push((at, label.into()));
        self
    }

    /// Replaces the hint by one that knows more of the file.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// Returns what is wrong, without the place.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// Returns what to do about it.
    pub fn hint(&self) -> &str {
        &self.0.hint
    }

    /// Returns the line of the problem, from 1.
    pub fn line(&self) -> usize {
        self.0.source.line_at(self.0.primary.start).number
    }

    /// Returns the column of the problem, from 1, in characters.
    pub fn column(&self) -> usize {
        let Inner { source, primary, .. } = &*self.0;
        let line = source.line_at(primary.start);
        source.text[line.range.start..floor(&source.text, primary.start)].chars().count() + 1
    }

    /// Draws the message, the lines it is about with marks below, and the hint.
    ///
    /// What the file holds is made harmless first, so the result may go to a terminal.
    pub fn render(&self, color: bool) -> String {
        let Inner { source, problem, primary, label, context, hint } = &*self.0;
        let mut marks = vec![(AnnotationKind::Primary, primary, label)];
        marks.extend(context.iter().map(|(range, label)| (AnnotationKind::Context, range, label)));
        // Marks on the same line share its picture.
        let mut lines: Vec<(Line, Vec<_>)> = Vec::new();
        for mark in marks {
            let line = source.line_at(mark.1.start);
            match lines.iter_mut().find(|(other, _)| other.number == line.number) {
                Some((_, marks)) => marks.push(mark),
                None => lines.push((line, vec![mark])),
            }
        }

        let mut group = Group::with_title(Level::ERROR.primary_title(problem.to_string()));
        for (line, marks) in lines {
            let excerpt = Excerpt::new(&source.text[line.range.clone()]);
            let annotations = marks.into_iter().map(|(kind, range, label)| {
                let annotation = kind.span(excerpt.span(range, line.range.start));
                if label.is_empty() { annotation } else { annotation.label(label.as_str()) }
            });
            let annotations: Vec<_> = annotations.collect();
            group = group.element(
                Snippet::source(excerpt.text)
                    .line_start(line.number)
                    .path(shown(&source.name))
                    .annotations(annotations),
            );
        }
        group = group.element(Level::HELP.with_name("hint").message(hint.as_str()));
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// The whole file would drown the one line that matters.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigError({self})")
    }
}

struct Line {
    number: usize,
    range: Range<usize>,
}

impl Source {
    fn line_at(&self, at: usize) -> Line {
        let text: &str = &self.text;
        let at = floor(text, at);
        let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        let number = text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1;
        Line { number, range: start..end }
    }
}

/// One line with a visible character for each that is not.
struct Excerpt {
    text: String,
    /// Where each character of the line begins: in the file's line, and in `text`.
    places: Vec<(usize, usize)>,
}

impl Excerpt {
    fn new(line: &str) -> Self {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let mut text = String::with_capacity(line.len());
        let mut places = Vec::new();
        for (at, c) in line.char_indices() {
            places.push((at, text.len()));
            text.push(match c {
                '\t' => ' ',
                '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
                c if is_unprintable(c) => '\u{fffd}',
                c => c,
            });
        }
        places.push((line.len(), text.len()));
        Self { text, places }
    }

    /// Returns the part of `range` (in the file) that lies on this line, which starts at `offset`.
    fn span(&self, range: &Range<usize>, offset: usize) -> Range<usize> {
        let place = |at: usize| {
            let next = self.places.partition_point(|(original, _)| *original < at.saturating_sub(offset));
            self.places.get(next).map_or(self.text.len(), |(_, here)| *here)
        };
        let start = place(range.start);
        start..place(range.end).max(start)
    }
}

/// Returns the last character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::super::config::parse;

    fn picture(text: &str) -> String {
        parse("codex.orchestrator.json", text).expect_err(text).render(false)
    }

    #[test]
    fn a_picture_shows_the_place_and_the_way_out() {
        let text = r#"{
  "pipelines": [
    { "id": "gate", "stages": [
      { "kind": "command", "id": "tést", "comand": "make test" }
    ] }
  ]
}"#;
        insta::assert_snapshot!(picture(text), @r#"
        error: unknown key `comand` in a stage
         --> codex.orchestrator.json:4:42
          |
        4 |       { "kind": "command", "id": "tést", "comand": "make test" }
          |                                          ^^^^^^^^
          |
          = hint: did you mean `command`?
        "#);
    }

    #[test]
    fn a_picture_shows_both_of_two() {
        let text = "{\n  \"pipelines\": [\n    { \"id\": \"a\", \"stages\": [] },\n\n\n    { \"id\": \"a\", \"stages\": [] }\n  ]\n}";
        insta::assert_snapshot!(picture(text), @r#"
        error: two pipelines have the id `a`
         --> codex.orchestrator.json:6:13
          |
        6 |     { "id": "a", "stages": [] }
          |             ^^^ second
          |
         ::: codex.orchestrator.json:3:13
          |
        3 |     { "id": "a", "stages": [] },
          |             --- first
          |
          = hint: rename one of them, or remove it
        "#);
        insta::assert_snapshot!(picture("{ \"pipelines\": [], \"pipelines\": [] }"), @r#"
        error: key `pipelines` appears twice in the configuration
         --> codex.orchestrator.json:1:20
          |
        1 | { "pipelines": [], "pipelines": [] }
          |   -----------      ^^^^^^^^^^^ second
          |   |
          |   first
          |
          = hint: keep the one that is meant: readers of JSON differ in which of two they take
        "#);
    }

    #[test]
    fn a_picture_shows_a_circle() {
        let text = r#"{ "pipelines": [
  { "id": "a", "stages": [{ "kind": "subpipeline", "id": "s", "pipeline": "b" }] },
  { "id": "b", "stages": [{ "kind": "subpipeline", "id": "s", "pipeline": "a" }] }
] }"#;
        let flaws = parse("codex.orchestrator.json", text).expect("well formed").flaws;
        insta::assert_snapshot!(flaws[0].error.render(false), @r#"
        error: pipelines call each other in a circle: a → b → a
         --> codex.orchestrator.json:2:75
          |
        2 |   { "id": "a", "stages": [{ "kind": "subpipeline", "id": "s", "pipeline": "b" }] },
          |                                                                           ^^^
          |
         ::: codex.orchestrator.json:3:75
          |
        3 |   { "id": "b", "stages": [{ "kind": "subpipeline", "id": "s", "pipeline": "a" }] }
          |                                                                           ---
          |
          = hint: remove one of these calls
        "#);
    }

    #[test]
    fn a_picture_shows_what_a_stage_cannot_need() {
        let flaw = |stages: &str| {
            let text = format!("{{ \"pipelines\": [ {{ \"id\": \"a\", \"stages\": [\n{stages}\n] }} ] }}");
            let flaws = parse("codex.orchestrator.json", &text).expect("well formed").flaws;
            flaws[0].error.render(false)
        };
        insta::assert_snapshot!(flaw(r#"  { "kind": "command", "id": "build", "command": "x" },
  { "kind": "command", "id": "test", "command": "x", "needs": ["build", "biuld"] }"#), @r#"
        error: stage `test` of pipeline `a` needs `biuld`, which is no stage of it
         --> codex.orchestrator.json:3:73
          |
        3 |   { "kind": "command", "id": "test", "command": "x", "needs": ["build", "biuld"] }
          |                                                                         ^^^^^^^
          |
          = hint: did you mean `build`?
        "#);
        insta::assert_snapshot!(flaw(r#"  { "kind": "command", "id": "x", "command": "x", "needs": ["x"] }"#), @r#"
        error: stage `x` needs itself
         --> codex.orchestrator.json:2:61
          |
        2 |   { "kind": "command", "id": "x", "command": "x", "needs": ["x"] }
          |                                                             ^^^
          |
          = hint: none of them could ever begin: remove one of these needs
        "#);
        insta::assert_snapshot!(flaw(r#"  { "kind": "command", "id": "free", "command": "x" },
  { "kind": "command", "id": "late", "command": "x", "needs": ["one"] },
  { "kind": "command", "id": "one", "command": "x", "needs": ["free", "two"] },
  { "kind": "subpipeline", "id": "two", "pipeline": "diagnostics", "needs": ["one"] }"#), @r#"
        error: stages need each other in a circle: one → two → one
         --> codex.orchestrator.json:4:71
          |
        4 |   { "kind": "command", "id": "one", "command": "x", "needs": ["free", "two"] },
          |                                                                       ^^^^^
          |
         ::: codex.orchestrator.json:5:78
          |
        5 |   { "kind": "subpipeline", "id": "two", "pipeline": "diagnostics", "needs": ["one"] }
          |                                                                              -----
          |
          = hint: none of them could ever begin: remove one of these needs
        "#);
    }

    #[test]
    fn a_picture_is_harmless() {
        let text = "{ \"\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\": 1,\t\"x\u{200b}\": 2 }\r\n";
        let picture = picture(text);
        assert!(!picture.chars().any(|c| c.is_control() && c != '\n'), "{picture:?}");
        insta::assert_snapshot!(picture, @r#"
        error: invalid JSON: control character (\u0000-\u001F) found while parsing a string
         --> codex.orchestrator.json:1:4
          |
        1 | { "␛]0;owned␇�31m�": 1, "x�": 2 }
          |    ^
          |
          = hint: the file is strict JSON: no comments, no trailing commas, names and texts in double quotes
        "#);
    }

    #[test]
    fn what_json_allows_in_a_name_is_harmless_too() {
        let text = "{ \"\u{9b}31m\u{202e}\u{7f}\\u001b\": 1 }";
        insta::assert_snapshot!(picture(text), @r#"
        error: unknown key `\u{9b}31m\u{202e}\u{7f}\u{1b}` in the configuration
         --> codex.orchestrator.json:1:3
          |
        1 | { "�31m��\u001b": 1 }
          |   ^^^^^^^^^^^^^^
          |
          = hint: known keys: $schema, pipelines, defaultPipeline, jobs, budget, guardrails, fingerprint, fingerprintEnv, evidence, hooks, slots, streams, learning
        "#);
    }

    #[test]
    fn color_is_up_to_the_caller() {
        let error = parse("c.json", "[]").unwrap_err();
        assert!(!error.render(false).contains('\u{1b}'));
        assert!(error.render(true).contains('\u{1b}'));
    }

    #[test]
    fn the_longest_line_is_cut() {
        let text = format!("{{{}\"x\": 1}}", " ".repeat(1 << 20));
        let picture = picture(&text);
        assert!(picture.len() < 2000, "{}", picture.len());
        assert!(picture.contains(":1:1048578"), "{picture}");
    }
}
