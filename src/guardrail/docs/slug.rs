//! The anchors that GitHub gives to headings.

use std::collections::HashMap;

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

/// Makes anchors, each different from those before it.
#[derive(Debug, Default)]
pub struct Slugs {
    seen: HashMap<String, usize>,
}

impl Slugs {
    /// Returns the anchor of the next heading, whose text is given without its Markdown.
    pub fn next(&mut self, heading: &str) -> String {
        let base = slug(heading);
        let mut slug = base.clone();
        while let Some(count) =
            self.seen.contains_key(&slug).then(|| self.seen.entry(base.clone()).or_default())
        {
            *count += 1;
            slug = format!("{base}-{count}");
        }
        self.seen.insert(slug.clone(), 0);
        slug
    }
}

/// Returns the text in lower case, without what is no letter, mark, digit, `_` or `-`, and with `-`
/// for each blank.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().flat_map(char::to_lowercase).filter_map(|c| match c {
        ' ' => Some('-'),
        '-' => Some('-'),
        c if is_word(c) => Some(c),
        _ => None,
    });
    kept.collect()
}

/// What Ruby's regular expressions call a word character.
fn is_word(c: char) -> bool {
    match c.general_category_group() {
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Mark => true,
        _ => {
            matches!(
                c.general_category(),
                GeneralCategory::DecimalNumber | GeneralCategory::ConnectorPunctuation
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn anchors_are_those_of_github() {
        let cases = [
            ("Two commands", "two-commands"),
            ("What's new?", "whats-new"),
            ("A & B", "a--b"),
            ("`guard docs` and `--base`", "guard-docs-and---base"),
            ("snake_case-and.dots", "snake_case-anddots"),
            ("Ünïcode 漢字", "ünïcode-漢字"),
            ("3.1 Check (new)", "31-check-new"),
            ("🚀 Start", "-start"),
            (":rocket: Start", "rocket-start"),
            ("½ x²", "-x"),
            ("C++", "c"),
            ("Review Decisions (2025-10-16)", "review-decisions-2025-10-16"),
            ("  spaces  inside ", "spaces--inside"),
        ];
        for (heading, anchor) in cases {
            // The caller has taken the Markdown away already.
            assert_eq!(Slugs::default().next(&heading.replace('`', "")), anchor, "{heading}");
        }
    }

    #[test]
    fn headings_of_one_name_are_numbered() {
        let mut slugs = Slugs::default();
        let anchors = ["Foo", "Foo", "Foo 1", "foo", "Foo-1"].map(|heading| slugs.next(heading));
        assert_eq!(anchors, ["foo", "foo-1", "foo-1-1", "foo-2", "foo-1-2"]);
    }

    proptest! {
        #[test]
        fn no_two_anchors_are_equal(headings in proptest::collection::vec("[ab1 -]{0,4}", 0..20)) {
            let mut slugs = Slugs::default();
            let anchors: Vec<_> = headings.iter().map(|heading| slugs.next(heading)).collect();
            let different: std::collections::BTreeSet<_> = anchors.iter().collect();
            prop_assert_eq!(different.len(), anchors.len());
        }
    }
}
