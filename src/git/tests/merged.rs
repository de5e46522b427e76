//! What counts as merged: whoever is told so removes the branch.

use super::scene::Scene;
use crate::git::Merged;

impl Scene {
    fn commit(&self, path: &str, text: &str) -> String {
        self.write(path, text);
        self.git("add --all");
        self.git(&format!("commit --quiet --message {path}"));
        self.git("rev-parse HEAD")
    }

    fn merged(&self, commit: &str) -> Option<Merged> {
        let (commit, main) = (self.git(&format!("rev-parse {commit}")), self.git("rev-parse main"));
        self.repo().merged(&commit, &main).expect("git can tell")
    }
}

/// Picks a commit onto main as another commit, and lets main go on there so that to merge it is a conflict.
fn picked_and_changed(scene: &Scene, commit: &str, path: &str) {
    scene.git("checkout --quiet main");
    scene.commit("before", "main went on\n");
    scene.git(&format!("cherry-pick {commit}"));
    scene.commit(path, "changed again on main\n");
}

#[test]
fn what_was_picked_is_merged_also_if_the_target_went_on_there() {
    let scene = Scene::new();
    scene.git("checkout --quiet -b b");
    let tip = scene.commit("work", "work\n");
    assert_eq!(scene.merged("b"), None);
    picked_and_changed(&scene, &tip, "work");
    assert_eq!(scene.merged("b"), Some(Merged::Patch));
    // One of two is not enough.
    scene.git("checkout --quiet b");
    scene.commit("precious", "precious\n");
    assert_eq!(scene.merged("b"), None);
}

#[test]
fn what_a_merge_itself_changed_is_not_picked() {
    let scene = Scene::new();
    scene.git("checkout --quiet -b b");
    let tip = scene.commit("work", "work\n");
    picked_and_changed(&scene, &tip, "work");
    scene.git("checkout --quiet b");
    scene.git("merge --quiet --no-edit main~1");
    scene.write("precious", "precious\n");
    scene.git("add precious");
    scene.git("commit --quiet --amend --no-edit");
    assert_eq!(scene.merged("b"), None);
}

#[test]
fn what_differs_in_white_space_or_in_bytes_is_not_picked() {
    let scene = Scene::new();
    for (name, ours, theirs) in [
        (
            "one.py",
            &b"def f(x):\n    if x:\n        x += 1\n    return x\n"[..],
            &b"def f(x):\n    if x:\n        x += 1\n        return x\n"[..],
        ),
        ("two.bin", b"\0one", b"\0two"),
    ] {
        scene.git("checkout --quiet main");
        scene.git("checkout --quiet -b b");
        scene.write(name, ours);
        scene.git("add --all");
        scene.git("commit --quiet --message ours");
        scene.git("checkout --quiet main");
        scene.write(name, theirs);
        scene.git("add --all");
        scene.git("commit --quiet --message theirs");
        assert_eq!(scene.merged("b"), None, "{name}");
        scene.git("branch --quiet -D b");
    }
}

#[test]
fn what_was_taken_back_again_is_not_merged() {
    let scene = Scene::new();
    scene.git("checkout --quiet -b b");
    scene.commit("precious", "precious\n");
    scene.git("revert --no-edit HEAD");
    assert_eq!(scene.merged("b"), None);
    scene.git("checkout --quiet main");
    scene.commit("more", "main went on\n");
    assert_eq!(scene.merged("b"), None);
    // One commit that says something and changes nothing.
    scene.git("checkout --quiet -b empty main~1");
    scene.git("commit --quiet --allow-empty --message why");
    assert_eq!(scene.merged("empty"), None);
    // What both came to in the same way is merged.
    scene.git("checkout --quiet -b squashed main~1");
    scene.commit("one", "1\n");
    scene.commit("two", "2\n");
    scene.git("checkout --quiet main");
    scene.git("merge --quiet --squash squashed");
    scene.git("commit --quiet --message squashed");
    assert_eq!(scene.merged("squashed"), Some(Merged::Tree));
}
