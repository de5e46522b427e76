//! Signatures with what a person uses for commits: OpenSSH, OpenPGP or X.509, through the programs that git's
//! configuration names.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD};

use super::error::At;
use super::program::tool;
use super::{GitError, Repo, sshsig};
use crate::sys::digest::sha256;

/// What SSH signatures of ours are for: one made for a commit or an e-mail is none.
pub const NAMESPACE: &str = "git-orchestrate";

/// How to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    format: Format,
    program: OsString,
    key: SigningKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ssh,
    OpenPgp,
    X509,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum SigningKey {
    /// The file of a key, of which the agent may have the private half.
    File(PathBuf),
    /// A public key, of which the agent has the other half.
    Literal(String),
    /// What the signing program calls it.
    Named(String),
}

/// A signature as the program wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What tells the key apart, such as `SHA256:…`.
    pub key: String,
    pub bytes: Vec<u8>,
}

/// What a signature is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is good, and the signer is allowed.
    Allowed { principal: String, key: String },
    /// It is good, and nobody says that this signer is allowed.
    Stranger { key: String },
    /// It is not good, or cannot be checked.
    Bad { why: String },
}

impl Repo {
    /// Returns how to sign, if the configuration wants that: `wanted` if somebody said it, else
    /// `commit.gpgSign`, else whether there is a `user.signingKey`.
    pub fn signing(&self, wanted: Option<bool>) -> Result<Option<Signing>, GitError> {
        let key = self.setting("user.signingKey")?;
        let of_commits = || self.setting("commit.gpgSign");
        let wants = match wanted {
            Some(wanted) => wanted,
            None => match of_commits()? {
                Some(word) => crate::sys::env::is_true(&word) || word.is_empty(),
                None => key.is_some(),
            },
        };
        if !wants {
            return Ok(None);
        }
        let format = match self.setting("gpg.format")?.as_deref() {
            None | Some("openpgp") => Format::OpenPgp,
            Some("ssh") => Format::Ssh,
            Some("x509") => Format::X509,
            Some(other) => {
                let said = format!("`gpg.format` is `{other}`, and none of openpgp, ssh, x509");
                return Err(GitError::NotSigned { said });
            }
        };
        let program = self.signing_program(format)?;
        let key = match (key, format) {
            (Some(key), Format::Ssh) => self.ssh_key(&key),
            (None, Format::Ssh) => self.ssh_key(&self.default_ssh_key()?),
            (Some(key), _) => SigningKey::Named(key),
            (None, _) => {
                let who = self.git_of_caller().args(["var", "GIT_COMMITTER_IDENT"]).line()?;
                let end = who.find('>').map_or(who.len(), |at| at + 1);
                SigningKey::Named(who[..end].to_owned())
            }
        };
        Ok(Some(Signing { format, program, key }))
    }

    fn signing_program(&self, format: Format) -> Result<OsString, GitError> {
        let (own, usual) = match format {
            Format::Ssh => (self.setting("gpg.ssh.program")?, "ssh-keygen"),
            Format::X509 => (self.setting("gpg.x509.program")?, "gpgsm"),
            Format::OpenPgp => {
                let own = self.setting("gpg.openpgp.program")?;
                (own.map_or_else(|| self.setting("gpg.program"), |own| Ok(Some(own)))?, "gpg")
            }
        };
        Ok(own.map_or_else(|| usual.into(), |own| self.expanded(&own).into_os_string()))
    }

    /// Asks the command of the configuration for a key, as git does.
    fn default_ssh_key(&self) -> Result<String, GitError> {
        let no_key = || GitError::NotSigned {
            said: "neither `user.signingKey` nor `gpg.ssh.defaultKeyCommand` names a key".to_owned(),
        };
        let command = self.setting("gpg.ssh.defaultKeyCommand")?.ok_or_else(no_key)?;
        let output = tool("/bin/sh".as_ref(), &self.work_tree)
            .args(["-c", &command])
            .output()
            .map_err(|err| GitError::NotSigned { said: format!("`{command}`: {err}") })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        match first.starts_with("ssh-") || first.starts_with("key::") {
            true => Ok(first.to_owned()),
            false => Err(GitError::NotSigned { said: format!("`{command}` names no key") }),
        }
    }

    fn ssh_key(&self, text: &str) -> SigningKey {
        match text.strip_prefix("key::") {
            Some(literal) => SigningKey::Literal(literal.to_owned()),
            None if text.starts_with("ssh-") => SigningKey::Literal(text.to_owned()),
            None => SigningKey::File(self.expanded(text)),
        }
    }

    /// Returns a path of the configuration.
    fn expanded(&self, path: &str) -> PathBuf {
        match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => Path::new(&home).join(rest),
            _ => PathBuf::from(path),
        }
    }

    /// Returns a value of git's configuration: of the user, the system or the repository.
    pub(super) fn setting(&self, key: &str) -> Result<Option<String>, GitError> {
        if let Some(repo) = self.in_process() {
            let value = repo.config_snapshot().string(key);
            return Ok(value.map(|value| value.to_string()));
        }
        let (code, value) = self.git().args(["config", "--get", key]).run_expecting(&[0, 1])?;
        Ok((code == 0).then(|| String::from_utf8_lossy(&value).trim_end_matches('\n').to_owned()))
    }

    /// Returns the file of allowed signers that the configuration of git names.
    pub fn allowed_signers(&self) -> Result<Option<PathBuf>, GitError> {
        let named = self.setting("gpg.ssh.allowedSignersFile")?;
        Ok(named.map(|path| self.work_tree.join(self.expanded(&path))))
    }

    /// Signs a message.
    pub fn sign(&self, signing: &Signing, message: &[u8]) -> Result<Signed, GitError> {
        match signing.format {
            Format::Ssh => self.sign_with_ssh(signing, message),
            Format::OpenPgp | Format::X509 => self.sign_with_gpg(signing, message),
        }
    }

    fn sign_with_ssh(&self, signing: &Signing, message: &[u8]) -> Result<Signed, GitError> {
        let folder = private_folder()?;
        let (path, written) = (folder.path().join("message"), folder.path().join("message.sig"));
        std::fs::write(&path, message).at(&path)?;
        let mut command = tool(&signing.program, &self.work_tree);
        command.args(["-Y", "sign", "-n", NAMESPACE, "-f"]);
        match &signing.key {
            SigningKey::Literal(key) => {
                let file = folder.path().join("key.pub");
                std::fs::write(&file, format!("{key}\n")).at(&file)?;
                command.arg(file).arg("-U");
            }
            SigningKey::File(file) => {
                command.arg(file);
            }
            SigningKey::Named(_) => unreachable!("SSH keys are files or literals"),
        }
        let output = command.arg(&path).output().map_err(|err| not_started(&signing.program, &err))?;
        if !output.status.success() {
            return Err(not_signed(&signing.program, &output.stderr));
        }
        let bytes = std::fs::read(&written).at(&written)?;
        let key = key_of_ssh(&bytes).unwrap_or_default();
        Ok(Signed { key, bytes })
    }

    fn sign_with_gpg(&self, signing: &Signing, message: &[u8]) -> Result<Signed, GitError> {
        let SigningKey::Named(key) = &signing.key else { unreachable!("these keys have names") };
        let mut command = tool(&signing.program, &self.work_tree);
        command.args(["--status-fd=2", "-bsau", key]);
        let output = fed(command, message).map_err(|err| not_started(&signing.program, &err))?;
        let status = String::from_utf8_lossy(&output.stderr);
        let created = status.lines().find_map(|line| line.strip_prefix("[GNUPG:] SIG_CREATED "));
        match created {
            Some(created) => {
                let key = created.split(' ').next_back().unwrap_or_default().to_owned();
                Ok(Signed { key, bytes: output.stdout })
            }
            None => Err(not_signed(&signing.program, &output.stderr)),
        }
    }

    /// Returns what checks signatures against lines of allowed signers.
    pub fn checker(&self, allowed: &[u8]) -> Result<Checker<'_>, GitError> {
        let folder = private_folder()?;
        let file = folder.path().join("allowed");
        std::fs::write(&file, allowed).at(&file)?;
        let allowed = Some(file).filter(|_| !allowed.trim_ascii().is_empty());
        Ok(Checker {
            repo: self,
            folder,
            allowed,
            keys: Mutex::default(),
            principals: Mutex::default(),
            files: AtomicU64::new(0),
        })
    }
}

/// Says what signatures are worth. SSH signers are allowed by lines of allowed signers, the others by the trust
/// that the keyring of whoever asks puts in them.
#[derive(Debug)]
pub struct Checker<'a> {
    repo: &'a Repo,
    folder: tempfile::TempDir,
    /// The file of allowed signers, if there are any.
    allowed: Option<PathBuf>,
    /// What the keys are worth that made a good signature, by their fingerprints: neither who may sign nor until
    /// when depends on what is signed.
    keys: Mutex<HashMap<String, Checked>>,
    /// Whose a key is, asked once for each.
    principals: Mutex<HashMap<String, Vec<String>>>,
    files: AtomicU64,
}

impl Checker<'_> {
    /// Says what a signature of a message is worth.
    pub fn check(&self, message: &[u8], signature: &[u8]) -> Checked {
        let checked = if signature.starts_with(b"-----BEGIN SSH SIGNATURE-----") {
            self.check_ssh(message, signature)
        } else if signature.starts_with(b"-----BEGIN PGP ") {
            self.check_gpg(Format::OpenPgp, message, signature)
        } else if signature.starts_with(b"-----BEGIN SIGNED MESSAGE-----") {
            self.check_gpg(Format::X509, message, signature)
        } else {
            return Checked::Bad { why: "the signature is of no kind that git knows".to_owned() };
        };
        checked.unwrap_or_else(|err| Checked::Bad { why: err.to_string() })
    }

    /// Puts a signature where programs find it.
    fn file(&self, signature: &[u8]) -> Result<PathBuf, GitError> {
        let name = self.files.fetch_add(1, Ordering::Relaxed).to_string();
        let file = self.folder.path().join(name);
        std::fs::write(&file, signature).at(&file)?;
        Ok(file)
    }

    fn check_ssh(&self, message: &[u8], signature: &[u8]) -> Result<Checked, GitError> {
        let good = sshsig::good_key(signature, message, NAMESPACE);
        if let Some(key) = &good
            && let Some(known) = self.keys.lock().expect("nobody panics with it").get(key)
        {
            return Ok(known.clone());
        }
        let checked = self.ask_ssh_keygen(message, signature)?;
        // A certificate says more than its key; it is asked about each time.
        if let Some(key) = good
            && !matches!(checked, Checked::Bad { .. })
        {
            self.keys.lock().expect("nobody panics with it").insert(key, checked.clone());
        }
        Ok(checked)
    }

    fn ask_ssh_keygen(&self, message: &[u8], signature: &[u8]) -> Result<Checked, GitError> {
        let program = self.repo.signing_program(Format::Ssh)?;
        let Some(key) = key_of_ssh(signature) else {
            return Ok(Checked::Bad { why: "the SSH signature cannot be read".to_owned() });
        };
        let file = self.file(signature)?;
        let revoked = self.repo.setting("gpg.ssh.revocationFile")?.map(|path| self.repo.expanded(&path));
        let call = |words: &[&str], allowed: Option<&Path>| {
            let mut command = tool(&program, &self.repo.work_tree);
            command.args(words).args(allowed).arg("-s").arg(&file);
            if let Some(revoked) = revoked.as_ref().filter(|_| words.contains(&"verify")) {
                command.arg("-r").arg(revoked);
            }
            fed(command, message).map_err(|err| not_started(&program, &err))
        };
        if let Some(allowed) = self.allowed.as_deref() {
            let known = self.principals.lock().expect("nobody panics with it").get(&key).cloned();
            let principals = match known {
                Some(known) => known,
                None => {
                    let found = call(&["-Y", "find-principals", "-f"], Some(allowed))?;
                    let text = String::from_utf8_lossy(&found.stdout).into_owned();
                    let lines = text.lines().filter(|line| found.status.success() && !line.is_empty());
                    let found: Vec<_> = lines.map(str::to_owned).collect();
                    self.principals.lock().expect("nobody panics with it").insert(key.clone(), found.clone());
                    found
                }
            };
            for principal in principals {
                let words = ["-Y", "verify", "-n", NAMESPACE, "-I", &principal, "-f"];
                if call(&words, Some(allowed))?.status.success() {
                    return Ok(Checked::Allowed { principal, key });
                }
            }
        }
        let checked = call(&["-Y", "check-novalidate", "-n", NAMESPACE], None)?;
        Ok(match checked.status.success() {
            true => Checked::Stranger { key },
            false => Checked::Bad { why: "the signature is not one of this record".to_owned() },
        })
    }

    fn check_gpg(&self, format: Format, message: &[u8], signature: &[u8]) -> Result<Checked, GitError> {
        let program = self.repo.signing_program(format)?;
        let file = self.file(signature)?;
        let mut command = tool(&program, &self.repo.work_tree);
        command.args(["--status-fd=1", "--verify"]).arg(&file).arg("-");
        let output = fed(command, message).map_err(|err| not_started(&program, &err))?;
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        let of = |word: &str| {
            let lines = status.lines().filter_map(|line| line.strip_prefix("[GNUPG:] "));
            lines.filter_map(|line| line.strip_prefix(word)).map(str::trim).next()
        };
        // One signature, good now: not of a key that has expired or was taken back. Of two, the trust in one would
        // say nothing of the other.
        let is_verdict =
            |line: &&str| line.starts_with("[GNUPG:] ") && line[9..].split(' ').next().is_some_and(is_sig);
        let one = status.lines().filter(is_verdict).count() == 1;
        let (Some(good), Some(valid), true) =
            (of("GOODSIG "), of("VALIDSIG "), output.status.success() && one)
        else {
            return Ok(Checked::Bad { why: "the signature is not a good one of this record".to_owned() });
        };
        let key = valid.split(' ').next().unwrap_or_default().to_owned();
        let principal = good.split_once(' ').map_or(good, |(_, name)| name).to_owned();
        let trusted = of("TRUST_FULLY").is_some() || of("TRUST_ULTIMATE").is_some();
        Ok(if trusted { Checked::Allowed { principal, key } } else { Checked::Stranger { key } })
    }
}

impl Signing {
    /// Returns what tells the key from others, without using it.
    pub fn key(&self) -> String {
        let of_public = |text: &str| Some(fingerprint(&BASE64.decode(text.split_whitespace().nth(1)?).ok()?));
        match &self.key {
            SigningKey::Literal(text) => of_public(text).unwrap_or_else(|| text.clone()),
            SigningKey::Named(name) => name.clone(),
            SigningKey::File(path) => {
                let mut public = path.clone().into_os_string();
                public.push(".pub");
                let text = [PathBuf::from(public), path.clone()]
                    .iter()
                    .find_map(|path| of_public(&std::fs::read_to_string(path).ok()?));
                text.unwrap_or_else(|| path.display().to_string())
            }
        }
    }
}

/// Whether a word of a signing program says what a signature is worth.
fn is_sig(word: &str) -> bool {
    matches!(word, "GOODSIG" | "BADSIG" | "ERRSIG" | "EXPSIG" | "EXPKEYSIG" | "REVKEYSIG")
}

/// Returns the fingerprint of the key that made an SSH signature, which holds it.
fn key_of_ssh(armored: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(armored).ok()?;
    let inside: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let bytes = BASE64.decode(inside).ok()?;
    let rest = bytes.strip_prefix(b"SSHSIG")?.get(4..)?;
    let (length, rest) = rest.split_at_checked(4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    rest.get(..length).map(fingerprint)
}

fn fingerprint(public: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(sha256(public)))
}

/// A folder that nobody else may look into, for the files that signing programs want.
fn private_folder() -> Result<tempfile::TempDir, GitError> {
    let place = std::env::temp_dir();
    tempfile::Builder::new().prefix("git-orchestrate-").tempdir().at(&place)
}

fn fed(mut command: std::process::Command, input: &[u8]) -> std::io::Result<std::process::Output> {
    use std::process::Stdio;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        // Both ends at once: neither waits for the other with a full pipe. One that does not read is no error.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        child.wait_with_output()
    })
}

fn not_started(program: &OsString, err: &std::io::Error) -> GitError {
    GitError::NotSigned { said: format!("cannot start `{}`: {err}", program.to_string_lossy()) }
}

fn not_signed(program: &OsString, stderr: &[u8]) -> GitError {
    let stderr = String::from_utf8_lossy(stderr);
    let said: Vec<_> = stderr.lines().filter(|line| !line.starts_with("[GNUPG:]")).collect();
    GitError::NotSigned { said: format!("`{}`: {}", program.to_string_lossy(), said.join("; ").trim()) }
}
