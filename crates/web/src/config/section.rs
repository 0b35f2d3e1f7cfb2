//! One section into its struct: all its faults, not the first alone.

use std::ops::Range;

use schemars::{JsonSchema, Schema};
use serde::de::{DeserializeOwned, IntoDeserializer as _};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::faults::{Fault, Faults, nearest};
use super::not_yet;
use super::source::Place;

/// Reads a table. A key that is unknown, or whose value does not fit, is a fault and is left out.
pub(crate) fn read<T: DeserializeOwned + JsonSchema + Default>(
    table: &Spanned<DeTable<'_>>,
    file: usize,
    name: &str,
    faults: &mut Faults,
) -> T {
    let mut rest = table.get_ref().clone();
    let schema = schemars::schema_for!(T);
    let known = keys(&schema);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for key in table.get_ref().keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
        let place = Place { file, span: key.span() };
        faults.push(unknown(&place, key.get_ref(), name, &known));
        rest.remove(key.get_ref().as_ref());
    }
    loop {
        let value = Spanned::new(table.span(), DeValue::Table(rest.clone()));
        let error = match T::deserialize(value.into_deserializer()) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let span = error.span().unwrap_or(table.span());
        let wrong = rest
            .iter()
            .find(|(key, value)| inside(&span, &value.span()) || inside(&span, &key.span()));
        let wrong = wrong.map(|(key, value)| (key.get_ref().to_string(), value.clone()));
        let place = Place { file, span };
        let Some((key, value)) = wrong else {
            faults.push(Fault::new(&place, error.message()));
            return T::default();
        };
        rest.remove(key.as_str());
        let fault = Fault::new(&place, format!("`{key}`: {}", error.message()));
        let list = error.message().contains("expected a sequence") && value.get_ref().is_str();
        let fault = fault.help(match list {
            true => format!("write a list: {key} = [\"…\"]"),
            false => meaning(&schema, &key),
        });
        faults.push(fault);
    }
}

fn inside(inner: &Range<usize>, outer: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// A key that the section has not.
pub(crate) fn unknown(place: &Place, key: &str, section: &str, known: &[&str]) -> Fault {
    if let Some(words) = not_yet::key(section, key) {
        return Fault::new(place, format!("`{key}` is not supported yet")).help(words);
    }
    let fault = Fault::new(place, format!("{section} has no key `{key}`"));
    match nearest(key, known.iter().copied()) {
        Some(name) => fault.help(format!("did you mean `{name}`?")),
        None => fault.help(format!("its keys are {}", known.join(", "))),
    }
}

/// The keys of a section, as they are written.
fn keys(schema: &Schema) -> Vec<String> {
    let properties = schema.get("properties").and_then(|value| value.as_object());
    properties.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

/// What a key means.
fn meaning(schema: &Schema, key: &str) -> String {
    let text = schema.pointer(&format!("/properties/{key}/description"));
    text.and_then(|text| text.as_str()).unwrap_or_default().replace('\n', " ")
}
