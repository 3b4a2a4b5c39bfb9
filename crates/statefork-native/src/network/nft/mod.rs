//! Tables, chains and rules of nftables for IPv4, by netlink (Linux,
//! `include/uapi/linux/netfilter/nf_tables.h`): as much as is needed to translate the addresses of
//! containers.

mod attributes;
mod expression;

use std::io;

use self::attributes::{Attributes, find, text};
pub(super) use self::expression::{End, Steps, Verdict};
use super::netlink::{Message, Netlink, Request, flag, os_error};

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

/// What a rule's own data begins with if it is a comment, as `nft` writes and shows it.
const COMMENT: u8 = 0;
/// Bytes before the attributes: family, version, and for whom.
const GENERIC: usize = 4;

/// A chain through which packets go.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    /// Its name in its table.
    pub(super) name: &'a str,
    /// `filter` or `nat`.
    pub(super) kind: &'a str,
    /// Where packets enter it (`NF_INET_…`).
    pub(super) hook: i32,
    /// Its place among those that others have there.
    pub(super) priority: i32,
    /// What becomes of packets that no rule decides.
    pub(super) policy: Verdict,
}

/// A rule that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) chain: String,
    /// Its number in its table.
    pub(super) handle: [u8; 8],
    /// Its comment, if it has one.
    pub(super) comment: Option<String>,
}

/// Changes that are made all at once or not at all.
#[derive(Default)]
pub(super) struct Batch(Vec<Request>);

impl Batch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Makes a table, if there is none.
    pub(super) fn add_table(self, table: &str) -> Self {
        let attributes = Attributes::new().text(TABLE_NAME, table);
        let create = libc::NLM_F_CREATE;
        self.with(
            "make a table of nftables",
            libc::NFT_MSG_NEWTABLE,
            create,
            &attributes,
        )
    }

    /// Removes a table with all that is in it.
    pub(super) fn remove_table(self, table: &str) -> Self {
        let attributes = Attributes::new().text(TABLE_NAME, table);
        self.with(
            "remove a table of nftables",
            libc::NFT_MSG_DELTABLE,
            0,
            &attributes,
        )
    }

    /// Makes a chain.
    pub(super) fn add_chain(self, table: &str, chain: &Chain<'_>) -> Self {
        let hook = Attributes::new()
            .number(HOOK_NUMBER, chain.hook as u32)
            .number(HOOK_PRIORITY, chain.priority as u32);
        let attributes = Attributes::new()
            .text(CHAIN_TABLE, table)
            .text(CHAIN_NAME, chain.name)
            .nested(CHAIN_HOOK, &hook)
            .number(CHAIN_POLICY, chain.policy.code())
            .text(CHAIN_TYPE, chain.kind);
        let create = libc::NLM_F_CREATE;
        self.with(
            "make a chain of nftables",
            libc::NFT_MSG_NEWCHAIN,
            create,
            &attributes,
        )
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn append(self, table: &str, chain: &str, steps: &Steps, comment: &str) -> Self {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.rule(table, chain, steps, comment, flags)
    }

    /// Adds a rule at the beginning of a chain.
    pub(super) fn insert(self, table: &str, chain: &str, steps: &Steps, comment: &str) -> Self {
        self.rule(table, chain, steps, comment, libc::NLM_F_CREATE)
    }

    fn rule(self, table: &str, chain: &str, steps: &Steps, comment: &str, flags: i32) -> Self {
        // Comments are ours, and short.
        let length = (comment.len() + 1) as u8;
        let comment = [&[COMMENT, length], comment.as_bytes(), &[0]].concat();
        let attributes = Attributes::new()
            .text(RULE_TABLE, table)
            .text(RULE_CHAIN, chain)
            .nested(RULE_EXPRESSIONS, steps.as_attributes())
            .bytes(RULE_USERDATA, &comment);
        self.with(
            "make a rule of nftables",
            libc::NFT_MSG_NEWRULE,
            flags,
            &attributes,
        )
    }

    /// Removes a rule.
    pub(super) fn remove_rule(self, table: &str, rule: &Rule) -> Self {
        let attributes = Attributes::new()
            .text(RULE_TABLE, table)
            .text(RULE_CHAIN, &rule.chain)
            .bytes(RULE_HANDLE, &rule.handle);
        self.with(
            "remove a rule of nftables",
            libc::NFT_MSG_DELRULE,
            0,
            &attributes,
        )
    }

    fn with(mut self, what: &'static str, kind: i32, flags: i32, attributes: &Attributes) -> Self {
        self.0
            .push(request(what, kind, flags | libc::NLM_F_ACK, attributes));
        self
    }

    /// Makes the changes. Errors: as the system has them; `Unsupported` where the kernel has no
    /// nftables.
    pub(super) fn commit(self, netlink: &mut Netlink) -> io::Result<()> {
        let mark = |kind: i32| Request {
            what: "change the rules of nftables",
            kind: kind as u16,
            flags: 0,
            body: generic(libc::AF_UNSPEC, libc::NFNL_SUBSYS_NFTABLES),
        };
        let mut all = vec![mark(libc::NFNL_MSG_BATCH_BEGIN)];
        all.extend(self.0);
        all.push(mark(libc::NFNL_MSG_BATCH_END));
        netlink.change(&all).map_err(unsupported)
    }
}

/// A connection to nftables. Errors: `Unsupported` where the kernel has none.
pub(super) fn open() -> io::Result<Netlink> {
    Netlink::filter().map_err(unsupported)
}

/// The rules in a table, in order of their chains; none where there is no such table.
pub(super) fn rules(netlink: &mut Netlink, table: &str) -> io::Result<Vec<Rule>> {
    let of = Attributes::new().text(RULE_TABLE, table);
    let request = request("list the rules of nftables", libc::NFT_MSG_GETRULE, 0, &of);
    let listed = netlink.list(&request).map_err(unsupported)?;
    let rule = |message: &Message| {
        let attributes = message.body().get(GENERIC..)?;
        Some(Rule {
            // Older kernels give all tables' rules.
            chain: (text(attributes, RULE_TABLE)? == table)
                .then(|| text(attributes, RULE_CHAIN))??
                .to_owned(),
            handle: find(attributes, RULE_HANDLE)?.try_into().ok()?,
            comment: find(attributes, RULE_USERDATA).and_then(comment),
        })
    };
    Ok(listed.iter().filter_map(rule).collect())
}

/// Whether a table has a chain of that name.
pub(super) fn has_chain(netlink: &mut Netlink, table: &str, chain: &str) -> io::Result<bool> {
    let none = Attributes::new();
    let request = request(
        "list the chains of nftables",
        libc::NFT_MSG_GETCHAIN,
        0,
        &none,
    );
    let listed = netlink.list(&request).map_err(unsupported)?;
    let is_it = |message: &Message| {
        let attributes = message.body().get(GENERIC..).unwrap_or_default();
        text(attributes, CHAIN_TABLE) == Some(table) && text(attributes, CHAIN_NAME) == Some(chain)
    };
    Ok(listed.iter().any(is_it))
}

/// The comment in a rule's own data.
fn comment(data: &[u8]) -> Option<String> {
    let (&[kind, length], rest) = data.split_first_chunk()?;
    let text = rest.get(..usize::from(length))?;
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let text = (kind == COMMENT).then(|| std::str::from_utf8(text).ok())??;
    Some(text.to_owned())
}

fn request(what: &'static str, kind: i32, flags: i32, attributes: &Attributes) -> Request {
    let mut body = generic(libc::NFPROTO_IPV4, 0);
    body.extend(attributes.as_bytes());
    Request {
        what,
        kind: ((libc::NFNL_SUBSYS_NFTABLES << 8) | kind) as u16,
        flags: flag(flags),
        body,
    }
}

/// The beginning of every message to the packet filter (`struct nfgenmsg`).
fn generic(family: i32, resource: i32) -> Vec<u8> {
    let [high, low] = (resource as u16).to_be_bytes();
    vec![family as u8, 0, high, low]
}

fn unsupported(error: io::Error) -> io::Error {
    match os_error(&error) {
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT | libc::EOPNOTSUPP) => {
            io::Error::new(io::ErrorKind::Unsupported, "this kernel has no nftables")
        }
        _ => error,
    }
}
