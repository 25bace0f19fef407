//! Frames that were recorded from both revisions of the C# library, line by line.

const FIRST: &str = include_str!("../csharp/first.txt");
const LATER: &str = include_str!("../csharp/later.txt");

/// A recorded frame: its type byte, and its payload.
pub type Recorded = (u8, Vec<u8>);

/// Those of the first revision, in their order, each with the library's name for it.
pub fn first() -> Vec<(&'static str, Recorded)> {
    lines(FIRST)
}

/// Those of the last revision.
pub fn later() -> Vec<(&'static str, Recorded)> {
    lines(LATER)
}

/// The first line of this name.
pub fn named(lines: &[(&str, Recorded)], name: &str) -> Recorded {
    lines.iter().find(|(of, _)| *of == name).unwrap_or_else(|| panic!("no {name} was recorded")).1.clone()
}

fn lines(text: &'static str) -> Vec<(&'static str, Recorded)> {
    let frame = |line: &'static str| {
        let (name, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
        let (length, rest) = bytes.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_le_bytes(*length) as usize, rest.len(), "{name} is whole");
        (name, (rest[0], rest[1..].to_vec()))
    };
    text.lines().filter(|line| !line.is_empty()).map(frame).collect()
}
