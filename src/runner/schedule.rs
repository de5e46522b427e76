//! Which stage of a pipeline may begin next: what it needs has ended well, and there is room.

use std::collections::HashMap;

use crate::pipeline::plan::PlannedStage;

/// Where each stage stands. Stages are known by their position among those that are wanted.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    needs: Vec<Vec<usize>>,
    /// Those beside which nothing runs.
    alone: Vec<bool>,
    states: Vec<State>,
    /// Nothing before it waits: a long pipeline is not searched from its beginning each time.
    first: usize,
    running: usize,
    room: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Somebody is asked about it.
    Asking,
    Running,
    Passed,
    Failed,
}

/// What asking about a stage came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    CanBegin,
    Passed,
    Failed,
}

impl Schedule {
    /// Begins with the stages that are wanted. Those that `is_finished` takes have run before. What
    /// a stage needs among those that are not wanted is not waited for.
    pub(super) fn new<'a>(
        wanted: impl Iterator<Item = &'a PlannedStage> + Clone,
        is_finished: impl Fn(usize) -> bool,
        room: usize,
    ) -> Self {
        let at: HashMap<_, _> = wanted.clone().enumerate().map(|(at, one)| (&one.stage.id, at)).collect();
        let needs =
            |one: &PlannedStage| one.stage.needs.iter().filter_map(|id| at.get(id).copied()).collect();
        let state = |one: &PlannedStage| if is_finished(one.index) { State::Passed } else { State::Waiting };
        Self {
            needs: wanted.clone().map(needs).collect(),
            alone: wanted.clone().map(|one| one.stage.alone).collect(),
            states: wanted.map(state).collect(),
            first: 0,
            running: 0,
            room,
        }
    }

    /// Begins the first stage that can begin, in the pipeline's order.
    pub(super) fn begin(&mut self) -> Option<usize> {
        if self.running >= self.room {
            return None;
        }
        while self.states.get(self.first).is_some_and(|state| *state != State::Waiting) {
            self.first += 1;
        }
        let can_begin = |at: &usize| {
            self.states[*at] == State::Waiting
                && self.needs[*at].iter().all(|need| self.states[*need] == State::Passed)
        };
        let at = (self.first..self.states.len()).find(can_begin)?;
        // What is to run alone waits for its turn, and what comes after it waits with it: else it might never come.
        let is_beside = |other: usize| self.states[other] == State::Running && self.alone[other];
        if self.running > 0 && (self.alone[at] || (0..self.states.len()).any(is_beside)) {
            return None;
        }
        self.states[at] = State::Running;
        self.running += 1;
        Some(at)
    }

    /// Takes note that somebody is asked about a stage that has begun. It does not stand in the way of others
    /// then, but where stages run one after the other.
    pub(super) fn ask(&mut self, at: usize) {
        self.states[at] = State::Asking;
        if self.room > 1 {
            self.running -= 1;
        }
    }

    /// Takes note of an answer: the stage can begin, or has ended.
    pub(super) fn answer(&mut self, at: usize, answer: Answer) {
        if self.room == 1 {
            self.running -= 1;
        }
        self.states[at] = match answer {
            Answer::CanBegin => State::Waiting,
            Answer::Passed => State::Passed,
            Answer::Failed => State::Failed,
        };
        self.first = self.first.min(at);
    }

    /// Takes note of how a stage ended, or that it could not begin after all.
    pub(super) fn end(&mut self, at: usize, passed: bool) {
        self.states[at] = if passed { State::Passed } else { State::Failed };
        self.running -= 1;
    }

    /// Returns the stages that could not begin because of one that failed, each with the need that is
    /// not met: in the pipeline's order.
    pub(super) fn held(&self) -> Vec<(usize, usize)> {
        let mut held = vec![None; self.states.len()];
        // A need may stand behind the stage, so one pass is not enough; each pass finds at least one.
        loop {
            let before = held.iter().flatten().count();
            for at in 0..self.states.len() {
                if self.states[at] == State::Waiting && held[at].is_none() {
                    let unmet = |need: &usize| self.states[*need] == State::Failed || held[*need].is_some();
                    held[at] = self.needs[at].iter().copied().find(unmet);
                }
            }
            if held.iter().flatten().count() == before {
                return held.into_iter().enumerate().filter_map(|(at, need)| Some((at, need?))).collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(needs: &[Vec<usize>], room: usize) -> Schedule {
        Schedule {
            needs: needs.to_vec(),
            alone: vec![false; needs.len()],
            states: vec![State::Waiting; needs.len()],
            first: 0,
            running: 0,
            room,
        }
    }

    /// Needs without a circle: each stage needs only those of a smaller rank, and ranks have nothing
    /// to do with positions, so that needs point in both directions.
    fn needs() -> impl Strategy<Value = Vec<Vec<usize>>> {
        (1..12_usize).prop_flat_map(|count| {
            let ranks = Just((0..count).collect::<Vec<_>>()).prop_shuffle();
            let wanted = proptest::collection::vec(any::<[bool; 12]>(), count);
            (ranks, wanted).prop_map(move |(ranks, wanted)| {
                let of = |at: usize| {
                    (0..count).filter(|need| ranks[*need] < ranks[at] && wanted[at][*need]).collect()
                };
                (0..count).map(of).collect()
            })
        })
    }

    #[test]
    fn with_room_for_one_the_order_is_that_of_the_pipeline_but_for_needs_that_point_forward() {
        let mut schedule = schedule(&[vec![2], vec![], vec![3], vec![], vec![]], 1);
        let mut order = Vec::new();
        while let Some(at) = schedule.begin() {
            assert_eq!(schedule.begin(), None, "there is room for one");
            schedule.end(at, true);
            order.push(at);
        }
        assert_eq!(order, [1, 3, 2, 0, 4]);
    }

    #[test]
    fn a_stage_that_waits_for_a_person_holds_up_only_what_runs_in_order() {
        let free = [vec![], vec![], vec![]];
        let mut two = schedule(&free, 2);
        assert_eq!(two.begin(), Some(0));
        two.ask(0);
        assert_eq!((two.begin(), two.begin(), two.begin()), (Some(1), Some(2), None));
        two.answer(0, Answer::CanBegin);
        assert_eq!(two.begin(), None, "there is no room");
        two.end(2, true);
        assert_eq!(two.begin(), Some(0));
        let mut one = schedule(&free, 1);
        assert_eq!(one.begin(), Some(0));
        one.ask(0);
        assert_eq!(one.begin(), None);
        one.answer(0, Answer::CanBegin);
        assert_eq!(one.begin(), Some(0));
        one.end(0, true);
        assert_eq!(one.begin(), Some(1));
        one.ask(1);
        one.answer(1, Answer::Failed);
        assert_eq!(one.begin(), Some(2));
    }

    proptest! {
        /// Whatever ends first and however it ends: nothing begins before what it needs has ended
        /// well, nothing runs beside more than there is room for, nothing that could run is left.
        #[test]
        fn every_schedule_respects_needs_and_room(
            needs in needs(), room in 1..5_usize, ends in proptest::collection::vec((any::<prop::sample::Index>(), 0..5_u8), 12),
        ) {
            let mut schedule = schedule(&needs, room);
            let (mut running, mut passed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
            for (which, fate) in ends {
                while let Some(at) = schedule.begin() {
                    prop_assert!(needs[at].iter().all(|need| passed.contains(need)), "{at} began too early");
                    prop_assert!(!running.contains(&at) && !passed.contains(&at) && !failed.contains(&at));
                    running.push(at);
                }
                prop_assert!(running.len() <= room);
                let waits = (0..needs.len()).filter(|at| !running.contains(at) && !passed.contains(at) && !failed.contains(at));
                let could = waits.filter(|at| needs[*at].iter().all(|need| passed.contains(need))).count();
                prop_assert!(running.len() == room || could == 0, "there is room, and somebody waits");
                if running.is_empty() {
                    break;
                }
                let at = running.remove(which.index(running.len()));
                schedule.end(at, fate > 0);
                if fate > 0 { passed.push(at) } else { failed.push(at) }
            }
            prop_assert_eq!(schedule.begin(), None);
            let held = schedule.held();
            prop_assert_eq!(held.len() + passed.len() + failed.len(), needs.len(), "everything ended or is held");
            for (at, need) in &held {
                prop_assert!(needs[*at].contains(need) && !passed.contains(need));
            }
            if failed.is_empty() {
                prop_assert_eq!(passed.len(), needs.len());
            }
        }
    }
}
