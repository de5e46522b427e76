//! The look of logs: on a terminal harmless, elsewhere as it was printed.

use std::io::{self, Write};

use base64::Engine;

use crate::ops::logs::Printed;
use crate::output::untrusted::untrusted;

/// Writes a piece of output.
pub fn printed(out: &mut dyn Write, printed: &Printed, terminal: bool) -> io::Result<()> {
    if terminal {
        return write!(out, "{}", untrusted(&printed.data).with_lines().with_color());
    }
    let raw = printed
        .data_base64
        .as_ref()
        .and_then(|raw| base64::engine::general_purpose::STANDARD.decode(raw).ok());
    out.write_all(raw.as_deref().unwrap_or(printed.data.as_bytes()))
}
