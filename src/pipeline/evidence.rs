//! What a project says about its evidence: which tools and variables a verdict depends on, and how
//! long it counts.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What of a finished run goes into git notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notes {
    #[default]
    Nothing,
    /// Its record.
    Records,
    /// Its record and its manifest.
    Full,
}

/// The word for the last of them, where `true` and `false` stand for the others.
pub const FULL: &str = "full";

impl Serialize for Notes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_bool(false),
            Self::Records => serializer.serialize_bool(true),
            Self::Full => serializer.serialize_str(FULL),
        }
    }
}

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(false) => Ok(Self::Nothing),
            serde_json::Value::Bool(true) => Ok(Self::Records),
            serde_json::Value::String(word) if word == FULL => Ok(Self::Full),
            other => Err(D::Error::custom(format!("`{other}` is none of true, false and \"{FULL}\""))),
        }
    }
}

impl JsonSchema for Notes {
    fn schema_name() -> Cow<'static, str> {
        "Notes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"enum": [true, false, FULL]})
    }
}

/// The keys `fingerprint`, `fingerprintEnv` and `evidence` at the top of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Commands that print what a verdict depends on, such as `rustc -V`.
    pub tools: BTreeSet<String>,
    /// Names of variables on which a verdict depends.
    pub variables: BTreeSet<String>,
    /// What a finished run leaves in git notes.
    pub notes: Notes,
    /// Whether records are signed; as the person's commits are, if nothing is said.
    pub sign: Option<bool>,
    /// For how many days a record counts; for ever if nothing is said.
    pub max_age_days: Option<u64>,
    /// Whether records of others count if an allowed signer signed them.
    pub accept_signed: bool,
    /// The file of allowed signers, relative to the root of the repository.
    pub signers: Option<String>,
}
