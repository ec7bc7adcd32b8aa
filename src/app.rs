//! Builds the server once, and takes it down in order.
