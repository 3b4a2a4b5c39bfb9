//! The filter of system calls (seccomp(2)), as a program of the kernel's packet filter.
//!
//! The program is written here rather than by a library's builder, which compares with one number
//! after the other: the kernel runs a filter for every system call that there is when it is loaded,
//! and ranges of numbers make that ten times shorter.

use std::io;

use libc::sock_filter;

use super::syscalls::{LAST_KNOWN, allowed};
use crate::sys;

/// Loads the filter, for good, for this process and all that it becomes or makes.
pub(super) fn load() -> io::Result<()> {
    sys::load_filter(&program())
}

/// `AUDIT_ARCH_*` of this architecture (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The first number of the other calling convention that x86_64 has, x32.
#[cfg(target_arch = "x86_64")]
const OTHER_CONVENTION: u32 = 0x4000_0000;
/// No other architecture has one.
#[cfg(not(target_arch = "x86_64"))]
const OTHER_CONVENTION: u32 = u32::MAX;

/// The flags of clone(2) that make namespaces.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned();

/// The arguments of personality(2) that are allowed: Linux, Linux with 32 bits, either with the
/// uname of Linux 2.6, and the question which it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

/// Where the call's number, its architecture and its first argument are in `struct seccomp_data`
/// (both architectures are little endian).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// What becomes of a call (linux/seccomp.h).
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// One instruction.
fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        // All codes are below 256.
        code: code as u16,
        jt,
        jf,
        k,
    }
}

/// Loads a word of the call's data.
fn load_word(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Goes on with the next instruction if the comparison with `k` holds, else leaves out `skipped`.
fn unless(comparison: u32, k: u32, skipped: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, k, 0, skipped)
}

/// Ends with this.
fn end(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, action, 0, 0)
}

/// The number of a call as the filter sees it.
fn number(call: libc::c_long) -> u32 {
    // They are small and positive.
    call as u32
}

/// The whole filter.
fn program() -> Vec<sock_filter> {
    let (equal, above, from, set) = (libc::BPF_JEQ, libc::BPF_JGT, libc::BPF_JGE, libc::BPF_JSET);
    let mut program = vec![
        load_word(ARCH),
        instruction(libc::BPF_JMP | equal | libc::BPF_K, ARCHITECTURE, 1, 0),
        end(KILL),
        load_word(NUMBER),
        unless(from, OTHER_CONVENTION, 1),
        end(REFUSE),
        unless(above, number(LAST_KNOWN), 1),
        end(UNKNOWN),
        // What it would do lies in memory, where a filter cannot look. Libraries fall back to clone.
        unless(equal, number(libc::SYS_clone3), 1),
        end(UNKNOWN),
        unless(equal, number(libc::SYS_clone), 4),
        load_word(FIRST_ARGUMENT),
        unless(set, NAMESPACES, 1),
        end(REFUSE),
        end(ALLOW),
        unless(equal, number(libc::SYS_socket), 4),
        load_word(FIRST_ARGUMENT),
        unless(equal, libc::AF_VSOCK.cast_unsigned(), 1),
        end(REFUSE),
        end(ALLOW),
    ];
    let mut personality = vec![load_word(FIRST_ARGUMENT)];
    for allowed in PERSONALITIES {
        personality.extend([unless(equal, allowed, 1), end(ALLOW)]);
    }
    personality.push(end(REFUSE));
    program.push(unless(
        equal,
        number(libc::SYS_personality),
        // A dozen.
        personality.len() as u8,
    ));
    program.extend(personality);

    let mut numbers: Vec<_> = allowed().map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for range in numbers.chunk_by(|one, next| one + 1 == *next) {
        let (first, last) = (range[0], range[range.len() - 1]);
        program.extend([
            // Below the range, and above the one before it.
            instruction(libc::BPF_JMP | from | libc::BPF_K, first, 1, 0),
            end(REFUSE),
            instruction(libc::BPF_JMP | above | libc::BPF_K, last, 1, 0),
            end(ALLOW),
        ]);
    }
    program.push(end(REFUSE));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter for a call, as the kernel does.
    fn outcome(program: &[sock_filter], arch: u32, number: u32, argument: u32) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            let holds = match u32::from(step.code) & !(libc::BPF_JMP | libc::BPF_K) {
                _ if step.code == (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16 => {
                    word = match step.k {
                        NUMBER => number,
                        ARCH => arch,
                        FIRST_ARGUMENT => argument,
                        other => panic!("loads {other}"),
                    };
                    continue;
                }
                _ if step.code == (libc::BPF_RET | libc::BPF_K) as u16 => return step.k,
                libc::BPF_JEQ => word == step.k,
                libc::BPF_JGT => word > step.k,
                libc::BPF_JGE => word >= step.k,
                libc::BPF_JSET => word & step.k != 0,
                other => panic!("unknown instruction {other}"),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }

    fn of(call: libc::c_long, argument: u32) -> u32 {
        outcome(&program(), ARCHITECTURE, number(call), argument)
    }

    #[test]
    fn each_number_is_allowed_if_it_is_listed() {
        let program = program();
        let allowed: Vec<_> = allowed().map(number).collect();
        for call in 0..=number(LAST_KNOWN) {
            let special = [libc::SYS_clone, libc::SYS_clone3, libc::SYS_socket];
            if special.iter().any(|special| number(*special) == call)
                || call == number(libc::SYS_personality)
            {
                continue;
            }
            let expected = if allowed.contains(&call) {
                ALLOW
            } else {
                REFUSE
            };
            assert_eq!(outcome(&program, ARCHITECTURE, call, 0), expected, "{call}");
        }
    }

    #[test]
    fn what_reaches_into_the_host_is_refused() {
        for call in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_open_by_handle_at,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_io_uring_setup,
            libc::SYS_move_mount,
            libc::SYS_pivot_root,
            libc::SYS_swapon,
            libc::SYS_settimeofday,
        ] {
            assert_eq!(of(call, 0), REFUSE, "{call}");
        }
    }

    #[test]
    fn arguments_decide_about_some() {
        assert_eq!(of(libc::SYS_clone, libc::SIGCHLD as u32), ALLOW);
        assert_eq!(of(libc::SYS_clone, libc::CLONE_NEWUSER as u32), REFUSE);
        assert_eq!(of(libc::SYS_clone, libc::CLONE_NEWNS as u32 | 17), REFUSE);
        assert_eq!(of(libc::SYS_clone3, 0), UNKNOWN);
        assert_eq!(of(libc::SYS_socket, libc::AF_INET as u32), ALLOW);
        assert_eq!(of(libc::SYS_socket, libc::AF_VSOCK as u32), REFUSE);
        assert_eq!(of(libc::SYS_personality, 0), ALLOW);
        assert_eq!(of(libc::SYS_personality, u32::MAX), ALLOW);
        // ADDR_NO_RANDOMIZE
        assert_eq!(of(libc::SYS_personality, 0x4_0000), REFUSE);
    }

    #[test]
    fn other_architectures_conventions_and_times_are_told_apart() {
        let program = program();
        // AUDIT_ARCH_I386
        assert_eq!(outcome(&program, 0x4000_0003, 1, 0), KILL);
        let newer = number(LAST_KNOWN) + 1;
        assert_eq!(outcome(&program, ARCHITECTURE, newer, 0), UNKNOWN);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(outcome(&program, ARCHITECTURE, 0x4000_0000, 0), REFUSE);
        }
    }
}
