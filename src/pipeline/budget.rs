//! What a project says about the machine's budget, and what a stage takes of it.

use std::borrow::Cow;
use std::num::NonZeroU16;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::id::ResourceId;

/// The key `budget` at the top of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// How many commands of all runs may run at the same time; as many as there are cores if nothing is said.
    pub jobs: Option<NonZeroU16>,
    /// How many bytes of memory stay free: a stage that would leave less waits for others.
    pub memory_floor: Option<u64>,
    pub pressure: Pressure,
}

/// In how many percent of the last ten seconds something may have waited for the machine before a stage waits
/// for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pressure {
    pub cpu: Option<u8>,
    pub io: Option<u8>,
    pub memory: Option<u8>,
}

/// What a command takes of the budget for as long as it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// How many tokens; one if nothing is said.
    pub weight: Option<NonZeroU16>,
    /// What nobody else may use meanwhile.
    pub resources: Vec<ResourceId>,
    /// Whether it takes nothing at all: what it waits for is computed elsewhere, or draws by itself.
    pub free: bool,
    /// How it is handed a jobserver, so that what make and cargo do at the same time counts; as a pipe if nothing is
    /// said.
    pub jobserver: Option<Jobserver>,
}

/// How a stage finds the tokens for what it does at the same time by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jobserver {
    Nothing,
    /// By the numbers of a pipe that it inherits: every GNU make since 4.2 and cargo understand that.
    Pipe,
    /// By a path: ninja understands nothing else, GNU make does since 4.4, and older ones refuse to run.
    Fifo,
}

/// The word for the last of them, where `true` and `false` stand for the others.
pub const FIFO: &str = "fifo";

impl Serialize for Jobserver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_bool(false),
            Self::Pipe => serializer.serialize_bool(true),
            Self::Fifo => serializer.serialize_str(FIFO),
        }
    }
}

impl JsonSchema for Jobserver {
    fn schema_name() -> Cow<'static, str> {
        "Jobserver".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": [true, false, FIFO]})
    }
}
