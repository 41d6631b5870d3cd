//! The aggregate of the README and its first snapshot test: the file that they are is compiled and run here, and the README
//! shows it, in two parts.

#[path = "ten_minutes/stock.rs"]
#[rustfmt::skip] // As short as the README wants it.
mod stock;

#[test]
fn the_readme_shows_what_is_run_here() {
    let (readme, file) = (include_str!("../README.md"), include_str!("ten_minutes/stock.rs"));
    let (aggregate, test) = file.split_once("\n#[cfg(test)]").unwrap();
    for part in [aggregate.to_owned(), format!("#[cfg(test)]{test}")] {
        assert!(readme.contains(&format!("```rust\n{part}```\n")), "not in the README as it is run:\n{part}");
    }
}
