//! The network service over real sockets on loopback.
//!
//! Every wait ends at an event or fails at a generous deadline; nothing is proven by sleeping.

mod breaches;
mod connecting;
mod frames;
mod testing;
mod throughput;
