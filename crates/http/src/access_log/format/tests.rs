//! What a format is refused for, and what it costs.

use super::*;

#[test]
fn a_wrong_format_is_refused_with_the_directive_and_its_place() {
    for (text, what) in [
        ("comon", "\"comon\": it is common, combined, json"),
        ("%h %Z", ", %Z at byte 4: the directives are %% %a"),
        ("%h %ä", ", %ä at byte 4: the directives"),
        ("%h %", ", % at byte 4: a directive ends with its letter"),
        ("%h %>", ", %> at byte 4: a directive ends"),
        ("%h 100%!", ", %! at byte 7: a directive ends"),
        ("%{Referer", ", %{ at byte 1: what begins with {"),
        ("%i", ", %i at byte 1: a header's name"),
        ("%{no name}o", ", %{no name}o at byte 1: a header's name"),
        ("%{%d}t", ", %{%d}t at byte 1: before t stands one of {iso} {sec} {msec} {usec}"),
        ("%{x}T", "before T stands one of {s} {ms} {us}, or nothing"),
        ("%{x}h", "nothing stands in braces before h"),
        ("%{x}%", "the directives are"),
        ("%99s", ", %99 at byte 1: a status is"),
        ("%400,5000{Referer}i", ", %400,5000 at byte 1: a status is"),
        ("%h\n%r", ", byte 3: a line has no line break"),
        ("%h\\n%r", ", backslash at byte 3"),
        ("{\"a\":\"%r}", " of JSON: a string that begins with"),
    ] {
        let error = text.parse::<Format>().expect_err(text).to_string();
        assert!(error.starts_with("access log format") && error.contains(what), "{error}");
    }
}

#[test]
fn what_is_known_at_one_time_is_made_at_one_time() {
    let phases = |format: Format| format.runs.iter().map(|run| run.phase).collect::<Vec<_>>();
    let common: Format = "common".parse().unwrap();
    assert_eq!(phases(common), [Phase::Request, Phase::End, Phase::Request, Phase::End]);
    assert_eq!(
        phases("%r %{A}o %{B}o %s".parse().unwrap()),
        [Phase::Request, Phase::Answer, Phase::End]
    );
    assert_eq!(phases("%h %r %>s %b %D".parse().unwrap()), [Phase::Request, Phase::End]);
    assert_eq!(phases("%400{A}i%!200,304{A}i".parse().unwrap()), [Phase::Request; 2]);
}

#[test]
fn what_costs_something_is_done_only_where_it_is_asked_for() {
    for format in [Format::common(), Format::combined(), Format::json()] {
        assert!(!format.asks_local() && !format.asks_sent());
    }
    assert!(!Format::combined().asks_end() && !Format::combined().asks_time());
    assert!(Format::json().asks_end() && Format::json().asks_time());
    let format: Format = "%A %O".parse().unwrap();
    assert!(format.asks_local() && format.asks_sent());
    assert!("%p".parse::<Format>().unwrap().asks_local());
}
