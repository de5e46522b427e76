//! The limit of `docs/TASKS.md`, where a project keeps an archive policy for it.

use super::judge::{Finding, Rule};
use super::mirror::DOCS;

/// Where the policy is.
const POLICY: &str = "docs/tasks-archive-policy.json";

/// Returns what is wrong with the size of `docs/TASKS.md`; a policy that nobody can read is wrong too.
/// `read` returns the text of a file, or nothing if there is none.
pub fn judge(read: &dyn Fn(&str) -> Option<String>) -> Option<Finding> {
    let policy = read(POLICY)?;
    let invalid = |why: String| Finding {
        at: 0,
        rule: Rule::TasksPolicy,
        text: why,
        suggestion: Some("it looks like `{ \"max_lines\": 400 }`".to_owned()),
        path: Some(POLICY.to_owned()),
    };
    let policy: serde_json::Value = match serde_json::from_str(&policy) {
        Ok(policy) => policy,
        Err(err) => return Some(invalid(err.to_string())),
    };
    let Some(limit) = policy["max_lines"].as_u64().filter(|limit| *limit > 0) else {
        return Some(invalid("`max_lines` is no positive whole number".to_owned()));
    };
    let reserve = match &policy["reserve_lines"] {
        serde_json::Value::Null => 0,
        reserve => match reserve.as_u64().filter(|reserve| *reserve < limit) {
            Some(reserve) => reserve,
            None => {
                return Some(invalid("`reserve_lines` is no whole number below `max_lines`".to_owned()));
            }
        },
    };
    // The final line break ends a line and begins none.
    let lines = read(DOCS)?.lines().count() as u64;
    let less = match reserve {
        0 => String::new(),
        reserve => format!(", of which `reserve_lines` keeps {reserve} free"),
    };
    (lines > limit - reserve).then(|| Finding {
        at: 0,
        rule: Rule::TasksFile,
        text: format!("{lines} lines, and `max_lines` is {limit}{less}"),
        suggestion: Some("move the sections of finished tasks to the archive".to_owned()),
        path: Some(DOCS.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_limits_the_lines() {
        let judged = |policy: Option<&str>, tasks: &str| {
            let read = |path: &str| match path {
                POLICY => policy.map(str::to_owned),
                _ => Some(tasks.to_owned()),
            };
            judge(&read).map(|finding| (finding.rule, finding.text))
        };
        assert_eq!(judged(None, "a\nb\n"), None);
        assert_eq!(judged(Some(r#"{"max_lines": 2}"#), "a\nb\n"), None);
        let (rule, text) = judged(Some(r#"{"max_lines": 2}"#), "a\nb\nc").unwrap();
        assert_eq!((rule, text.as_str()), (Rule::TasksFile, "3 lines, and `max_lines` is 2"));
        let reserve = |lines: &str| format!(r#"{{"max_lines": 3, "reserve_lines": {lines}}}"#);
        assert_eq!(judged(Some(&reserve("1")), "a\nb\n"), None);
        let (rule, text) = judged(Some(&reserve("1")), "a\nb\nc\n").unwrap();
        assert_eq!(rule, Rule::TasksFile);
        assert_eq!(text, "3 lines, and `max_lines` is 3, of which `reserve_lines` keeps 1 free");
        for bad in ["3", "-1", "1.5", "\"1\""] {
            assert_eq!(judged(Some(&reserve(bad)), "").unwrap().0, Rule::TasksPolicy, "{bad}");
        }
        for bad in ["", "[]", r#"{"max_lines": 0}"#, r#"{"max_lines": "2"}"#, r#"{"max_lines": 1.5}"#] {
            assert_eq!(judged(Some(bad), "").unwrap().0, Rule::TasksPolicy, "{bad}");
        }
    }
}
