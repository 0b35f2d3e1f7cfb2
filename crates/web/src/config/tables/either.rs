//! Values that may be of two types: each reads itself, so that a fault keeps its place.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// `true`, `false` or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SwitchOrText {
    Switch(bool),
    Text(String),
}

struct Either;

impl Visitor<'_> for Either {
    type Value = SwitchOrText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a string")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<SwitchOrText, E> {
        Ok(SwitchOrText::Switch(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<SwitchOrText, E> {
        Ok(SwitchOrText::Text(value.to_owned()))
    }
}

impl<'de> Deserialize<'de> for SwitchOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for SwitchOrText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "SwitchOrText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "string"] })
    }
}
