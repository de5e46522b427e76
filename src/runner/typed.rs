//! What somebody types on the terminal of a run, line by line.

use std::io::BufRead;
use std::sync::Once;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, MutexGuard};

/// The lines of stdin. One asks at a time.
pub(super) struct Typed {
    lines: Mutex<UnboundedReceiver<String>>,
    sender: UnboundedSender<String>,
    reading: Once,
}

impl Typed {
    pub(super) fn new() -> Self {
        let (sender, lines) = unbounded_channel();
        Self { lines: Mutex::new(lines), sender, reading: Once::new() }
    }

    /// Returns the lines that are typed from now on, as soon as nobody else waits for one.
    pub(super) async fn lines(&self) -> MutexGuard<'_, UnboundedReceiver<String>> {
        let mut lines = self.lines.lock().await;
        self.reading.call_once(|| {
            let sender = self.sender.clone();
            // No runtime can interrupt a read of a terminal; the end of the process does.
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines() {
                    if line.is_err() || sender.send(line.unwrap_or_default()).is_err() {
                        return;
                    }
                }
            });
        });
        // What was typed before the question is no answer to it.
        while lines.try_recv().is_ok() {}
        lines
    }
}
