//! How a network runs.
