//! What the stages that run at the same time share: the room for commands, and whose process is whose.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::{Notify, Semaphore};

use super::Limits;
use super::typed::Typed;
use crate::sys::budget::Budget;
use crate::sys::process::{self, StageProcesses};

/// The commands of one run and of its children, all of which this process started.
pub(super) struct Crew {
    pub(super) limits: Limits,
    /// One permit per command that may run.
    pub(super) room: Semaphore,
    /// Somebody may have decided about a stage.
    pub(super) woken: Notify,
    /// What is typed on our terminal, if somebody can be asked there.
    pub(super) typed: Option<Typed>,
    budget: Option<Budget>,
    /// Whether there is nothing to be had from the budget any more.
    is_lost: Cell<bool>,
    members: RefCell<Vec<Member>>,
    left: RefCell<Left>,
}

struct Member {
    processes: StageProcesses,
    /// Whether the stage was told to end.
    stopping: bool,
}

/// Processes that stages have left behind.
#[derive(Default)]
struct Left {
    known: BTreeSet<u32>,
    /// Those of which nobody can tell which stage it was.
    unclaimed: Vec<u32>,
}

impl Crew {
    pub(super) fn new(limits: Limits, can_prompt: bool, budget: Option<Budget>) -> Self {
        let left = Left { known: process::adopted(&[]).into_iter().collect(), unclaimed: Vec::new() };
        let room = Semaphore::new(usize::from(limits.jobs.get()));
        Self {
            limits,
            room,
            woken: Notify::new(),
            typed: can_prompt.then(Typed::new),
            budget,
            is_lost: Cell::new(false),
            members: RefCell::default(),
            left: RefCell::new(left),
        }
    }

    /// Returns the budget of the machine, if there is one.
    pub(super) fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref().filter(|_| !self.is_lost.get())
    }

    /// Goes on without the budget.
    pub(super) fn lose_budget(&self) {
        self.is_lost.set(true);
    }

    /// Takes in a command that has started.
    pub(super) fn join(&self, processes: &StageProcesses) {
        self.members.borrow_mut().push(Member { processes: processes.clone(), stopping: false });
    }

    /// Lets go of a command that has ended.
    pub(super) fn leave(&self, processes: &StageProcesses) {
        self.members.borrow_mut().retain(|member| member.processes != *processes);
    }

    /// Takes note that a stage was told to end.
    pub(super) fn stopping(&self, processes: &StageProcesses) {
        let mut members = self.members.borrow_mut();
        members
            .iter_mut()
            .filter(|member| member.processes == *processes)
            .for_each(|member| member.stopping = true);
    }

    /// Returns the stages that run beside one, and whether it may take what belongs to none of them
    /// for its own: unless one of them goes on, to which that may belong.
    fn beside(&self, processes: &StageProcesses) -> (Vec<StageProcesses>, bool) {
        let members = self.members.borrow();
        let others = members.iter().filter(|member| member.processes != *processes);
        let strangers = others.clone().all(|member| member.stopping);
        (others.map(|member| member.processes.clone()).collect(), strangers)
    }

    /// Whether anything of a stage that was told to end still lives.
    pub(super) fn is_anyone_left(&self, processes: &StageProcesses) -> bool {
        self.reap();
        let (others, strangers) = self.beside(processes);
        !processes.living(&others, strangers).is_empty()
    }

    /// Kills a stage with everything that it started.
    pub(super) fn kill(&self, processes: &StageProcesses) {
        let (others, strangers) = self.beside(processes);
        processes.kill(&others, strangers);
    }

    /// Kills every stage: nothing may go on unseen.
    pub(super) fn kill_all(&self) {
        for member in &*self.members.borrow() {
            member.processes.kill(&[], true);
        }
    }

    /// Stops every stage and this process, and goes on with all of them.
    pub(super) fn suspend(&self) {
        let signal_all = |signal| {
            let members = self.members.borrow();
            members.iter().for_each(|member| process::signal_group(member.processes.leader, signal));
        };
        signal_all(Signal::STOP);
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        signal_all(Signal::CONT);
    }

    fn reap(&self) -> Vec<u32> {
        let leaders: Vec<_> = self.members.borrow().iter().map(|member| member.processes.leader).collect();
        process::adopted(&leaders)
    }

    /// Whether a stage whose command has ended left processes behind. It is still a member.
    pub(super) async fn has_left_something(&self, processes: &StageProcesses) -> bool {
        let is_new = |pid: &u32| !self.left.borrow().known.contains(pid);
        if !self.reap().iter().any(is_new) {
            return false;
        }
        // What is only just ending is not left behind.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (others, _) = self.beside(processes);
        let mut has_left = false;
        for pid in self.reap().into_iter().filter(is_new).collect::<Vec<_>>() {
            let own = processes.owns(pid) || others.is_empty();
            // It is found again when the stage ends that it belongs to.
            if !own && others.iter().any(|other| other.owns(pid)) {
                continue;
            }
            has_left |= own;
            let mut left = self.left.borrow_mut();
            left.known.insert(pid);
            if !own {
                left.unclaimed.push(pid);
            }
        }
        has_left
    }

    /// Returns what is to be said about processes that live on and belong to nobody in particular.
    pub(super) fn unclaimed(&self) -> Option<String> {
        let left = self.left.borrow();
        if left.unclaimed.is_empty() {
            return None;
        }
        let living = process::adopted(&[]);
        left.unclaimed.iter().any(|pid| living.contains(pid)).then(|| {
            "Background processes were left running by stages that ran at the same time: what they do is in no \
             evidence."
                .to_owned()
        })
    }
}
