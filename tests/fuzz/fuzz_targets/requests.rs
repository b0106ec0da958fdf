#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| weft_proto::http1::fuzz::fuzz_requests(input));
