//! What stands in a git note: a short text for people, then one envelope per line.
//!
//! What somebody else put into a note is kept as it is, whatever it means.

use super::record::Record;
use super::statement::commit_of;

/// The largest note that is read, in bytes.
pub const LARGEST: usize = 64 << 20;

/// Returns a note with one more envelope, and one more text for people if it is about a commit.
pub fn add(note: &[u8], text: Option<&str>, line: &str) -> Vec<u8> {
    let (head, lines) = split(note);
    let mut whole = Vec::with_capacity(note.len() + line.len() + 512);
    whole.extend_from_slice(head.trim_ascii_end());
    if let Some(text) = text {
        if !whole.is_empty() {
            whole.push(b'\n');
        }
        whole.extend_from_slice(text.trim_end().as_bytes());
    }
    if !whole.is_empty() {
        whole.extend_from_slice(b"\n\n");
    }
    whole.extend_from_slice(lines);
    if !lines.is_empty() && !lines.ends_with(b"\n") {
        whole.push(b'\n');
    }
    whole.extend_from_slice(line.as_bytes());
    whole.push(b'\n');
    whole
}

/// Returns a note with one more text for people, and no envelope.
pub fn add_text(note: &[u8], text: &str) -> Vec<u8> {
    let (head, lines) = split(note);
    let mut whole = head.trim_ascii_end().to_vec();
    if !whole.is_empty() {
        whole.push(b'\n');
    }
    whole.extend_from_slice(text.trim_end().as_bytes());
    whole.push(b'\n');
    if !lines.is_empty() {
        whole.push(b'\n');
        whole.extend_from_slice(lines);
    }
    whole
}

/// Whether a note says nothing but what we say about some runs: a remark of somebody is a part of it that nobody
/// else keeps.
pub fn is_only_about(note: &[u8], runs: &[&str]) -> bool {
    let Ok(head) = std::str::from_utf8(split(note).0) else { return false };
    let about = |line: &str| runs.iter().any(|run| line.contains(&format!(": run {run}, ")));
    head.lines().all(|line| line.is_empty() || line.starts_with("  ") || about(line))
}

/// Returns the lines of a note that should be envelopes.
pub fn lines(note: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(note).1.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// Returns what two sides of one note come to: all that either says, ours first.
pub fn union(ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    let (head, own) = split(ours);
    let (other_head, other) = split(theirs);
    let mut whole = head.trim_ascii_end().to_vec();
    let known = texts(head);
    for text in texts(other_head).into_iter().filter(|text| !known.contains(text)) {
        if !whole.is_empty() {
            whole.push(b'\n');
        }
        whole.extend_from_slice(text);
    }
    if !whole.is_empty() {
        whole.extend_from_slice(b"\n\n");
    }
    let known: Vec<_> = own.split(|byte| *byte == b'\n').collect();
    let more = other.split(|byte| *byte == b'\n').filter(|line| !known.contains(line));
    for line in known.iter().copied().chain(more) {
        if !line.is_empty() {
            whole.extend_from_slice(line);
            whole.push(b'\n');
        }
    }
    whole
}

/// Returns the texts for people: each is a line, and the indented ones below it, which mean nothing without it.
fn texts(head: &[u8]) -> Vec<&[u8]> {
    let mut begins = Vec::new();
    let mut at = 0;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if begins.is_empty() || !(line.starts_with(b" ") || line.trim_ascii().is_empty()) {
            begins.push(at);
        }
        at += line.len();
    }
    let ends = begins.iter().skip(1).copied().chain([head.len()]);
    let texts = begins.iter().zip(ends).map(|(begin, end)| head[*begin..end].trim_ascii_end());
    texts.filter(|text| !text.is_empty()).collect()
}

/// Takes a note apart: the text, and what follows from the first line on that can be an envelope.
fn split(note: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in note.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b"{") {
            return note.split_at(at);
        }
        at += line.len();
    }
    // A text alone, or what nobody can read: bytes that are no text must not look like lines for people.
    match std::str::from_utf8(note) {
        Ok(_) => (note, &[]),
        Err(_) => (&[], note),
    }
}

/// Returns what a record says, for people. `by` is who ran it, and `key` what signed it.
pub fn text(record: &Record, by: &str, key: Option<&str>) -> String {
    let plain = |text: &str| -> String {
        // The note must stay what it looks like: lines of ours, each about one thing.
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    let partial = if record.partial { " (only a part of the pipeline)" } else { "" };
    let mut text = format!(
        "{} {}{partial}: run {}, {} by {}\n",
        plain(&record.pipeline),
        record.status,
        plain(&record.run_id),
        record.completed_at,
        plain(by),
    );
    let stages: Vec<_> =
        record.stages.iter().map(|stage| format!("{} {}", plain(&stage.id), stage.result.as_str())).collect();
    text.push_str(&format!("  stages: {}\n", stages.join(", ")));
    for guardrail in &record.guardrails {
        text.push_str(&format!("  guardrail: {}\n", plain(&guardrail.line)));
        if let Some(reason) = &guardrail.reason {
            text.push_str(&format!("  overridden: {}\n", plain(reason)));
        }
    }
    if commit_of(record).is_none() {
        text.push_str("  It ran on this very tree before the commit was made.\n");
    }
    match key {
        Some(key) => text.push_str(&format!("  signed with {}\n", plain(key))),
        None => text.push_str("  unsigned\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(note: &[u8]) -> String {
        String::from_utf8_lossy(note).into_owned()
    }

    #[test]
    fn texts_stand_before_an_empty_line_and_envelopes_after_it() {
        let first = add(b"", Some("one\n"), "{1}");
        assert_eq!(shown(&first), "one\n\n{1}\n");
        let second = add(&first, Some("two\n"), "{2}");
        assert_eq!(shown(&second), "one\ntwo\n\n{1}\n{2}\n");
        assert_eq!(lines(&second).collect::<Vec<_>>(), [b"{1}", b"{2}"]);
        assert_eq!(shown(&add(b"", None, "{1}")), "{1}\n");
        assert_eq!(shown(&add_text(&second, "three\n")), "one\ntwo\nthree\n\n{1}\n{2}\n");
        assert_eq!(shown(&add_text(b"", "three")), "three\n");
    }

    #[test]
    fn what_others_wrote_is_kept() {
        assert_eq!(shown(&add(b"a remark\n", Some("one"), "{1}")), "a remark\none\n\n{1}\n");
        assert_eq!(shown(&add(b"{what?}\nodd", None, "{1}")), "{what?}\nodd\n{1}\n");
        assert_eq!(add(b"\xff\xfe", None, "{1}"), b"\xff\xfe\n{1}\n");
    }

    #[test]
    fn a_union_has_what_either_side_has_once() {
        let base = add(b"", Some("one"), "{1}");
        let (ours, theirs) = (add(&base, Some("two"), "{2}"), add(&base, Some("three"), "{3}"));
        assert_eq!(shown(&union(&ours, &theirs)), "one\ntwo\nthree\n\n{1}\n{2}\n{3}\n");
        assert_eq!(union(&ours, &ours), ours);
    }

    #[test]
    fn a_union_leaves_the_lines_of_a_text_together() {
        let base = add(b"", Some("run 1\n  stages: test passed\n  unsigned"), "{1}");
        let ours = add(&base, Some("run 2\n  stages: test failed\n  unsigned"), "{2}");
        let theirs =
            add(&add_text(&base, "a remark"), Some("run 3\n  stages: test passed\n  unsigned"), "{3}");
        insta::assert_snapshot!(shown(&union(&ours, &theirs)), @r"
        run 1
          stages: test passed
          unsigned
        run 2
          stages: test failed
          unsigned
        a remark
        run 3
          stages: test passed
          unsigned

        {1}
        {2}
        {3}
        ");
    }

    #[test]
    fn a_remark_of_somebody_is_noticed() {
        let text = "gate succeeded: run r1, now by ada\n  unsigned";
        let note = add(b"", Some(text), "{1}");
        assert!(is_only_about(&note, &["r0", "r1"]) && !is_only_about(&note, &["r0"]));
        assert!(!is_only_about(&add_text(&note, "a remark"), &["r1"]));
        assert!(!is_only_about(b"\xff", &["r1"]) || lines(b"\xff").next().is_some());
    }

    #[test]
    fn a_text_says_what_ran_and_how_it_ended() {
        let at = "2026-01-01T00:00:00.000Z";
        let record: Record = serde_json::from_value(json!({
            "version": 1, "run_id": "2026-01-01T00-00-00-000Z-0badcafe", "task_id": "t", "pipeline": "ga\nte",
            "pipeline_digest": "sha256:0", "status": "succeeded", "commit": "c0", "tree": "aaaa", "dirty": true,
            "object_format": "sha1", "worktree": {"path": ".", "name": null, "linked": false},
            "manifest": "m", "started_at": at, "completed_at": at, "tool": "t",
            "fingerprint": {"os": "linux", "arch": "x86_64"},
            "stages": [{
                "id": "test", "key": "k", "subject": "tree:aaaa", "definition_digest": "d",
                "definition": {"format": 1, "kind": "command", "command": "true"},
                "result": "passed", "exit_code": 0, "started_at": at, "completed_at": at,
            }],
            "nonce": "n",
        }))
        .unwrap();
        insta::assert_snapshot!(text(&record, "ada@box", None), @r"
        ga te succeeded: run 2026-01-01T00-00-00-000Z-0badcafe, 2026-01-01T00:00:00.000Z by ada@box
          stages: test passed
          It ran on this very tree before the commit was made.
          unsigned
        ");
    }
}
