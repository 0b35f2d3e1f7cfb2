//! The sections of the file as they are written: one struct each. What a field's comment says is also the
//! description in the schema and in `docs/configuration.md`.

mod auth;
mod defaults;
mod either;
mod guard;
mod log;
mod route;
mod site;
mod spot;
mod tls;

use std::collections::BTreeMap;

pub(crate) use auth::AuthTable;
pub(crate) use defaults::DefaultsTable;
pub(crate) use either::SwitchOrText;
pub(crate) use guard::GuardTable;
pub(crate) use log::LogTable;
pub(crate) use route::RouteTable;
pub(crate) use site::SiteTable;
pub(crate) use spot::Spot;
pub(crate) use tls::TlsTable;

/// Header fields of answers by name: a text, or `false` for none.
pub(crate) type HeadersTable = BTreeMap<Spot<String>, Spot<SwitchOrText>>;
