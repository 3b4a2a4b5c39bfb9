//! What dockerd leaves in iptables and among the links when it ends, taken away as far as
//! possible: it never removes them itself.

use crate::process::{command, run};

/// iptables' policy for forwarded packets.
pub(crate) fn forward_policy() -> Option<String> {
    let rules = run(command("iptables").args(["--wait", "-S", "FORWARD"])).ok()?;
    let policy = rules.lines().next()?.strip_prefix("-P FORWARD ")?;
    Some(policy.to_owned())
}

/// Removes Docker's rules and chains and the bridge docker0, and puts the policy back. Says what
/// could not be removed.
pub(crate) fn clean(policy: Option<&str>) {
    for table in ["filter", "nat"] {
        let Ok(rules) = run(command("iptables").args(["--wait", "-t", table, "-S"])) else {
            continue;
        };
        for args in removals(&rules) {
            report(command("iptables").args(["--wait", "-t", table]).args(args));
        }
    }
    if let Some(policy) = policy {
        report(command("iptables").args(["--wait", "-P", "FORWARD", policy]));
    }
    if std::path::Path::new("/sys/class/net/docker0").exists() {
        report(command("ip").args(["link", "delete", "docker0"]));
    }
}

fn report(command: &mut std::process::Command) {
    if let Err(error) = run(command) {
        println!("docker: {error:#}");
    }
}

/// The iptables calls that remove Docker's part of a table: first the rules that use its chains or
/// its bridge, then, when nothing refers to them any more, the chains.
fn removals(rules: &str) -> Vec<Vec<String>> {
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let is_dockers = |line: &str| {
        line.split(' ')
            .any(|word| word == "docker0" || word == "DOCKER" || word.starts_with("DOCKER-"))
            || line.contains("-s 172.17.0.0/16 ")
    };
    let delete = rules
        .lines()
        .filter(|line| line.starts_with("-A ") && is_dockers(line))
        .map(|line| words(&line.replacen("-A", "-D", 1)));
    let chains = rules
        .lines()
        .filter(|line| line.starts_with("-N ") && is_dockers(line))
        .map(|line| words(&line.replacen("-N", "-X", 1)));
    delete.chain(chains).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_rules_are_removed_and_chains_come_last() {
        let rules = "-P FORWARD DROP\n-N DOCKER\n-N MINE\n-N DOCKER-USER\n\
                     -A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n\
                     -A FORWARD -i eth0 -j MINE\n-A DOCKER-USER -j RETURN";
        let calls: Vec<String> = removals(rules).iter().map(|call| call.join(" ")).collect();
        assert_eq!(
            calls,
            [
                "-D FORWARD -j DOCKER-USER",
                "-D FORWARD -o docker0 -j DOCKER",
                "-D DOCKER-USER -j RETURN",
                "-X DOCKER",
                "-X DOCKER-USER",
            ]
        );
    }
}
