//! Tokens that change hands, in one process: a lock belongs to whoever opened the file, so that is enough.

use std::time::{Duration, Instant};

use super::*;

pub(super) fn wish(stage: &str, weight: u16, resources: &[&str]) -> Wish {
    Wish {
        run: "run".to_owned(),
        repository: "/repo".to_owned(),
        stage: stage.to_owned(),
        since: "2026-01-01T00:00:00Z".parse().map(Stamp::new).unwrap(),
        weight: NonZeroU16::new(weight).unwrap(),
        resources: resources.iter().map(|name| (*name).to_owned()).collect(),
        memory: None,
    }
}

pub(super) fn budget(folder: &Path, tokens: u16) -> Budget {
    let source = Source { place: folder.to_owned(), jobs: NonZeroU16::new(tokens), held: None };
    Budget::new(&source, Settings::default(), NonZeroU16::MIN)
}

/// Returns the budget of a run that is started in the stage which holds `hold`.
fn inside(hold: &Hold, tokens: u16) -> Budget {
    let held = serde_json::from_str(&hold.as_variable()).unwrap();
    let source = Source { place: "/not/there".into(), jobs: NonZeroU16::new(tokens), held: Some(held) };
    Budget::new(&source, Settings::default(), NonZeroU16::MIN)
}

/// Looks until it is so: while another test starts a process, that has for a moment open whatever we have.
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::yield_now();
    }
}

pub(super) fn granted(asking: &mut Asking<'_>) -> Hold {
    until("it is granted", || match asking.look().unwrap() {
        Turn::Granted(hold) => Some(*hold),
        Turn::Wait(_) => None,
        turn @ Turn::Never(_) => panic!("{turn:?}"),
    })
}

/// Waits behind so many others.
fn waits_behind(asking: &mut Asking<'_>, ahead: usize) {
    until("the place is right", || (waits(asking).ahead == ahead).then_some(()));
}

fn waits_because(asking: &mut Asking<'_>, reason: &str) {
    until(reason, || (waits(asking).reason.as_deref() == Some(reason)).then_some(()));
}

fn nobody_draws(folder: &Path) {
    until("nobody draws", || (look(folder).unwrap() == View::default()).then_some(()));
}

pub(super) fn waits(asking: &mut Asking<'_>) -> Why {
    match asking.look().unwrap() {
        Turn::Wait(why) => why,
        turn => panic!("it does not wait: {turn:?}"),
    }
}

#[test]
fn there_are_so_many_tokens_and_who_came_first_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let budget = budget(dir.path(), 2);
    let first = granted(&mut budget.ask(wish("a", 1, &[])));
    let second = granted(&mut budget.ask(wish("b", 1, &[])));
    let (mut third, mut fourth) = (budget.ask(wish("c", 1, &[])), budget.ask(wish("d", 1, &[])));
    waits_behind(&mut third, 0);
    waits_behind(&mut fourth, 1);
    drop(first);
    waits_behind(&mut fourth, 1);
    let third = granted(&mut third);
    waits_behind(&mut fourth, 0);
    let view = look(dir.path()).unwrap();
    let holders: Vec<_> = view.holders.iter().map(|it| (&*it.record.stage, &*it.tokens)).collect();
    assert_eq!(holders, [("b", &[1][..]), ("c", &[2][..])]);
    assert_eq!(view.waiting.iter().map(|it| &*it.stage).collect::<Vec<_>>(), ["d"]);
    drop((second, third, fourth));
    nobody_draws(dir.path());
}

#[test]
fn a_place_in_the_queue_ends_with_whoever_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let budget = budget(dir.path(), 1);
    let held = granted(&mut budget.ask(wish("a", 1, &[])));
    let (mut second, mut third) = (budget.ask(wish("b", 1, &[])), budget.ask(wish("c", 1, &[])));
    waits(&mut second);
    waits_behind(&mut third, 1);
    drop(second);
    waits_behind(&mut third, 0);
    // What is left of a process that was killed: a file that nobody holds.
    std::fs::write(dir.path().join("ticket.0000000000000001"), "{}").unwrap();
    waits_behind(&mut third, 0);
    assert!(!dir.path().join("ticket.0000000000000001").exists());
    drop(held);
    granted(&mut third);
}

#[test]
fn everything_is_taken_at_once_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let budget = budget(dir.path(), 3);
    let one = granted(&mut budget.ask(wish("a", 1, &["db"])));
    let mut heavy = budget.ask(wish("b", 9, &[]));
    let mut both = budget.ask(wish("c", 1, &["gpu", "db"]));
    waits_behind(&mut heavy, 0);
    waits_because(&mut both, "db is in use");
    // It is kept for the heavy one, which came first.
    let mut light = budget.ask(wish("d", 1, &[]));
    waits(&mut light);
    drop(one);
    let heavy = granted(&mut heavy);
    assert_eq!(look(dir.path()).unwrap().holders[0].tokens, [1, 2, 3], "as many as there are");
    waits(&mut both);
    drop(heavy);
    let both = granted(&mut both);
    let light = granted(&mut light);
    drop((both, light));
}

#[test]
fn who_waits_for_a_resource_lets_others_pass_that_do_not_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let budget = budget(dir.path(), 2);
    let user = granted(&mut budget.ask(wish("a", 1, &["db"])));
    let mut next = budget.ask(wish("b", 1, &["db"]));
    waits(&mut next);
    let other = granted(&mut budget.ask(wish("c", 1, &[])));
    let mut late = budget.ask(wish("d", 1, &["db"]));
    waits(&mut late);
    drop(user);
    waits_because(&mut late, "db is in use");
    let next = granted(&mut next);
    drop((next, other));
    granted(&mut late);
}

#[test]
fn runs_that_see_fewer_tokens_see_the_first_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (budget(dir.path(), 1), budget(dir.path(), 3));
    let holds: Vec<_> = ["a", "b"].map(|stage| granted(&mut large.ask(wish(stage, 1, &[])))).into();
    let own = granted(&mut small.ask(wish("c", 1, &[])));
    let mut more = small.ask(wish("d", 1, &[]));
    waits(&mut more);
    drop(holds);
    // What one does not see can be of no use to it.
    let holds: Vec<_> = ["e", "f"].map(|stage| granted(&mut large.ask(wish(stage, 1, &[])))).into();
    drop(own);
    granted(&mut more);
    drop(holds);
}

#[test]
fn a_run_in_a_stage_uses_what_the_stage_holds_one_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let outer = budget(dir.path(), 1);
    let hold = granted(&mut outer.ask(wish("a", 1, &["db"])));
    let inner = inside(&hold, 1);
    let lent = granted(&mut inner.ask(wish("b", 5, &["db"])));
    let mut second = inner.ask(wish("c", 1, &[]));
    waits(&mut second);
    let innermost = inside(&lent, 1);
    let deep = granted(&mut innermost.ask(wish("d", 1, &["db"])));
    let view = look(dir.path()).unwrap();
    let seen: Vec<_> =
        view.holders.iter().map(|it| (it.depth, &*it.record.stage, it.record.within.len())).collect();
    assert_eq!(seen, [(0, "a", 0), (1, "b", 1), (2, "d", 2)]);
    drop((deep, lent));
    let lent = granted(&mut second);
    // The stage is over, and the run that it left behind is like any other.
    drop((lent, hold));
    let other = granted(&mut outer.ask(wish("e", 1, &[])));
    let mut left_behind = inner.ask(wish("f", 1, &[]));
    waits(&mut left_behind);
    drop(other);
    granted(&mut left_behind);
}

#[test]
fn two_stages_that_wait_for_more_in_them_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let outer = budget(dir.path(), 2);
    let holds = ["a", "b"].map(|stage| granted(&mut outer.ask(wish(stage, 1, &[]))));
    for hold in &holds {
        granted(&mut inside(hold, 2).ask(wish("inner", 2, &[])));
    }
}

#[test]
fn what_the_environment_says_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let outer = budget(dir.path(), 1);
    let hold = granted(&mut outer.ask(wish("a", 1, &[])));
    let genuine = hold.as_variable();
    for (from, to) in
        [("0.token.1", "0.token.7"), ("0.token.1", "../../etc/passwd"), ("\"id\":\"", "\"id\":\"x")]
    {
        let forged = genuine.replacen(from, to, 1);
        assert_ne!(forged, genuine);
        let held = serde_json::from_str(&forged).unwrap();
        let source = Source { place: "/not/there".into(), jobs: NonZeroU16::new(1), held: Some(held) };
        let inner = Budget::new(&source, Settings::default(), NonZeroU16::MIN);
        waits(&mut inner.ask(wish("b", 1, &[])));
    }
}

#[test]
fn a_busy_machine_is_a_brake_while_others_run_and_never_a_stop() {
    let (dir, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(proc.path().join("pressure")).unwrap();
    let io = proc.path().join("pressure/io");
    std::fs::write(&io, "some avg10=41.27 avg60=0 avg300=0 total=1\n").unwrap();
    let pressure = crate::pipeline::budget::Pressure { io: Some(40), cpu: Some(1), memory: None };
    let settings = Settings { pressure, ..Settings::default() };
    let budget = Budget { settings, machine: Machine::told_by(proc.path()), ..budget(dir.path(), 2) };
    let first = granted(&mut budget.ask(wish("a", 1, &[])));
    let mut second = budget.ask(wish("b", 1, &[]));
    waits_because(&mut second, "io 41 %");
    std::fs::write(&io, "some avg10=39.90 avg60=0 avg300=0 total=1\n").unwrap();
    let second = granted(&mut second);
    std::fs::write(&io, "some avg10=99.00 avg60=0 avg300=0 total=1\n").unwrap();
    drop((first, second));
    granted(&mut budget.ask(wish("c", 1, &[])));
}

#[test]
fn memory_that_others_may_need_is_theirs() {
    let (dir, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let meminfo = |available: u64| {
        let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 1000 << 10, available << 10);
        std::fs::write(proc.path().join("meminfo"), text).unwrap();
    };
    let mib = |count: u64| Some(count << 20);
    let settings = Settings { memory_floor: mib(100), ..Settings::default() };
    let budget = Budget { settings, machine: Machine::told_by(proc.path()), ..budget(dir.path(), 4) };
    let needs = |stage: &str| Wish { memory: mib(400), ..wish(stage, 1, &[]) };
    meminfo(950);
    let first = granted(&mut budget.ask(needs("a")));
    let second = granted(&mut budget.ask(needs("b")));
    let mut third = budget.ask(needs("c"));
    waits_because(&mut third, "memory: 150MiB free");
    drop(third);
    // It says nothing of memory, and the floor is kept for it all the same.
    let plain = granted(&mut budget.ask(wish("d", 1, &[])));
    meminfo(850);
    waits_because(&mut budget.ask(wish("e", 1, &[])), "memory: 50MiB free");
    drop((first, second, plain));
    meminfo(1);
    granted(&mut budget.ask(needs("f")));
}

#[test]
fn a_resource_that_is_taken_again_stands_in_nobody_s_way_by_what_its_last_holder_left() {
    let (dir, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 1000 << 10, 1 << 10);
    std::fs::write(proc.path().join("meminfo"), text).unwrap();
    let mib = |count: u64| Some(count << 20);
    let settings = Settings { memory_floor: mib(10), ..Settings::default() };
    let budget = Budget { settings, machine: Machine::told_by(proc.path()), ..budget(dir.path(), 2) };
    let needs = |stage: &str| Wish { memory: mib(600), ..wish(stage, 1, &["db", "gpu"]) };
    // Nobody else runs, so that nothing may keep them from it.
    drop(granted(&mut budget.ask(needs("a"))));
    let second = granted(&mut budget.ask(needs("b")));
    waits_because(&mut budget.ask(wish("c", 1, &["net"])), "memory: 0B free");
    drop(second);
    drop(granted(&mut budget.ask(wish("d", 1, &["net"]))));
    granted(&mut budget.ask(wish("e", 1, &["net"])));
}

#[test]
fn a_user_says_how_many_tokens_there_are_before_a_project_does() {
    let n = |number: u16| NonZeroU16::new(number).unwrap();
    let source = Source { place: "/not/there".into(), jobs: Some(n(3)), held: None };
    let settings = Settings { jobs: Some(n(5)), ..Settings::default() };
    let open = |source: &Source, settings: Settings, asked: u16| {
        let budget = Budget::new(source, settings, n(asked));
        (budget.sees, budget.alone)
    };
    assert_eq!(open(&source, settings, 9), (3, 3));
    let source = Source { jobs: None, ..source };
    assert_eq!(open(&source, settings, 9), (5, 5));
    let cores = std::thread::available_parallelism().unwrap().get() as u16;
    assert_eq!(open(&source, Settings::default(), 1), (cores, cores));
    assert_eq!(open(&source, Settings::default(), cores + 1), (cores, cores + 1));
}

/// Returns a budget of two tokens, and more for a run that is alone.
fn with_more(folder: &Path, alone: u16) -> Budget {
    Budget { alone, ..budget(folder, 2) }
}

pub(super) fn of_another(stage: &str) -> Wish {
    Wish { repository: "/other".to_owned(), ..wish(stage, 1, &[]) }
}

#[test]
fn a_run_that_is_alone_has_as_many_tokens_as_it_was_asked_for_and_shares_them_when_others_come() {
    let dir = tempfile::tempdir().unwrap();
    let (run, other) = (with_more(dir.path(), 4), budget(dir.path(), 2));
    let mut holds: Vec<_> = ["a", "b", "c"].map(|stage| granted(&mut run.ask(wish(stage, 1, &[])))).into();
    let heavy = granted(&mut run.ask(wish("d", 1, &[])));
    waits(&mut run.ask(wish("e", 1, &[])));
    let taken: Vec<_> = look(dir.path()).unwrap().holders.iter().map(|it| it.tokens.clone()).collect();
    assert_eq!(taken, [[1], [2], [3], [4]]);
    // Whoever waits ends that, and gets the first token that is one of all.
    let mut second = other.ask(of_another("x"));
    waits(&mut second);
    drop((heavy, holds.pop()));
    let mut more = run.ask(wish("f", 1, &[]));
    waits(&mut more);
    drop(holds.pop());
    let second = granted(&mut second);
    waits(&mut more);
    drop(second);
    let more = granted(&mut more);
    let beyond = granted(&mut run.ask(wish("g", 2, &[])));
    let view = look(dir.path()).unwrap();
    assert_eq!(view.holders.iter().map(|it| it.tokens.len()).sum::<usize>(), 4, "{view:?}");
    drop((more, beyond, holds));
    // Somebody who is there before keeps one from being alone.
    let second = granted(&mut other.ask(of_another("y")));
    let own = granted(&mut run.ask(wish("h", 1, &[])));
    waits(&mut run.ask(wish("i", 1, &[])));
    drop((second, own));
    nobody_draws(dir.path());
}

#[test]
fn runs_in_a_stage_are_no_strangers_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let outer = granted(&mut budget(dir.path(), 2).ask(of_another("outer")));
    let held = serde_json::from_str(&outer.as_variable()).unwrap();
    let source = Source { place: "/not/there".into(), jobs: NonZeroU16::new(2), held: Some(held) };
    let inner = Budget { alone: 4, ..Budget::new(&source, Settings::default(), NonZeroU16::MIN) };
    let holds: Vec<_> = ["a", "b", "c", "d"].map(|stage| granted(&mut inner.ask(wish(stage, 1, &[])))).into();
    waits(&mut inner.ask(wish("e", 1, &[])));
    drop(holds);
}

#[test]
fn runs_in_two_stages_that_want_what_the_other_stage_holds_do_not_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let outer = budget(dir.path(), 2);
    let (a, b) =
        (granted(&mut outer.ask(wish("a", 1, &["db"]))), granted(&mut outer.ask(wish("b", 1, &["gpu"]))));
    let (in_a, in_b) = (inside(&a, 2), inside(&b, 2));
    let (mut one, mut other) = (in_a.ask(wish("one", 1, &["gpu"])), in_b.ask(wish("other", 1, &["db"])));
    waits_because(&mut one, "gpu is in use");
    waits_because(&mut other, "db is in use");
    // Whoever came first goes on waiting.
    waits_because(&mut one, "gpu is in use");
    let Turn::Never(circle) = other.look().unwrap() else { panic!("it waits") };
    let text = circle.to_string();
    assert!(
        text.contains("`db`, which stage `a` of run") && text.contains("`gpu`, which stage `b` of run"),
        "{text}"
    );
    drop(other);
    waits(&mut one);
    drop(b);
    granted(&mut one);
    drop(a);
}

#[test]
fn a_run_in_a_stage_goes_before_those_who_wait_for_that_stage() {
    let dir = tempfile::tempdir().unwrap();
    let outer = budget(dir.path(), 2);
    let stage = granted(&mut outer.ask(wish("a", 1, &["db"])));
    let mut both = outer.ask(wish("b", 1, &["db", "gpu"]));
    waits_because(&mut both, "db is in use");
    let mut after = outer.ask(wish("c", 1, &["gpu"]));
    waits_because(&mut after, "gpu is in use");
    drop(granted(&mut inside(&stage, 2).ask(wish("in", 1, &["gpu"]))));
    drop(stage);
    granted(&mut both);
}

#[test]
fn where_nobody_waits_nobody_looks_for_a_queue_and_what_the_dead_have_left_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let budget = budget(dir.path(), 1);
    let marked = || std::fs::metadata(dir.path().join("changes.lock")).unwrap().len();
    let hold = granted(&mut budget.ask(wish("a", 1, &[])));
    assert_eq!(marked(), 0);
    let mut next = budget.ask(wish("b", 1, &[]));
    waits(&mut next);
    assert_eq!(marked(), 1);
    // As if it had been killed.
    std::mem::forget(next);
    drop(hold);
    assert_eq!(marked(), 1);
    let names = folder::names(dir.path(), "ticket.").unwrap();
    std::fs::remove_file(dir.path().join(&names[0])).unwrap();
    granted(&mut budget.ask(wish("c", 1, &[])));
    assert_eq!(marked(), 0);
}

#[test]
fn a_folder_that_cannot_be_had_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let source = |place: PathBuf| Source { place, jobs: None, held: None };
    for place in [file.join("below"), file, "/proc/none".into()] {
        let budget = Budget::new(&source(place), Settings::default(), NonZeroU16::MIN);
        assert!(budget.ask(wish("a", 1, &[])).look().is_err());
    }
}
