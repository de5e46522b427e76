//! Which runs may go: what keeps one, and which limit it is beyond.
//!
//! A run and its children are one family: they stay together or go together.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::SignedDuration;

use crate::run::stamp::Stamp;

/// No run goes that ended less than this many seconds ago: somebody may be about to look at it.
pub const YOUNG_SECONDS: f64 = 3600.0;

/// A run, as far as its fate is concerned.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    pub run: String,
    pub task: String,
    pub parent: Option<String>,
    /// When it ended, as far as anybody knows.
    pub at: Option<Stamp>,
    pub bytes: u64,
    /// Why it stays whatever its age.
    pub keep: Option<String>,
    /// The runs that it names.
    pub mentions: BTreeSet<String>,
}

/// How much may stay. A run goes that is beyond any of them.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    pub older_than: Option<SignedDuration>,
    /// So many families of each task.
    pub keep: Option<usize>,
    /// Bytes, of all runs together.
    pub max_size: Option<u64>,
}

/// What becomes of a run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays(String),
    Goes(String),
}

/// Decides about every run, in the order given.
pub fn decide(runs: &[Candidate], limits: &Limits, now: Stamp) -> Vec<Fate> {
    let families = families(runs);
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, run) in runs.iter().enumerate() {
        places.entry(&run.run).or_default().push(place);
    }
    let roots: Vec<usize> = (0..runs.len()).filter(|run| families[*run] == *run).collect();
    // Why a family stays: the run that is the reason, and the reason.
    let mut kept: BTreeMap<usize, (usize, String)> = BTreeMap::new();
    for (place, run) in runs.iter().enumerate() {
        let reason = run.keep.clone().or_else(|| match run.at {
            Some(at) if now.seconds_since(at) < YOUNG_SECONDS => {
                Some("it is younger than an hour".to_owned())
            }
            Some(_) => None,
            None => Some("nobody knows how old it is".to_owned()),
        });
        if let Some(reason) = reason {
            kept.entry(families[place]).or_insert((place, reason));
        }
    }
    loop {
        let going = beyond(runs, &roots, &families, limits, now, &kept);
        // What stays may name what would go; that stays too, and may name more.
        let mut cited = BTreeMap::new();
        for (place, run) in
            runs.iter().enumerate().filter(|(place, _)| !going.contains_key(&families[*place]))
        {
            for named in run.mentions.iter().filter_map(|id| places.get(id.as_str())).flatten() {
                if families[*named] != families[place] && going.contains_key(&families[*named]) {
                    let reason = format!("run `{}` names it", run.run);
                    cited.entry(families[*named]).or_insert((*named, reason));
                }
            }
        }
        if !cited.is_empty() {
            kept.extend(cited);
            continue;
        }
        let fate = |place: usize| match (going.get(&families[place]), kept.get(&families[place])) {
            (Some(reason), _) => Fate::Goes(reason.clone()),
            (None, Some((member, reason))) if *member == place => Fate::Stays(reason.clone()),
            (None, Some((member, reason))) => {
                Fate::Stays(format!("it belongs to `{}`, which stays: {reason}", runs[*member].run))
            }
            (None, None) => Fate::Stays("it is within the limits".to_owned()),
        };
        return (0..runs.len()).map(fate).collect();
    }
}

/// Returns, for each run, the place of the outermost run that it is a part of.
fn families(runs: &[Candidate]) -> Vec<usize> {
    let places: HashMap<_, _> =
        runs.iter().enumerate().map(|(place, run)| ((run.task.as_str(), run.run.as_str()), place)).collect();
    let parent = |place: usize| {
        let run: &Candidate = &runs[place];
        places.get(&(run.task.as_str(), run.parent.as_deref()?)).copied()
    };
    let outermost = |begin: usize| {
        let (mut at, mut steps) = (begin, 0);
        while let Some(above) = parent(at) {
            steps += 1;
            // Damaged files may name each other in a circle.
            if steps > runs.len() {
                return begin;
            }
            at = above;
        }
        at
    };
    (0..runs.len()).map(outermost).collect()
}

/// Returns the families that are beyond a limit and have no reason to stay, and which limit it is.
fn beyond(
    runs: &[Candidate],
    roots: &[usize],
    families: &[usize],
    limits: &Limits,
    now: Stamp,
    kept: &BTreeMap<usize, (usize, String)>,
) -> BTreeMap<usize, String> {
    let mut newest_first = roots.to_vec();
    newest_first.sort_by(|a, b| (runs[*b].at, &runs[*b].run).cmp(&(runs[*a].at, &runs[*a].run)));
    let mut bytes: HashMap<usize, u64> = HashMap::new();
    for (place, run) in runs.iter().enumerate() {
        *bytes.entry(families[place]).or_default() += run.bytes;
    }
    let mut total: u64 = bytes.values().sum();
    let mut of_task: HashMap<&str, usize> = HashMap::new();
    let mut going = BTreeMap::new();
    for root in &newest_first {
        let rank = of_task.entry(&runs[*root].task).or_default();
        *rank += 1;
        if kept.contains_key(root) {
            continue;
        }
        let oldest = limits.older_than.and_then(|span| now.earlier_by(span));
        let reason = if oldest.zip(runs[*root].at).is_some_and(|(oldest, at)| at < oldest) {
            "it is too old"
        } else if limits.keep.is_some_and(|keep| *rank > keep) {
            "its task has enough newer ones"
        } else {
            continue;
        };
        total -= bytes[root];
        going.insert(*root, reason.to_owned());
    }
    if let Some(max) = limits.max_size {
        for root in newest_first.iter().rev() {
            if total <= max {
                break;
            }
            if !kept.contains_key(root) && !going.contains_key(root) {
                total -= bytes[root];
                going.insert(*root, "all runs together are too large".to_owned());
            }
        }
    }
    going
}

/// The shape of the ids that this program and the reference make, for `git grep -E`.
pub const SHAPE: &str = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}(-[0-9]{3})?Z(-[0-9a-f]{8})?";

/// Whether an id has the shape that [`ids_in`] finds.
pub fn has_shape(id: &str) -> bool {
    shape_at(id.as_bytes()) == Some(id.len())
}

/// Returns the ids of runs that a text names.
pub fn ids_in(text: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for at in memchr::memchr_iter(b'T', text) {
        let Some(begin) = at.checked_sub("2026-01-01".len()) else { continue };
        if let Some(length) = shape_at(&text[begin..]) {
            found.insert(String::from_utf8_lossy(&text[begin..begin + length]).into_owned());
        }
    }
    found
}

fn shape_at(text: &[u8]) -> Option<usize> {
    let is = |at: usize, pattern: &str| {
        let there = text.get(at..at + pattern.len());
        there.is_some_and(|there| {
            there.iter().zip(pattern.bytes()).all(|(byte, kind)| match kind {
                b'0' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
                other => *byte == other,
            })
        })
    };
    let mut length = "0000-00-00T00-00-00".len();
    if !is(0, "0000-00-00T00-00-00") {
        return None;
    }
    if is(length, "-000") {
        length += 4;
    }
    if !is(length, "Z") {
        return None;
    }
    length += 1;
    Some(if is(length, "-xxxxxxxx") { length + 9 } else { length })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Stamp {
        "2026-06-01T00:00:00Z".parse().map(Stamp::new).unwrap()
    }

    fn run(id: &str, hours_ago: i64) -> Candidate {
        Candidate {
            run: id.to_owned(),
            task: "t".to_owned(),
            at: now().earlier_by(SignedDuration::from_hours(hours_ago)),
            bytes: 100,
            ..Candidate::default()
        }
    }

    fn going(runs: &[Candidate], limits: &Limits) -> Vec<String> {
        let fates = decide(runs, limits, now());
        let going = runs.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Goes(_)));
        going.map(|(run, _)| run.run.clone()).collect()
    }

    #[test]
    fn each_limit_takes_what_is_beyond_it() {
        let runs = [run("a", 2), run("b", 3), run("c", 50), run("d", 100)];
        let older_than = Some(SignedDuration::from_hours(72));
        assert_eq!(going(&runs, &Limits { older_than, ..Limits::default() }), ["d"]);
        assert_eq!(going(&runs, &Limits { keep: Some(1), ..Limits::default() }), ["b", "c", "d"]);
        assert_eq!(going(&runs, &Limits { max_size: Some(250), ..Limits::default() }), ["c", "d"]);
        assert_eq!(going(&runs, &Limits { older_than, max_size: Some(300), ..Limits::default() }), ["d"]);
        assert_eq!(going(&runs, &Limits::default()), [] as [&str; 0]);
        let other = Candidate { task: "u".to_owned(), ..run("e", 200) };
        assert_eq!(
            going(&[runs[0].clone(), other], &Limits { keep: Some(1), ..Limits::default() }),
            [] as [&str; 0]
        );
    }

    #[test]
    fn a_young_run_stays_whatever_the_limits() {
        let limits = Limits { older_than: Some(SignedDuration::ZERO), keep: Some(0), max_size: Some(0) };
        let ageless = Candidate { at: None, ..run("ageless", 0) };
        let future =
            Candidate { at: "2999-01-01T00:00:00Z".parse().map(Stamp::new).ok(), ..run("future", 0) };
        assert_eq!(going(&[run("young", 0), ageless, future, run("old", 1)], &limits), ["old"]);
    }

    #[test]
    fn families_stay_together() {
        let child =
            |id: &str, parent: &str, hours| Candidate { parent: Some(parent.to_owned()), ..run(id, hours) };
        let limits = Limits { keep: Some(0), ..Limits::default() };
        let mut runs = vec![run("p", 9), child("c", "p", 9), child("g", "c", 9), run("q", 9)];
        assert_eq!(going(&runs, &limits).len(), 4);
        runs[2].keep = Some("it is not finished".to_owned());
        assert_eq!(going(&runs, &limits), ["q"]);
        let fates = decide(&runs, &limits, now());
        assert_eq!(fates[0], Fate::Stays("it belongs to `g`, which stays: it is not finished".to_owned()));
        assert_eq!(fates[2], Fate::Stays("it is not finished".to_owned()));
        // Children do not count as runs of their own.
        let runs = [run("a", 2), child("a1", "a", 2), child("a2", "a", 2), run("b", 3)];
        assert_eq!(going(&runs, &Limits { keep: Some(2), ..Limits::default() }), [] as [&str; 0]);
    }

    #[test]
    fn what_a_run_that_stays_names_stays() {
        let naming = |id: &str, hours, named: &str| Candidate {
            mentions: [named.to_owned()].into(),
            ..run(id, hours)
        };
        let limits = Limits { older_than: Some(SignedDuration::from_hours(5)), ..Limits::default() };
        let runs = [naming("a", 2, "b"), naming("b", 9, "c"), run("c", 9), naming("d", 9, "e"), run("e", 9)];
        assert_eq!(going(&runs, &limits), ["d", "e"]);
        assert_eq!(decide(&runs, &limits, now())[1], Fate::Stays("run `a` names it".to_owned()));
    }

    #[test]
    fn ids_are_found_in_any_text() {
        let text = "see .runs/t/cli/2026-11-21T07-20-48-705Z-192acc7c/x and 2025-10-16T01-00-00Z, not 2025-10-16T01:00Z";
        let found: Vec<_> = ids_in(text.as_bytes()).into_iter().collect();
        assert_eq!(found, ["2025-10-16T01-00-00Z", "2026-11-21T07-20-48-705Z-192acc7c"]);
        assert!(
            has_shape("2025-10-16T01-00-00Z") && !has_shape("2025-10-16T01-00-00Zx") && !has_shape("alpha")
        );
    }

    proptest! {
        #[test]
        fn nothing_that_is_kept_or_cited_ever_goes(
            parts in proptest::collection::vec((0..6_usize, 0..6_usize, any::<bool>(), 0..90_i64), 1..12),
            keep in proptest::option::of(0..4_usize),
            max_size in proptest::option::of(0..900_u64),
        ) {
            let runs: Vec<_> = parts
                .iter()
                .enumerate()
                .map(|(at, (parent, mention, keep, hours))| Candidate {
                    parent: (*parent < at).then(|| parent.to_string()),
                    mentions: [mention.to_string()].into(),
                    keep: keep.then(|| "asked".to_owned()),
                    ..run(&at.to_string(), *hours)
                })
                .collect();
            let limits = Limits { older_than: Some(SignedDuration::from_hours(48)), keep, max_size };
            let gone = going(&runs, &limits);
            for run in &runs {
                let goes = gone.contains(&run.run);
                prop_assert!(!goes || (run.keep.is_none() && now().seconds_since(run.at.unwrap()) >= YOUNG_SECONDS));
                let parent_goes = run.parent.as_ref().is_none_or(|parent| gone.contains(parent) == goes);
                prop_assert!(parent_goes, "a family is torn");
                if !goes {
                    prop_assert!(run.mentions.iter().all(|named| !gone.contains(named)), "a citation hangs");
                }
            }
        }
    }
}
