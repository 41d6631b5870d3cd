#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hapax_fuzz::targets::batch(bytes));
