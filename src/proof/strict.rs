//! JSON as strictly as evidence needs it: a key that stands twice means one thing to one reader and another to
//! the next, so it means nothing.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text is no JSON that can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A key stands twice in one object.
    DuplicateKey(String),
    /// It is no JSON at all.
    Malformed(String),
}

/// What marks our own error inside one of `serde_json`.
const MARK: &str = "\u{1}duplicate key\u{1}";

/// Reads one JSON document.
pub fn parse(text: &str) -> Result<Value, Flaw> {
    let Strict(value) = serde_json::from_str(text).map_err(|err| {
        let said = err.to_string();
        match said.split(MARK).nth(1) {
            Some(key) => Flaw::DuplicateKey(key.to_owned()),
            None => Flaw::Malformed(said),
        }
    })?;
    Ok(value)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("{MARK}{key}{MARK}")));
            }
            let Strict(value) = fields.next_value()?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_json_is_read_and_what_is_doubtful_is_not() {
        let text = r#"{"a": [1, -2, 1.5, null, true, "x"], "b": {"a": {}}}"#;
        assert_eq!(parse(text), Ok(json!({"a": [1, -2, 1.5, null, true, "x"], "b": {"a": {}}})));
        assert_eq!(parse(r#"{"b": {"a": 1, "a": 1}}"#), Err(Flaw::DuplicateKey("a".to_owned())));
        // The same key, written in another way.
        assert_eq!(parse(r#"{"a": 1, "\u0061": 1}"#), Err(Flaw::DuplicateKey("a".to_owned())));
        for text in ["", "{", "{} {}", "[1,]", &"[".repeat(100_000)] {
            assert!(matches!(parse(text), Err(Flaw::Malformed(_))), "{text:.9}");
        }
    }
}
