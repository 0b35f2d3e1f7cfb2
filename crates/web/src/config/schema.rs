//! The JSON schema of the file, made of the structs it is read into.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::tables::{
    AuthTable, DefaultsTable, GuardTable, LogTable, RouteTable, SiteTable, TlsTable,
};

/// A section for people: its title, and the schema of its keys.
pub type Sections = Vec<(&'static str, Value)>;

/// The schema of a struct, with what it contains inside of it.
fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value()
}

/// The schema of the whole file. `server` has the schemas of the keys of `[server]`.
#[must_use]
pub fn schema(server: Map<String, Value>) -> Value {
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "tine.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "include": {
                "description": "More files, with [[site]], [auth.NAME] and [log.NAME]: names, or one `*` in the last part.",
                "type": "array", "items": { "type": "string" }
            },
            "server": {
                "description": "The long flags of `tine serve`.",
                "type": "object", "additionalProperties": false, "properties": server
            },
            "defaults": of::<DefaultsTable>(),
            "site": { "type": "array", "items": of::<SiteTable>() },
            "auth": { "type": "object", "additionalProperties": of::<AuthTable>() },
            "log": { "type": "object", "additionalProperties": of::<LogTable>() },
        }
    })
}

/// The sections but `[server]`, in the order in which they are explained.
#[must_use]
pub fn sections() -> Sections {
    vec![
        ("[defaults]", of::<DefaultsTable>()),
        ("[[site]]", of::<SiteTable>()),
        ("tls of a site", of::<TlsTable>()),
        ("guards of a site", of::<GuardTable>()),
        ("routes of a site", of::<RouteTable>()),
        ("[auth.NAME]", of::<AuthTable>()),
        ("[log.NAME]", of::<LogTable>()),
    ]
}
