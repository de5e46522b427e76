//! Words as a shell takes them, for commands that are run or shown to be typed.

/// Returns a text as one word for a shell.
pub fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_/.:=-+@%,".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// Returns words as one text for a shell. Plain words stay as they are, so that `NAME=value` before a
/// command sets a variable, as in a shell.
pub fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_would_change_them() {
        assert_eq!(words(["a/b.c:d=e-_F9", "", "it's", "$x", "é"]), r"a/b.c:d=e-_F9 '' 'it'\''s' '$x' 'é'");
    }

    proptest! {
        #[test]
        fn a_shell_gets_the_words_back(of in proptest::collection::vec("[^\0\r]{0,12}", 1..4)) {
            let text = format!("printf '%s\\0' x {}", words(of.iter().map(String::as_str)));
            let seen = std::process::Command::new("/bin/sh").arg("-c").arg(&text).output().unwrap();
            let seen = String::from_utf8(seen.stdout).unwrap();
            let mut parts: Vec<_> = seen.split('\0').skip(1).collect();
            prop_assert_eq!(parts.pop(), Some(""));
            prop_assert_eq!(parts, of);
        }
    }
}
