//! Passes on to the linker what is this crate's own affair.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Else LLVM expands no `memset` either: BPF would write byte by byte, in a loop.
    println!("cargo::rustc-link-arg=--disable-expand-memcpy-in-order");
}
