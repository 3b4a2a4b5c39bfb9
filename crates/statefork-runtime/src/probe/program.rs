//! The probe's program: a static ELF executable of a few hundred bytes.
//!
//! No container tool's image can be relied on (there may be no registry and no shell), so the
//! program is written in machine code. What it does depends on how many arguments it has:
//!
//! | Call | What it does |
//! |---|---|
//! | `/probe` | creates the empty file `/mark`, listens on [`PORT`], waits for ever |
//! | `/probe A` | ends with 0 if `/mark` exists, else with another code |
//! | `/probe A B` | writes to [`FILL_BYTES`] of memory, ends with 0 |
//!
//! To change it: write the assembly given in the comments, `as`, `objdump -d`.

/// The TCP port that the program listens on, on all addresses.
pub(super) const PORT: u16 = 7777;

/// How much memory the program fills.
pub(super) const FILL_BYTES: u64 = 0x1000_0000;

/// The executable for this machine's architecture, with that architecture's name in an image
/// configuration (OCI image-spec 1.1, `architecture`). `None` where it has not been written for it.
pub(super) fn for_this_machine() -> Option<(Vec<u8>, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Some((elf(EM_X86_64, &X86_64.concat()), "amd64")),
        "aarch64" => Some((elf(EM_AARCH64, &aarch64()), "arm64")),
        _ => None,
    }
}

const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

/// An ELF64 executable with one loadable segment: its own headers and `code`, entered at the
/// first byte of `code`.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const EHDR: u16 = 64;
    const PHDR: u16 = 56;
    let headers = u64::from(EHDR + PHDR);
    let size = headers + code.len() as u64;

    let mut file = Vec::new();
    // e_ident: 64 bits, little endian, version 1, System V
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&2u16.to_le_bytes()); // e_type: ET_EXEC
    file.extend_from_slice(&machine.to_le_bytes());
    file.extend_from_slice(&1u32.to_le_bytes()); // e_version
    file.extend_from_slice(&(BASE + headers).to_le_bytes()); // e_entry
    file.extend_from_slice(&u64::from(EHDR).to_le_bytes()); // e_phoff
    file.extend_from_slice(&0u64.to_le_bytes()); // e_shoff: no sections
    file.extend_from_slice(&0u32.to_le_bytes()); // e_flags
    for field in [EHDR, PHDR, 1, 0, 0, 0] {
        // e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx
        file.extend_from_slice(&field.to_le_bytes());
    }
    file.extend_from_slice(&1u32.to_le_bytes()); // p_type: PT_LOAD
    file.extend_from_slice(&5u32.to_le_bytes()); // p_flags: readable, executable
    for field in [0, BASE, BASE, size, size, 0x1_0000] {
        // p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align (the largest page size)
        file.extend_from_slice(&u64::to_le_bytes(field));
    }
    file.extend_from_slice(code);
    file
}

/// `struct sockaddr_in`: AF_INET (2), [`PORT`] in network order, 0.0.0.0.
const ADDRESS: &[u8; 16] = b"\x02\0\x1e\x61\0\0\0\0\0\0\0\0\0\0\0\0";
const MARK: &[u8; 6] = b"/mark\0";

const X86_64: &[&[u8]] = &[
    b"\x8b\x04\x24",                 // _start: mov eax, [rsp]     (argc)
    b"\x83\xf8\x02",                 //         cmp eax, 2
    b"\x74\x5b",                     //         je check
    b"\x77\x72",                     //         ja fill
    b"\x48\x8d\x3d\xb6\x00\x00\x00", //         lea rdi, [rip+mark]
    b"\xbe\x41\x00\x00\x00",         //         mov esi, 0x41      (O_WRONLY | O_CREAT)
    b"\xba\xa4\x01\x00\x00",         //         mov edx, 0644
    b"\xb8\x02\x00\x00\x00\x0f\x05", //         open
    b"\xbf\x02\x00\x00\x00",         //         mov edi, 2         (AF_INET)
    b"\xbe\x01\x00\x00\x00",         //         mov esi, 1         (SOCK_STREAM)
    b"\x31\xd2",                     //         xor edx, edx
    b"\xb8\x29\x00\x00\x00\x0f\x05", //         socket
    b"\x89\xc3",                     //         mov ebx, eax
    b"\x89\xc7",                     //         mov edi, eax
    b"\x48\x8d\x35\x77\x00\x00\x00", //         lea rsi, [rip+address]
    b"\xba\x10\x00\x00\x00",         //         mov edx, 16
    b"\xb8\x31\x00\x00\x00\x0f\x05", //         bind
    b"\x89\xdf",                     //         mov edi, ebx
    b"\xbe\x10\x00\x00\x00",         //         mov esi, 16
    b"\xb8\x32\x00\x00\x00\x0f\x05", //         listen
    b"\xb8\x22\x00\x00\x00\x0f\x05", // wait:   pause
    b"\xeb\xf7",                     //         jmp wait
    b"\x48\x8d\x3d\x5d\x00\x00\x00", // check:  lea rdi, [rip+mark]
    b"\x31\xf6",                     //         xor esi, esi       (F_OK)
    b"\xb8\x15\x00\x00\x00\x0f\x05", //         access
    b"\x89\xc7",                     //         mov edi, eax
    b"\xb8\x3c\x00\x00\x00\x0f\x05", //         exit
    b"\x31\xff",                     // fill:   xor edi, edi
    b"\xbe\x00\x00\x00\x10",         //         mov esi, FILL_BYTES
    b"\xba\x03\x00\x00\x00",         //         mov edx, 3         (PROT_READ | PROT_WRITE)
    b"\x41\xba\x22\x00\x00\x00",     //         mov r10d, 0x22     (MAP_PRIVATE | MAP_ANONYMOUS)
    b"\x49\x83\xc8\xff",             //         or r8, -1
    b"\x45\x31\xc9",                 //         xor r9d, r9d
    b"\xb8\x09\x00\x00\x00\x0f\x05", //         mmap
    b"\xb9\x00\x00\x01\x00",         //         mov ecx, FILL_BYTES / 4096
    b"\xc6\x00\x01",                 // touch:  mov byte ptr [rax], 1
    b"\x48\x05\x00\x10\x00\x00",     //         add rax, 4096
    b"\xff\xc9",                     //         dec ecx
    b"\x75\xf3",                     //         jnz touch
    b"\x31\xff",                     //         xor edi, edi
    b"\xb8\x3c\x00\x00\x00\x0f\x05", //         exit
    ADDRESS,
    MARK,
];

const AARCH64: &[u32] = &[
    0xf94003e0, // _start: ldr x0, [sp]       (argc)
    0xf100081f, //         cmp x0, 2
    0x540003a0, //         b.eq check
    0x54000468, //         b.hi fill
    0x92800c60, //         mov x0, -100       (AT_FDCWD)
    0x100006a1, //         adr x1, mark
    0xd2800822, //         mov x2, 0x41       (O_WRONLY | O_CREAT)
    0xd2803483, //         mov x3, 0644
    0xd2800708, 0xd4000001, // openat
    0xd2800040, //         mov x0, 2          (AF_INET)
    0xd2800021, //         mov x1, 1          (SOCK_STREAM)
    0xd2800002, //         mov x2, 0
    0xd28018c8, 0xd4000001, // socket
    0xaa0003f3, //         mov x19, x0
    0x100004c1, //         adr x1, address
    0xd2800202, //         mov x2, 16
    0xd2801908, 0xd4000001, // bind
    0xaa1303e0, //         mov x0, x19
    0xd2800201, //         mov x1, 16
    0xd2801928, 0xd4000001, // listen
    0xd2800000, // wait:   mov x0, 0
    0xd2800001, //         mov x1, 0
    0xd2800002, //         mov x2, 0
    0xd2800003, //         mov x3, 0
    0xd2800928, 0xd4000001, // ppoll
    0x17fffffa, //         b wait
    0x92800c60, // check:  mov x0, -100       (AT_FDCWD)
    0x10000341, //         adr x1, mark
    0xd2800002, //         mov x2, 0          (F_OK)
    0xd2800608, 0xd4000001, // faccessat
    0xd2800ba8, 0xd4000001, // exit
    0xd2800000, // fill:   mov x0, 0
    0xd2a20001, //         mov x1, FILL_BYTES
    0xd2800062, //         mov x2, 3          (PROT_READ | PROT_WRITE)
    0xd2800443, //         mov x3, 0x22       (MAP_PRIVATE | MAP_ANONYMOUS)
    0x92800004, //         mov x4, -1
    0xd2800005, //         mov x5, 0
    0xd2801bc8, 0xd4000001, // mmap
    0xd2a00021, //         mov x1, FILL_BYTES / 4096
    0x39000001, // touch:  strb w1, [x0]
    0x91400400, //         add x0, x0, 4096
    0xf1000421, //         subs x1, x1, 1
    0x54ffffa1, //         b.ne touch
    0xd2800000, //         mov x0, 0
    0xd2800ba8, 0xd4000001, // exit
];

fn aarch64() -> Vec<u8> {
    let mut code: Vec<u8> = AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect();
    code.extend_from_slice(ADDRESS);
    code.extend_from_slice(MARK);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_listens_on_the_port_that_is_probed() {
        assert_eq!(ADDRESS[2..4], PORT.to_be_bytes());
    }

    #[test]
    fn the_code_is_as_long_as_its_jumps_assume() {
        assert_eq!(X86_64.concat().len(), 0xc7 + MARK.len());
        assert_eq!(aarch64().len(), 0xe8 + MARK.len());
    }
}
