//! How many threads can run at the same time here.

use std::num::NonZeroU16;
use std::sync::OnceLock;
use std::thread;

/// More threads than this wait for each other's files.
const ENOUGH: usize = 8;

/// Returns how many threads are worth it for work on many files: the processors that this process may use, and not
/// more than eight. The machine is asked once: for the limits of control groups, several files are read.
pub fn for_files() -> usize {
    all().min(ENOUGH)
}

/// Returns how many processors this process may use.
pub fn all() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, usize::from))
}

/// Returns how many of so many things are done at the same time: as many as there are processors.
pub fn at_most(count: usize) -> NonZeroU16 {
    u16::try_from(all().min(count)).ok().and_then(NonZeroU16::new).unwrap_or(NonZeroU16::MIN)
}

/// Starts a thread for work on many files. A scheduler that packs what is new beside its maker would let it wait
/// there for milliseconds, and have both take turns then: it goes to another processor at once.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, T> {
    let taken = Taken::here();
    let helper = scope.spawn(move || {
        taken.leave();
        work()
    });
    // It has to run here once to leave.
    thread::yield_now();
    helper
}

/// Does a job on many things, on so many of them in each thread. What comes of it is in their order.
pub fn shares<T: Sync, R: Send>(items: &[T], share: usize, job: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let job = &job;
        let mut shares = items.chunks(share.max(1));
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|part| spawn(scope, move || job(part))).collect();
        let mut done = vec![job(first)];
        done.extend(others.into_iter().map(|it| it.join().expect("a share of work does not panic")));
        done
    })
}

/// The processor that a thread runs on when it starts another one.
#[derive(Clone, Copy, Debug)]
struct Taken {
    #[cfg(target_os = "linux")]
    core: Option<usize>,
}

impl Taken {
    /// Returns where this thread runs.
    fn here() -> Self {
        Self {
            // SAFETY: It takes nothing and changes nothing.
            #[cfg(target_os = "linux")]
            core: usize::try_from(unsafe { libc::sched_getcpu() }).ok(),
        }
    }

    /// Takes this thread to another processor, if it may use one, and lets it go from there wherever it likes.
    fn leave(self) {
        #[cfg(target_os = "linux")]
        if let Some(core) = self.core.filter(|core| *core < libc::CPU_SETSIZE as usize) {
            let size = size_of::<libc::cpu_set_t>();
            // SAFETY: Both sets are as large as the kernel is told, zero is a valid one, and `core` is within.
            unsafe {
                let mut all: libc::cpu_set_t = std::mem::zeroed();
                if libc::sched_getaffinity(0, size, &raw mut all) != 0 {
                    return;
                }
                let mut others = all;
                libc::CPU_CLR(core, &mut others);
                if libc::CPU_COUNT(&others) > 0 && libc::sched_setaffinity(0, size, &raw const others) == 0 {
                    libc::sched_setaffinity(0, size, &raw const all);
                }
            }
        }
    }
}
