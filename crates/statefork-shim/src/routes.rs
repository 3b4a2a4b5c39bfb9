//! Where connections go at the moment, and the transitions between those moments.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Number of a control connection.
pub(crate) type ControlId = u64;

/// Number of a hold, so that a late timer does not end the next one.
pub(crate) type HoldId = u64;

/// What every connection looks at.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    targets: BTreeMap<u16, SocketAddr>,
    hold: Option<Hold>,
    /// Number of the latest hold.
    holds: HoldId,
    /// How many holds have reached their limit.
    expiries: u64,
}

#[derive(Debug)]
struct Hold {
    id: HoldId,
    owner: ControlId,
}

/// What a connection that is not joined has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Wait for the next change.
    Wait,
    /// Be joined to this address.
    Go(SocketAddr),
    /// Be closed.
    Close,
}

impl Routes {
    /// Sets the targets and ends a hold.
    pub(crate) fn retarget(&mut self, targets: BTreeMap<u16, SocketAddr>) {
        self.targets = targets;
        self.hold = None;
    }

    /// Begins a hold; one that there is is replaced.
    pub(crate) fn hold(&mut self, owner: ControlId) -> HoldId {
        self.holds += 1;
        self.hold = Some(Hold {
            id: self.holds,
            owner,
        });
        self.holds
    }

    /// Ends a hold.
    pub(crate) fn release(&mut self) {
        self.hold = None;
    }

    /// Ends a hold that `owner` asked for; whether there was one.
    pub(crate) fn release_of(&mut self, owner: ControlId) -> bool {
        let theirs = self.hold.as_ref().is_some_and(|hold| hold.owner == owner);
        if theirs {
            self.hold = None;
        }
        theirs
    }

    /// Ends the hold `id` at its limit: what waits is to be closed. False: it had ended before.
    pub(crate) fn expire(&mut self, id: HoldId) -> bool {
        let theirs = self.is_held_by(id);
        if theirs {
            self.hold = None;
            self.expiries += 1;
        }
        theirs
    }

    /// Whether new connections wait because of the hold `id`.
    pub(crate) fn is_held_by(&self, id: HoldId) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.id == id)
    }

    /// Whether new connections wait.
    pub(crate) fn is_holding(&self) -> bool {
        self.hold.is_some()
    }

    /// What a connection that begins to wait now remembers for [`verdict`](Self::verdict).
    pub(crate) fn expiries(&self) -> u64 {
        self.expiries
    }

    /// What a connection for `container` has to do that began to wait at `expiries`.
    pub(crate) fn verdict(&self, container: u16, expiries: u64) -> Verdict {
        if self.expiries != expiries {
            Verdict::Close
        } else if self.is_holding() {
            Verdict::Wait
        } else {
            match self.target(container) {
                Some(address) => Verdict::Go(address),
                None => Verdict::Close,
            }
        }
    }

    /// Where `container` leads.
    pub(crate) fn target(&self, container: u16) -> Option<SocketAddr> {
        self.targets.get(&container).copied()
    }

    /// All targets, sorted.
    pub(crate) fn targets(&self) -> &BTreeMap<u16, SocketAddr> {
        &self.targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(address: &str) -> Routes {
        let mut routes = Routes::default();
        routes.retarget(BTreeMap::from([(80, address.parse().unwrap())]));
        routes
    }

    #[test]
    fn a_port_without_a_target_closes() {
        let routes = routes("127.0.0.1:1");
        let address = "127.0.0.1:1".parse().unwrap();
        assert_eq!(routes.verdict(80, 0), Verdict::Go(address));
        assert_eq!(routes.verdict(81, 0), Verdict::Close);
        assert_eq!(Routes::default().verdict(80, 0), Verdict::Close);
    }

    #[test]
    fn a_hold_ends_only_once_and_only_with_its_owner() {
        let mut routes = routes("127.0.0.1:1");
        let first = routes.hold(1);
        assert_eq!(routes.verdict(80, 0), Verdict::Wait);
        let second = routes.hold(2);
        assert!(!routes.expire(first), "it was replaced");
        assert!(!routes.release_of(1), "it was replaced");
        assert!(routes.is_holding());
        assert!(routes.release_of(2));
        assert!(!routes.expire(second), "it was released");
        assert!(matches!(routes.verdict(80, 0), Verdict::Go(_)));
    }

    #[test]
    fn a_limit_closes_what_waited_and_nothing_else() {
        let mut routes = routes("127.0.0.1:1");
        let waiting = routes.expiries();
        let hold = routes.hold(1);
        assert!(routes.expire(hold));
        assert_eq!(routes.verdict(80, waiting), Verdict::Close);
        assert!(matches!(
            routes.verdict(80, routes.expiries()),
            Verdict::Go(_)
        ));
    }

    #[test]
    fn a_retarget_ends_a_hold() {
        let mut routes = routes("127.0.0.1:1");
        routes.hold(1);
        routes.retarget(BTreeMap::new());
        assert!(!routes.is_holding());
        assert_eq!(routes.verdict(80, 0), Verdict::Close);
    }
}
