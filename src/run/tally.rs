//! Many lines of metrics as a few numbers each, so that a long history fits in little memory.
//!
//! A line may be of any length; what stays of it is 40 bytes, and 24 for each stage it tells about.
//! So a history of 100,000 runs takes some 10 MB however much of it is text.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

use crate::run::metrics::StageFacts;
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;

/// How a run ended, as far as rates are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    Failed,
    Cancelled,
    Other,
}

/// What is kept of one line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Tells runs apart.
    pub key: u64,
    /// When the line was written, in milliseconds since 1970.
    pub at: Option<i64>,
    /// Not a number if the line tells none.
    pub seconds: f64,
    pub ending: Ending,
    pub guarded: bool,
}

/// What is kept of one stage of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub tree: u64,
    pub run: u32,
    /// Where its name stands.
    pub stage: u32,
    pub seconds: f32,
    pub verdict: StageStatus,
    pub attempts: u8,
    /// Whether it passed on a retry, so that it failed on its tree too.
    pub flaky: bool,
}

/// A pipeline and one of its stages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StageName {
    pub pipeline: Box<str>,
    pub stage: Box<str>,
}

/// A line that counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    pub error: String,
    /// Its beginning.
    pub raw: String,
}

/// The lines that are quoted, and the characters of each.
const QUOTED: usize = 20;
const QUOTE: usize = 240;
/// The newest runs whose stages are looked up elsewhere, where their lines do not tell them.
const LOOKED_UP: usize = 200;

/// Lines of metrics, counted one by one.
#[derive(Debug, Default)]
pub struct Tally {
    salt: u64,
    pub(super) runs: Vec<Run>,
    pub(super) samples: Vec<Sample>,
    pub(super) names: Vec<StageName>,
    places: HashMap<Box<str>, HashMap<Box<str>, u32>>,
    /// The newest runs whose lines tell nothing about stages: which, and their ids.
    untold: VecDeque<(u32, Box<str>)>,
    /// How many lines counted for nothing.
    pub unreadable: u64,
    /// The first of them.
    pub examples: Vec<Unreadable>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    run_id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(default)]
    pipeline_id: Option<Cow<'a, str>>,
    #[serde(default)]
    recorded_at: Option<Stamp>,
    #[serde(default)]
    duration_seconds: Seconds,
    #[serde(default)]
    guardrails_present: Option<bool>,
    #[serde(default)]
    tree: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    stages: Option<Vec<Stage<'a>>>,
}

#[derive(Deserialize)]
struct Stage<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(default)]
    duration_seconds: Seconds,
    #[serde(default)]
    attempts: Option<u64>,
    #[serde(default)]
    flaky: bool,
}

/// A duration; tools of the older layout wrote some as text.
#[derive(Clone, Copy, Debug)]
struct Seconds(f64);

impl Default for Seconds {
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Seconds {
    fn of(seconds: f64) -> Self {
        Self(if seconds.is_finite() && seconds >= 0.0 { seconds } else { f64::NAN })
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lenient;
        impl Visitor<'_> for Lenient {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }
            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
                Ok(Seconds::of(seconds))
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
                Ok(Seconds::of(seconds as f64))
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
                Ok(Seconds::of(seconds as f64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Seconds, E> {
                Ok(text.trim().parse().map_or_else(|_| Seconds::default(), Seconds::of))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Seconds, E> {
                Ok(Seconds::default())
            }
        }
        deserializer.deserialize_any(Lenient)
    }
}

impl Tally {
    /// Returns a tally of the lines of one group, such as a task. Runs of the same name in other
    /// groups are other runs.
    pub fn new(group: &str) -> Self {
        Self { salt: hash(group), ..Self::default() }
    }

    /// Counts one line.
    pub fn line(&mut self, bytes: &[u8]) {
        let bytes = bytes.trim_ascii();
        if bytes.is_empty() {
            return;
        }
        match serde_json::from_slice::<Line>(bytes) {
            Ok(line) => self.add(&line),
            Err(err) => self.skip(bytes, err.to_string()),
        }
    }

    /// Counts a line that cannot be used. `begin` is how it begins.
    pub fn skip(&mut self, begin: &[u8], error: String) {
        self.unreadable += 1;
        if self.examples.len() < QUOTED {
            let begin = &begin[..begin.len().min(4 * QUOTE)];
            let raw = String::from_utf8_lossy(begin).chars().take(QUOTE).collect();
            self.examples.push(Unreadable { error, raw });
        }
    }

    fn add(&mut self, line: &Line<'_>) {
        let Ok(run) = u32::try_from(self.runs.len()) else { return };
        self.runs.push(Run {
            key: hash(&(self.salt, line.run_id.as_ref())),
            at: line.recorded_at.map(Stamp::as_millis),
            seconds: line.duration_seconds.0,
            ending: match line.status.as_ref() {
                "succeeded" => Ending::Succeeded,
                "failed" => Ending::Failed,
                "cancelled" => Ending::Cancelled,
                _ => Ending::Other,
            },
            guarded: line.guardrails_present == Some(true),
        });
        let pipeline = line.pipeline_id.as_deref().unwrap_or_default();
        let Some(stages) = &line.stages else {
            self.untold.push_back((run, line.run_id.as_ref().into()));
            if self.untold.len() > LOOKED_UP {
                self.untold.pop_front();
            }
            return;
        };
        let tree = line.tree.as_deref().map_or(0, hash);
        for Stage { id, status, duration_seconds: Seconds(seconds), attempts, flaky } in stages {
            let verdict = match status.as_ref() {
                "succeeded" => StageStatus::Succeeded,
                "failed" => StageStatus::Failed,
                "skipped" => StageStatus::Skipped,
                // Whatever else it may be, it is no verdict.
                _ => continue,
            };
            self.sample(run, (pipeline, id), tree, *seconds, verdict, (attempts.unwrap_or(1), *flaky));
        }
    }

    fn sample(
        &mut self,
        run: u32,
        (pipeline, stage): (&str, &str),
        tree: u64,
        seconds: f64,
        verdict: StageStatus,
        (attempts, flaky): (u64, bool),
    ) {
        let (seconds, attempts) = (seconds as f32, attempts.min(u64::from(u8::MAX)) as u8);
        let stage = self.place(pipeline, stage);
        self.samples.push(Sample { tree, run, stage, seconds, verdict, attempts, flaky });
    }

    /// Returns where the name of a stage stands.
    fn place(&mut self, pipeline: &str, stage: &str) -> u32 {
        if let Some(place) = self.places.get(pipeline).and_then(|stages| stages.get(stage)) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.names.push(StageName { pipeline: pipeline.into(), stage: stage.into() });
        self.places.entry(pipeline.into()).or_default().insert(stage.into(), place);
        place
    }

    /// Adds the lines that follow ours.
    pub fn absorb(&mut self, other: Self) {
        let Ok(before) = u32::try_from(self.runs.len()) else { return };
        let places: Vec<_> = other.names.iter().map(|name| self.place(&name.pipeline, &name.stage)).collect();
        let moved = other.samples.into_iter().map(|sample| Sample {
            run: sample.run + before,
            stage: places[sample.stage as usize],
            ..sample
        });
        self.samples.extend(moved);
        self.runs.extend(other.runs);
        self.untold.extend(other.untold.into_iter().map(|(run, id)| (run + before, id)));
        let surplus = self.untold.len().saturating_sub(LOOKED_UP);
        self.untold.drain(..surplus);
        self.unreadable += other.unreadable;
        let room = QUOTED.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }

    /// Asks `look_up` for the stages of the newest runs whose lines do not tell them: the pipeline, the
    /// tree and the facts of a run.
    pub fn complete(&mut self, look_up: impl Fn(&str) -> Option<(String, Option<String>, Vec<StageFacts>)>) {
        for (run, id) in std::mem::take(&mut self.untold) {
            let Some((pipeline, tree, stages)) = look_up(&id) else { continue };
            let tree = tree.as_deref().map_or(0, hash);
            for facts in stages {
                let seconds = facts.duration_seconds.unwrap_or(f64::NAN);
                let name = (pipeline.as_str(), facts.id.as_str());
                self.sample(run, name, tree, seconds, facts.status, (facts.attempts as u64, facts.flaky));
            }
        }
    }
}

/// 64 bits tell a million runs apart with a chance of error of one to 36 million.
fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    // Zero stands for "unknown".
    hasher.finish().max(1)
}
