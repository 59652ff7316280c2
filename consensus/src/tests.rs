//! Tests of the crate: whole networks from seeds, and the rules one by one.

mod network;
mod rules;
