//! Whether a run's manifest is what its journal adds up to.

use anyhow::Result;
use serde_json::{Map, Value};

use super::{Kind, Refusal};
use crate::run::manifest::Manifest;
use crate::store::catalog::Found;
use crate::store::journal;
use crate::sys::digest::sha256_hex;
use crate::sys::fs;

/// Sections of other programs.
pub type Sections = Map<String, Value>;

/// Checks that `manifest.json` is what the journal adds up to. A manifest of the reference has no
/// journal to check against. Returns the sections that a stage added and the journal does not hold
/// yet, and gives `manifest` back those that somebody removed.
pub fn manifest(found: &Found, manifest: &mut Manifest) -> Result<Sections> {
    let Some(bytes) = fs::read_if_there(&found.paths.manifest)? else { return Ok(Sections::new()) };
    let Ok(on_disk) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(Sections::new()) };
    let Some(mark) = on_disk.journal.clone() else {
        // A crash may have come between the first line of an adopted run and its mark.
        let created = journal::rebuild(&found.paths.journal, None).ok().flatten();
        let same = |created: Manifest| {
            created.attempts.is_none() && adopted(on_disk).is_some_and(|on_disk| on_disk == created)
        };
        return match created.is_none_or(same) {
            true => Ok(Sections::new()),
            false => Err(edited(found, "journal").into()),
        };
    };
    let length = std::fs::metadata(&found.paths.journal).map(|meta| meta.len()).unwrap_or(0);
    if length < mark.bytes {
        let message = format!(
            "`{}` has {length} bytes, and the manifest was made from {}: evidence is missing",
            found.paths.journal.display(),
            mark.bytes
        );
        return Err(Refusal::new(Kind::Invalid, message).into());
    }
    let rebuilt = journal::rebuild(&found.paths.journal, Some(mark.bytes))?;
    let Some(mut rebuilt) = rebuilt else { return Err(edited(found, "journal").into()) };
    rebuilt.journal = Some(mark);
    let of = |manifest: &Manifest| serde_json::to_value(manifest).expect("a manifest has string keys");
    match difference(&of(&on_disk), &of(&rebuilt), String::new()) {
        // Sections of other programs are theirs to change.
        Some(path) if !is_foreign(&on_disk, &rebuilt, &path) => Err(edited(found, &path).into()),
        _ => {
            let is_new = |key: &String, value: &Value| rebuilt.other.get(key) != Some(value);
            let mut added = on_disk.other;
            added.retain(|key, value| is_new(key, value));
            for (key, value) in &rebuilt.other {
                manifest.other.entry(key).or_insert_with(|| value.clone());
            }
            Ok(added)
        }
    }
}

fn is_foreign(on_disk: &Manifest, rebuilt: &Manifest, path: &str) -> bool {
    let mut plain = on_disk.clone();
    plain.other = rebuilt.other.clone();
    plain == *rebuilt && !path.is_empty()
}

fn edited(found: &Found, path: &str) -> Refusal {
    let message = format!(
        "`{}` is not what the journal adds up to: `{path}` was changed by hand",
        found.paths.manifest.display()
    );
    Refusal::new(Kind::Invalid, message).hint("`git orchestrate start` makes a new run")
}

/// Returns where two documents differ first.
fn difference(a: &Value, b: &Value, path: String) -> Option<String> {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.map(|key| (a.get(key), b.get(key), key)).find_map(|(a, b, key)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                difference(a.unwrap_or(&Value::Null), b.unwrap_or(&Value::Null), path)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| difference(a, b, format!("{path}[{at}]")))
        }
        _ => (a != b).then_some(path),
    }
}

/// Returns a manifest of the reference as one of ours begins: with the digest of the token instead
/// of the token. Nothing if it tells no time.
pub fn adopted(mut manifest: Manifest) -> Option<Manifest> {
    manifest.updated_at = Some(manifest.updated_at.or(manifest.started_at)?);
    manifest.resume_token = manifest.resume_token.map(|token| sha256_hex(token.as_bytes()));
    Some(manifest)
}
