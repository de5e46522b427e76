//! What is known of a snapshot of a work tree: the document that stands beside its archive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{RunId, TaskId};
use crate::run::stamp::Stamp;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// Always 1.
    pub version: u32,
    /// The run that it is of, or an id of its own.
    pub id: RunId,
    pub task_id: TaskId,
    pub created_at: Stamp,
    /// The SHA-256 of the archive, in hex.
    pub digest: String,
    /// The size of the archive.
    pub bytes: u64,
    /// The archive, relative to the folder that this document is in.
    pub archive: String,
    /// How many files and links are in it.
    pub files: u64,
    /// How large they are together, unpacked.
    pub content_bytes: u64,
    /// The tree of git that it is.
    pub tree: String,
    /// The commit that keeps it.
    pub commit: String,
    /// The ref that names the commit.
    pub reference: String,
    /// The commit that was checked out; nothing on an unborn branch.
    pub head: Option<String>,
    pub retention_days: u64,
    /// The snapshot whose archive this one shares: nothing had changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<RunId>,
    /// Repositories inside the work tree, of which only the commit is kept.
    #[serde(default)]
    pub nested: Vec<Nested>,
    /// What is not in it, and why.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
    /// Files that changed while they were read, so that they may be in it as they never were.
    #[serde(default)]
    pub changed_while_read: Vec<String>,
}

/// A repository inside the work tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nested {
    pub path: String,
    /// The commit that it has checked out; nothing if there is none yet.
    pub head: Option<String>,
}

/// Something that is not in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    pub path: String,
    pub reason: Reason,
    /// How large it is, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Why something is not in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It looks like a secret.
    Secret,
    /// It is larger than one file may be.
    TooLarge,
    /// With it, all files together would be larger than they may be.
    NoRoom,
    /// It cannot be read, or git refuses its name.
    Unreadable,
    /// It is a pipe, a socket or a device.
    Special,
    /// It is in a folder of runs.
    Evidence,
    /// It went away while the others were read.
    Vanished,
}

impl Reason {
    /// Returns the reason in words that follow `it`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Secret => "looks like a secret",
            Self::TooLarge => "is larger than one file may be",
            Self::NoRoom => "would make all files together too large",
            Self::Unreadable => "cannot be read",
            Self::Special => "is a pipe, a socket or a device",
            Self::Evidence => "is in a folder of runs",
            Self::Vanished => "went away meanwhile",
        }
    }
}

/// Whether a file is most likely a secret, by its name.
pub fn is_secret_name(path: &[u8]) -> bool {
    let lower = path.to_ascii_lowercase();
    let name = lower.rsplit(|byte| *byte == b'/').next().unwrap_or(&lower);
    let is_example = |name: &[u8]| {
        [&b"example"[..], b"sample", b"template", b"dist", b"defaults"].iter().any(|end| name.ends_with(end))
    };
    if name == b".env" || name == b".envrc" || (name.starts_with(b".env.") && !is_example(name)) {
        return true;
    }
    // `prod.env`, and not what is there to be copied.
    if name.strip_suffix(b".env").is_some_and(|stem| !stem.is_empty() && !is_example(stem)) {
        return true;
    }
    let exact: [&[u8]; 14] = [
        b".netrc",
        b"_netrc",
        b".pgpass",
        b".git-credentials",
        b".htpasswd",
        b".pypirc",
        b".vault-token",
        b".dockercfg",
        b"id_rsa",
        b"id_dsa",
        b"id_ecdsa",
        b"id_ed25519",
        b"service-account.json",
        b"terraform.tfstate",
    ];
    let folders: [&[u8]; 5] = [
        b".aws/credentials",
        b".docker/config.json",
        b".kube/config",
        b".gnupg/secring.gpg",
        b".config/gh/hosts.yml",
    ];
    let endings: [&[u8]; 7] = [b".p12", b".pfx", b".jks", b".keystore", b".kdbx", b".ppk", b".agekey"];
    exact.contains(&name)
        || folders.iter().any(|end| {
            lower.strip_suffix(*end).is_some_and(|before| before.is_empty() || before.ends_with(b"/"))
        })
        || endings.iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// Whether a file of settings, which may well hold none, holds a secret: `.npmrc`, by how it begins.
pub fn is_secret_setting(path: &[u8], begin: &[u8]) -> bool {
    if path.rsplit(|byte| *byte == b'/').next() != Some(b".npmrc") {
        return false;
    }
    begin.split(|byte| *byte == b'\n').any(|line| {
        let (name, value) = line.split_at(line.iter().position(|byte| *byte == b'=').unwrap_or(line.len()));
        let value = value.strip_prefix(b"=").unwrap_or_default().trim_ascii();
        let name = name.trim_ascii();
        let is_secret = [&b"_authToken"[..], b"_auth", b"_password"].iter().any(|end| name.ends_with(end));
        // A variable that holds it is named and not shown.
        is_secret && !name.starts_with(b"#") && !value.is_empty() && !value.starts_with(b"$")
    })
}

/// Whether a file is most likely a secret, by how it begins.
pub fn is_secret_content(begin: &[u8]) -> bool {
    let text = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin).trim_ascii_start();
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_private = |line: &[u8]| line.windows(11).any(|part| part == b"PRIVATE KEY");
    (line.starts_with(b"-----BEGIN ") && line.len() < 100 && is_private(line))
        || text.starts_with(b"PuTTY-User-Key-File-")
        || text.starts_with(b"AGE-SECRET-KEY-1")
        || line.starts_with(b"-----BEGIN PGP PRIVATE KEY BLOCK")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for path in [
            ".env",
            "web/.env.production",
            "deploy/ID_RSA",
            "home/.aws/credentials",
            ".aws/credentials",
            "a.p12",
            "x/.netrc",
            ".docker/config.json",
            "deploy/prod.env",
        ] {
            assert!(is_secret_name(path.as_bytes()), "{path}");
        }
        for path in [
            ".env.example",
            "env",
            "src/environment.rs",
            "id_rsa.pub",
            "my.aws/credentials",
            "p12",
            ".p12",
            "credentials",
            "docs/config.json",
            "example.env",
            "app.template.env",
            "env.rs",
        ] {
            assert!(!is_secret_name(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn settings_with_a_secret_are_told_from_those_without() {
        let is_secret = |text: &str| is_secret_setting(b"web/.npmrc", text.as_bytes());
        assert!(is_secret("fund=false\n//registry.npmjs.org/:_authToken = abc\n"));
        assert!(is_secret("_auth=YTpi"));
        for text in ["//r/:_authToken=${NPM_TOKEN}", "fund=false", "# _auth=x", "_auth=", ""] {
            assert!(!is_secret(text), "{text}");
        }
        assert!(!is_secret_setting(b"npmrc.md", b"_auth=YTpi"));
    }

    #[test]
    fn keys_are_told_by_how_they_begin() {
        let kinds = ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"];
        for kind in kinds {
            assert!(is_secret_content(format!("\n-----BEGIN {kind}-----\nMII").as_bytes()), "{kind}");
        }
        assert!(is_secret_content(b"PuTTY-User-Key-File-3: ssh-ed25519"));
        for text in ["-----BEGIN CERTIFICATE-----", "// -----BEGIN PRIVATE KEY-----", "", "PRIVATE KEY"] {
            assert!(!is_secret_content(text.as_bytes()), "{text}");
        }
    }
}
