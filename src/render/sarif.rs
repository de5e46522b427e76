//! Verdicts as SARIF 2.1.0, the form in which code hosts take findings.

use serde_json::{Value, json};

use super::guard::name;
use crate::guardrail::{Finding, Outcome, Verdict};

/// Returns the document as text.
pub fn text(verdicts: &[Verdict]) -> String {
    format!("{:#}\n", document(verdicts))
}

/// Returns the document. What was overridden, or only reported, is no error.
fn document(verdicts: &[Verdict]) -> Value {
    let findings =
        || verdicts.iter().flat_map(|verdict| verdict.findings.iter().map(move |finding| (verdict, finding)));
    let mut rules: Vec<_> = findings().map(|(_, finding)| finding.rule.as_str()).collect();
    rules.sort_unstable();
    rules.dedup();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "columnKind": "unicodeCodePoints",
            "tool": {"driver": {
                "name": "git-orchestrate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({"id": rule})).collect::<Vec<_>>(),
            }},
            "results": findings().map(|(verdict, finding)| result(verdict, finding)).collect::<Vec<_>>(),
        }],
    })
}

fn result(verdict: &Verdict, finding: &Finding) -> Value {
    let level = match verdict.outcome {
        Outcome::Overridden => "note",
        _ if verdict.dry_run => "warning",
        _ => "error",
    };
    let suggestion = finding.suggestion.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
    let label = &verdict.judged.label;
    let text = format!("{} ({label}): {}{suggestion}", name(&verdict.rule), finding.message);
    let mut result = json!({"ruleId": finding.rule, "level": level, "message": {"text": text}});
    if let Some(path) = &finding.path {
        let mut location = json!({"artifactLocation": {"uri": uri(path), "uriBaseId": "%SRCROOT%"}});
        if let Some(line) = finding.line {
            location["region"] = json!({"startLine": line});
            if let Some(column) = finding.column {
                location["region"]["startColumn"] = json!(column);
            }
        }
        result["locations"] = json!([{"physicalLocation": location}]);
    }
    if let Some(given) = &verdict.overridden {
        result["suppressions"] = json!([{"kind": "external", "justification": given.reason}]);
    }
    result
}

/// Returns a path as a relative reference.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    path.bytes().fold(String::new(), |mut uri, byte| {
        match plain(byte) {
            true => uri.push(char::from(byte)),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
        uri
    })
}
