//! What may be believed about a tree: the key of a verdict, the record of a run, and what many
//! records together prove.
//!
//! Values only: which tree it is, what tools say and where records lie is found by others.

pub mod difference;
pub mod note;
pub mod record;
pub mod standing;
pub mod statement;
mod strict;

pub use record::{Record, Result, StageRecord};
pub use standing::{Reason, Rules, Standing};

pub use crate::run::key::{Definition, Fingerprint, Key, Subject};
