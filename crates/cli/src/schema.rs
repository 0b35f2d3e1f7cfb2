//! `tine schema`: the keys of a configuration, for editors and for people.

use clap::{Arg, Args};
use serde_json::{Map, Value, json};
use tine_web::config;

use crate::failure::{Failure, print, print_json};
use crate::serve::settings;

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Print a page for people instead: every key, and what it means
    #[arg(long)]
    markdown: bool,
}

pub(crate) fn run(typed: &Schema) -> Result<(), Failure> {
    match typed.markdown {
        true => print(&markdown()),
        false => print_json(serde_json::to_string_pretty(&config::schema(server()))),
    }
}

/// The schemas of the keys of `[server]`.
fn server() -> Map<String, Value> {
    let command = settings::command();
    settings::keys(&command).map(|(key, arg)| (key.to_owned(), of(arg))).collect()
}

fn of(arg: &Arg) -> Value {
    let description = settings::help_of(arg);
    if settings::is_switch(arg) {
        return json!({ "description": description, "type": "boolean" });
    }
    let one = json!({ "type": ["string", "number"] });
    if settings::is_list(arg) {
        let list = json!({ "type": "array", "items": one });
        return json!({ "description": description, "anyOf": [one, list] });
    }
    let kinds = match settings::may_have_value(arg) {
        true => json!(["boolean", "string", "number"]),
        false => json!(["string", "number"]),
    };
    json!({ "description": description, "type": kinds })
}

const HEAD: &str = "\
# The keys of tine.toml

<!-- Written by `tine schema --markdown`. The texts are those of `tine serve --help` and of crates/web/src/config/tables. -->

`tine serve tine.toml` serves the sites of a file; `tine check tine.toml` says what is wrong with it, and
`tine check tine.toml --effective` prints every value with the line it comes from. A flag that is typed wins over its key in
`[server]`. Paths are relative to the file they stand in. `tine reload`, or SIGHUP, reads the file again; if it is wrong,
nothing changes.

```toml
[server]
listen = [\"80\"]
user = \"www-data\"

[defaults]
headers = { X-Content-Type-Options = \"nosniff\" }

[[site]]
names = [\"example.org\", \"www.example.org\"]
canonical = true
root = \"/srv/example\"
guards = [{ path = \"/internal/*\", allow = [\"10.0.0.0/8\"] }]
routes = [
  { path = \"/press/*\", redirect = \"/news/{*}\", status = 308 },
  { files = true },
]

[[site]]
default = true
routes = [{ status = 421 }]
```

`include = [\"sites.d/*.toml\"]`, above all sections, reads more files; they have `[[site]]`, `[auth.NAME]` and `[log.NAME]`.
What a site does not say it has from `[defaults]`, what a route does not say from its site. Header fields are merged by name.

Not supported yet, and refused: `auth` and `rate` in guards, `[auth.NAME]`, `listing = true`; `[app.NAME]`, `proxy`, `cgi`,
`[acme]`, `tls = \"auto\"` and `[see]`.
";

/// A page of all keys.
fn markdown() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(
        "\n## [server]\n\nThe long flags of `tine serve`.\n\n| key | value | |\n|---|---|---|\n",
    );
    let command = settings::command();
    for (key, arg) in settings::keys(&command) {
        let names = arg.get_value_names().unwrap_or_default();
        let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let kind = match () {
            () if settings::is_switch(arg) => "`true`, `false`".to_owned(),
            () if settings::may_have_value(arg) => format!("`true`, `false` or {}", code(&names)),
            () if settings::is_list(arg) => format!("list of {}", code(&names)),
            () => code(&names),
        };
        row(&mut page, key, &kind, &settings::help_of(arg));
    }
    for (title, schema) in config::sections() {
        page.push_str(&format!("\n## {title}\n\n{}\n\n", text(&schema["description"])));
        page.push_str("| key | value | |\n|---|---|---|\n");
        let empty = Map::new();
        for (key, schema) in schema["properties"].as_object().unwrap_or(&empty) {
            row(&mut page, key, kind(schema), &text(&schema["description"]));
        }
    }
    page
}

fn row(page: &mut String, key: &str, kind: &str, description: &str) {
    let description = description.replace('|', "\\|");
    page.push_str(&format!("| `{key}` | {kind} | {description} |\n"));
}

fn code(names: &str) -> String {
    format!("`{}`", names.replace('|', "\\|"))
}

/// The text of a comment, its lines joined.
fn text(description: &Value) -> String {
    description.as_str().unwrap_or_default().replace('\n', " ")
}

/// What the value of a key is.
fn kind(schema: &Value) -> &'static str {
    let has = |wanted: &str| match &schema["type"] {
        Value::String(kind) => kind == wanted,
        Value::Array(kinds) => kinds.iter().any(|kind| kind == wanted),
        _ => false,
    };
    match () {
        () if has("boolean") && has("string") => "`true`, `false` or a text",
        () if has("boolean") => "`true`, `false`",
        () if has("integer") => "a number",
        () if has("array") => "a list",
        () if has("object") => "a table",
        () => "a text",
    }
}
