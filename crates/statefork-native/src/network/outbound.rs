//! The way of containers into the outside world.

use std::fs;
use std::io;

use super::namespace::on_thread_with;
use super::netlink::{Netlink, os_error};
use super::nft::{self, Batch, Chain, End, Rule, Steps, Verdict};
use super::subnet::Subnet;

/// Whether the host passes packets on from one link to another.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
/// Our chains.
const POSTROUTING: &str = "postrouting";
const FORWARD: &str = "forward";
/// How many rules are in them.
const OWN_RULES: usize = 2;
/// The table and the chain of iptables (its variant on nftables) that decide what is passed on.
const THEIR_TABLE: &str = "filter";
const THEIR_CHAIN: &str = "FORWARD";
/// How many rules we add there.
const RULES_IN_THEIRS: usize = 2;
/// How often rules are looked up that are gone once they are to be removed.
const ATTEMPTS: u32 = 5;

/// Lets containers with addresses in `subnet` reach the outside world, with the host's address: turns
/// forwarding on (for the whole machine, and does not turn it off again), and makes the table `table`
/// of nftables, which also drops what comes from elsewhere for a container that did not ask for it.
/// Where iptables has a chain `FORWARD`, whose policy dockerd sets to drop, two rules go to its
/// beginning that accept what comes from the subnet and what goes there; no rule in a table of our
/// own could do that.
///
/// What is there already stays as it is, which costs under a millisecond: this may be called for each
/// container, and should be, since dockerd may have started meanwhile.
///
/// Rules of `iptables-legacy`, which lie elsewhere in the kernel, and those in further tables
/// (firewalld's) are not seen: where they drop what is passed on, containers stay without a way out.
///
/// Errors: `Unsupported` where the kernel has no nftables; as the system has them. All rules are
/// made, or none.
pub(crate) async fn enable_outbound(table: &str, subnet: &Subnet) -> io::Result<()> {
    let (table, subnet) = (table.to_owned(), *subnet);
    on_connection(move |netlink| retrying(|| enable(netlink, &table, &subnet))).await
}

/// Removes what [`enable_outbound`] has made for `table`, whatever the subnet was; forwarding stays
/// on. Absent is success.
pub(crate) async fn disable_outbound(table: &str) -> io::Result<()> {
    let table = table.to_owned();
    let disabled = on_connection(move |netlink| retrying(|| disable(netlink, &table))).await;
    match disabled {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        disabled => disabled,
    }
}

/// Does `work` with a connection to nftables. At its close the kernel waits until all processors have
/// seen what anybody has changed, which takes 10 to 20 ms.
async fn on_connection(
    work: impl FnOnce(&mut Netlink) -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    on_thread_with(nft::open, work).await
}

/// Tries again what failed because somebody else has just removed a rule.
fn retrying(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if os_error(&error) == Some(libc::ENOENT) => {}
            done => return done,
        }
    }
    attempt()
}

fn enable(netlink: &mut Netlink, table: &str, subnet: &Subnet) -> io::Result<()> {
    forward()?;
    let comment = format!("{table} {subnet}");
    let are_right = |rules: &[Rule], count| {
        let is_right = |rule: &Rule| rule.comment.as_deref() == Some(&comment);
        rules.len() == count && rules.iter().all(is_right)
    };
    let mut batch = Batch::new();
    if !are_right(&nft::rules(netlink, table)?, OWN_RULES) {
        batch = own_table(batch, table, subnet, &comment);
    }
    if nft::has_chain(netlink, THEIR_TABLE, THEIR_CHAIN)? {
        let found = rules_in_theirs(netlink, table)?;
        if !are_right(&found, RULES_IN_THEIRS) {
            for rule in &found {
                batch = batch.remove_rule(THEIR_TABLE, rule);
            }
            // Of steps that iptables knows: it refuses to work in a table with others.
            for end in [End::Source, End::Destination] {
                let steps = Steps::new().within(end, subnet).verdict(Verdict::Accept);
                batch = batch.insert(THEIR_TABLE, THEIR_CHAIN, &steps, &comment);
            }
        }
    }
    match batch.is_empty() {
        true => Ok(()),
        false => batch.commit(netlink),
    }
}

fn disable(netlink: &mut Netlink, table: &str) -> io::Result<()> {
    // One that was just made, if there was none.
    let mut batch = Batch::new().add_table(table).remove_table(table);
    for rule in &rules_in_theirs(netlink, table)? {
        batch = batch.remove_rule(THEIR_TABLE, rule);
    }
    batch.commit(netlink)
}

/// Makes our table in place of whatever there is under its name.
fn own_table(batch: Batch, table: &str, subnet: &Subnet, comment: &str) -> Batch {
    let postrouting = Chain {
        name: POSTROUTING,
        kind: "nat",
        hook: libc::NF_INET_POST_ROUTING,
        priority: libc::NF_IP_PRI_NAT_SRC,
        policy: Verdict::Accept,
    };
    let forward = Chain {
        name: FORWARD,
        kind: "filter",
        hook: libc::NF_INET_FORWARD,
        priority: libc::NF_IP_PRI_FILTER,
        policy: Verdict::Accept,
    };
    let out = Steps::new()
        .within(End::Source, subnet)
        .outside(End::Destination, subnet)
        .masquerade();
    let unasked = Steps::new()
        .within(End::Destination, subnet)
        .outside(End::Source, subnet)
        .of_no_connection()
        .verdict(Verdict::Drop);
    batch
        .add_table(table)
        .remove_table(table)
        .add_table(table)
        .add_chain(table, &postrouting)
        .add_chain(table, &forward)
        .append(table, POSTROUTING, &out, comment)
        .append(table, FORWARD, &unasked, comment)
}

/// The rules in the chain of iptables that are ours, for that table and any subnet.
fn rules_in_theirs(netlink: &mut Netlink, table: &str) -> io::Result<Vec<Rule>> {
    let mut rules = nft::rules(netlink, THEIR_TABLE)?;
    rules.retain(|rule| {
        let comment = rule.comment.as_deref().unwrap_or_default();
        let of = comment.split_once(' ').map(|(of, _)| of);
        rule.chain == THEIR_CHAIN && of == Some(table)
    });
    Ok(rules)
}

fn forward() -> io::Result<()> {
    if fs::read_to_string(FORWARDING)?.trim() == "0" {
        fs::write(FORWARDING, "1")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
