//! How the demo is laid out on a terminal of any size: the nodes, what has happened, and what is happening.
//!
//! The nodes take the richest form in which all of them fit and something is left for the events; several columns of them when
//! they are many. Events stand beside them on a wide terminal, below them on others, and use all that is left: first those that
//! make the story, then the newest of the others.

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: &'static str,
    pub(super) peers: usize,
    pub(super) height: u64,
    pub(super) tip: String,
    pub(super) pool: usize,
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

/// Characters in a line, and lines that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

/// A form of the table.
struct Form {
    width: usize,
    heading: &'static str,
    row: fn(usize, &Row) -> String,
}

/// From rich to poor.
const FORMS: [Form; 4] = [
    Form {
        width: 64,
        heading: "node  state    peers height  tip      pool       bytes  messages",
        row: |index, row| {
            format!(
                "{index:>4}  {:<8} {:>5} {:>6}  {:<8} {:>4} {:>11} {:>9}",
                row.state, row.peers, row.height, row.tip, row.pool, row.bytes, row.messages
            )
        },
    },
    Form {
        width: 42,
        heading: "node  state    peers height  tip      pool",
        row: |index, row| {
            let Row { state, peers, height, tip, pool, .. } = row;
            format!("{index:>4}  {state:<8} {peers:>5} {height:>6}  {tip:<8} {pool:>4}")
        },
    },
    Form {
        width: 31,
        heading: "node  state    height  tip     ",
        row: |index, row| format!("{index:>4}  {:<8} {:>6}  {:<8}", row.state, row.height, row.tip),
    },
    Form { width: 11, heading: "node height", row: |index, row| format!("{index:>4} {:>6}", row.height) },
];
/// Between two columns of the table, and between it and the events.
const GAP: &str = "   ";
/// Events stand beside the table when they have so many characters there.
const EVENTS_WIDTH_MIN: usize = 48;
/// Lines that are kept for events, when there are any.
const EVENTS_LINES_MIN: usize = 4;

/// What is drawn: at most as many lines as there are, none of them too long.
pub(super) fn frame(rows: &[Row], story: &[String], news: &[String], size: Size) -> Vec<String> {
    let events = story.len().saturating_add(news.len()).min(EVENTS_LINES_MIN);
    let (table, width) = table(rows, Size { lines: size.lines.saturating_sub(events), ..size });
    let beside = size.columns.saturating_sub(width).saturating_sub(GAP.len());
    let mut lines = Vec::new();
    if beside >= EVENTS_WIDTH_MIN {
        let events = events_in(story, news, size.lines);
        for index in 0..table.len().max(events.len()) {
            let left = table.get(index).map_or("", String::as_str);
            match events.get(index) {
                Some(event) => lines.push(format!("{left:<width$}{GAP}{event}")),
                None => lines.push(left.to_owned()),
            }
        }
    } else {
        let left = size.lines.saturating_sub(table.len());
        lines.extend(table);
        lines.extend(events_in(story, news, left));
    }
    lines.truncate(size.lines);
    lines.into_iter().map(|line| cut(&line, size.columns)).collect()
}

/// The nodes at the end, in one column of the richest form that fits: it may scroll.
pub(super) fn list(rows: &[Row], columns: usize) -> Vec<String> {
    let lines = rows.len().saturating_add(1);
    let one = FORMS.iter().find(|form| form.width <= columns);
    one.map_or_else(Vec::new, |form| columns_of(rows, form, 1, lines))
}

/// The nodes, and how wide that is.
fn table(rows: &[Row], size: Size) -> (Vec<String>, usize) {
    for form in &FORMS {
        let side_by_side = size.columns.saturating_add(GAP.len()) / (form.width + GAP.len());
        if side_by_side == 0 || rows.is_empty() {
            continue;
        }
        // As few columns as will do: what is beside them is for the events.
        let most = size.lines.saturating_sub(1).max(1);
        let columns = rows.len().div_ceil(most);
        if columns <= side_by_side && size.lines > 1 {
            let width = columns * (form.width + GAP.len()) - GAP.len();
            return (columns_of(rows, form, columns, rows.len().div_ceil(columns) + 1), width);
        }
    }
    let line = summary(rows);
    let width = line.chars().count();
    (vec![line], width)
}

fn columns_of(rows: &[Row], form: &Form, columns: usize, lines: usize) -> Vec<String> {
    let each = lines.saturating_sub(1).max(1);
    let cells: Vec<String> = rows.iter().enumerate().map(|(index, row)| (form.row)(index, row)).collect();
    let heading = vec![form.heading; columns].join(GAP);
    let line = |line: usize| {
        let parts: Vec<&str> = cells.iter().skip(line).step_by(each).map(String::as_str).collect();
        parts.join(GAP)
    };
    std::iter::once(heading).chain((0..each).map(line)).collect()
}

/// Where not even the numbers have room.
fn summary(rows: &[Row]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for row in rows {
        match states.iter_mut().find(|(state, _)| *state == row.state) {
            Some((_, count)) => *count += 1,
            None => states.push((row.state, 1)),
        }
    }
    let heights = rows.iter().map(|row| row.height);
    let (low, high) = (heights.clone().min().unwrap_or(0), heights.max().unwrap_or(0));
    let states: Vec<String> = states.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    format!("blocks {low} to {high}; {}", states.join(", "))
}

/// The story, and below it the newest of the other events; of a story that has no room, its end.
fn events_in(story: &[String], news: &[String], lines: usize) -> Vec<String> {
    let told = story.iter().skip(story.len().saturating_sub(lines));
    let left = lines.saturating_sub(told.len());
    let new = news.iter().skip(news.len().saturating_sub(left));
    told.chain(new).cloned().collect()
}

/// At most so many characters; what is cut ends with a dot that nobody writes otherwise.
pub(super) fn cut(line: &str, columns: usize) -> String {
    let line = line.trim_end();
    if line.chars().count() <= columns {
        return line.to_owned();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    if columns == 0 { String::new() } else { format!("{kept}\u{b7}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize) -> Vec<Row> {
        let row = |n: usize| Row { state: "mining", height: n as u64, tip: format!("{n:08x}"), ..Row::default() };
        (0..count).map(row).collect()
    }

    fn texts(what: &str, count: usize) -> Vec<String> {
        (0..count).map(|n| format!("{n:>7}.000 s  {what} {n} with a hash {n:064x}")).collect()
    }

    fn shows(lines: &[String], text: &str) -> bool {
        lines.iter().any(|line| line.contains(text))
    }

    /// At 60 columns the table wrapped into the events; forty nodes on thirty lines left heads of earlier drawings.
    #[test]
    fn no_frame_is_larger_than_its_terminal_whatever_is_in_it() {
        for columns in [1, 10, 11, 29, 41, 60, 64, 80, 115, 200, 400] {
            for lines in [1, 2, 3, 8, 23, 29, 50, 100] {
                for count in [0, 1, 3, 5, 40, 50] {
                    for (story, news) in [(0, 0), (3, 0), (0, 200), (9, 200)] {
                        let size = Size { columns, lines };
                        let frame = frame(&rows(count), &texts("story", story), &texts("news", news), size);
                        assert!(frame.len() <= lines, "{size:?} {count}");
                        assert!(frame.iter().all(|line| line.chars().count() <= columns), "{size:?} {count}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_node_and_the_whole_story_have_a_place_on_any_usual_terminal() {
        for (columns, lines, count) in
            [(60, 23, 5), (80, 29, 40), (80, 23, 5), (200, 49, 50), (200, 29, 40), (120, 39, 50)]
        {
            let frame = frame(&rows(count), &texts("story", 4), &texts("news", 200), Size { columns, lines });
            for n in 0..count {
                assert!(
                    shows(&frame, &format!("{n:08x}")),
                    "{columns} {lines}: node {n} of {count}\n{}",
                    frame.join("\n")
                );
            }
            for n in 0..4 {
                assert!(shows(&frame, &format!("story {n} ")), "{columns} {lines}: story {n}");
            }
        }
        // Nothing stays empty while there is something to tell.
        let tall = frame(&rows(5), &texts("story", 4), &texts("news", 200), Size { columns: 80, lines: 59 });
        assert_eq!(tall.len(), 59);
        assert!(shows(&tall, "news 199 ") && shows(&tall, "news 151 ") && !shows(&tall, "news 150 "));
        let wide = frame(&rows(5), &texts("story", 4), &[], Size { columns: 200, lines: 59 });
        assert!(wide[0].starts_with("node") && wide[0].contains("story 0 "), "{}", wide[0]);
    }

    #[test]
    fn a_table_that_has_no_room_is_a_line_and_at_the_end_it_is_whole() {
        let small = frame(&rows(50), &texts("story", 1), &[], Size { columns: 40, lines: 4 });
        assert!(small[0].starts_with("blocks 0 to 49; 50 mining"), "{small:?}");
        assert!(small.len() == 2 && small[1].contains("story 0"), "{small:?}");
        assert_eq!(list(&rows(50), 80).len(), 51);
        for form in &FORMS {
            assert_eq!(form.heading.chars().count(), form.width, "{}", form.heading);
            assert_eq!((form.row)(7, &rows(1)[0]).chars().count(), form.width, "{}", form.heading);
        }
    }
}
