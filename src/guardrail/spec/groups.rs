//! Planned debt: overdue specs that somebody has put into a group, until a day, and not too many.
//!
//! The groups that excuse are those of the base; a mistake counts where the change would leave it, so
//! that a change which mends one is not stopped by it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use super::review::{WARNING_DAYS, date, days, trimmed};
use crate::guardrail::{Finding, Verdict};
use crate::pipeline::config::FILE_NAME;
use crate::pipeline::guardrails::SpecGroup;

/// Who is nobody.
const NOBODY: [&str; 4] = ["", "tbd", "unassigned", "owner"];

/// The groups, and which specs there are.
pub(super) struct Declared<'a> {
    /// Those of the base.
    pub groups: &'a [SpecGroup],
    /// Those that the change leads to.
    pub proposed: &'a [SpecGroup],
    /// Whether there is such a spec.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// Whether the change took such a spec away.
    pub was_removed: &'a dyn Fn(&str) -> bool,
}

/// Decides what becomes of overdue specs: those of a good group are noted, and the others found.
pub(super) fn settle(declared: &Declared<'_>, stale: Vec<Finding>, today: Date, verdict: &mut Verdict) {
    let is_known = |path: &str| (declared.exists)(path) || (declared.was_removed)(path);
    let wrong = mistakes(declared.groups, &is_known);
    let proposed = mistakes(declared.proposed, declared.exists);
    let members: Vec<BTreeSet<&str>> =
        declared.groups.iter().map(|group| group.specs.iter().map(String::as_str).collect()).collect();
    let of = |finding: &Finding| {
        let path = finding.path.as_deref()?;
        members.iter().position(|specs| specs.contains(path))
    };
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for at in stale.iter().filter_map(of) {
        *counts.entry(at).or_default() += 1;
    }
    let mut refused: BTreeMap<usize, Finding> = BTreeMap::new();
    for (at, count) in &counts {
        let group = &declared.groups[*at];
        let SpecGroup { expires, max, .. } = group;
        if let Some(mistake) = wrong.iter().find(|(wrong, _)| wrong == at) {
            refused.insert(*at, mistake.1.clone());
        } else if date(expires).is_none_or(|last| last < today) {
            let said = format!("is over since {expires}: review its specs, or agree on another day");
            refused.insert(*at, found(group, "spec-group-expired", &said));
        } else if count > max {
            let said = format!(
                "has {count}, and may have {max}: review some with `git orchestrate guard spec accept FILE`"
            );
            refused.insert(*at, found(group, "spec-group-over-full", &said));
        }
    }
    for finding in stale {
        match of(&finding).filter(|at| !refused.contains_key(at)) {
            Some(at) => verdict.notes.push(planned(&declared.groups[at], &finding, today)),
            None => verdict.findings.push(finding),
        }
    }
    for (at, finding) in refused {
        // A mistake that the change mends excuses nothing, and is none any more.
        match wrong.iter().any(|(wrong, _)| *wrong == at) {
            true if !proposed.iter().any(|(_, there)| *there == finding) => {
                verdict.notes.push(format!("as the base has it, it excuses nothing: {}", finding.message));
            }
            true => {}
            false => verdict.findings.push(finding),
        }
    }
    verdict.findings.extend(proposed.into_iter().map(|(_, finding)| finding));
}

/// Returns what to say about an overdue spec of a good group.
fn planned(group: &SpecGroup, stale: &Finding, today: Date) -> String {
    let SpecGroup { id, owner, expires, .. } = group;
    let left = date(expires).map_or(0, |last| days(today, last) + 1);
    let soon = match left {
        1 => ", the last day".to_owned(),
        left if left <= WARNING_DAYS => format!(", {left} more days"),
        _ => String::new(),
    };
    format!("{}; planned debt of group `{id}`: {owner} sees to it until {expires}{soon}", stale.message)
}

/// Returns what is wrong with groups, each with the number of its group.
fn mistakes(groups: &[SpecGroup], is_known: &dyn Fn(&str) -> bool) -> Vec<(usize, Finding)> {
    let mut wrong = Vec::new();
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    let mut homes: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        let mut find = |at: usize, rule: &str, said: &str| wrong.push((at, found(&groups[at], rule, said)));
        let id = trimmed(&group.id);
        if id.is_empty() {
            find(at, "spec-group-invalid", "has no name");
        } else if let Some(first) = ids.insert(id, at) {
            for at in [first, at] {
                find(at, "spec-group-invalid", "is there twice: every group needs a name of its own");
            }
        }
        if NOBODY.contains(&trimmed(&group.owner).to_lowercase().as_str()) {
            let said = format!("is owned by `{}`, which is nobody: name who sees to it", group.owner);
            find(at, "spec-group-unowned", &said);
        }
        if date(&group.expires).is_none() {
            let said = format!("ends on `{}`, which is no day: write `YYYY-MM-DD`", group.expires);
            find(at, "spec-group-date-invalid", &said);
        }
        for spec in &group.specs {
            if let Some(first) = homes.insert(spec, at) {
                let said = format!("has `{spec}`, which is named twice: a spec is in one group, once");
                for at in BTreeSet::from([first, at]) {
                    find(at, "spec-group-shared-spec", &said);
                }
            }
            if !is_known(spec) {
                let said = format!("has `{spec}`, and there is no such spec: take it out of the group");
                find(at, "spec-group-unknown-spec", &said);
            }
        }
    }
    wrong
}

fn found(group: &SpecGroup, rule: &str, said: &str) -> Finding {
    Finding {
        rule: rule.to_owned(),
        message: format!("the group `{}` of overdue specs {said}", group.id),
        path: Some(FILE_NAME.to_owned()),
        ..Finding::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guardrail::Judged;

    fn group(id: &str, specs: &[&str]) -> SpecGroup {
        SpecGroup {
            id: id.into(),
            owner: "ann".into(),
            expires: "2026-12-31".into(),
            max: 2,
            specs: specs.iter().map(|spec| (*spec).to_owned()).collect(),
        }
    }

    fn stale(path: &str) -> Finding {
        let message = format!("`{path}` is old");
        Finding { rule: "last-review-too-old".into(), message, path: Some(path.into()), ..Finding::default() }
    }

    /// There are specs `a` to `d`, and `gone` was removed.
    fn settled(groups: &[SpecGroup], proposed: &[SpecGroup], overdue: &[&str]) -> Verdict {
        let mut verdict = Verdict::new("spec-guard", Judged::default());
        let declared = Declared {
            groups,
            proposed,
            exists: &|path| matches!(path, "a" | "b" | "c" | "d"),
            was_removed: &|path| path == "gone",
        };
        let today = "2026-11-21".parse().unwrap();
        settle(&declared, overdue.iter().map(|path| stale(path)).collect(), today, &mut verdict);
        verdict
    }

    fn rules(verdict: &Verdict) -> Vec<&str> {
        verdict.findings.iter().map(|finding| finding.rule.as_str()).collect()
    }

    #[test]
    fn a_good_group_turns_overdue_specs_into_planned_debt() {
        let groups = [group("g", &["a", "b", "c"])];
        let verdict = settled(&groups, &groups, &["a", "d"]);
        assert_eq!(rules(&verdict), ["last-review-too-old"]);
        assert_eq!(verdict.findings[0].path.as_deref(), Some("d"));
        assert_eq!(verdict.notes, ["`a` is old; planned debt of group `g`: ann sees to it until 2026-12-31"]);
    }

    #[test]
    fn the_end_of_a_group_is_announced() {
        for (expires, said) in [
            ("2026-11-27", "until 2026-11-27"),
            ("2026-11-25", "until 2026-11-25, 5 more days"),
            ("2026-11-21", "until 2026-11-21, the last day"),
        ] {
            let groups = [SpecGroup { expires: expires.into(), ..group("g", &["a"]) }];
            let verdict = settled(&groups, &groups, &["a"]);
            assert!(verdict.findings.is_empty() && verdict.notes[0].ends_with(said), "{verdict:?}");
        }
    }

    #[test]
    fn a_group_that_is_over_or_too_full_excuses_nothing() {
        let over = [SpecGroup { expires: "2026-11-20".into(), ..group("g", &["a", "b"]) }];
        let all = ["last-review-too-old", "spec-group-expired"];
        assert_eq!(rules(&settled(&over, &over, &["a"])), all);
        assert_eq!(rules(&settled(&over, &over, &[])), [""; 0], "nobody is excused by it any more");
        let groups = [group("g", &["a", "b", "c"])];
        let verdict = settled(&groups, &groups, &["a", "b", "c"]);
        let too_old = "last-review-too-old";
        assert_eq!(rules(&verdict), [too_old, too_old, too_old, "spec-group-over-full"]);
        assert_eq!(rules(&settled(&groups, &groups, &["a", "b"])), [""; 0]);
    }

    #[test]
    fn mistakes_are_found_and_excuse_nothing() {
        let usual = || group("g", &["a"]);
        for (groups, rule) in [
            (vec![SpecGroup { owner: " TBD ".into(), ..usual() }], "spec-group-unowned"),
            (vec![SpecGroup { owner: String::new(), ..usual() }], "spec-group-unowned"),
            (vec![SpecGroup { owner: "unassigned".into(), ..usual() }], "spec-group-unowned"),
            (vec![SpecGroup { owner: "Owner".into(), ..usual() }], "spec-group-unowned"),
            (vec![SpecGroup { expires: "2026-02-31".into(), ..usual() }], "spec-group-date-invalid"),
            (vec![SpecGroup { expires: "soon".into(), ..usual() }], "spec-group-date-invalid"),
            (vec![group(" ", &["a"])], "spec-group-invalid"),
            (vec![group("g", &["a", "x"])], "spec-group-unknown-spec"),
            (vec![group("g", &["a", "a"])], "spec-group-shared-spec"),
        ] {
            assert_eq!(rules(&settled(&groups, &groups, &["a"])), ["last-review-too-old", rule]);
            assert_eq!(rules(&settled(&groups, &groups, &[])), [rule], "also where nothing is overdue");
        }
        let twice = [group("g", &["a"]), group("g", &["b"])];
        let both = ["last-review-too-old", "spec-group-invalid", "spec-group-invalid"];
        assert_eq!(rules(&settled(&twice, &twice, &["a"])), both);
        let shared = [group("g", &["a"]), group("h", &["a"])];
        let both = ["last-review-too-old", "spec-group-shared-spec", "spec-group-shared-spec"];
        assert_eq!(rules(&settled(&shared, &shared, &["a"])), both);
    }

    #[test]
    fn a_change_can_mend_a_group_and_cannot_excuse_itself() {
        let bad = [SpecGroup { owner: "tbd".into(), ..group("g", &["a"]) }];
        let good = [group("g", &["a"])];
        assert_eq!(rules(&settled(&bad, &good, &[])), [""; 0]);
        let verdict = settled(&bad, &good, &["a"]);
        assert_eq!(rules(&verdict), ["last-review-too-old"]);
        assert!(verdict.notes[0].contains("as the base has it"), "{:?}", verdict.notes);
        assert_eq!(rules(&settled(&[], &good, &["a"])), ["last-review-too-old"]);
        assert_eq!(rules(&settled(&good, &bad, &["a"])), ["spec-group-unowned"]);
        // A spec goes with the line that names it, in one change.
        let with_gone = [group("g", &["a", "gone"])];
        assert_eq!(rules(&settled(&with_gone, &good, &["a"])), [""; 0]);
        assert_eq!(rules(&settled(&with_gone, &with_gone, &["a"])), ["spec-group-unknown-spec"]);
    }
}
