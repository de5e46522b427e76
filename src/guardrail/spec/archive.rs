//! Stubs: what is left of a spec whose whole text is kept elsewhere.
//!
//! A stub is a title and one line `Archived: WHERE`, and nothing else. `WHERE` ends in the path of the
//! spec itself: `https://host/…/tasks/specs/a.md`, or `branch:tasks/specs/a.md` as git names a file.

use super::review::trimmed;

/// Whether a spec is nothing but a title and where its text is.
pub(super) fn is_stub(path: &str, text: &str) -> bool {
    let mut lines = text.lines().map(trimmed).filter(|line| !line.is_empty());
    let (Some(title), Some(place), None) = (lines.next(), lines.next(), lines.next()) else { return false };
    let is_title = title.strip_prefix("# ").is_some_and(|title| !title.trim().is_empty());
    let place = place.strip_prefix("Archived:").map(str::trim);
    is_title && place.is_some_and(|place| is_own(place, path))
}

/// Whether a place is one where this very spec can be.
fn is_own(place: &str, path: &str) -> bool {
    if place.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return false;
    }
    if let Some(rest) = place.strip_prefix("https://").or_else(|| place.strip_prefix("http://")) {
        let Some((host, there)) = rest.split_once('/') else { return false };
        let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte));
        let is_plain =
            !there.contains(['?', '#']) && !there.split('/').any(|part| matches!(part, "." | ".."));
        let is_ours = there == path || there.strip_suffix(path).is_some_and(|rest| rest.ends_with('/'));
        return is_host && is_plain && is_ours;
    }
    place.split_once(':').is_some_and(|(reference, there)| is_reference(reference) && there == path)
}

/// Whether a text can name a branch, a tag or a commit. `HEAD` is no archive: the stub is there itself.
fn is_reference(text: &str) -> bool {
    let is_name = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !matches!(text, "HEAD" | "@")
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text.contains(['~', '^', '?', '*', '[', '\\'])
        && text.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "tasks/specs/s.md";

    #[test]
    fn a_stub_is_a_title_and_its_own_place() {
        for place in [
            "https://example.org/blob/archive/tasks/specs/s.md",
            "http://host:8080/tasks/specs/s.md",
            "archive:tasks/specs/s.md",
            "origin/archive/2026:tasks/specs/s.md",
            "0123456789abcdef0123456789abcdef01234567:tasks/specs/s.md",
        ] {
            for text in [
                format!("# S\n\nArchived: {place}\n"),
                format!("\u{feff}# S\r\nArchived: {place}"),
                format!("\n# S\n\n\n  Archived:{place}  \n\n"),
            ] {
                assert!(is_stub(PATH, &text), "{text:?}");
            }
        }
    }

    #[test]
    fn what_is_incomplete_or_more_or_elsewhere_is_none() {
        for place in [
            "",
            "archive",
            "archive:",
            ":tasks/specs/s.md",
            "HEAD:tasks/specs/s.md",
            "-x:tasks/specs/s.md",
            "a..b:tasks/specs/s.md",
            "archive:tasks/specs/other.md",
            "archive:x/tasks/specs/s.md",
            "see archive:tasks/specs/s.md",
            "https://example.org/",
            "https:///tasks/specs/s.md",
            "https://example.org/tasks/specs/s.md?raw=1",
            "https://example.org/tasks/specs/s.md#top",
            "https://example.org/a/../tasks/specs/s.md",
            "https://example.org/xtasks/specs/s.md",
            "https://example.org/tasks/specs/s.md.bak",
            "ftp://example.org/tasks/specs/s.md",
        ] {
            assert!(!is_stub(PATH, &format!("# S\nArchived: {place}\n")), "{place:?}");
        }
        let place = "Archived: archive:tasks/specs/s.md\n";
        for text in [
            String::new(),
            "# S\n".to_owned(),
            place.to_owned(),
            format!("#\n{place}"),
            format!("S\n{place}"),
            format!("## S\n{place}"),
            format!("{place}# S\n"),
            format!("# S\n{place}{place}"),
            format!("# S\n{place}More.\n"),
            format!("---\nstatus: active\n---\n# S\n{place}"),
            format!("# S\n- {place}"),
        ] {
            assert!(!is_stub(PATH, &text), "{text:?}");
        }
    }
}
