//! The machine's memory.

use crate::error::{CoreError, Result};

/// Where the kernel says how much there is (proc(5)).
const MEMINFO: &str = "/proc/meminfo";

/// How much memory there is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    /// In all.
    pub(super) total: u64,
    /// What can be had without swapping.
    pub(super) available: u64,
}

impl Memory {
    /// That of this machine.
    pub(super) fn read() -> Result<Self> {
        let failed = |source| CoreError::Io {
            op: "read",
            path: MEMINFO.into(),
            source,
        };
        let text = std::fs::read_to_string(MEMINFO).map_err(failed)?;
        Self::parse(&text).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            let number = line.strip_prefix(':')?.trim().strip_suffix("kB")?;
            number.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self {
            total: value("MemTotal")?,
            available: value("MemAvailable")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_lines_are_read() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    8192 kB\n";
        assert_eq!(
            Memory::parse(text),
            Some(Memory {
                total: 16 << 20,
                available: 8 << 20
            })
        );
        assert_eq!(Memory::parse("MemTotal: 16384 kB\n"), None);
        assert!(Memory::read().unwrap().available > 0);
    }
}
