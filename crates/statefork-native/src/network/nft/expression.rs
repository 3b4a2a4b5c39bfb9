//! What a rule of nftables does, step by step: a step loads, changes or compares the first register,
//! or decides (Linux, `include/uapi/linux/netfilter/nf_tables.h`).

use super::attributes::Attributes;
use crate::network::subnet::Subnet;

/// Of a list, an entry.
pub(super) const LIST_ELEM: u16 = 1;
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// The register that all steps use, and the one that decides.
const REGISTER: u32 = libc::NFT_REG_1 as u32;
const VERDICT: u32 = libc::NFT_REG_VERDICT as u32;
/// Bytes of an address, and of a connection's state.
const WORD: u32 = 4;
/// The states of a packet that belongs to a connection that there is (established, related), as bits
/// (`NF_CT_STATE_BIT`).
const OF_A_CONNECTION: u32 = 2 | 4;

/// Whose address.
#[derive(Clone, Copy)]
pub(in crate::network) enum End {
    /// The packet's sender.
    Source,
    /// Its receiver.
    Destination,
}

/// What becomes of a packet.
#[derive(Clone, Copy)]
pub(in crate::network) enum Verdict {
    Drop,
    Accept,
}

impl Verdict {
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Drop => libc::NF_DROP as u32,
            Self::Accept => libc::NF_ACCEPT as u32,
        }
    }
}

/// The steps of a rule. A packet for which a comparison fails is not the rule's.
#[derive(Clone, Debug, Default)]
pub(in crate::network) struct Steps(Attributes);

impl Steps {
    pub(in crate::network) fn new() -> Self {
        Self::default()
    }

    /// Goes on if that end's address is in the range.
    pub(in crate::network) fn within(self, end: End, subnet: &Subnet) -> Self {
        let mask = subnet.mask().to_be_bytes();
        let compared = self.address(end).masked(mask);
        compared.compared(libc::NFT_CMP_EQ as u32, subnet.address.octets())
    }

    /// Goes on if it is not.
    pub(in crate::network) fn outside(self, end: End, subnet: &Subnet) -> Self {
        let mask = subnet.mask().to_be_bytes();
        let compared = self.address(end).masked(mask);
        compared.compared(libc::NFT_CMP_NEQ as u32, subnet.address.octets())
    }

    /// Goes on if the packet belongs to no connection that there is.
    pub(in crate::network) fn of_no_connection(self) -> Self {
        let load = Attributes::new()
            .number(CT_KEY, libc::NFT_CT_STATE as u32)
            .number(CT_DREG, REGISTER);
        // The state is a number of the machine, not of the packet.
        let loaded = self.step("ct", &load).masked(OF_A_CONNECTION.to_ne_bytes());
        loaded.compared(libc::NFT_CMP_EQ as u32, [0; WORD as usize])
    }

    /// Has the packet and the whole connection leave from the host's own address.
    pub(in crate::network) fn masquerade(self) -> Self {
        self.step("masq", &Attributes::new())
    }

    /// Decides.
    pub(in crate::network) fn verdict(self, verdict: Verdict) -> Self {
        let code = Attributes::new().number(VERDICT_CODE, verdict.code());
        let data = Attributes::new().nested(DATA_VERDICT, &code);
        let step = Attributes::new()
            .number(IMMEDIATE_DREG, VERDICT)
            .nested(IMMEDIATE_DATA, &data);
        self.step("immediate", &step)
    }

    pub(super) fn as_attributes(&self) -> &Attributes {
        &self.0
    }

    fn address(self, end: End) -> Self {
        // In the header of IPv4 (RFC 791, section 3.1).
        let offset = match end {
            End::Source => 12,
            End::Destination => 16,
        };
        let load = Attributes::new()
            .number(PAYLOAD_DREG, REGISTER)
            .number(PAYLOAD_BASE, libc::NFT_PAYLOAD_NETWORK_HEADER as u32)
            .number(PAYLOAD_OFFSET, offset)
            .number(PAYLOAD_LEN, WORD);
        self.step("payload", &load)
    }

    fn masked(self, mask: [u8; WORD as usize]) -> Self {
        let value = |value: &[u8]| Attributes::new().bytes(DATA_VALUE, value);
        let step = Attributes::new()
            .number(BITWISE_SREG, REGISTER)
            .number(BITWISE_DREG, REGISTER)
            .number(BITWISE_LEN, WORD)
            .nested(BITWISE_MASK, &value(&mask))
            .nested(BITWISE_XOR, &value(&[0; WORD as usize]));
        self.step("bitwise", &step)
    }

    fn compared(self, operation: u32, with: [u8; WORD as usize]) -> Self {
        let data = Attributes::new().bytes(DATA_VALUE, &with);
        let step = Attributes::new()
            .number(CMP_SREG, REGISTER)
            .number(CMP_OP, operation)
            .nested(CMP_DATA, &data);
        self.step("cmp", &step)
    }

    fn step(self, name: &str, data: &Attributes) -> Self {
        let step = Attributes::new()
            .text(EXPR_NAME, name)
            .nested(EXPR_DATA, data);
        Self(self.0.nested(LIST_ELEM, &step))
    }
}
