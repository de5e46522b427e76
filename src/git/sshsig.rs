//! The arithmetic of SSH signatures, in process: a program per signature would take most of the time. Who may sign
//! is none of its business: `ssh-keygen` says that, once for each key.

use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use ssh_key::public::KeyData;
use ssh_key::{Algorithm, HashAlg, SshSig};

/// Returns the fingerprint of the key, if a signature of a message is good beyond doubt. One that is not good, or of
/// a kind that is not known here (a certificate, a token, a curve), is a question for `ssh-keygen`.
pub(super) fn good_key(armored: &[u8], message: &[u8], namespace: &str) -> Option<String> {
    let signature = SshSig::from_pem(armored).ok()?;
    if signature.namespace() != namespace || !signature.reserved().is_empty() {
        return None;
    }
    let signed = SshSig::signed_data(namespace, signature.hash_alg(), message).ok()?;
    let bytes = signature.signature_bytes();
    match (signature.public_key(), signature.signature().algorithm()) {
        (KeyData::Ed25519(key), Algorithm::Ed25519) => {
            UnparsedPublicKey::new(&ED25519, key.as_ref()).verify(&signed, bytes).ok()?;
        }
        (KeyData::Rsa(key), Algorithm::Rsa { hash: Some(hash) }) => {
            let rule = match hash {
                HashAlg::Sha256 => &RSA_PKCS1_2048_8192_SHA256,
                HashAlg::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
                _ => return None,
            };
            let key = RsaPublicKeyComponents { n: key.n.as_positive_bytes()?, e: key.e.as_positive_bytes()? };
            key.verify(rule, &signed, bytes).ok()?;
        }
        _ => return None,
    }
    Some(signature.public_key().fingerprint(HashAlg::Sha256).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Signs a message with a new key of a type.
    fn signed(kind: &[&str], message: &str) -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let (key, file) = (folder.path().join("key"), folder.path().join("message"));
        std::fs::write(&file, message).unwrap();
        let run = |words: &mut Command| assert!(words.output().unwrap().status.success());
        run(Command::new("ssh-keygen").args(["-q", "-N", "", "-t"]).args(kind).arg("-f").arg(&key));
        run(Command::new("ssh-keygen").args(["-q", "-Y", "sign", "-n", "ours", "-f"]).arg(&key).arg(&file));
        let signature = std::fs::read(folder.path().join("message.sig")).unwrap();
        (folder, signature)
    }

    #[test]
    fn what_is_good_beyond_doubt_is_good_and_nothing_else() {
        for kind in [&["ed25519"][..], &["rsa", "-b", "2048"]] {
            let (folder, signature) = signed(kind, "hello");
            let listed =
                Command::new("ssh-keygen").arg("-lf").arg(folder.path().join("key.pub")).output().unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            let key = good_key(&signature, b"hello", "ours");
            assert_eq!(key.as_deref(), listed.split(' ').nth(1), "{kind:?}");
            assert_eq!(good_key(&signature, b"hullo", "ours"), None);
            assert_eq!(good_key(&signature, b"hello", "theirs"), None);
            assert_eq!(good_key(&signature[..signature.len() / 2], b"hello", "ours"), None);
            // The key of another does not fit the signature.
            let (_other, foreign) = signed(kind, "hello");
            assert_ne!(good_key(&foreign, b"hello", "ours"), key);
        }
        // Others are asked about.
        let (_folder, signature) = signed(&["ecdsa"], "hello");
        assert_eq!(good_key(&signature, b"hello", "ours"), None);
        assert_eq!(good_key(b"\xff", b"", "ours"), None);
    }
}
