//! One node and whatever a driver may tell it, in any order: what it answers is bounded and makes sense.
//!
//! Input: operations, a byte each with its arguments behind it; see `Table::step`. The rules that a driver keeps are kept
//! here too: a connection is opened once and closed once, nothing is read from one that is to be closed, and a refusal
//! follows something that was sent. Everything else is up to the input.

#![no_main]

mod moody;
mod say;
mod table;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let mut table = table::Table::new(&mut input);
    for _ in 0..300 {
        if input.is_empty() || table.step(&mut input).is_err() {
            break;
        }
    }
    table.leave();
});
