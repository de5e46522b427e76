//! Who waits for whom: a stage holds what it has until the runs in it have ended, and those may wait for others.

use std::fmt;

use super::look::Holder;
use super::record::Record;

/// All who wait and all who hold something, at one moment.
#[derive(Debug)]
pub(super) struct Scene<'s> {
    pub waiting: Vec<&'s Record>,
    pub holders: &'s [Holder],
}

/// Runs that would wait for each other for ever: each waits for what the stage around the next one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle(Vec<Knot>);

/// One of them: what is waited for, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Knot {
    resource: String,
    stage: String,
    run: String,
    repository: String,
}

impl<'s> Scene<'s> {
    /// Whether somebody who waits goes on only after something that one of `stages` holds.
    pub fn waits_for(&self, waiter: &'s Record, stages: &[String]) -> bool {
        self.way(waiter, stages, true).is_some()
    }

    /// Returns the circle that a run is in, with those of it that wait.
    pub fn circle(&self, waiter: &'s Record) -> Option<(Circle, Vec<&'s Record>)> {
        let way = self.way(waiter, &waiter.within, false)?;
        let knots = way.iter().map(|(waiter, holder)| Knot {
            resource: common(waiter, holder).unwrap_or_default().to_owned(),
            stage: holder.record.stage.clone(),
            run: holder.record.run.clone(),
            repository: holder.record.repository.clone(),
        });
        Some((Circle(knots.collect()), way.iter().map(|(waiter, _)| *waiter).collect()))
    }

    /// Returns the shortest way from somebody who waits to one of `stages`: over those who hold what is waited for, and
    /// those who wait in their stages. `tokens` is whether a way may lead over tokens, for which there are always others.
    fn way(
        &self,
        waiter: &'s Record,
        stages: &[String],
        tokens: bool,
    ) -> Option<Vec<(&'s Record, &'s Holder)>> {
        let mut ways = vec![(waiter, Vec::new())];
        let mut at = 0;
        while let Some((waiter, so_far)) = ways.get(at).cloned() {
            at += 1;
            for holder in self.holders {
                let is_around = waiter.within.contains(&holder.record.id);
                let by_token = tokens && holder.depth == 0 && !holder.tokens.is_empty();
                if is_around || !(by_token || common(waiter, holder).is_some()) {
                    continue;
                }
                let way: Vec<_> = so_far.iter().copied().chain([(waiter, holder)]).collect();
                if stages.contains(&holder.record.id) {
                    return Some(way);
                }
                for inner in self.waiting.iter().filter(|inner| inner.within.contains(&holder.record.id)) {
                    if !ways.iter().any(|(known, _)| known.id == inner.id) {
                        ways.push((inner, way.clone()));
                    }
                }
            }
        }
        None
    }
}

/// Returns what somebody waits for and somebody holds.
fn common<'r>(waiter: &'r Record, holder: &Holder) -> Option<&'r str> {
    waiter.resources.iter().find(|name| holder.resources.contains(name)).map(String::as_str)
}

impl Circle {
    /// Returns what would have kept it from coming about.
    pub fn hint(&self) -> String {
        let mut resources: Vec<_> = self.0.iter().map(|knot| format!("{:?}", knot.resource)).collect();
        resources.sort_unstable();
        resources.dedup();
        let stages: Vec<_> = self.0.iter().map(|knot| format!("`{}`", knot.stage)).collect();
        format!(
            "let {} take everything at once: \"resources\": [{}]; then run it again",
            stages.join(" and "),
            resources.join(", ")
        )
    }
}

/// As in "waits for `gpu`, which stage `b` of run R holds in /repo until …".
impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("waits for ever for ")?;
        for (at, Knot { resource, stage, run, repository }) in self.0.iter().enumerate() {
            let until = if at == 0 { "" } else { " until a run in it has " };
            write!(f, "{until}`{resource}`, which stage `{stage}` of run `{run}` in `{repository}` holds")?;
        }
        f.write_str(" until this run ends")
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    fn record(id: &str, within: &[&str], resources: &[&str]) -> Record {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Record {
            within: texts(within),
            resources: texts(resources),
            stage: format!("stage-{id}"),
            ..sample(id)
        }
    }

    fn holder(id: &str, within: &[&str], resources: &[&str]) -> Holder {
        let record = record(id, within, resources);
        Holder { depth: within.len() as u16, tokens: vec![1], resources: record.resources.clone(), record }
    }

    #[test]
    fn a_circle_goes_over_the_stages_around_those_who_wait_however_many_there_are() {
        let holders = [holder("a", &[], &["db"]), holder("b", &[], &["gpu"]), holder("c", &[], &["net"])];
        let (one, other) = (record("1", &["a"], &["gpu"]), record("2", &["b"], &["db"]));
        let scene = Scene { waiting: vec![&one, &other], holders: &holders };
        let (circle, waiting) = scene.circle(&other).unwrap();
        assert_eq!(waiting.iter().map(|record| &*record.id).collect::<Vec<_>>(), ["2", "1"]);
        assert_eq!(
            circle.to_string(),
            "waits for ever for `db`, which stage `stage-a` of run `r` in `/repo` holds until a run in it has `gpu`, \
             which stage `stage-b` of run `r` in `/repo` holds until this run ends"
        );
        assert!(circle.hint().starts_with(
            "let `stage-a` and `stage-b` take everything at once: \"resources\": [\"db\", \"gpu\"]"
        ));
        let (second, third) = (record("2", &["b"], &["net"]), record("3", &["c"], &["db"]));
        let scene = Scene { waiting: vec![&one, &second, &third], holders: &holders };
        assert_eq!(scene.circle(&third).unwrap().1.len(), 3);
        // One of the three goes on.
        let scene = Scene { waiting: vec![&one, &third], holders: &holders };
        assert_eq!(scene.circle(&third), None);
        assert_eq!(scene.circle(&one), None);
    }

    #[test]
    fn who_waits_for_what_the_own_stage_lends_is_in_no_circle() {
        let holders = [holder("a", &[], &["db"]), holder("b", &["a"], &["db"])];
        let (one, other) = (record("1", &["a"], &["db"]), record("2", &["a", "b"], &["db"]));
        let scene = Scene { waiting: vec![&one, &other], holders: &holders };
        assert_eq!((scene.circle(&one), scene.circle(&other)), (None, None));
    }

    #[test]
    fn who_waits_for_a_token_waits_for_every_stage_that_has_one() {
        let holders = [holder("a", &[], &[])];
        let (inner, outer) = (record("1", &["a"], &["gpu"]), record("2", &[], &["gpu"]));
        let scene = Scene { waiting: vec![&outer, &inner], holders: &holders };
        assert!(scene.waits_for(&outer, &inner.within));
        assert!(!scene.waits_for(&inner, &["b".to_owned()]));
    }
}
