//! The table of what the policies give, played on all processors.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};
use spacetime_network::sim::table::{COLUMNS, Table, rows};

use crate::failure::Failure;
use crate::output;

/// Plays every row and prints the table.
pub(super) fn print(json: bool) -> Result<(), Failure> {
    let rows = rows();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} rows, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(rows.len() as u64).with_style(style);
    // Drawn before the first row is done: that one can take long.
    bar.tick();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![Ok(Vec::new()); rows.len()]));
    let work = || {
        loop {
            // The dearest rows are the last; begun first, they do not leave one processor alone at the end.
            let taken = next.fetch_add(1, Ordering::Relaxed);
            let Some(at) = rows.len().checked_sub(taken + 1) else { return };
            let Some(row) = rows.get(at) else { return };
            let cells = row.play().map_err(|error| error.to_string());
            let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some(place) = done.get_mut(at) {
                *place = cells;
            }
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cells: Result<Vec<Vec<String>>, String> = done.into_iter().collect();
    let cells = cells.map_err(|error| Failure::new("run the simulation", error, "try again"))?;
    if json {
        let named = |row: &Vec<String>| -> BTreeMap<&str, String> { COLUMNS.into_iter().zip(row.clone()).collect() };
        return output::json(&cells.iter().map(named).collect::<Vec<_>>());
    }
    output::text(Table(cells).to_string().trim_end())
}
