//! Signatures of every kind that git knows, by the programs that its configuration names.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::evidence::{allow, forge, note, only_ref, payload, project, verdicts, with_key};
use crate::fixture::{Fixture, Seen};

/// Puts a program beside the repository.
fn program(repo: &Fixture, name: &str, script: &str) -> PathBuf {
    let path = repo.beside(name);
    fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A keyring of GnuPG with a key of its own, in a folder that it trusts.
fn keyring(repo: &Fixture) -> PathBuf {
    let home = repo.beside("gnupg");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    home
}

/// Calls the program with a keyring.
fn with(repo: &Fixture, home: &Path, words: &str) -> Seen {
    repo.see(repo.program().args(words.split_whitespace()).env("GNUPGHOME", home))
}

/// Lets commits, and so records, be signed with an OpenPGP key of a keyring of its own, which is returned.
pub fn with_openpgp_key(repo: &Fixture) -> PathBuf {
    let home = keyring(repo);
    let words = ["--batch", "--quiet", "--passphrase", "", "--quick-gen-key"];
    let made = repo
        .command("gpg")
        .env("GNUPGHOME", &home)
        .args(words)
        .args(["ada <ada@example.com>", "ed25519"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    repo.git(&["config", "user.signingkey", "ada@example.com"]);
    home
}

pub fn stop_agents(repo: &Fixture, home: &Path) {
    let stop = repo.command("gpgconf").env("GNUPGHOME", home).args(["--kill", "all"]).status();
    assert!(stop.unwrap().success());
}

/// Changes the run that the only record is about, and keeps its signature.
fn edit(repo: &Fixture) {
    let honest = note(repo, "HEAD^{tree}");
    let mut envelope: Value = serde_json::from_str(&honest).unwrap();
    let mut statement = payload(&honest);
    let run = statement.pointer_mut("/predicate/git-orchestrate/record/run_id").unwrap();
    *run = json!("2026-01-01T00-00-00-000Z-00000000");
    envelope["payload"] = json!(BASE64.encode(statement.to_string()));
    forge(repo, &only_ref(repo), "HEAD^{tree}", envelope.to_string().as_bytes());
    repo.git(&["notes", "--ref", &only_ref(repo), "remove", "--ignore-missing", "HEAD"]);
}

const VERIFY: &str = "evidence verify --require test --signed --format json";

#[test]
fn an_openpgp_signature_is_checked_by_the_keyring_of_whoever_asks() {
    let repo = project();
    let home = with_openpgp_key(&repo);
    assert_eq!(with(&repo, &home, "start").code, 0);
    let seen = with(&repo, &home, VERIFY);
    assert_eq!(seen.code, 0, "{seen}");
    // Who has no such key knows nobody, and believes nothing.
    let other = repo.beside("other");
    fs::create_dir(&other).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    let seen = with(&repo, &other, VERIFY);
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.contains("the signature is not a good one of this record"), "{seen}");
    edit(&repo);
    let seen = with(&repo, &home, VERIFY);
    assert_eq!(seen.code, 6, "{seen}");
    assert!(seen.stdout.contains("the signature is not a good one of this record"), "{seen}");
    stop_agents(&repo, &home);
    stop_agents(&repo, &other);
}

#[test]
fn an_x509_certificate_signs_and_is_checked_through_gpgsm() {
    if Command::new("gpgsm").arg("--version").output().is_err() {
        // The stand-in below speaks the same language.
        return;
    }
    let repo = project();
    let home = keyring(&repo);
    fs::write(home.join("gpgsm.conf"), "disable-crl-checks\n").unwrap();
    let asks = program(
        &repo,
        "pinentry",
        "echo OK\nwhile read -r word rest; do case $word in GETPIN) printf 'D pass\\nOK\\n' ;; BYE) echo OK; exit ;; *) echo OK ;; esac; done\n",
    );
    fs::write(home.join("gpg-agent.conf"), format!("pinentry-program {}\n", asks.display())).unwrap();
    let parameters = "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign, cert\nSerial: random\nName-DN: CN=Ada\n\
        Name-Email: ada@example.com\nNot-Before: 2020-01-01\nNot-After: 2090-01-01\n";
    fs::write(repo.beside("parameters"), parameters).unwrap();
    let script = "cd && gpgsm --batch --gen-key < parameters > certificate && gpgsm --batch --import certificate && \
        gpgsm --with-colons -k | awk -F: '/^fpr/ { print $10 \" S relax\"; exit }' > gnupg/trustlist.txt && \
        gpgconf --kill gpg-agent";
    let made = repo.command("sh").env("GNUPGHOME", &home).args(["-c", script]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    repo.git(&["config", "gpg.format", "x509"]);
    repo.git(&["config", "user.signingkey", "ada@example.com"]);
    let seen = with(&repo, &home, "start");
    assert!(seen.code == 0 && !seen.stderr.contains("not signed"), "{seen}");
    let seen = with(&repo, &home, "evidence show");
    assert!(seen.stdout.contains("signed by /CN=Ada with "), "{seen}");
    let seen = with(&repo, &home, VERIFY);
    assert_eq!(seen.code, 0, "{seen}");
    edit(&repo);
    let seen = with(&repo, &home, VERIFY);
    assert_eq!(seen.code, 6, "{seen}");
    stop_agents(&repo, &home);
}

/// A program that signs whatever it is given, and says about every signature what stands in a file.
fn stand_in(repo: &Fixture, kind: &str) {
    let sign = format!(
        "case \" $* \" in *' --verify '*) cat > /dev/null; cat \"$HOME/said\"; exit \"$(cat \"$HOME/code\")\" ;; esac\n\
         echo \"$*\" >> \"$HOME/calls\"; cat > /dev/null\n\
         printf -- '-----BEGIN {kind}-----\\nabc\\n-----END {kind}-----\\n'\n\
         echo '[GNUPG:] SIG_CREATED D 1 8 00 20260101T000000 CAFE' >&2\n"
    );
    let path = program(repo, "signs", &sign);
    let format = if kind == "SIGNED MESSAGE" { "x509" } else { "openpgp" };
    repo.git(&["config", "gpg.format", format]);
    repo.git(&["config", &format!("gpg.{format}.program"), path.to_str().unwrap()]);
    repo.git(&["config", "user.signingkey", "ada"]);
}

#[test]
fn what_a_signing_program_says_is_taken_at_its_word_and_no_further() {
    const GOOD: &str = "[GNUPG:] GOODSIG CAFE Ada\n[GNUPG:] VALIDSIG CAFE 2026-01-01\n";
    for kind in ["SIGNED MESSAGE", "PGP SIGNATURE"] {
        let repo = project();
        stand_in(&repo, kind);
        assert_eq!(repo.orchestrate("start").code, 0);
        assert_eq!(fs::read_to_string(repo.beside("calls")).unwrap(), "--status-fd=2 -bsau ada\n");
        let cases: [(String, &str, i32, &str); 9] = [
            (format!("{GOOD}[GNUPG:] TRUST_FULLY 0 shell\n"), "0", 0, ""),
            (format!("{GOOD}[GNUPG:] TRUST_ULTIMATE 0 pgp\n"), "0", 0, ""),
            // It is a good signature of somebody.
            (format!("{GOOD}[GNUPG:] TRUST_UNDEFINED 0\n"), "0", 1, "allowed"),
            (GOOD.to_owned(), "0", 1, "allowed"),
            // It is no good signature.
            ("[GNUPG:] BADSIG CAFE Ada\n".to_owned(), "1", 6, ""),
            (
                "[GNUPG:] EXPKEYSIG CAFE Ada\n[GNUPG:] VALIDSIG CAFE x\n[GNUPG:] TRUST_FULLY\n".to_owned(),
                "0",
                6,
                "",
            ),
            (
                "[GNUPG:] REVKEYSIG CAFE Ada\n[GNUPG:] VALIDSIG CAFE x\n[GNUPG:] TRUST_FULLY\n".to_owned(),
                "0",
                6,
                "",
            ),
            (format!("{GOOD}[GNUPG:] TRUST_FULLY 0 shell\n"), "1", 6, ""),
            // Two signatures: the trust in one says nothing of the other.
            (format!("{GOOD}[GNUPG:] TRUST_UNDEFINED\n{GOOD}[GNUPG:] TRUST_FULLY\n"), "0", 6, ""),
        ];
        for (said, code, expected, fails) in cases {
            fs::write(repo.beside("said"), &said).unwrap();
            fs::write(repo.beside("code"), code).unwrap();
            let seen = repo.orchestrate(VERIFY);
            assert_eq!(seen.code, expected, "{kind}, {said}, {code}: {seen}");
            if !fails.is_empty() {
                assert!(verdicts(&seen, 0).1.iter().any(|(name, _)| name == fails), "{kind}: {seen}");
            }
        }
        repo.git(&["config", "gpg.x509.program", "/nowhere/at/all"]);
        repo.git(&["config", "gpg.openpgp.program", "/nowhere/at/all"]);
        let seen = repo.orchestrate(VERIFY);
        assert!(seen.code == 6 && seen.stdout.contains("cannot start `/nowhere/at/all`"), "{seen}");
    }
}

#[test]
fn what_stands_with_an_allowed_signer_is_heeded_for_every_signature() {
    let repo = project();
    let key = with_key(&repo, "ada");
    // Several, so that not each is a question to ssh-keygen.
    for at in 0..3 {
        repo.write("file", &at.to_string());
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "--message", "more"]);
        assert_eq!(repo.orchestrate("start").code, 0);
    }
    let words = format!("{VERIFY} HEAD~3..HEAD");
    let allowed = repo.beside("allowed");
    allow(&repo, "ada", &key);
    assert_eq!(repo.orchestrate(&words).code, 0);
    for line in [
        format!("ada namespaces=\"git,file\" {key}"),
        format!("ada valid-before=\"20200101\" {key}"),
        format!("ada valid-after=\"20900101\" {key}"),
        format!("ada cert-authority {key}"),
        format!("# ada {key}"),
    ] {
        fs::write(&allowed, format!("{line}\n")).unwrap();
        let seen = repo.orchestrate(&words);
        assert_eq!(seen.code, 1, "{line}: {seen}");
        for at in 0..3 {
            let (hold, fail) = verdicts(&seen, at);
            assert!(hold.contains(&"signature".to_owned()), "{line}: {seen}");
            assert!(fail.iter().any(|(name, _)| name == "allowed"), "{line}: {seen}");
        }
    }
    allow(&repo, "ada", &key);
    // A key that was taken back.
    fs::copy(repo.beside("ada.pub"), repo.beside("revoked")).unwrap();
    repo.git(&["config", "gpg.ssh.revocationFile", repo.beside("revoked").to_str().unwrap()]);
    assert_eq!(repo.orchestrate(&words).code, 1);
    fs::write(repo.beside("revoked"), "").unwrap();
    assert_eq!(repo.orchestrate(&words).code, 0);
    // A list that is not there says nothing in anybody's favour.
    fs::remove_file(repo.beside("revoked")).unwrap();
    assert_eq!(repo.orchestrate(&words).code, 1);
}

#[test]
fn a_certificate_is_believed_if_its_authority_is() {
    let repo = project();
    let authority = with_key(&repo, "authority");
    with_key(&repo, "ada");
    let made =
        repo.command("sh").args(["-c", "cd && ssh-keygen -q -s authority -I ada -n ada ada.pub"]).status();
    assert!(made.unwrap().success());
    repo.git(&["config", "user.signingkey", repo.beside("ada-cert.pub").to_str().unwrap()]);
    let seen = repo.orchestrate("start");
    assert!(seen.code == 0 && !seen.stderr.contains("not signed"), "{seen}");
    let allowed = repo.beside("allowed");
    repo.git(&["config", "gpg.ssh.allowedSignersFile", allowed.to_str().unwrap()]);
    fs::write(&allowed, format!("ada cert-authority {authority}\n")).unwrap();
    let seen = repo.orchestrate(VERIFY);
    assert_eq!(seen.code, 0, "{seen}");
    fs::write(&allowed, format!("bob cert-authority {authority}\n")).unwrap();
    assert_eq!(repo.orchestrate(VERIFY).code, 1);
}
