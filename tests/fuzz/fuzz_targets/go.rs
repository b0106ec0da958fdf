#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| weft_inspect::fuzz_go(input));
