//! Instruction files of the repository: hashed and recorded (`contract-core.md` §8.6).

use std::path::Path;

use crate::sys::digest::sha256_hex;
use crate::sys::fs;

const CANDIDATES: [&str; 3] = ["AGENTS.md", "docs/AGENTS.md", ".agent/AGENTS.md"];

/// The instructions that stood in the repository when a run began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instructions {
    /// The SHA-256 of all texts, without their stamps; nothing if there is none.
    pub hash: Option<String>,
    pub sources: Vec<String>,
    /// What a reader should know, such as that a stamp is missing. Never a reason to refuse.
    pub notes: Vec<String>,
}

/// Reads the instruction files.
pub fn load(root: &Path) -> Instructions {
    let mut instructions = Instructions::default();
    let mut bodies = Vec::new();
    for name in CANDIDATES {
        let Ok(Some(bytes)) = fs::read_if_there(&root.join(name)) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        if text.trim().is_empty() {
            continue;
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let body = match stamp(first) {
            None => {
                instructions.notes.push(format!("{name} carries no instruction stamp."));
                text
            }
            Some(stamp) => {
                if stamp != sha256_hex(rest.as_bytes()) {
                    instructions.notes.push(format!("{name} was changed after it was stamped."));
                }
                rest
            }
        };
        bodies.push(body.trim().to_owned());
        instructions.sources.push(name.to_owned());
    }
    let all = bodies.join("\n\n");
    if !all.trim().is_empty() {
        instructions.hash = Some(sha256_hex(all.trim().as_bytes()));
    }
    instructions
}

/// Returns the digest that a line claims, if it is a stamp: an HTML comment with
/// `codex:instruction-stamp` and 64 hex digits.
fn stamp(line: &str) -> Option<String> {
    let line = line.trim().to_ascii_lowercase();
    let inside = line.strip_prefix("<!--")?.strip_suffix("-->")?;
    let digest = inside.trim().strip_prefix("codex:instruction-stamp")?.trim_matches([' ', '\t', ':', '=']);
    (digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| digest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_a_comment_with_a_digest() {
        let digest = "a".repeat(64);
        assert_eq!(
            stamp(&format!("<!-- codex:instruction-stamp {digest} -->")).as_deref(),
            Some(digest.as_str())
        );
        assert_eq!(stamp(&format!("<!--CODEX:Instruction-Stamp   {}-->", "A".repeat(64))), Some(digest));
        assert_eq!(stamp("# Agents"), None);
        assert_eq!(stamp("<!-- codex:instruction-stamp abc -->"), None);
    }
}
