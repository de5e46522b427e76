//! What a project says about its guardrails: the section `guardrails` of the configuration.

/// The section; a guardrail that it names is required, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guardrails {
    pub diff_budget: Option<DiffBudget>,
    pub spec: Option<Spec>,
    pub docs: Option<Docs>,
}

/// `guardrails.diffBudget`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffBudget {
    /// Whether `git orchestrate guard` without a name runs it.
    pub required: bool,
    pub max_files: Option<u64>,
    pub max_lines: Option<u64>,
    /// Which of the two limits must be passed for a verdict against the change.
    pub exceeded_when: ExceededWhen,
    /// Pathspecs of git for what is not counted, beside the built-in ones.
    pub ignore: Vec<String>,
    /// Attributes of git, such as `linguist-generated` or `-diff`, whose files are not counted.
    pub ignore_attributes: Vec<String>,
    /// Whether a renamed file is one file with its edited lines, as git shows it, instead of two.
    pub renames: bool,
}

impl Default for DiffBudget {
    fn default() -> Self {
        Self {
            required: true,
            max_files: None,
            max_lines: None,
            exceeded_when: ExceededWhen::Either,
            ignore: Vec::new(),
            ignore_attributes: vec!["linguist-generated".to_owned()],
            renames: true,
        }
    }
}

/// How the two limits of the diff budget go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceededWhen {
    /// Too many files or too many lines are too much.
    Either,
    /// Only too many files with too many lines are too much.
    Both,
}

/// `guardrails.spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Whether `git orchestrate guard` without a name runs it.
    pub required: bool,
    /// Where code is: beginnings of paths such as `src/`, or `*.go` for files of one kind anywhere.
    pub code: Option<Vec<String>>,
    /// The folders of specs.
    pub specs: Option<Vec<String>>,
    pub max_age_days: Option<u64>,
    /// Reviews that somebody has put off.
    pub groups: Vec<SpecGroup>,
    /// Whether a change that adds a fallback has to say what becomes of it.
    pub fallback: Option<SpecFallback>,
}

/// The longest word that is looked for.
pub const LONGEST_WORD: usize = 60;

/// What speaks of a fallback, and where it is decided what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecFallback {
    pub words: Option<Vec<String>>,
    /// Beginnings of the paths of documents.
    pub tables: Option<Vec<String>>,
}

/// Specs whose reviews are due together and will be made one after the other. What is wrong with one is
/// for the guardrail to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecGroup {
    pub id: String,
    /// Who sees to it.
    pub owner: String,
    /// The last day on which it counts, as it was written.
    pub expires: String,
    /// How many of its specs may be overdue.
    pub max: u64,
    /// Paths, relative to the root of the repository.
    pub specs: Vec<String>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            required: true,
            code: None,
            specs: None,
            max_age_days: None,
            groups: Vec::new(),
            fallback: None,
        }
    }
}

/// `guardrails.docs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Docs {
    /// Whether `git orchestrate guard` without a name runs it.
    pub required: bool,
    /// Pathspecs of git for documents, beside the usual ones.
    pub include: Vec<String>,
}

/// Returns why a text is no pathspec that says what is meant: git's own forms work, but for those
/// that say what is *not* meant.
pub fn pathspec_flaw(spec: &str) -> Option<&'static str> {
    if spec.is_empty() {
        return Some("it is empty");
    }
    if spec.contains('\0') {
        return Some("it holds a NUL character");
    }
    let magic = spec.strip_prefix(':')?;
    match magic.strip_prefix('(') {
        Some(long) => match long.split_once(')') {
            None => Some("its `:(` is not closed"),
            Some((words, _)) if words.split(',').any(|word| word == "exclude") => {
                Some("it says what is not meant")
            }
            Some((words, _)) => {
                let known = |word: &str| {
                    matches!(word, "" | "top" | "literal" | "glob" | "icase") || word.starts_with("attr:")
                };
                (!words.split(',').all(known)).then_some("git does not know this word after `:(`")
            }
        },
        None => match magic.as_bytes().first() {
            Some(b'/') => None,
            Some(b'!' | b'^') => Some("it says what is not meant"),
            _ => Some("git does not know this sign after `:`"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pathspecs_of_git_are_taken_and_others_are_not() {
        for spec in ["dist/", "*.lock", ":/x", ":(glob)**/gen/*.rs", ":(top,icase)a", ":(attr:x)"] {
            assert_eq!(pathspec_flaw(spec), None, "{spec}");
        }
        for spec in ["", "a\0b", ":!x", ":^x", ":(exclude)x", ":(glob", ":(sparkle)x", ":x"] {
            assert!(pathspec_flaw(spec).is_some(), "{spec}");
        }
    }
}
