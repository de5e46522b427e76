//! One command: started, streamed, and ended with everything that it started.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;
use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessSession};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::crew::Crew;
use super::draw::{Drawn, draw};
use super::log::Lines;
use super::manual::Waits;
use super::memory::Memory;
use super::stages::{Ended, stage_end};
use super::stop::{self, Cause, Orders, Stop};
use super::supply::Supply;
use super::{DEADLOCK, GRACE, Host, LEAK_IDLE, LEAK_LIMIT, Setup, Stream, World, sleep_until};
use crate::output::mask::{MaskMode, Masker};
use crate::output::tail::{ERROR_BYTES, HeadTail, Quote, SUMMARY_UNITS, Tail, summary_excerpt};
use crate::output::text::{Chunk, Utf8Stitcher};
use crate::pipeline::Command as Action;
use crate::pipeline::endurance::Retries;
use crate::pipeline::plan::PlannedStage;
use crate::run::event::{Happened, StageEnd};
use crate::run::manifest::{Handle, PrivacyDecision, PrivacyTotals};
use crate::run::stamp::Stamp;
use crate::run::status::StageStatus;
use crate::sys::budget::{self, Circle, Hold};
use crate::sys::digest::random_fraction;
use crate::sys::process::{self, StageProcesses};

/// The most that one event holds.
const READ_BYTES: usize = 64 * 1024;

/// Runs the command of a stage, again after a failure that may pass, and tells everything about it.
pub(super) async fn run(
    planned: &PlannedStage,
    action: &Action,
    host: World<'_, '_>,
    mut orders: Orders,
    crew: &Crew,
    waits: &Waits,
) -> Result<Ended> {
    let mut setup = None::<Setup>;
    for attempt in 1.. {
        // Only commands take room: a child run that had some while its own stages waited for more
        // could wait for ever.
        let room = tokio::select! {
            biased;
            stop = stop::next(&mut orders) => return stopped(planned, attempt, &stop, host),
            room = crew.room.acquire() => room,
        };
        let hold = match draw(planned, action, host, &mut orders, crew, waits).await? {
            Drawn::Begin(hold) => hold,
            Drawn::Stopped(stop) => return stopped(planned, attempt, &stop, host),
            Drawn::Never(circle) => return gives_up(planned, &circle, host),
        };
        let memory = action
            .memory_limit
            .map(|bytes| Memory::limit(&process::mark(host.borrow().run_id(), planned.index), bytes));
        let setup = match &mut setup {
            Some(setup) => setup,
            none => none.insert(begin(planned, memory.as_ref(), &mut **host.borrow_mut())?),
        };
        let next = attempt_once(
            planned,
            action,
            setup,
            (memory.as_ref(), hold.as_deref()),
            attempt,
            host,
            &mut orders,
            crew,
        )
        .await?;
        drop((hold, room));
        let pause = match next {
            Next::Ended(ended) => return Ok(ended),
            Next::Again(pause) => pause,
        };
        tokio::select! {
            biased;
            stop = stop::next(&mut orders) => return stopped(planned, attempt + 1, &stop, host),
            () = tokio::time::sleep(pause) => {}
        }
    }
    unreachable!("attempts are numbered without an end")
}

/// Ends a stage that is not to be run, or not to be run again.
fn stopped(planned: &PlannedStage, attempt: u32, stop: &Stop, host: World<'_, '_>) -> Result<Ended> {
    if attempt > 1 {
        let cause = &stop.cause;
        let title = host.borrow().masked(&planned.stage.title);
        let end = stage_end(
            StageStatus::Failed,
            format!("Cancelled {cause}, before attempt {attempt}"),
            Some(format!("Stage '{title}' was cancelled {cause}, before attempt {attempt}.")),
            true,
        );
        host.borrow_mut().tell(end, planned.index)?;
    }
    Ok(Ended::Stopped)
}

/// Ends a stage that would wait for ever for runs that wait for this one.
fn gives_up(planned: &PlannedStage, circle: &Circle, host: World<'_, '_>) -> Result<Ended> {
    let id = &planned.stage.id;
    let summary = format!("It {circle}");
    let note = Some(format!("Stage '{id}' {circle}. Hint: {}.", circle.hint()));
    host.borrow_mut().tell(stage_end(StageStatus::Failed, summary, note, false), planned.index)?;
    Ok(Ended::Failed { detail: format!("stage:{id}:{DEADLOCK}") })
}

fn begin(planned: &PlannedStage, memory: Option<&Memory>, host: &mut dyn Host) -> Result<Setup> {
    let setup = host.begin_command(planned)?;
    let started = Happened::StageStarted {
        log_path: Some(setup.log_path.clone()),
        memory_limit: memory.map(Memory::record),
    };
    host.tell(started, planned.index)?;
    Ok(setup)
}

/// What follows from an attempt.
enum Next {
    Ended(Ended),
    /// It is run again, after a while.
    Again(Duration),
}

#[expect(clippy::too_many_arguments, reason = "everything that a command is given")]
async fn attempt_once(
    planned: &PlannedStage,
    action: &Action,
    setup: &Setup,
    (memory, hold): (Option<&Memory>, Option<&Hold>),
    attempt: u32,
    host: World<'_, '_>,
    orders: &mut Orders,
    crew: &Crew,
) -> Result<Next> {
    let index = planned.index;
    let (begun, mut watched) = begin_lines(planned, action, setup, attempt, &mut **host.borrow_mut())?;
    let clock = Instant::now();
    let mut supply = hold.and_then(|hold| Supply::new(action, setup, crew.budget()?, hold));
    let exit = match spawn(action, setup, memory, hold, supply.as_ref()) {
        Ok(mut child) => {
            let leader = child.id().unwrap_or_default();
            let processes = StageProcesses { mark: process::mark(host.borrow().run_id(), index), leader };
            crew.join(&processes);
            if let Some(hold) = hold {
                hold.began(leader);
            }
            let timeout = planned.stage.timeout;
            let mut exit =
                drive(&mut *child, &processes, index, timeout, &mut watched, host, orders, crew, &mut supply)
                    .await?;
            exit.leaked |= crew.has_left_something(&processes).await;
            exit.out_of_memory = memory.is_some_and(Memory::ran_out);
            crew.leave(&processes);
            Exit::Ended(exit)
        }
        Err(err) => Exit::NotStarted(spawn_error(&err, setup)),
    };
    let duration_ms = clock.elapsed().as_millis() as u64;
    finish(planned, action, exit, begun, duration_ms, watched, attempt, &mut **host.borrow_mut())
}

fn begin_lines(
    planned: &PlannedStage,
    action: &Action,
    setup: &Setup,
    attempt: u32,
    host: &mut dyn Host,
) -> Result<(Stamp, Watched)> {
    let begun = host.now();
    let session = action.session.clone();
    let session_id = session.as_ref().and_then(|session| session.id.clone()).unwrap_or_else(new_id);
    let persisted = session.is_some_and(|session| {
        session.id.is_some() && (session.persist.unwrap_or(true) || session.reuse.unwrap_or(true))
    });
    let watched = Watched::new(planned.index, attempt, host, setup.emit_streams);
    let mut lines = Vec::new();
    watched.told.lines.begin(
        &mut lines,
        &host.masked(&action.command),
        &host.masked(&setup.cwd.display().to_string()),
        &host.masked(&session_id),
        persisted,
        begun,
    );
    host.log(planned.index, &lines)?;
    Ok((begun, watched))
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn spawn(
    action: &Action,
    setup: &Setup,
    memory: Option<&Memory>,
    hold: Option<&Hold>,
    supply: Option<&Supply<'_>>,
) -> io::Result<Box<dyn ChildWrapper>> {
    // An explicit check: the error of a spawn does not tell a missing folder from a missing shell.
    if !setup.cwd.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "the folder to run in does not exist"));
    }
    #[expect(clippy::disallowed_methods, reason = "this is where stages become processes")]
    let mut command = Command::new("/bin/sh");
    match memory {
        None => command.arg("-c").arg(&action.command),
        Some(memory) => command.args(memory.arguments(&action.command)),
    };
    command
        .env_clear()
        .envs(setup.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&setup.cwd)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(hold) = hold {
        // It stands in for what an outer stage holds.
        command.env(budget::VARIABLE, hold.as_variable());
    }
    if let Some(supply) = supply {
        supply.hand_down(&mut command, action);
    }
    // A session of its own is a process group of its own, and has no terminal: what asks one for a
    // password gets an error, and would be stopped for ever otherwise.
    Ok(CommandWrap::from(command).wrap(ProcessSession).spawn()?.into_inner())
}

fn spawn_error(err: &io::Error, setup: &Setup) -> String {
    format!("cannot run the command in `{}`: {err}", setup.cwd.display())
}

/// What became of the command.
enum Exit {
    Ended(Ending),
    NotStarted(String),
}

struct Ending {
    status: ExitStatus,
    leaked: bool,
    /// Why the command was told to end, if it was.
    stop: Option<Stop>,
    out_of_memory: bool,
}

/// Reads both streams until the command has ended and its output is complete.
#[expect(clippy::too_many_arguments, reason = "everything that goes on around a command")]
async fn drive(
    child: &mut dyn ChildWrapper,
    processes: &StageProcesses,
    index: usize,
    timeout: Option<Duration>,
    watched: &mut Watched,
    host: World<'_, '_>,
    orders: &mut Orders,
    crew: &Crew,
    supply: &mut Option<Supply<'_>>,
) -> Result<Ending> {
    let leader = processes.leader;
    let process_started = process::started(leader).unwrap_or_default();
    host.borrow_mut().tell(Happened::StageSpawned { pid: leader, process_started }, index)?;
    let mut stdout = child.stdout().take();
    let mut stderr = child.stderr().take();
    let mut out_buffer = vec![0; READ_BYTES];
    let mut err_buffer = vec![0; READ_BYTES];
    let mut ending = None::<ExitStatus>;
    let mut stop = None::<Stop>;
    let deadline = timeout.map(|timeout| (Instant::now() + timeout, timeout));
    // When the command is to be killed, and when its output is given up.
    let mut kill_at = None::<Instant>;
    let mut exited_at = None::<Instant>;
    let mut idle_until = None::<Instant>;
    // A stage that was told to end may leave nothing behind.
    let mut all_gone = false;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let pending = stop.is_some() && !all_gone;
        if let Some(status) = ending
            && stdout.is_none()
            && stderr.is_none()
            && !pending
        {
            return Ok(Ending { status, leaked: false, stop, out_of_memory: false });
        }
        let give_up = idle_until.zip(exited_at).map(|(idle, exited)| idle.min(exited + LEAK_LIMIT));
        tokio::select! {
            read = read_some(&mut stdout, &mut out_buffer) => {
                idle_until = idle_until.map(|_| Instant::now() + LEAK_IDLE);
                let bytes = &out_buffer[..read.unwrap_or(0)];
                if !watched.read(Stream::Stdout, bytes, &mut **host.borrow_mut())? {
                    stdout = None;
                }
            }
            read = read_some(&mut stderr, &mut err_buffer) => {
                idle_until = idle_until.map(|_| Instant::now() + LEAK_IDLE);
                let bytes = &err_buffer[..read.unwrap_or(0)];
                if !watched.read(Stream::Stderr, bytes, &mut **host.borrow_mut())? {
                    stderr = None;
                }
            }
            status = child.wait(), if ending.is_none() => {
                ending = Some(status?);
                exited_at = Some(Instant::now());
                idle_until = Some(Instant::now() + LEAK_IDLE);
                if let Some(stop) = &stop {
                    // What was started behind our back is asked too, now that nobody else can ask it.
                    process::signal_strays(processes, stop.signal());
                }
            }
            () = sleep_until(give_up), if !pending => {
                let status = ending.expect("the grace begins with the end");
                return Ok(Ending { status, leaked: true, stop, out_of_memory: false });
            }
            order = next_order(orders, deadline.filter(|_| stop.is_none() && ending.is_none())) => {
                // The failure of another stage does not make one a failure that has ended before.
                if ending.is_none() || order.interrupted_by().is_some() {
                    // Only the group: a run within this one forwards the signal to its own stages.
                    process::signal_group(leader, order.signal());
                    if ending.is_some() {
                        process::signal_strays(processes, order.signal());
                    }
                    // Asked twice: no more patience.
                    let patience = if order.at_once { Duration::ZERO } else { GRACE };
                    let latest = Instant::now() + patience;
                    kill_at = Some(kill_at.map_or(latest, |at| at.min(latest)));
                    crew.stopping(processes);
                    stop.get_or_insert(order);
                }
            }
            () = sleep_until(supply.as_ref().and_then(Supply::due)), if ending.is_none() => {
                if let Some(supply) = supply {
                    supply.look();
                }
            }
            _ = look.tick(), if pending && ending.is_some() => {
                all_gone = !crew.is_anyone_left(processes);
                idle_until = Some(Instant::now() + Duration::from_millis(500));
            }
            () = sleep_until(kill_at), if !all_gone => {
                crew.kill(processes);
                kill_at = Some(Instant::now() + Duration::from_millis(100));
            }
        }
    }
}

/// Waits for an order from elsewhere, or for the time to be over.
async fn next_order(orders: &mut Orders, deadline: Option<(Instant, Duration)>) -> Stop {
    tokio::select! {
        order = stop::next(orders) => order,
        () = sleep_until(deadline.map(|(at, _)| at)) => {
            Stop::overdue(deadline.map(|(_, after)| after).unwrap_or_default())
        },
    }
}

/// Reads once from a stream that may be over; for ever if it is.
async fn read_some(stream: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> io::Result<usize> {
    match stream {
        Some(stream) => stream.read(buffer).await,
        None => std::future::pending().await,
    }
}

/// What a command prints, on its way from the pipe to the logs.
struct Watched {
    correlation_id: String,
    out: Channel,
    err: Channel,
    told: Told,
}

/// One stream.
struct Channel {
    masker: Masker,
    stitcher: Utf8Stitcher,
    tail: Tail,
    ends: HeadTail,
    /// Bytes read since the last event.
    unreported: u64,
    total: u64,
    masked: Vec<u8>,
    closed: bool,
}

/// The events of both streams, numbered as one.
struct Told {
    index: usize,
    lines: Lines,
    sequence: u64,
    emit_streams: bool,
    buffer: Vec<u8>,
}

impl Channel {
    fn new(masker: Masker) -> Self {
        Self {
            masker,
            stitcher: Utf8Stitcher::new(),
            tail: Tail::default(),
            ends: HeadTail::new(ERROR_BYTES),
            unreported: 0,
            total: 0,
            masked: Vec::with_capacity(READ_BYTES + 4096),
            closed: false,
        }
    }
}

impl Watched {
    fn new(index: usize, attempt: u32, host: &dyn Host, emit_streams: bool) -> Self {
        let correlation_id = new_id();
        let lines = Lines::new(index, correlation_id.clone(), attempt);
        Self {
            correlation_id,
            out: Channel::new(host.masker()),
            err: Channel::new(host.masker()),
            told: Told { index, lines, sequence: 0, emit_streams, buffer: Vec::new() },
        }
    }

    /// Takes one read. Returns whether the stream goes on: an empty read ends it.
    fn read(&mut self, stream: Stream, bytes: &[u8], host: &mut dyn Host) -> Result<bool> {
        let channel = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        if channel.closed {
            return Ok(false);
        }
        let Channel { masker, stitcher, tail, ends, unreported, total, masked, closed } = channel;
        *closed = bytes.is_empty();
        *unreported += bytes.len() as u64;
        *total += bytes.len() as u64;
        masked.clear();
        match *closed {
            true => masker.finish(masked),
            false => masker.push(bytes, masked),
        };
        tail.push(masked);
        ends.push(masked);
        self.told.tell(stream, stitcher.push(masked), unreported, host)?;
        if *closed && let Some(chunk) = stitcher.finish() {
            self.told.tell(stream, chunk, unreported, host)?;
        }
        Ok(!*closed)
    }
}

impl Told {
    /// Tells one piece of output as one event. `unreported` is how many bytes were read for it.
    fn tell(
        &mut self,
        stream: Stream,
        chunk: Chunk<'_>,
        unreported: &mut u64,
        host: &mut dyn Host,
    ) -> Result<()> {
        if chunk.bytes == 0 {
            // All of it is the beginning of something: it is told with the next read.
            return Ok(());
        }
        self.sequence += 1;
        let at = host.now();
        self.buffer.clear();
        self.lines.chunk(&mut self.buffer, stream, self.sequence, std::mem::take(unreported), &chunk, at);
        if self.emit_streams {
            self.lines.stream(&mut self.buffer, stream, &chunk.text, at);
        }
        host.log(self.index, &self.buffer)?;
        host.printed(self.index, stream, &chunk.text);
        Ok(())
    }
}

/// Tells how the command ended, and what follows for the run.
#[expect(clippy::too_many_arguments, reason = "everything that is known about an attempt")]
fn finish(
    planned: &PlannedStage,
    action: &Action,
    exit: Exit,
    begun: Stamp,
    duration_ms: u64,
    mut watched: Watched,
    attempt: u32,
    host: &mut dyn Host,
) -> Result<Next> {
    let index = planned.index;
    let id = &planned.stage.id;
    // A stream that was given up still holds what it had begun to say.
    for stream in [Stream::Stdout, Stream::Stderr] {
        watched.read(stream, &[], host)?;
    }
    let (leaked, cause, out_of_memory) = match &exit {
        Exit::Ended(Ending { leaked, stop, out_of_memory, .. }) => {
            (*leaked, stop.as_ref().map(|stop| stop.cause.clone()), *out_of_memory)
        }
        Exit::NotStarted(_) => (false, None, false),
    };
    let timed_out = matches!(cause, Some(Cause::Overdue { .. }));
    let cancelled = cause.is_some() && !timed_out;
    let (exit_code, signal, not_started) = match exit {
        Exit::Ended(Ending { status, .. }) => match (status.code(), status.signal()) {
            (Some(code), _) => (i64::from(code), None, None),
            (None, Some(signal)) => (128, Some(process::signal_name(signal)), None),
            (None, None) => (0, None, None),
        },
        Exit::NotStarted(reason) => (-1, None, Some(host.masked(&reason))),
    };
    if not_started.is_none() {
        let mut lines = Vec::new();
        watched.told.lines.end(&mut lines, exit_code, signal.as_deref(), duration_ms, host.now());
        host.log(index, &lines)?;
    }
    let failed = exit_code != 0 || cause.is_some();
    // What could not run, or was told to end, or wants more memory than it may have, will not do better.
    let hopeless = cancelled || out_of_memory || not_started.is_some() || matches!(exit_code, 126 | 127);
    let again = action.retries.as_ref().filter(|retries| {
        failed && !hopeless && attempt <= retries.max && may_pass(retries, exit_code, &watched)
    });
    let status = match (failed, action.allow_failure && !cancelled && again.is_none()) {
        (false, _) => StageStatus::Succeeded,
        (true, true) => StageStatus::Skipped,
        (true, false) => StageStatus::Failed,
    };
    let computed = summary(
        &watched,
        exit_code,
        signal.as_deref(),
        not_started.as_deref(),
        cause.as_ref(),
        out_of_memory,
    );
    let summary = match &action.summary_hint {
        Some(hint) if cause.is_none() && again.is_none() => host.masked(hint),
        _ => computed,
    };
    let error_file = match status {
        StageStatus::Failed => {
            let note = error_note(
                planned,
                action,
                &watched,
                exit_code,
                signal.as_deref(),
                not_started.as_deref(),
                &Circumstances { cause: cause.as_ref(), attempt, out_of_memory },
                host,
            );
            Some(host.keep_error(index, &note, again.map(|_| attempt))?)
        }
        _ => None,
    };
    let title = host.masked(&planned.stage.title);
    let note = match (status, &not_started, &cause, &signal) {
        _ if again.is_some() => None,
        (StageStatus::Failed, Some(reason), ..) => {
            Some(format!("Stage '{title}' could not be run: {reason}."))
        }
        (StageStatus::Failed, None, Some(cause), _) if timed_out => {
            Some(format!("Stage '{title}' timed out {cause}."))
        }
        (StageStatus::Failed, None, Some(cause), _) => {
            Some(format!("Stage '{title}' was cancelled {cause}."))
        }
        (StageStatus::Failed, ..) if out_of_memory => {
            Some(format!("Stage '{title}' wanted more memory than its limit."))
        }
        (StageStatus::Failed, None, None, Some(signal)) => {
            Some(format!("Stage '{title}' was ended by {signal}."))
        }
        (StageStatus::Failed, ..) => Some(format!("Stage '{title}' failed with exit code {exit_code}.")),
        (StageStatus::Succeeded, ..) if attempt > 1 => {
            Some(format!("Stage '{title}' is flaky: it passed on attempt {attempt}."))
        }
        _ if leaked => Some(format!(
            "Stage '{title}' left background processes running: what they do is in no evidence."
        )),
        _ => None,
    };
    let handle_id = new_id();
    let frames = watched.told.sequence + 2;
    let (decisions, redacted) =
        decisions(&watched, host.mask_mode(), &handle_id, id.as_str(), frames, host.now());
    let end = StageEnd {
        status,
        exit_code: not_started.is_none().then_some(exit_code),
        signal,
        summary: Some(summary),
        error_file,
        note,
        handle: Some(Handle {
            handle_id,
            correlation_id: watched.correlation_id.clone(),
            stage_id: Some(id.to_string()),
            pipeline_id: host.pipeline_id().to_owned(),
            status: "closed".to_owned(),
            frame_count: frames,
            latest_sequence: frames,
            created_at: begun,
            metadata: Some(json!({"run_id": host.run_id()})),
        }),
        decisions,
        frames: PrivacyTotals {
            total_frames: frames,
            redacted_frames: redacted,
            blocked_frames: 0,
            allowed_frames: frames - redacted,
        },
        output_bytes: watched.out.total + watched.err.total,
        leaked,
        timed_out,
        stopped: cancelled,
        out_of_memory,
    };
    if let Some(retries) = again {
        let pause = retries.pause(attempt, random_fraction());
        let pause_ms = pause.as_millis() as u64;
        host.tell(Happened::StageRetried { attempt, pause_ms, end: Box::new(end) }, index)?;
        return Ok(Next::Again(pause));
    }
    host.tell(Happened::StageFinished(Box::new(end)), index)?;
    Ok(Next::Ended(match status {
        StageStatus::Failed if cancelled => Ended::Stopped,
        StageStatus::Failed => {
            let word = match not_started {
                Some(_) => "error",
                None if timed_out => "timed-out",
                None => "failed",
            };
            Ended::Failed { detail: format!("stage:{id}:{word}") }
        }
        _ => Ended::Fine,
    }))
}

/// Whether a failure is one that may pass by itself.
fn may_pass(retries: &Retries, exit_code: i64, watched: &Watched) -> bool {
    let Some(transient) = &retries.transient else { return true };
    let printed = || [watched.err.tail.text(), watched.out.tail.text()];
    transient.exit_codes.iter().any(|code| i64::from(*code) == exit_code)
        || (!transient.patterns.is_empty()
            && regex::RegexSet::new(&transient.patterns)
                .is_ok_and(|patterns| printed().iter().any(|text| patterns.is_match(text))))
}

/// What a failure note says besides how the command ended.
struct Circumstances<'a> {
    cause: Option<&'a Cause>,
    attempt: u32,
    out_of_memory: bool,
}

fn summary(
    watched: &Watched,
    exit_code: i64,
    signal: Option<&str>,
    not_started: Option<&str>,
    cause: Option<&Cause>,
    out_of_memory: bool,
) -> String {
    let quote = |channel: &Channel, quote| summary_excerpt(&channel.tail.text(), SUMMARY_UNITS, quote);
    let cause = match (not_started, cause, signal) {
        (Some(reason), ..) => return reason.to_owned(),
        (None, Some(cause @ Cause::Overdue { .. }), _) => format!("Timed out {cause}"),
        (None, Some(cause), _) => format!("Cancelled {cause}"),
        (None, None, _) if out_of_memory => "Ran out of its memory limit".to_owned(),
        (None, None, Some(signal)) => format!("Terminated with signal {signal}"),
        (None, None, None) if exit_code != 0 => format!("Exited with code {exit_code}"),
        _ => {
            return [quote(&watched.out, Quote::First), quote(&watched.err, Quote::First)]
                .into_iter()
                .find(|text| !text.is_empty())
                .unwrap_or_else(|| "Command completed with code 0".to_owned());
        }
    };
    // Many tools name the cause on stdout.
    let said = [quote(&watched.err, Quote::Last), quote(&watched.out, Quote::Last)];
    match said.into_iter().find(|text| !text.is_empty()) {
        Some(said) => format!("{cause} — {said}"),
        None => cause,
    }
}

/// The note on a failure (`contract-core.md` §7.4).
#[expect(clippy::too_many_arguments, reason = "everything that is known about a failure")]
fn error_note(
    planned: &PlannedStage,
    action: &Action,
    watched: &Watched,
    exit_code: i64,
    signal: Option<&str>,
    not_started: Option<&str>,
    circumstances: &Circumstances<'_>,
    host: &dyn Host,
) -> Value {
    let mut details = Map::new();
    let Circumstances { cause, attempt, out_of_memory } = circumstances;
    if action.retries.is_some() {
        details.insert("attempt".into(), json!(attempt));
    }
    match cause {
        None => {}
        Some(Cause::Overdue { after }) => {
            details.insert("timed_out_after_seconds".into(), json!(after.as_secs_f64()));
        }
        Some(cause) => {
            details.insert("cancelled".into(), json!(cause.to_string()));
        }
    }
    if *out_of_memory {
        details.insert("memory_limit".into(), json!(action.memory_limit));
    }
    let reason = match not_started {
        Some(message) => {
            details.insert("message".into(), json!(message));
            details.insert("command".into(), json!(host.masked(&action.command)));
            "command-execution-error"
        }
        None => {
            details.insert("exit_code".into(), json!(exit_code));
            details.insert("sandbox_state".into(), json!("escalated"));
            details.insert("stderr".into(), json!(watched.err.ends.text().trim()));
            if let Some(signal) = signal {
                details.insert("signal".into(), json!(signal));
            }
            // Tools that report their failures on stdout leave stderr empty.
            if watched.err.total == 0 && watched.out.total > 0 {
                details.insert("stdout".into(), json!(watched.out.ends.text().trim()));
            }
            if watched.out.tail.truncated() {
                details.insert("stdout_truncated".into(), json!(true));
            }
            if watched.err.ends.truncated() {
                details.insert("stderr_truncated".into(), json!(true));
            }
            "command-failed"
        }
    };
    json!({
        "command_index": planned.index,
        "command_id": planned.stage.id,
        "command": host.masked(&action.command),
        "reason": reason,
        "details": details,
        "created_at": host.now(),
    })
}

/// One decision for all that was let through, and one per rule that matched: what a stage prints
/// does not make the manifest grow.
fn decisions(
    watched: &Watched,
    mode: MaskMode,
    handle: &str,
    stage: &str,
    frames: u64,
    at: Stamp,
) -> (Vec<PrivacyDecision>, u64) {
    let decision = |action: &str, rule: Option<&str>, reason: Option<String>| PrivacyDecision {
        handle_id: handle.to_owned(),
        sequence: frames,
        action: action.to_owned(),
        rule: rule.map(str::to_owned),
        reason,
        timestamp: at,
        stage_id: Some(stage.to_owned()),
    };
    let mut decisions = vec![decision("allow", None, None)];
    let mut redacted = 0;
    for channel in [&watched.out, &watched.err] {
        for redaction in channel.masker.redactions() {
            decisions.push(match mode {
                MaskMode::Shadow => decision("allow", Some(redaction.rule), Some("shadow-mode".to_owned())),
                MaskMode::Enforce => {
                    redacted += redaction.count;
                    decision("redact", Some(redaction.rule), Some(format!("{} masked", redaction.count)))
                }
            });
        }
    }
    (decisions, redacted.min(frames))
}
