//! The conditions that evidence is held against, each with a verdict of its own.

/// One condition each. Nothing where it was not asked, or where nothing is there to ask about.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    pub present: Verdict,
    pub bound: Verdict,
    pub defined: Verdict,
    pub complete: Verdict,
    pub signature: Verdict,
    pub allowed: Verdict,
    pub fresh: Verdict,
    pub consistent: Verdict,
    pub chain: Verdict,
}

/// Whether a condition holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    #[default]
    NotAsked,
    Holds,
    Fails(String),
    /// Nobody can say, and nothing rests on it.
    Open(String),
}

impl Verdict {
    /// Returns what problems come to.
    pub fn of(problems: Vec<String>) -> Self {
        match problems.is_empty() {
            true => Self::Holds,
            false => Self::Fails(problems.join("; ")),
        }
    }
}

impl Verdicts {
    /// Returns each with its name.
    pub fn all(&self) -> [(&'static str, &Verdict); 9] {
        [
            ("present", &self.present),
            ("bound", &self.bound),
            ("defined", &self.defined),
            ("complete", &self.complete),
            ("signature", &self.signature),
            ("allowed", &self.allowed),
            ("fresh", &self.fresh),
            ("consistent", &self.consistent),
            ("chain", &self.chain),
        ]
    }
}
