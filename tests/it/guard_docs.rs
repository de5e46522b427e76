//! `git orchestrate guard docs`.

use std::path::Path;

use git_orchestrate::ops::Context;
use git_orchestrate::ops::docs::check::check;
use git_orchestrate::sys::clock::Clock;
use git_orchestrate::sys::env::Env;

#[test]
fn our_own_documents_refer_to_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ctx = Context::open(Env::new([], root.to_owned()), Clock::System).expect("a repository");
    let checked = check(&ctx, &["*.md".to_owned()]).expect("readable documents");
    assert!(checked.documents.len() > 4, "{:?}", checked.documents);
    let said: Vec<_> = checked
        .findings
        .iter()
        .map(|it| {
            format!("{}:{}:{} {} {}", it.file, it.line, it.column, it.finding.rule.id(), it.finding.text)
        })
        .collect();
    assert_eq!(said, [] as [String; 0]);
}
