//! The contract implemented over the Docker Engine API.
