//! `[server]`: keys and values as they would be typed.

use toml::Spanned;
use toml::de::DeValue;

use super::document::Section;
use super::faults::{Fault, Faults};
use super::settings::{Setting, SettingValue};
use super::source::{Place, Placed};

/// The keys, in the order of the file.
pub(crate) fn settings(section: Option<&Section<'_>>, faults: &mut Faults) -> Vec<Setting> {
    let Some((file, table)) = section else { return Vec::new() };
    let mut settings = Vec::new();
    for (key, value) in table.get_ref().iter() {
        let place = Place { file: *file, span: key.span() };
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        let key = key.get_ref().to_string();
        let values = items.into_iter().filter_map(|item| typed(&key, item, *file, faults));
        let values = values.collect();
        settings.push(Setting { key: Placed { value: key, place }, values });
    }
    settings.sort_by_key(|setting| setting.key.place.span.start);
    settings
}

fn typed(
    key: &str,
    item: &Spanned<DeValue<'_>>,
    file: usize,
    faults: &mut Faults,
) -> Option<Placed<SettingValue>> {
    let place = Place { file, span: item.span() };
    let value = match item.get_ref() {
        DeValue::Boolean(switch) => SettingValue::Switch(*switch),
        DeValue::String(text) => SettingValue::Text(text.to_string()),
        DeValue::Integer(number) => SettingValue::Text(number.to_string()),
        DeValue::Float(number) => SettingValue::Text(number.to_string()),
        other => {
            let title = format!("`{key}` is a value, not a {}", other.type_str());
            faults.push(Fault::new(&place, title));
            return None;
        }
    };
    Some(Placed { value, place })
}
