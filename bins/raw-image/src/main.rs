//! Placeholder.
mod chunker;
fn main() {}
