//! Prints `docs/tables.md` (`make docs`).
#![expect(clippy::print_stdout, reason = "its output is the page")]

fn main() {
    print!("{}", weir_api::tables_markdown());
}
