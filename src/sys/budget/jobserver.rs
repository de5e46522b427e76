//! What a stage holds, as the jobserver of GNU make and cargo hands it out: a pipe with a byte for each job beside the
//! first. So what a stage does at the same time by itself counts as well.
//!
//! Nobody can see whether somebody waits for a byte. So one is offered from time to time, for a token that is free
//! anyway; if nobody takes it, or somebody else waits for tokens, it is taken back. What is in the pipe or in use is
//! backed by tokens that this process holds: whatever becomes of the stage, they come back with its end.
//!
//! The crate `jobserver` makes such a pipe too, but decides itself which numbers it has, writes over all flags of make,
//! and gives out a fixed number of bytes.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use super::asking::{Locked, take};
use super::{Budget, Hold, hold};
use crate::pipeline::budget::{FIFO, Jobserver as Style};
use crate::sys::fs::{At, PathError};
use crate::sys::process;

/// The numbers of the pipe begin here: scripts have their own uses for the first ones, for 9 and for 200.
const FIRST_NUMBER: RawFd = 143;

/// How long a stage runs before anything is offered: most are over by then.
pub const BEGIN: Duration = Duration::from_millis(100);
/// How long an offer stands at least.
const OFFER: Duration = Duration::from_millis(25);
/// How many such times it stands in a stage that has taken one before.
const PATIENT: u32 = 40;
/// How long it takes to the next offer, if nobody wanted the last; at first, and at most.
const REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(2);
/// How long between looks while all that there is is in use, or while somebody else waits for that.
const BUSY: Duration = Duration::from_millis(50);
const HURRY: Duration = Duration::from_millis(10);

/// The jobserver of one stage.
#[derive(Debug)]
pub struct Jobserver {
    read: OwnedFd,
    write: OwnedFd,
    style: Style,
    most: u16,
    /// The same pipe for us, once we need it: an empty one makes nobody wait.
    own: Option<File>,
    /// How many bytes there are for what the stage holds itself.
    first: usize,
    /// The tokens beyond those that the stage holds.
    more: Locked,
    /// Whether the stage has ever taken a byte.
    is_used: bool,
    /// For how many looks something has lain in the pipe.
    idle: u32,
    rest: Duration,
    /// Where somebody waits for the next byte that the stage gives back.
    recalled: Option<Receiver<()>>,
}

impl Jobserver {
    /// Makes a jobserver for a stage.
    ///
    /// # Errors
    /// If the kernel gives no pipe with numbers out of the way.
    pub fn new(budget: &Budget, hold: &Hold, style: Style) -> io::Result<Self> {
        let (read, write) = io::pipe()?;
        let read = rustix::io::fcntl_dupfd_cloexec(&read, FIRST_NUMBER)?;
        let write = rustix::io::fcntl_dupfd_cloexec(&write, FIRST_NUMBER)?;
        // The first job needs no byte.
        let first = hold.tokens().saturating_sub(1);
        let mut server = Self {
            read,
            write,
            style,
            most: budget.sees,
            own: None,
            first,
            more: Vec::new(),
            is_used: style == Style::Fifo,
            idle: 0,
            rest: REST,
            recalled: None,
        };
        server.offer(first)?;
        if style == Style::Fifo {
            // Ninja waits for no byte: it looks once for each job that it could begin, first of all at its start.
            server.more = budget.spare(hold, usize::from(budget.sees)).unwrap_or_default();
            server.offer(server.more.len())?;
        }
        Ok(server)
    }

    /// Returns the numbers that the stage has to inherit.
    pub fn numbers(&self) -> Option<[RawFd; 2]> {
        (self.style != Style::Fifo).then(|| [self.read.as_raw_fd(), self.write.as_raw_fd()])
    }

    /// Returns what the stage is told, which is told `flags` of make without us.
    pub fn variables(&self, flags: &str) -> [(&'static str, OsString); 2] {
        let (read, write) = (self.read.as_raw_fd(), self.write.as_raw_fd());
        let place = match self.style {
            // Of an open file there is a path, as long as we live.
            Style::Fifo => format!("{FIFO}:/proc/{}/fd/{read}", std::process::id()),
            _ => format!("{read},{write}"),
        };
        let auth = format!("-j{} --jobserver-auth={place}", self.most);
        let cargo = format!("{auth} --jobserver-fds={place}");
        [("MAKEFLAGS", with(flags, &auth).into()), ("CARGO_MAKEFLAGS", cargo.into())]
    }

    /// Looks after the pipe. Returns when to look again.
    ///
    /// # Errors
    /// If there is nothing to be had from the budget any more.
    pub fn look(&mut self, budget: &Budget, hold: &Hold) -> Result<Duration, PathError> {
        let hurry = !self.more.is_empty() && budget.is_wanted()?;
        self.take_what_came(hurry);
        let mut lying = self.lying();
        // A stage that gives back more than it took does not get more by that.
        while lying > self.first + self.more.len() && self.take_back() {
            lying -= 1;
        }
        if hurry {
            while !self.more.is_empty() && self.take_back() {
                self.more.pop();
            }
            if self.more.is_empty() {
                return Ok(self.rest());
            }
            self.recall();
            return Ok(HURRY);
        }
        if lying > 0 {
            self.idle += 1;
            let patience = if self.is_used { PATIENT } else { 1 };
            if !self.more.is_empty() && self.idle < patience {
                return Ok(OFFER);
            }
            while !self.more.is_empty() && self.take_back() {
                self.more.pop();
            }
            return Ok(self.rest());
        }
        self.idle = 0;
        if !self.more.is_empty() {
            self.is_used = true;
            self.rest = REST;
        }
        // Whoever takes all gets twice as many.
        let taken = budget.spare(hold, self.more.len().max(1))?;
        if taken.is_empty() {
            return Ok(if self.more.is_empty() { self.rest() } else { BUSY });
        }
        let count = taken.len();
        self.more.extend(taken);
        match self.offer(count) {
            Ok(()) => Ok(OFFER),
            Err(_) => {
                self.more.truncate(self.more.len() - count);
                Ok(LONGEST_REST)
            }
        }
    }

    /// Returns how long to leave the stage alone: the longer, the less it was interested.
    fn rest(&mut self) -> Duration {
        self.idle = 0;
        let rest = self.rest;
        self.rest = if self.is_used { REST } else { (rest * 2).min(LONGEST_REST) };
        rest
    }

    fn offer(&self, count: usize) -> io::Result<()> {
        match count {
            0 => Ok(()),
            // Never more bytes than tokens, so that it cannot be full.
            _ => File::from(self.write.try_clone()?).write_all(&vec![b'+'; count]),
        }
    }

    /// Returns how many bytes nobody has taken.
    fn lying(&self) -> usize {
        rustix::io::ioctl_fionread(&self.read).map_or(0, |count| count as usize)
    }

    /// Takes a byte back. Returns whether there was one.
    fn take_back(&mut self) -> bool {
        if self.own.is_none() {
            let path = format!("/proc/self/fd/{}", self.read.as_raw_fd());
            let unblocked = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            self.own = OpenOptions::new().read(true).custom_flags(unblocked).open(path).ok();
        }
        self.own.as_mut().is_some_and(|own| matches!(own.read(&mut [0]), Ok(1)))
    }

    /// Waits for the next byte beside the stage: what takes a byte as soon as it has given one back would be faster than
    /// any look.
    fn recall(&mut self) {
        if self.recalled.is_some() {
            return;
        }
        let Ok(pipe) = self.read.try_clone() else { return };
        let (tell, told) = mpsc::channel();
        let wait = move || {
            if let Ok(1) = File::from(pipe).read(&mut [0]) {
                let _ = tell.send(());
            }
        };
        if std::thread::Builder::new().name("recall".to_owned()).spawn(wait).is_ok() {
            self.recalled = Some(told);
        }
    }

    /// Takes the byte that was waited for, or gives it back if nobody else wants its token any more.
    fn take_what_came(&mut self, hurry: bool) {
        let Some(recalled) = &self.recalled else { return };
        match recalled.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => {}
            Ok(()) if hurry => {
                self.more.pop();
            }
            Ok(()) => {
                let _ = self.offer(1);
            }
        }
        self.recalled = None;
    }
}

impl Drop for Jobserver {
    fn drop(&mut self) {
        if self.recalled.is_some() {
            // So that nobody waits any more.
            let _ = self.offer(1);
        }
    }
}

impl Budget {
    /// Whether somebody waits for tokens that they could use.
    fn is_wanted(&self) -> Result<bool, PathError> {
        let changes = self.changes()?;
        if !changes.somebody_may_wait()? {
            return Ok(false);
        }
        // Somebody else is about to see to it.
        let Some(still) = changes.take(Duration::ZERO)? else { return Ok(true) };
        self.somebody_wants(&still)
    }

    /// Takes more tokens for a stage that has begun, as far as they are free and nobody waits.
    fn spare(&self, hold: &Hold, most: usize) -> Result<Locked, PathError> {
        let changes = self.changes()?;
        let Some(still) = changes.take(Duration::ZERO)? else { return Ok(Vec::new()) };
        let is_wanted = changes.somebody_may_wait()? && self.somebody_wants(&still)?;
        if is_wanted || self.brake(hold.record(), &Locked::new())?.is_some() {
            return Ok(Vec::new());
        }
        let taken = take(&self.folder, (1..=self.sees).rev().map(hold::token), most)?;
        for (name, file) in &taken {
            hold.write_down(file).at(&self.folder.join(name))?;
        }
        Ok(taken)
    }
}

/// Whether flags of make name a jobserver of somebody else that is there, so that stages are to use that one.
pub fn is_handed_down(flags: &str) -> bool {
    let named = |word: &str| {
        let place = word.strip_prefix("--jobserver-auth=").or_else(|| word.strip_prefix("--jobserver-fds="));
        place.map(str::to_owned)
    };
    // The last word counts.
    let Some(place) = flags.split_ascii_whitespace().rev().find_map(named) else { return false };
    if let Some(path) = place.strip_prefix("fifo:") {
        return std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
    }
    let numbers = place.split_once(',').map(|(read, write)| [read, write].map(str::parse::<RawFd>));
    // Make does not let all of its commands inherit the pipe that it tells of.
    numbers
        .is_some_and(|numbers| numbers.into_iter().all(|number| number.is_ok_and(process::is_inherited_pipe)))
}

/// Returns the flags of make with another jobserver.
fn with(flags: &str, auth: &str) -> String {
    let (options, variables) = match flags.split_once(" -- ") {
        Some((options, variables)) => (options, format!(" -- {variables}")),
        None => (flags, String::new()),
    };
    let is_about_jobs = |word: &&str| {
        let number = word.strip_prefix("-j").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        word.starts_with("--jobserver-") || number
    };
    // Letters without a dash come first, or a blank in their place.
    let letters = if options.starts_with([' ', '-']) || options.is_empty() { "" } else { options };
    let letters = letters.split(' ').next().unwrap_or_default();
    let rest = options.strip_prefix(letters).unwrap_or(options).split_ascii_whitespace();
    let rest: String = rest.filter(|word| !is_about_jobs(word)).map(|word| format!(" {word}")).collect();
    format!("{letters}{rest} {auth}{variables}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{budget, granted, of_another, waits, wish};
    use super::*;

    #[test]
    fn flags_of_make_keep_what_is_not_about_jobs() {
        for (before, after) in [
            ("", " AUTH"),
            ("ks", "ks AUTH"),
            (" -j4 --jobserver-auth=3,4", " AUTH"),
            ("k -j --jobserver-auth=fifo:/tmp/x --no-print-directory", "k --no-print-directory AUTH"),
            ("--warn-undefined-variables", " --warn-undefined-variables AUTH"),
            ("w -- CC=gcc -j4", "w AUTH -- CC=gcc -j4"),
        ] {
            assert_eq!(with(before, "AUTH"), after, "{before}");
        }
    }

    #[test]
    fn a_jobserver_of_somebody_else_counts_only_if_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(!is_handed_down("k -j4") && !is_handed_down(" -j --jobserver-auth=-2,-2"));
        let flags = format!(" -j4 --jobserver-auth=fifo:{}", fifo.display());
        assert!(!is_handed_down(&flags));
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(is_handed_down(&flags));
        // Ours would not be inherited.
        let (read, write) = io::pipe().unwrap();
        let flags = format!(" --jobserver-auth={},{}", read.as_raw_fd(), write.as_raw_fd());
        assert!(!is_handed_down(&flags));
        process::let_inherit(read.as_raw_fd()).unwrap();
        process::let_inherit(write.as_raw_fd()).unwrap();
        assert!(is_handed_down(&flags));
        let file = File::open("/dev/null").unwrap();
        process::let_inherit(file.as_raw_fd()).unwrap();
        assert!(!is_handed_down(&format!("{flags} --jobserver-fds={0},{0}", file.as_raw_fd())));
    }

    /// A stage that takes a byte if one lies there.
    fn takes(server: &Jobserver) -> bool {
        server.lying() > 0 && matches!(File::from(server.read.try_clone().unwrap()).read(&mut [0]), Ok(1))
    }

    fn gives(server: &Jobserver) {
        server.offer(1).unwrap();
    }

    fn held(folder: &std::path::Path) -> usize {
        super::super::look(folder).unwrap().holders.iter().map(|holder| holder.tokens.len()).sum()
    }

    #[test]
    fn what_is_offered_and_taken_is_held_and_comes_back_with_the_stage() {
        let dir = tempfile::tempdir().unwrap();
        let budget = budget(dir.path(), 3);
        let hold = granted(&mut budget.ask(wish("a", 1, &[])));
        let mut server = Jobserver::new(&budget, &hold, Style::Pipe).unwrap();
        assert!(!takes(&server), "the first job has no byte");
        // Nobody wants it, so it is taken back, and offered again after a while that becomes longer.
        assert_eq!(server.look(&budget, &hold).unwrap(), OFFER);
        assert_eq!((server.lying(), held(dir.path())), (1, 2));
        assert_eq!(server.look(&budget, &hold).unwrap(), REST);
        assert_eq!((server.lying(), held(dir.path())), (0, 1));
        server.look(&budget, &hold).unwrap();
        assert_eq!(server.look(&budget, &hold).unwrap(), REST * 2);
        server.look(&budget, &hold).unwrap();
        assert!(takes(&server));
        server.look(&budget, &hold).unwrap();
        assert!(takes(&server));
        assert_eq!(server.look(&budget, &hold).unwrap(), BUSY);
        assert_eq!((server.lying(), held(dir.path())), (0, 3), "there is no more");
        // What is given back stays for the next job, as long as nobody else wants it.
        gives(&server);
        assert_eq!(server.look(&budget, &hold).unwrap(), OFFER);
        assert_eq!((server.lying(), held(dir.path())), (1, 3));
        for _ in 0..3 {
            gives(&server);
        }
        server.look(&budget, &hold).unwrap();
        assert_eq!((server.lying(), held(dir.path())), (2, 3), "no more than there were");
        assert!(takes(&server));
        drop(server);
        assert_eq!(held(dir.path()), 1, "also those that were not given back");
    }

    #[test]
    fn a_stage_that_wants_a_path_is_offered_at_once_what_nobody_else_has() {
        let dir = tempfile::tempdir().unwrap();
        let budget = budget(dir.path(), 3);
        let hold = granted(&mut budget.ask(wish("a", 1, &[])));
        let mut server = Jobserver::new(&budget, &hold, Style::Fifo).unwrap();
        assert_eq!((server.lying(), held(dir.path())), (2, 3));
        let mut other = budget.ask(of_another("b"));
        waits(&mut other);
        server.look(&budget, &hold).unwrap();
        assert_eq!(server.lying(), 0);
        granted(&mut other);
    }

    #[test]
    fn a_stage_of_weight_has_its_tokens_from_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let budget = budget(dir.path(), 3);
        let hold = granted(&mut budget.ask(wish("a", 3, &[])));
        let mut server = Jobserver::new(&budget, &hold, Style::Pipe).unwrap();
        assert_eq!(server.lying(), 2);
        server.look(&budget, &hold).unwrap();
        assert_eq!((server.lying(), held(dir.path())), (2, 3));
    }

    #[test]
    fn what_others_wait_for_is_taken_back_as_soon_as_the_stage_gives_it() {
        let dir = tempfile::tempdir().unwrap();
        let budget = budget(dir.path(), 2);
        let hold = granted(&mut budget.ask(wish("a", 1, &[])));
        let mut server = Jobserver::new(&budget, &hold, Style::Pipe).unwrap();
        server.look(&budget, &hold).unwrap();
        let mut other = budget.ask(of_another("b"));
        waits(&mut other);
        // It only lies there.
        server.look(&budget, &hold).unwrap();
        let other = granted(&mut other);
        drop(other);
        super::super::tests::until("an offer", || {
            server.look(&budget, &hold).unwrap();
            takes(&server).then_some(())
        });
        let mut other = budget.ask(of_another("c"));
        waits(&mut other);
        assert_eq!(server.look(&budget, &hold).unwrap(), HURRY);
        waits(&mut other);
        gives(&server);
        super::super::tests::until("it is taken back", || {
            server.look(&budget, &hold).unwrap();
            server.more.is_empty().then_some(())
        });
        assert!(!takes(&server));
        granted(&mut other);
    }

    #[test]
    fn a_stage_is_told_where_its_tokens_are() {
        let dir = tempfile::tempdir().unwrap();
        let budget = budget(dir.path(), 2);
        let hold = granted(&mut budget.ask(wish("a", 2, &[])));
        let told = |style| {
            let server = Jobserver::new(&budget, &hold, style).unwrap();
            let [(_, make), (_, cargo)] = server.variables("k -j9");
            (server, make.into_string().unwrap(), cargo.into_string().unwrap())
        };
        let (server, make, cargo) = told(Style::Pipe);
        let [read, write] = server.numbers().unwrap();
        assert!(read >= FIRST_NUMBER && write >= FIRST_NUMBER);
        assert_eq!(make, format!("k -j2 --jobserver-auth={read},{write}"));
        assert_eq!(cargo, format!("-j2 --jobserver-auth={read},{write} --jobserver-fds={read},{write}"));
        drop(server);
        let (server, make, _) = told(Style::Fifo);
        assert_eq!(server.numbers(), None);
        let path = make.split_once("fifo:").unwrap().1.to_owned();
        let mut opened = OpenOptions::new().read(true).write(true).open(path).unwrap();
        assert_eq!(opened.read(&mut [0; 9]).unwrap(), 1, "the byte of the second token");
        drop(server);
    }
}
