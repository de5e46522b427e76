//! A record as others read it: an in-toto Statement about a tree, in a DSSE envelope of one line.
//!
//! How an envelope is signed, and whose key it was, is found by others: here are the bytes that are signed, and
//! what a line must be so that anything in it is believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::record::{self, Record, Result as StageResult};
use super::strict;
use crate::run::key::{Hash, Key, Subject};
use crate::run::status::RunStatus;

/// The kind of statement.
pub const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// What the statement says of its subjects.
pub const PREDICATE: &str = "https://in-toto.io/attestation/test-result/v0.1";

/// What an envelope holds.
pub const PAYLOAD: &str = "application/vnd.in-toto+json";

/// The field of the predicate that is ours alone.
pub const EXTENSION: &str = "git-orchestrate";

/// The version of what we put there.
pub const VERSION: u64 = 1;

/// The largest line that is read, in bytes.
pub const LONGEST: usize = 4 << 20;

/// A record, who wrote it, and what that writer had written before.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub record: Record,
    /// The writer's id, which is also the last part of the name of the writer's ref.
    pub writer: String,
    /// The digest of the payload of the writer's previous record.
    pub previous: Option<String>,
    /// `sha256:` and the digest of the manifest that went along, if one did.
    pub manifest: Option<String>,
}

/// A signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key, such as `SHA256:…`: a hint, and no proof.
    pub keyid: String,
    /// The signature as the signing program wrote it, in Base64.
    pub sig: String,
}

impl Signature {
    /// Keeps what a signing program wrote.
    pub fn of(keyid: String, written: &[u8]) -> Self {
        Self { keyid, sig: BASE64.encode(written) }
    }

    /// Returns what the signing program wrote; nothing if that cannot be read.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        BASE64.decode(&self.sig).ok()
    }
}

/// A statement, the very bytes that were signed, and the signatures.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    pub statement: Statement,
    pub payload: Vec<u8>,
    pub signatures: Vec<Signature>,
}

/// Why nothing in a line is believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("the line has {size} bytes, and no record is larger than {LONGEST}")]
    TooLarge { size: usize },
    #[error("the line is no UTF-8 text")]
    NotText,
    #[error("the line is cut off or no JSON: {said}")]
    NotJson { said: String },
    #[error("the key `{key}` stands twice, so that two readers could read two things")]
    DuplicateKey { key: String },
    #[error("it is no DSSE envelope: {said}")]
    NotAnEnvelope { said: String },
    #[error("the envelope holds `{found}` and no in-toto statement")]
    OtherPayload { found: String },
    #[error("the statement is of the kind `{found}`, which this version does not know")]
    OtherStatement { found: String },
    #[error("the statement is about something else than test results: `{found}`")]
    OtherPredicate { found: String },
    #[error("the record is of version {found}, which is newer than this program")]
    Future { found: u64 },
    #[error("the statement holds no record that can be read: {said}")]
    NoRecord { said: String },
    #[error("the record says more than this version understands")]
    Unknown,
    #[error("the subjects of the statement are not the tree and commit of its record")]
    OtherSubject,
    #[error("the result of the statement is not that of its record")]
    OtherResult,
    #[error("stage `{stage}` is about another tree than the record")]
    OtherTree { stage: String },
    #[error("the key of stage `{stage}` does not follow from what the record says about it")]
    OtherKey { stage: String },
}

impl From<strict::Flaw> for Flaw {
    fn from(flaw: strict::Flaw) -> Self {
        match flaw {
            strict::Flaw::DuplicateKey(key) => Self::DuplicateKey { key },
            strict::Flaw::Malformed(said) => Self::NotJson { said },
        }
    }
}

/// Returns the bytes that a signature is about: DSSE's pre-authentication encoding.
pub fn to_sign(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl Statement {
    /// Returns the statement as bytes, to be signed and sealed.
    pub fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(&self.document()).expect("a statement has text keys")
    }

    fn document(&self) -> Value {
        let Self { record, writer, previous, manifest } = self;
        let of = |wanted: &[StageResult]| -> Vec<&str> {
            let ids = record.stages.iter().filter(|stage| wanted.contains(&stage.result));
            ids.map(|stage| stage.id.as_str()).collect()
        };
        use StageResult::{AllowedFailure, Failed, Flaky, Overridden, Passed, Reused};
        let mut document = json!({
            "_type": STATEMENT,
            "subject": subjects(record),
            "predicateType": PREDICATE,
            "predicate": {
                "result": outcome(record),
                "configuration": [{
                    "name": record.pipeline,
                    "digest": {"sha256": record.pipeline_digest.trim_start_matches("sha256:")},
                }],
                "passedTests": of(&[Passed, Reused]),
                "warnedTests": of(&[AllowedFailure, Overridden, Flaky]),
                "failedTests": of(&[Failed]),
                EXTENSION: {
                    "version": VERSION,
                    "writer": writer,
                    "previous": previous,
                    "record": record,
                },
            },
        });
        if let Some(manifest) = manifest {
            document["predicate"][EXTENSION]["manifest"] = json!(manifest);
        }
        document
    }
}

/// Returns what the statement is about. A dirty tree is not that of any commit yet.
fn subjects(record: &Record) -> Value {
    let mut subjects = vec![json!({"name": "tree", "digest": {"gitTree": record.tree}})];
    if let Some(commit) = commit_of(record) {
        subjects.push(json!({"name": "commit", "digest": {"gitCommit": commit}}));
    }
    Value::Array(subjects)
}

/// Returns the commit that a record is about: the one that was checked out, if nothing was changed in it.
pub fn commit_of(record: &Record) -> Option<&str> {
    record.commit.as_deref().filter(|_| !record.dirty)
}

/// Returns what all of it comes to, in the words of the predicate.
fn outcome(record: &Record) -> &'static str {
    let clean = |result: StageResult| matches!(result, StageResult::Passed | StageResult::Reused);
    match record.status {
        // What is void proves nothing, however its stages ended.
        RunStatus::Succeeded if record.void.is_some() => "WARNED",
        RunStatus::Succeeded if record.stages.iter().all(|stage| clean(stage.result)) => "PASSED",
        RunStatus::Succeeded => "WARNED",
        _ => "FAILED",
    }
}

impl Envelope {
    /// Returns the envelope as one line, without its end.
    pub fn line(&self) -> String {
        json!({
            "payloadType": PAYLOAD,
            "payload": BASE64.encode(&self.payload),
            "signatures": self.signatures,
        })
        .to_string()
    }

    /// Reads a line. What it says is whole, of a version that we know and in agreement with itself; whether any
    /// signature on it is good is another question.
    pub fn parse(line: &[u8], hash: Hash) -> Result<Self, Flaw> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            #[serde(rename = "payloadType")]
            payload_type: String,
            payload: String,
            signatures: Vec<Signature>,
        }
        if line.len() > LONGEST {
            return Err(Flaw::TooLarge { size: line.len() });
        }
        let text = std::str::from_utf8(line).map_err(|_| Flaw::NotText)?;
        let no_envelope = |said: String| Flaw::NotAnEnvelope { said };
        let written: Written =
            serde_json::from_value(strict::parse(text)?).map_err(|err| no_envelope(err.to_string()))?;
        if written.payload_type != PAYLOAD {
            return Err(Flaw::OtherPayload { found: written.payload_type });
        }
        let payload = BASE64.decode(&written.payload).map_err(|err| no_envelope(err.to_string()))?;
        let statement = Statement::parse(&payload, hash)?;
        Ok(Self { statement, payload, signatures: written.signatures })
    }

    /// Returns what the writer's next record names this one by.
    pub fn digest(&self, hash: Hash) -> String {
        format!("sha256:{}", hash(&self.payload))
    }
}

impl Statement {
    fn parse(payload: &[u8], hash: Hash) -> Result<Self, Flaw> {
        let text = std::str::from_utf8(payload).map_err(|_| Flaw::NotText)?;
        let document = strict::parse(text)?;
        let word = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if document["_type"] != STATEMENT {
            return Err(Flaw::OtherStatement { found: word(&document["_type"]) });
        }
        if document["predicateType"] != PREDICATE {
            return Err(Flaw::OtherPredicate { found: word(&document["predicateType"]) });
        }
        let ours = &document["predicate"][EXTENSION];
        let no_record = |said: String| Flaw::NoRecord { said };
        match (ours["version"].as_u64(), ours["record"]["version"].as_u64()) {
            (Some(VERSION), Some(version)) if version == u64::from(record::VERSION) => {}
            (Some(found), _) if found > VERSION => return Err(Flaw::Future { found }),
            (_, Some(found)) if found > u64::from(record::VERSION) => return Err(Flaw::Future { found }),
            _ => return Err(no_record("it has no version".to_owned())),
        }
        let record: Record =
            serde_json::from_value(ours["record"].clone()).map_err(|err| no_record(err.to_string()))?;
        let writer = ours["writer"].as_str().ok_or_else(|| no_record("it has no writer".to_owned()))?;
        let digest = |of: &Value, what: &str| match of {
            Value::Null => Ok(None),
            Value::String(digest) => Ok(Some(digest.clone())),
            _ => Err(no_record(format!("the digest of {what} is no text"))),
        };
        let previous = digest(&ours["previous"], "the record before it")?;
        let manifest = digest(&ours["manifest"], "its manifest")?;
        let statement = Self { record, writer: writer.to_owned(), previous, manifest };
        statement.check(&document, hash)?;
        Ok(statement)
    }

    /// Holds what was read against what we would have written about the same record.
    fn check(&self, document: &Value, hash: Hash) -> Result<(), Flaw> {
        let expected = self.document();
        if document["subject"] != expected["subject"] {
            return Err(Flaw::OtherSubject);
        }
        for field in ["result", "configuration", "passedTests", "warnedTests", "failedTests"] {
            if document["predicate"][field] != expected["predicate"][field] {
                return Err(Flaw::OtherResult);
            }
        }
        if *document != expected {
            return Err(Flaw::Unknown);
        }
        let whole = Subject::tree(&self.record.tree, None);
        let fingerprint = self.record.fingerprint.digest(hash);
        for stage in &self.record.stages {
            let subject = stage.subject.as_str();
            let rest = subject.strip_prefix(whole.as_str());
            let of_tree = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
            if !of_tree && !subject.starts_with("inputs:") {
                return Err(Flaw::OtherTree { stage: stage.id.clone() });
            }
            if stage.key != Key::new(&stage.subject, &stage.definition_digest, &fingerprint, hash) {
                return Err(Flaw::OtherKey { stage: stage.id.clone() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::digest::sha256_hex;

    /// Returns a record of one stage on a tree.
    fn record(tree: &str, dirty: bool) -> Record {
        let subject = Subject::tree(tree, None);
        let fingerprint = json!({"os": "linux", "arch": "x86_64"});
        let print: crate::run::key::Fingerprint = serde_json::from_value(fingerprint.clone()).unwrap();
        let at = "2026-01-01T00:00:00.000Z";
        serde_json::from_value(json!({
            "version": 1, "run_id": "2026-01-01T00-00-00-000Z-0badcafe", "task_id": "t", "pipeline": "gate",
            "pipeline_digest": "sha256:0", "status": "succeeded", "commit": "c0", "tree": tree, "dirty": dirty,
            "object_format": "sha1", "worktree": {"path": ".", "name": null, "linked": false},
            "manifest": "m", "started_at": at, "completed_at": at, "tool": "t", "fingerprint": fingerprint,
            "stages": [{
                "id": "test", "key": Key::new(&subject, "d", &print.digest(sha256_hex), sha256_hex),
                "subject": subject, "definition_digest": "d",
                "definition": {"format": 1, "kind": "command", "command": "true"},
                "result": "passed", "exit_code": 0, "started_at": at, "completed_at": at, "log_sha256": null,
            }],
            "nonce": "n",
        }))
        .unwrap()
    }

    fn envelope() -> Envelope {
        let statement = Statement {
            record: record("aaaa", false),
            writer: "w".to_owned(),
            previous: Some("sha256:1".to_owned()),
            manifest: None,
        };
        let payload = statement.payload();
        Envelope { statement, payload, signatures: vec![Signature::of("k".to_owned(), b"s")] }
    }

    #[test]
    fn what_is_sealed_is_read_again() {
        let envelope = envelope();
        let line = envelope.line();
        assert!(!line.contains('\n'));
        assert_eq!(Envelope::parse(line.as_bytes(), sha256_hex), Ok(envelope.clone()));
        let statement = Statement { manifest: Some("sha256:2".to_owned()), ..envelope.statement.clone() };
        let with = Envelope { payload: statement.payload(), statement, ..envelope };
        assert_eq!(Envelope::parse(with.line().as_bytes(), sha256_hex), Ok(with));
    }

    #[test]
    fn what_is_signed_is_what_dsse_says() {
        assert_eq!(to_sign(b"hello"), b"DSSEv1 28 application/vnd.in-toto+json 5 hello");
    }

    #[test]
    fn a_dirty_tree_is_about_no_commit() {
        assert_eq!(commit_of(&record("aaaa", true)), None);
        assert_eq!(commit_of(&record("aaaa", false)), Some("c0"));
    }

    /// Returns the line with its payload changed.
    fn with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let envelope = envelope();
        let mut document: Value = serde_json::from_slice(&envelope.payload).unwrap();
        change(&mut document);
        Envelope { payload: document.to_string().into_bytes(), ..envelope }.line().into_bytes()
    }

    #[test]
    fn each_forgery_has_its_own_refusal() {
        let whole = envelope().line();
        let ours = |document: &mut Value, at: &str, value: Value| {
            *document.pointer_mut(&format!("/predicate/git-orchestrate{at}")).unwrap() = value;
        };
        let payload = |text: &str| {
            json!({"payloadType": PAYLOAD, "payload": BASE64.encode(text), "signatures": []})
                .to_string()
                .into_bytes()
        };
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (whole[..whole.len() - 9].into(), "the line is cut off or no JSON"),
            (b"\xff\xfe{}".into(), "the line is no UTF-8 text"),
            (vec![b' '; LONGEST + 1], "the line has 4194305 bytes, and no record is larger than 4194304"),
            (whole.replacen('{', r#"{"payload": "", "#, 1).into(), "the key `payload` stands twice"),
            (payload(r#"{"_type": 1, "_type": 2}"#), "the key `_type` stands twice"),
            (b"{}".into(), "it is no DSSE envelope: missing field `payloadType`"),
            (
                whole.replacen('{', r#"{"more": 1, "#, 1).into(),
                "it is no DSSE envelope: unknown field `more`",
            ),
            (whole.replace("vnd.in-toto", "x").into(), "the envelope holds `application/x+json` and no"),
            (payload("{}"), "the statement is of the kind `null`, which"),
            (with(|it| it["_type"] = json!("v2")), "the statement is of the kind `v2`, which"),
            (
                with(|it| it["predicateType"] = json!("slsa")),
                "about something else than test results: `slsa`",
            ),
            (with(|it| ours(it, "/version", json!(2))), "the record is of version 2, which is newer"),
            (with(|it| ours(it, "/record/version", json!(9))), "the record is of version 9, which is newer"),
            (
                with(|it| ours(it, "/version", json!("1"))),
                "holds no record that can be read: it has no version",
            ),
            (
                with(|it| ours(it, "/record/stages", json!(1))),
                "the statement holds no record that can be read",
            ),
            (with(|it| ours(it, "/record/tree", json!("bbbb"))), "the subjects of the statement are not"),
            (with(|it| ours(it, "/record/dirty", json!(true))), "the subjects of the statement are not"),
            (
                with(|it| it["subject"][1]["digest"]["gitCommit"] = json!("c1")),
                "the subjects of the statement",
            ),
            (
                with(|it| ours(it, "/record/status", json!("failed"))),
                "the result of the statement is not that",
            ),
            (
                with(|it| it["predicate"]["passedTests"] = json!(["lint"])),
                "the result of the statement is not",
            ),
            (
                with(|it| it["predicate"][EXTENSION]["record"]["more"] = json!(1)),
                "the record says more than this version understands",
            ),
            (
                with(|it| ours(it, "/record/stages/0/subject", json!("tree:bbbb"))),
                "stage `test` is about another tree than the record",
            ),
            (
                with(|it| ours(it, "/record/stages/0/key", json!("k"))),
                "the key of stage `test` does not follow from what the record says about it",
            ),
            (
                with(|it| ours(it, "/record/fingerprint/os", json!("plan9"))),
                "the key of stage `test` does not follow from what the record says about it",
            ),
        ];
        for (line, said) in cases {
            let flaw = Envelope::parse(&line, sha256_hex).expect_err(said).to_string();
            assert!(flaw.contains(said), "{flaw}\nis not\n{said}");
        }
    }
}
