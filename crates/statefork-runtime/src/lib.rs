//! The contract between StateFork and a container runtime.
