#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| weft_proto::http2::fuzz::fuzz_frames(input));
