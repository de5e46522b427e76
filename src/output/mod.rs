//! What stages print, as values: masked, kept as text, cut to size, made harmless for a terminal.
//!
//! ```text
//! bytes of a pipe ─► mask::Masker ─► text::Utf8Stitcher ─► json ─► log
//!                         └────────► tail::{Tail, HeadTail} ─► summaries, error files
//! text from outside ─► untrusted::untrusted ─► terminal
//! ```

mod class;
pub mod json;
pub mod mask;
mod rules;
pub mod secrets;
pub mod tail;
pub mod telltale;
pub mod text;
pub mod untrusted;

pub use mask::{MaskMode, Masker, Redaction};
pub use rules::{AUTHORIZATION, JWT, KNOWN_SECRET, PRIVATE_KEY, SENSITIVE_TOKEN, URL_CREDENTIALS};
pub use secrets::Secrets;
