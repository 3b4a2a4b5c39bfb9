//! `cargo xtask setup`: installs the system packages that the tests and the demonstration need.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{command, display, find_program, is_root, retry, run, step};

/// How often a command that uses the network is tried.
const ATTEMPTS: u32 = 3;

/// A Debian package, and how one sees without asking dpkg that what it brings is there.
struct Package {
    name: &'static str,
    /// Any of these is enough: a program's name, or the absolute path of a file.
    brings: &'static [&'static str],
    why: &'static str,
}

// A `docker` program proves nothing: it may be the client alone. dockerd is what runs containers.
const PACKAGES: [Package; 12] = [
    Package {
        name: "docker.io",
        brings: &["dockerd"],
        why: "the Docker daemon",
    },
    Package {
        name: "podman",
        brings: &["podman"],
        why: "the Podman service",
    },
    Package {
        name: "netavark",
        brings: &[
            "/usr/lib/podman/netavark",
            "/usr/libexec/podman/netavark",
            "/usr/lib/cni/bridge",
        ],
        why: "networks of Podman's containers",
    },
    Package {
        name: "aardvark-dns",
        brings: &[
            "/usr/lib/podman/aardvark-dns",
            "/usr/libexec/podman/aardvark-dns",
            "/usr/lib/cni/dnsname",
        ],
        why: "names in Podman's networks",
    },
    Package {
        name: "catatonit",
        brings: &["/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit"],
        why: "process 1 above an application, on Podman",
    },
    Package {
        name: "runc",
        brings: &["runc"],
        why: "starts containers; unlike older crun it accepts hybrid cgroups",
    },
    Package {
        name: "iptables",
        brings: &["iptables"],
        why: "Docker's and Podman's networks",
    },
    Package {
        name: "iproute2",
        brings: &["ip"],
        why: "removes the bridge that Docker leaves",
    },
    Package {
        name: "uidmap",
        brings: &["newuidmap"],
        why: "containers of unprivileged users",
    },
    Package {
        name: "debootstrap",
        brings: &["debootstrap"],
        why: "target-app's root file system where no registry answers",
    },
    Package {
        name: "busybox-static",
        brings: &["/bin/busybox", "/usr/bin/busybox"],
        why: "the small image of the tests",
    },
    Package {
        name: "python3-pip",
        brings: &["pip3", "pip"],
        why: "fetches target-app's wheels",
    },
];

/// Those with which target-app's image is made.
const FOR_IMAGE: [&str; 2] = ["debootstrap", "python3-pip"];

/// What is to be there.
#[derive(Clone, Copy)]
pub(crate) enum Needs {
    /// What target-app's image is made with.
    Image,
    /// Everything.
    All,
}

/// Arguments of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print what would be done and do nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(crate) fn run_command(args: &Args) -> Result<()> {
    install(Needs::All, args.dry_run)
}

/// Installs what is missing. Does nothing, quickly, when nothing is.
pub(crate) fn setup(extent: Needs) -> Result<()> {
    install(extent, false)
}

fn install(extent: Needs, dry_run: bool) -> Result<()> {
    let wanted = PACKAGES.iter().filter(|package| match extent {
        Needs::Image => FOR_IMAGE.contains(&package.name),
        Needs::All => true,
    });
    let missing: Vec<&Package> = wanted.filter(|package| !is_present(package)).collect();
    if missing.is_empty() {
        println!("setup: nothing is missing");
        return Ok(());
    }
    println!("setup: {} system packages are missing:", missing.len());
    for package in &missing {
        println!("  {:<15} {}", package.name, package.why);
    }
    if find_program("apt-get").is_none() {
        bail!(
            "apt-get was not found: install what is listed above with this system's own packages"
        );
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    let mut update = apt("update", &[]);
    let mut install = apt("install", &names);
    if dry_run || !is_root() {
        println!("the commands:");
        for command in [&update, &install] {
            println!("  sudo {}", display(command));
        }
        if dry_run {
            return Ok(());
        }
        bail!("installing packages takes root: run the commands above, or this one, as root");
    }
    step("apt-get update", || retry(ATTEMPTS, || run(&mut update)))?;
    step(&format!("apt-get install {}", names.join(" ")), || {
        retry(ATTEMPTS, || run(&mut install))
    })?;
    let still: Vec<&str> = missing
        .iter()
        .filter(|p| !is_present(p))
        .map(|p| p.name)
        .collect();
    if !still.is_empty() {
        bail!(
            "apt-get succeeded, but what these bring is not there: {}",
            still.join(", ")
        );
    }
    Ok(())
}

fn is_present(package: &Package) -> bool {
    package.brings.iter().any(|what| {
        if what.starts_with('/') {
            Path::new(what).exists()
        } else {
            find_program(what).is_some()
        }
    })
}

fn apt(verb: &str, packages: &[&str]) -> Command {
    let mut apt = command("apt-get");
    apt.args(["-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]);
    apt.arg(verb);
    if !packages.is_empty() {
        apt.args(["--yes", "--no-install-recommends"])
            .args(packages);
    }
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    if !Path::new("/run/systemd/system").exists() {
        // Without an init system to stop it again, a package must not start its daemon: it would
        // be one that `daemons` did not start and does not know. Run level 1 starts nothing.
        apt.env("RUNLEVEL", "1");
    }
    apt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_present_by_any_of_what_it_brings() {
        let package = |brings| Package {
            name: "p",
            brings,
            why: "",
        };
        assert!(is_present(&package(&["no-such-program", "sh"])));
        assert!(is_present(&package(&["/etc/passwd"])));
        assert!(!is_present(&package(&["no-such-program", "/no/such/file"])));
    }

    #[test]
    fn the_printed_command_can_be_typed() {
        assert_eq!(
            display(&apt("install", &["runc", "podman"])),
            "apt-get -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 install --yes --no-install-recommends runc podman"
        );
    }
}
