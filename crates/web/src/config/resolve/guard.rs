//! One of `guards`.

use http::Method;

use super::route::path_config;
use super::{Around, known};
use crate::config::document::Section;
use crate::config::faults::{Fault, Faults};
use crate::config::section;
use crate::config::settings::{GuardConfig, RateConfig};
use crate::config::source::{Place, Placed};
use crate::config::tables::{GuardTable, Spot};
use crate::config::words;

pub(super) fn resolve(
    (file, whole): &Section<'_>,
    around: &Around<'_>,
    faults: &mut Faults,
) -> Option<GuardConfig> {
    let file = *file;
    let place = Place { file, span: whole.span() };
    let before = faults.count();
    let guard: GuardTable = section::read(whole, file, "a guard", faults);
    let path = path_config(guard.path, guard.regex, file, faults);
    let auth = guard.auth.map(|auth| auth.placed(file));
    if let Some(auth) = &auth {
        known(auth, &around.auth, "[auth.NAME]", faults);
    }
    let rate = rate(guard.rate, guard.by, guard.burst, file, faults);
    let resolved = GuardConfig {
        path,
        allow: list(guard.allow, file),
        deny: list(guard.deny, file),
        auth,
        methods: guard.methods.map(|list| methods(list.placed(file), faults)).unwrap_or_default(),
        max_body_size: guard.max_body_size.and_then(|size| body_size(size.placed(file), faults)),
        rate,
        place,
    };
    let GuardConfig { allow, deny, auth, methods, max_body_size, rate, place, .. } = &resolved;
    let lists = allow.is_empty() && deny.is_empty() && methods.is_empty();
    if faults.count() == before
        && lists
        && auth.is_none()
        && max_body_size.is_none()
        && rate.is_none()
    {
        let fault = Fault::new(place, "the guard asks for nothing");
        faults
            .push(fault.help("add `allow`, `deny`, `auth`, `methods`, `max-body-size` or `rate`"));
    }
    (faults.count() == before).then_some(resolved)
}

fn list(list: Option<Spot<Vec<Spot<String>>>>, file: usize) -> Vec<Placed<String>> {
    let items = list.map(|list| list.placed(file).value).unwrap_or_default();
    items.into_iter().map(|item| item.placed(file)).collect()
}

fn methods(list: Placed<Vec<Spot<String>>>, faults: &mut Faults) -> Vec<Placed<Method>> {
    let file = list.place.file;
    let mut methods = Vec::new();
    if list.value.is_empty() {
        let fault = Fault::new(&list.place, "`methods` allows no method");
        faults.push(fault.help("methods = [\"GET\"]; or deny = [\"all\"]"));
    }
    for method in list.value {
        let place = method.place(file);
        match Method::from_bytes(method.value().as_bytes()) {
            Ok(value) if !value.as_str().bytes().any(|byte| byte.is_ascii_lowercase()) => {
                methods.push(Placed { value, place });
            }
            _ => {
                let fault = Fault::new(&place, format!("`{}` is no method", method.value()));
                faults.push(fault.help("methods are written in capitals: GET, POST"));
            }
        }
    }
    methods
}

fn body_size(size: Placed<String>, faults: &mut Faults) -> Option<Placed<u64>> {
    match size.value.parse::<tine::Bytes>() {
        Ok(bytes) => Some(Placed { value: bytes.0, place: size.place }),
        Err(error) => {
            faults.push(
                Fault::new(&size.place, "`max-body-size` is no size").help(error.to_string()),
            );
            None
        }
    }
}

fn rate(
    rate: Option<Spot<String>>,
    by: Option<Spot<String>>,
    burst: Option<Spot<u32>>,
    file: usize,
    faults: &mut Faults,
) -> Option<Placed<RateConfig>> {
    let alone = by.as_ref().map(|by| ("by", by.place(file)));
    let alone = alone.or_else(|| burst.as_ref().map(|burst| ("burst", burst.place(file))));
    let Some(rate) = rate else {
        if let Some((key, place)) = alone {
            faults.push(
                Fault::new(&place, format!("`{key}` without `rate`")).help("add rate = \"10/min\""),
            );
        }
        return None;
    };
    if let Some(by) = by.filter(|by| by.value() != "client") {
        let title = format!("a rate cannot be counted by `{}`", by.value());
        faults
            .push(Fault::new(&by.place(file), title).help("by = \"client\", which is the default"));
    }
    let rate = rate.placed(file);
    let Some((requests, per)) = words::rate(&rate.value) else {
        let fault = Fault::new(&rate.place, format!("`{}` is no rate", rate.value));
        faults.push(fault.help("a number, and s, min, h or day: \"10/min\""));
        return None;
    };
    let burst = match burst {
        Some(burst) if *burst.value() == 0 => {
            faults.push(
                Fault::new(&burst.place(file), "a burst of 0 lets no request through")
                    .help("1 is the least"),
            );
            return None;
        }
        Some(burst) => *burst.value(),
        None => requests,
    };
    Some(Placed { value: RateConfig { requests, per, burst }, place: rate.place })
}
