//! A command line as Perl's Getopt::Long reads it by default: what Server::Starter's users have in their scripts
//! (row S2).
//!
//! One, two dashes or a plus; names in any case, shortened as far as only one name can be meant; a value after `=` or
//! as the next word, whatever that begins with; words that are no options may stand between them, unless
//! `POSIXLY_CORRECT` is set; `--` ends them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What an option wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Text,
    Number,
}

/// An option: its name, what it takes, and whether its name may be shortened. Those of ours may not: else what was short
/// enough for the original's would not be any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) shortens: bool,
}

/// What was typed: options in their order, and the words that are none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) options: Vec<(&'static str, OsString)>,
    pub(super) words: Vec<OsString>,
}

/// Reads a command line.
///
/// # Errors
/// All that is wrong with it, a line each.
pub(super) fn read(
    known: &[Known],
    arguments: impl IntoIterator<Item = OsString>,
    posix: bool,
) -> Result<Typed, Vec<String>> {
    let mut arguments = arguments.into_iter();
    let (mut typed, mut wrong) = (Typed::default(), Vec::new());
    while let Some(word) = arguments.next() {
        if word == "--" {
            typed.words.extend(arguments);
            break;
        }
        let Some((name, value)) = option_in(&word, posix) else {
            typed.words.push(word);
            if posix {
                typed.words.extend(arguments);
                break;
            }
            continue;
        };
        match find(known, &name)
            .and_then(|known| Ok((known.name, take(known, value, &mut arguments)?)))
        {
            Ok(option) => typed.options.push(option),
            Err(text) => wrong.push(text),
        }
    }
    if wrong.is_empty() { Ok(typed) } else { Err(wrong) }
}

/// The name, and what stands after its `=`.
fn option_in(word: &OsStr, posix: bool) -> Option<(String, Option<OsString>)> {
    let bytes = word.as_bytes();
    let rest = match bytes {
        [b'-', b'-', rest @ ..] | [b'-', rest @ ..] => rest,
        [b'+', rest @ ..] if !posix => rest,
        _ => return None,
    };
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|&byte| byte == b'=');
    let (name, value) = match end {
        Some(end) => (&rest[..end], Some(OsString::from_vec(rest[end + 1..].to_vec()))),
        None => (rest, None),
    };
    Some((String::from_utf8_lossy(name).into_owned(), value))
}

fn find<'a>(known: &'a [Known], name: &str) -> Result<&'a Known, String> {
    let small = name.to_lowercase();
    if let Some(exact) = known.iter().find(|known| known.name == small) {
        return Ok(exact);
    }
    let could =
        |known: &&Known| known.shortens && known.name.starts_with(&small) && !small.is_empty();
    let found: Vec<&Known> = known.iter().filter(could).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(format!("Unknown option: {name}")),
        several => {
            let names: Vec<&str> = several.iter().map(|known| known.name).collect();
            Err(format!("Option {name} is ambiguous ({})", names.join(", ")))
        }
    }
}

fn take(
    known: &Known,
    value: Option<OsString>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<OsString, String> {
    let name = known.name;
    if known.takes == Takes::Nothing {
        return match value {
            None => Ok(OsString::new()),
            Some(_) => Err(format!("Option {name} does not take an argument")),
        };
    }
    let missing = || format!("Option {name} requires an argument");
    let value = match value {
        Some(value) if value.is_empty() => return Err(missing()),
        Some(value) => value,
        None => rest.next().ok_or_else(missing)?,
    };
    let is_number = || {
        let text = value.to_str().unwrap_or_default();
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if known.takes == Takes::Number && !is_number() {
        let shown = value.to_string_lossy();
        return Err(format!("Value \"{shown}\" invalid for option {name} (number expected)"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn known(name: &'static str, takes: Takes, shortens: bool) -> Known {
        Known { name, takes, shortens }
    }

    const KNOWN: [Known; 6] = [
        known("port", Takes::Text, true),
        known("interval", Takes::Number, true),
        known("stop", Takes::Nothing, true),
        known("status-file", Takes::Text, true),
        known("daemonize", Takes::Nothing, true),
        known("inherited", Takes::Nothing, false),
    ];

    fn typed(line: &str, posix: bool) -> Result<Typed, Vec<String>> {
        read(&KNOWN, line.split_whitespace().map(OsString::from), posix)
    }

    fn text(line: &str) -> String {
        match typed(line, false) {
            Ok(typed) => {
                let options =
                    typed.options.iter().map(|(name, value)| format!("{name}={}", value.display()));
                let words = typed.words.iter().map(|word| word.display().to_string());
                options.chain(words).collect::<Vec<_>>().join(" ")
            }
            Err(wrong) => wrong.join("; "),
        }
    }

    #[test]
    fn options_have_every_form() {
        for (line, read) in [
            ("--port=80 -- prog", "port=80 prog"),
            ("--port 80 -port 81 +port 82 prog", "port=80 port=81 port=82 prog"),
            ("--PORT=80 -p 81 --p=82 --int 3", "port=80 port=81 port=82 interval=3"),
            ("prog --port 80 arg", "port=80 prog arg"),
            ("--port -x", "port=-x"),
            ("--port --", "port=--"),
            ("--interval -1 --daem --sto", "interval=-1 daemonize= stop="),
            ("--inherited --i 4", "inherited= interval=4"),
            ("-- --port 80", "--port 80"),
            ("--port a=b - prog", "port=a=b - prog"),
        ] {
            assert_eq!(text(line), read, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_the_original_does() {
        for (line, said) in [
            ("--nope", "Unknown option: nope"),
            ("--inher", "Unknown option: inher"),
            ("--st", "Option st is ambiguous (stop, status-file)"),
            ("--port", "Option port requires an argument"),
            ("--port=", "Option port requires an argument"),
            ("--interval x", "Value \"x\" invalid for option interval (number expected)"),
            ("--stop=1", "Option stop does not take an argument"),
            ("--a --b", "Unknown option: a; Unknown option: b"),
        ] {
            assert_eq!(text(line), said, "{line}");
        }
    }

    #[test]
    fn the_first_word_that_is_no_option_ends_them_where_posix_is_heeded() {
        let typed = typed("--port 80 prog --port 81", true).expect("it is right");
        assert_eq!((typed.options.len(), typed.words.len()), (1, 3));
    }
}
