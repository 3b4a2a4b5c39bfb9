//! Benchmarks of the orchestrator on every runtime.
