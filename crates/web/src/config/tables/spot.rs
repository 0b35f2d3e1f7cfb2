//! A value that knows where it stands, for the structs that the file is read into.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::config::source::{Place, Placed};

/// `toml`'s `Spanned`, with the schema of its value.
#[derive(Clone, Debug)]
pub(crate) struct Spot<T>(Spanned<T>);

impl<T> Spot<T> {
    pub(crate) fn value(&self) -> &T {
        self.0.get_ref()
    }

    pub(crate) fn place(&self, file: usize) -> Place {
        Place { file, span: self.0.span() }
    }

    pub(crate) fn placed(self, file: usize) -> Placed<T> {
        let place = self.place(file);
        Placed { value: self.0.into_inner(), place }
    }
}

impl<T: Ord> Ord for Spot<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value().cmp(other.value())
    }
}

impl<T: Ord> PartialOrd for Spot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Eq> Eq for Spot<T> {}

impl<T: PartialEq> PartialEq for Spot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spot<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Spot<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
