//! `[server]` of a file: its keys are the flags of `tine serve`, checked by them and turned into arguments.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueRange;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};
use tine_web::config::{Fault, Faults, Placed, Setting, SettingValue, Sources, nearest};

use super::flags::Serve;

/// Flags that are no keys, and why.
const TYPED_ONLY: [(&str, &str); 5] = [
    ("check", "type `tine check FILE`"),
    ("inetd", "it is only typed"),
    ("solo", "it is only typed"),
    ("help", "it is only typed"),
    ("dotfiles", "write it in [defaults], or in a site or a route"),
];

/// `tine serve`, as it is typed.
pub(crate) fn command() -> Command {
    Serve::augment_args(Command::new("tine serve").disable_help_flag(true))
}

/// The flags that are keys, in the order of the help.
pub(crate) fn keys(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let with_names = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    with_names.filter(|(name, _)| TYPED_ONLY.iter().all(|(typed, _)| typed != name))
}

/// Whether the key is a switch: `true` or `false`.
pub(crate) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether a switch may have a value instead of `true`.
pub(crate) fn may_have_value(arg: &Arg) -> bool {
    arg.get_num_args() == Some(ValueRange::new(0..=1))
}

/// Whether the key may have a list.
pub(crate) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Pushes what is wrong with the keys.
pub(crate) fn check(settings: &[Setting], faults: &mut Faults) {
    let command = command();
    let mut fine = true;
    for setting in settings {
        match fault(&command, setting) {
            Some(fault) => {
                faults.push(fault);
                fine = false;
            }
            None => fine &= check_values(&command, setting, faults),
        }
    }
    if fine {
        check_together(&command, settings, faults);
    }
}

/// A key that is none, or that has values of the wrong kind.
fn fault(command: &Command, setting: &Setting) -> Option<Fault> {
    let (key, place) = (setting.key.value.as_str(), &setting.key.place);
    if let Some((_, why)) = TYPED_ONLY.iter().find(|(name, _)| *name == key) {
        return Some(Fault::new(place, format!("[server] has no key `{key}`")).help(*why));
    }
    let Some((_, arg)) = keys(command).find(|(name, _)| *name == key) else {
        let fault = Fault::new(place, format!("[server] has no key `{key}`"));
        return Some(match nearest(key, keys(command).map(|(name, _)| name)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("its keys are the long flags of `tine serve --help`"),
        });
    };
    if setting.values.len() != 1 && !is_list(arg) {
        return Some(Fault::new(place, format!("`{key}` has one value")).help("it is no list"));
    }
    let wrong = setting.values.iter().find(|value| match value.value {
        SettingValue::Switch(_) => !is_switch(arg) && !may_have_value(arg),
        SettingValue::Text(_) => is_switch(arg),
    })?;
    let fault = Fault::new(&wrong.place, format!("`{key}`: a value of the wrong kind"));
    Some(match is_switch(arg) {
        true => fault.help(format!("{key} = true, or {key} = false")),
        false => fault.help(help_of(arg)),
    })
}

/// Has the flag's own parser read each value.
fn check_values(command: &Command, setting: &Setting, faults: &mut Faults) -> bool {
    let key = &setting.key.value;
    let arg = keys(command).find(|(name, _)| name == key);
    let mut fine = true;
    for value in &setting.values {
        let Some(argument) = argument(key, value.value.clone()) else { continue };
        let words = [OsString::from("tine serve"), argument];
        let Err(error) = command.clone().try_get_matches_from(words) else { continue };
        if error.kind() == ErrorKind::MissingRequiredArgument {
            continue;
        }
        fine = false;
        let reason = match error.source() {
            Some(source) => source.to_string(),
            None => first_line(&error),
        };
        let fault = Fault::new(&value.place, format!("`{key}`: {reason}"));
        faults.push(match arg {
            Some((_, arg)) => fault.help(help_of(arg)),
            None => fault,
        });
    }
    fine
}

/// Keys that need or exclude one another.
fn check_together(command: &Command, settings: &[Setting], faults: &mut Faults) {
    let words = settings.iter().flat_map(|setting| {
        let key = &setting.key.value;
        setting.values.iter().filter_map(move |value| argument(key, value.value.clone()))
    });
    let words = std::iter::once(OsString::from("tine serve")).chain(words);
    let Err(error) = command.clone().try_get_matches_from(words) else { return };
    let text = error.render().to_string();
    let named = settings.iter().find(|it| text.contains(&format!("--{}", it.key.value)));
    let Some(setting) = named.or(settings.first()) else { return };
    let words = text.lines().take_while(|line| !line.starts_with("Usage")).map(str::trim);
    let words: Vec<&str> = words.filter(|line| !line.is_empty()).collect();
    let reason = words.join(" ");
    let reason = reason.strip_prefix("error: ").unwrap_or(&reason).to_owned();
    let fault = Fault::new(&setting.key.place, format!("[server]: {reason}"));
    faults.push(fault.help("keys stand for the flags of the same names"));
}

/// The file among what was typed, which may lack flags that others need.
pub(super) fn file_of(words: &[OsString]) -> Option<PathBuf> {
    let error = command().try_get_matches_from(whole(words)).err()?;
    let missing = error.kind() == ErrorKind::MissingRequiredArgument;
    let file = matches(words).get_one::<PathBuf>("root").cloned()?;
    (missing && file.is_file()).then_some(file)
}

fn whole(words: &[OsString]) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from("tine serve")).chain(words.iter().cloned())
}

/// What was typed, whether or not flags lack others that they need.
fn matches(words: &[OsString]) -> ArgMatches {
    command().ignore_errors(true).try_get_matches_from(whole(words)).unwrap_or_default()
}

/// The arguments that stand for the keys, but for those that what was typed replaces or excludes.
pub(crate) fn arguments(
    settings: &[Setting],
    sources: &Sources,
    typed: &[OsString],
) -> Vec<OsString> {
    let command = command();
    let typed = matches(typed);
    let typed: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| {
            typed.value_source(arg.get_id().as_str())
                == Some(clap::parser::ValueSource::CommandLine)
        })
        .collect();
    let mut words = Vec::new();
    for setting in settings {
        let key = &setting.key.value;
        let Some((_, arg)) = keys(&command).find(|(name, _)| name == key) else { continue };
        let excludes = |one: &Arg, other: &Arg| {
            command.get_arg_conflicts_with(one).iter().any(|it| it.get_id() == other.get_id())
        };
        let replaced = typed
            .iter()
            .any(|it| it.get_id() == arg.get_id() || excludes(it, arg) || excludes(arg, it));
        if !replaced {
            let values = setting.values.iter();
            let values = values.filter_map(|value| argument(key, resolved(arg, value, sources)));
            words.extend(values);
        }
    }
    words
}

/// Paths are relative to the file that they stand in.
fn resolved(arg: &Arg, value: &Placed<SettingValue>, sources: &Sources) -> SettingValue {
    let SettingValue::Text(text) = &value.value else { return value.value.clone() };
    let names = arg.get_value_names().unwrap_or_default();
    let is_path = names
        .iter()
        .any(|name| name.split('|').any(|name| matches!(name, "PATH" | "FILE" | "DIR")));
    let path = |path: &str| sources.resolve(&value.place, path).display().to_string();
    let unix = ["unix:", "tls:unix:"].into_iter().find(|prefix| text.starts_with(prefix));
    SettingValue::Text(match unix {
        Some(prefix)
            if arg.get_long() == Some("listen") && !text[prefix.len()..].starts_with('@') =>
        {
            format!("{prefix}{}", path(&text[prefix.len()..]))
        }
        _ if is_path && text != "-" && text != "off" => path(text),
        _ => text.clone(),
    })
}

/// `--KEY`, `--KEY=VALUE`, or nothing for `false`.
fn argument(key: &str, value: SettingValue) -> Option<OsString> {
    match value {
        SettingValue::Switch(false) => None,
        SettingValue::Switch(true) => Some(format!("--{key}").into()),
        SettingValue::Text(text) => Some(format!("--{key}={text}").into()),
    }
}

/// What `--help` says of a flag.
pub(crate) fn help_of(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// What the keys and what was typed come to.
pub(crate) fn serve(words: Vec<OsString>, typed: Vec<OsString>) -> Result<Serve, clap::Error> {
    let all = std::iter::once(OsString::from("tine serve")).chain(words).chain(typed);
    let matches = command().try_get_matches_from(all)?;
    Serve::from_arg_matches(&matches)
}

/// Every key that has a value, and where it comes from.
pub(crate) fn effective(settings: &[Setting], sources: &Sources) -> String {
    let command = command();
    let mut text = "[server]\n".to_owned();
    for (key, arg) in keys(&command) {
        let setting = settings.iter().find(|setting| setting.key.value == key);
        let (value, origin) = match setting {
            Some(setting) => (written(setting, is_list(arg)), sources.line(&setting.key.place)),
            None if is_switch(arg) => ("false".to_owned(), "default".to_owned()),
            None => match arg.get_default_values() {
                [] => continue,
                values => {
                    let values: Vec<_> = values.iter().map(|it| format!("{it:?}")).collect();
                    let values = values.join(", ");
                    let value = if is_list(arg) { format!("[{values}]") } else { values };
                    (value, "default".to_owned())
                }
            },
        };
        text.push_str(&format!("{:<48} # {origin}\n", format!("{key} = {value}")));
    }
    text
}

fn written(setting: &Setting, list: bool) -> String {
    let one = |value: &Placed<SettingValue>| match &value.value {
        SettingValue::Switch(switch) => switch.to_string(),
        SettingValue::Text(text) => format!("{text:?}"),
    };
    match setting.values.as_slice() {
        [value] if !list => one(value),
        values => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
