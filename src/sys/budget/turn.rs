//! Whose turn it is: those who came first go first, and nobody waits for somebody who waits for something else.

use std::collections::BTreeSet;

/// What somebody in the queue waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// How many tokens it sees: the first of them.
    pub sees: u16,
    pub resources: Vec<String>,
}

/// What those who came before leave to the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Tokens up to this number are kept for them.
    pub kept: u16,
    /// Resources that are kept for them.
    pub claimed: BTreeSet<String>,
}

/// Returns what is left by those in the queue, who stand there in order. `is_held` is whether a resource is in use.
///
/// Somebody who waits for a resource has no use for tokens meanwhile, so others may have them. Nobody takes a
/// resource for which somebody before them waits. Everybody before whom all of these have gone gets their turn.
pub fn left(queue: &[Wants], mut is_held: impl FnMut(&str) -> bool) -> Left {
    let mut left = Left::default();
    for Wants { sees, resources } in queue {
        let blocked = resources.iter().any(|name| left.claimed.contains(name) || is_held(name));
        left.claimed.extend(resources.iter().cloned());
        if !blocked {
            left.kept = left.kept.max(*sees);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wants(sees: u16, resources: &[&str]) -> Wants {
        Wants { sees, resources: resources.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn who_waits_for_a_resource_does_not_keep_tokens_from_others() {
        let db_is_held = |name: &str| name == "db";
        assert_eq!(left(&[], db_is_held), Left::default());
        assert_eq!(left(&[wants(2, &[])], db_is_held).kept, 2);
        let first = left(&[wants(2, &["db"])], db_is_held);
        assert_eq!((first.kept, first.claimed.contains("db")), (0, true));
        // It could begin now, so it is next.
        assert_eq!(left(&[wants(2, &["gpu"])], db_is_held).kept, 2);
        // The second waits for what the first waits for.
        assert_eq!(left(&[wants(2, &["gpu"]), wants(4, &["gpu"])], db_is_held).kept, 2);
    }

    /// A machine on which everybody takes what they can, in any order of looks.
    #[derive(Clone, Debug)]
    struct Job {
        weight: u16,
        resources: Vec<String>,
    }

    fn jobs() -> impl Strategy<Value = Vec<Job>> {
        let names = proptest::sample::subsequence(vec!["a", "b", "c"], 0..3);
        let job = (1..5_u16, names).prop_map(|(weight, names)| Job {
            weight,
            resources: names.into_iter().map(str::to_owned).collect(),
        });
        proptest::collection::vec(job, 1..12)
    }

    proptest! {
        /// However the looks of those who wait fall, everybody gets their turn, never more than there is.
        #[test]
        fn everybody_gets_their_turn(jobs in jobs(), tokens in 1..5_u16, order in any::<u64>()) {
            let mut queue: Vec<usize> = (0..jobs.len()).collect();
            let mut running: Vec<usize> = Vec::new();
            let mut random = order | 1;
            let mut ended = 0;
            while ended < jobs.len() {
                let mut moved = false;
                // Everybody who waits looks once, in some order.
                let mut looks = queue.clone();
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let turn = (random >> 33) as usize % looks.len().max(1);
                looks.rotate_left(turn);
                for me in looks {
                    let before: Vec<_> = queue.iter().take_while(|other| **other != me)
                        .map(|other| Wants { sees: tokens, resources: jobs[*other].resources.clone() }).collect();
                    let held = |name: &str| running.iter().any(|at| jobs[*at].resources.iter().any(|own| own == name));
                    let left = left(&before, held);
                    let taken: u16 = running.iter().map(|at| jobs[*at].weight.min(tokens)).sum();
                    let fits = left.kept == 0 && taken + jobs[me].weight.min(tokens) <= tokens;
                    let free = |name: &String| !left.claimed.contains(name) && !held(name);
                    if fits && jobs[me].resources.iter().all(free) {
                        queue.retain(|other| *other != me);
                        running.push(me);
                        moved = true;
                    }
                }
                if let Some(first) = (!running.is_empty()).then(|| running.remove(0)) {
                    ended += 1;
                    moved |= first < jobs.len();
                }
                prop_assert!(moved, "nobody can go on: {queue:?}");
            }
        }
    }
}
