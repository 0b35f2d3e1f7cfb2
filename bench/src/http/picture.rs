//! The results as one picture: a panel a contest, a bar a server.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::measure::{Contest, Line};

const WIDTH: u32 = 960;
const COLUMNS: usize = 2;
/// All in pixels.
const MARGIN: i32 = 16;
const TITLE: i32 = 40;
const BAR: i32 = 18;
const GAP: i32 = 6;
/// Left of the bars, for names; right of them, for values.
const NAMES: i32 = 120;
const VALUES: i32 = 70;
const FONT: &str = "sans-serif";
const TINE: RGBColor = RGBColor(200, 80, 30);
const PEER: RGBColor = RGBColor(150, 165, 180);
const WORDS: RGBColor = RGBColor(40, 40, 40);

/// An SVG document.
///
/// # Errors
/// What the library says.
pub(crate) fn draw(contests: &[&Contest]) -> Result<String, String> {
    let mut text = String::new();
    let rows: Vec<&[&Contest]> = contests.chunks(COLUMNS).collect();
    let heights: Vec<i32> = rows.iter().map(|row| height(row)).collect();
    let total = u32::try_from(heights.iter().sum::<i32>() + MARGIN).unwrap_or_default();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, total)).into_drawing_area();
        let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
        root.fill(&WHITE).map_err(failed)?;
        let mut top = MARGIN;
        let width = i32::try_from(WIDTH).unwrap_or_default() / 2;
        for (row, height) in rows.iter().zip(heights) {
            for (left, contest) in (MARGIN..).step_by(usize::try_from(width).unwrap_or(1)).zip(*row)
            {
                panel(&root, contest, (left, top), width - 2 * MARGIN).map_err(failed)?;
            }
            top += height;
        }
        root.present().map_err(failed)?;
    }
    Ok(text)
}

fn height(row: &[&Contest]) -> i32 {
    let lines = row.iter().map(|contest| contest.lines.len()).max().unwrap_or_default();
    TITLE + i32::try_from(lines).unwrap_or_default() * (BAR + GAP) + MARGIN
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn panel<'a>(area: &Area<'a>, contest: &Contest, at: (i32, i32), width: i32) -> Drawn<'a> {
    let (left, top) = at;
    let style = |size: i32| TextStyle::from((FONT, size).into_font()).color(&WORDS);
    area.draw(&Text::new(contest.title.clone(), at, style(14)))?;
    let what = format!("{}, {}", contest.main.title(&contest.unit), contest.main.better());
    area.draw(&Text::new(what, (left, top + 18), style(11)))?;
    let value = |line: &Line| line.median(contest.main).unwrap_or_default();
    let most = contest.lines.iter().map(value).fold(f64::MIN_POSITIVE, f64::max);
    let name = style(12).pos(Pos::new(HPos::Right, VPos::Center));
    let number = style(12).pos(Pos::new(HPos::Left, VPos::Center));
    let bars = left + NAMES;
    for (y, line) in
        (top + TITLE..).step_by((BAR + GAP).unsigned_abs() as usize).zip(&contest.lines)
    {
        let value = value(line);
        let end = bars + length(value / most, width - NAMES - VALUES);
        let colour = if line.server.starts_with("tine") { TINE } else { PEER };
        area.draw(&Text::new(line.server.clone(), (bars - GAP, y + BAR / 2), name.clone()))?;
        area.draw(&Rectangle::new([(bars, y), (end, y + BAR)], colour.filled()))?;
        let text = contest.main.text(value);
        area.draw(&Text::new(text, (end + GAP, y + BAR / 2), number.clone()))?;
    }
    Ok(())
}

#[expect(clippy::cast_possible_truncation, reason = "a share of some hundred pixels")]
fn length(share: f64, pixels: i32) -> i32 {
    (share * f64::from(pixels)) as i32
}
