//! The contract implemented over the Podman (libpod) API.
