//! The runtime-agnostic orchestrator: version graph, operation log, store and operations.

pub mod config;
