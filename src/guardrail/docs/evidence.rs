//! The manifest that proves an item of a checklist, filled in where the item leaves room for it.
//!
//! An item gets a path only if it asks for one (by `<run-id>` in the path of a manifest) or names what
//! was run (a pipeline, or the command of a stage): a run proves nothing about anything else.

use super::commands::{What, mentions};
use super::markdown::{Document, items};

/// How an item leaves room for a path; `<task-id>` may also be the task itself.
pub const FORM: &str = ".runs/<task-id>/cli/<run-id>/manifest.json";

/// A run that succeeded as a whole, on a tree that did not move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The path of its manifest, relative to the root.
    pub manifest: String,
    pub pipeline: String,
    /// The commands of the stages that succeeded.
    pub commands: Vec<String>,
}

/// What was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The line of the item in the source, from 1.
    pub line: usize,
    pub manifest: String,
}

/// The source with its paths, and the lines of ticked items that asked for one and got none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    pub text: String,
    pub filled: Vec<Filled>,
    pub unproven: Vec<usize>,
}

/// Fills in the paths. `proofs` are the runs of the task called `task`, newest first; the checklist begins
/// at the byte `from` of `source`.
pub fn fill(source: &str, from: usize, task: &str, proofs: &[Proof]) -> Evidence {
    let forms = [FORM.replace("<task-id>", task), FORM.to_owned()];
    let mut evidence = Evidence::default();
    let mut lines = super::Lines::new(source);
    let mut copied = 0;
    for item in items(source).into_iter().filter(|item| item.ticked && item.range.start >= from) {
        let said = &source[item.range.clone()];
        let codes: Vec<&str> = item.codes.iter().map(|code| source[code.clone()].trim()).collect();
        let room: Vec<_> = forms.iter().filter(|form| said.contains(form.as_str())).collect();
        let has_evidence = said.contains(".runs/") || said.contains("out/");
        if room.is_empty() && has_evidence {
            continue;
        }
        let (line, _) = lines.place(item.range.start);
        let Some(proof) = proof_of(&codes, !room.is_empty(), proofs) else {
            if !room.is_empty() {
                evidence.unproven.push(line);
            }
            continue;
        };
        let manifest = proof.manifest.clone();
        let (end, text) = if room.is_empty() {
            // Behind the first paragraph: an item may have more of them.
            let paragraph =
                said.split("\n\n").next().unwrap_or(said).split("\r\n\r\n").next().unwrap_or(said);
            let paragraph = paragraph.trim_end();
            (item.range.start + paragraph.len(), format!("{paragraph} — evidence: `{manifest}`"))
        } else {
            let text = room.iter().fold(said.to_owned(), |said, form| said.replace(form.as_str(), &manifest));
            (item.range.end, text)
        };
        evidence.text.push_str(&source[copied..item.range.start]);
        evidence.text.push_str(&text);
        copied = end;
        evidence.filled.push(Filled { line, manifest });
    }
    evidence.text.push_str(&source[copied..]);
    evidence
}

/// Returns the newest run that proves an item with this code in it. `any` is whether an item that names
/// nothing takes any run of its task.
fn proof_of<'p>(codes: &[&str], any: bool, proofs: &'p [Proof]) -> Option<&'p Proof> {
    let mut pipelines: Vec<String> = Vec::new();
    for code in codes {
        let command = format!("`{code}`");
        let named = mentions(&Document::parse(&command)).into_iter().map(|(_, mention)| mention);
        pipelines.extend(named.filter(|mention| mention.what == What::Pipeline).map(|mention| mention.long));
        pipelines.extend(proofs.iter().map(|proof| &proof.pipeline).filter(|it| it == code).cloned());
    }
    if !pipelines.is_empty() {
        return proofs.iter().find(|proof| pipelines.contains(&proof.pipeline));
    }
    let runs = |proof: &&Proof| proof.commands.iter().any(|command| codes.contains(&command.as_str()));
    proofs.iter().find(runs).or_else(|| proofs.first().filter(|_| any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(run: &str, pipeline: &str, commands: &[&str]) -> Proof {
        Proof {
            manifest: format!(".runs/0101-a/cli/{run}/manifest.json"),
            pipeline: pipeline.to_owned(),
            commands: commands.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    fn filled(item: &str, proofs: &[Proof]) -> String {
        let source =
            format!("- [x] before `.runs/<task-id>/cli/<run-id>/manifest.json`\n\n## Checklist\n{item}\n");
        let from = source.find("## C").unwrap();
        let text = fill(&source, from, "0101-a", proofs).text;
        let rest = text.strip_prefix(&source[..from]).expect("what is no checklist stays").to_owned();
        rest.strip_prefix("## Checklist\n").unwrap().trim_end().to_owned()
    }

    #[test]
    fn a_ticked_item_gets_the_newest_run_that_proves_it() {
        let proofs = [
            proof("r3", "gate", &["make all"]),
            proof("r2", "diagnostics", &["npm run lint", "npm test"]),
            proof("r1", "gate", &["npm run lint"]),
        ];
        let path = |run: &str| format!(".runs/0101-a/cli/{run}/manifest.json");
        let cases = [
            (
                "- [x] done (`.runs/0101-a/cli/<run-id>/manifest.json`)",
                format!("- [x] done (`{}`)", path("r3")),
            ),
            (
                "- [X] done — .runs/<task-id>/cli/<run-id>/manifest.json.",
                format!("- [X] done — {}.", path("r3")),
            ),
            (
                "- [x] `git orchestrate start diagnostics` — `.runs/<task-id>/cli/<run-id>/manifest.json`",
                format!("- [x] `git orchestrate start diagnostics` — `{}`", path("r2")),
            ),
            (
                "- [x] `npm run lint` passes",
                format!("- [x] `npm run lint` passes — evidence: `{}`", path("r2")),
            ),
            ("- [x] `diagnostics`", format!("- [x] `diagnostics` — evidence: `{}`", path("r2"))),
            (
                "1. [x] `npm test`\n   - [ ] `npm test`",
                format!("1. [x] `npm test` — evidence: `{}`\n   - [ ] `npm test`", path("r2")),
            ),
            (
                "- [x] `npm test`\n\n  more",
                format!("- [x] `npm test` — evidence: `{}`\n\n  more", path("r2")),
            ),
        ];
        for (item, expected) in cases {
            assert_eq!(filled(item, &proofs), expected, "{item}");
            assert_eq!(filled(&expected, &proofs), expected, "twice: {item}");
        }
    }

    #[test]
    fn nothing_is_claimed_that_no_run_shows() {
        let proofs = [proof("r1", "gate", &["make all"])];
        for item in [
            "- [ ] `make all` `.runs/<task-id>/cli/<run-id>/manifest.json`",
            "- [x] wrote the words",
            "- [x] `git orchestrate start other` `.runs/<task-id>/cli/<run-id>/manifest.json`",
            "- [x] `make all` (`.runs/0101-a/cli/r0/manifest.json`)",
            "- [x] `.runs/0999-b/cli/<run-id>/manifest.json`",
            "```\n- [x] `make all`\n```",
            "`make all` [x]",
        ] {
            assert_eq!(filled(item, &proofs), item);
        }
        assert_eq!(
            filled("- [x] `.runs/0101-a/cli/<run-id>/manifest.json`", &[]),
            "- [x] `.runs/0101-a/cli/<run-id>/manifest.json`"
        );
    }

    #[test]
    fn what_asked_for_a_run_and_got_none_is_told() {
        let source = "## Checklist\n- [x] a\n- [x] b `.runs/<task-id>/cli/<run-id>/manifest.json`\n";
        let evidence = fill(source, 0, "0101-a", &[]);
        assert_eq!(
            (evidence.text.as_str(), evidence.filled.len(), &evidence.unproven[..]),
            (source, 0, &[3][..])
        );
    }
}
