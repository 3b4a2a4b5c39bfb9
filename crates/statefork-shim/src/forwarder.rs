//! What a shim does for its branch: the ports, the targets and the holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};
use statefork_runtime::PortMapping;
use tokio::sync::Mutex;

use crate::connection::Shared;
use crate::listener::{Bound, Listener};
use crate::log::Log;
use crate::protocol::{Failure, ShimStatus, Target};
use crate::routes::{ControlId, HoldId};

/// Descriptors that are not for connections: the control socket with its connections, the log and
/// the listeners.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Descriptors that a joined connection takes.
const DESCRIPTORS_EACH: u64 = 2;

/// Most connections at one time, however many descriptors there may be.
const MAX_CONNECTIONS: u64 = 100_000;

/// The forwarder. Every method is an operation of the protocol.
#[derive(Debug)]
pub(crate) struct Forwarder {
    shared: Arc<Shared>,
    /// In the order in which they were asked for.
    listeners: Mutex<Vec<Listener>>,
    started: Instant,
}

impl Forwarder {
    /// Listens nowhere yet.
    pub(crate) fn new(log: Log) -> Self {
        Self {
            shared: Arc::new(Shared::new(max_connections(), log)),
            listeners: Mutex::new(Vec::new()),
            started: Instant::now(),
        }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.shared.log
    }

    /// [`Request::Listen`](crate::protocol::Request::Listen).
    pub(crate) async fn listen(&self, wanted: &[PortMapping]) -> Result<Vec<PortMapping>, Failure> {
        let mut listeners = self.listeners.lock().await;
        let bound: Vec<_> = listeners
            .iter()
            .map(|listener| (listener.mapping, listener.any_port))
            .collect();
        let kept = assign(&bound, wanted);
        let leaving: Vec<&Listener> = listeners
            .iter()
            .enumerate()
            .filter(|(index, _)| !kept.contains(&Some(*index)))
            .map(|(_, listener)| listener)
            .collect();
        let mut fresh = Vec::new();
        for (mapping, kept) in wanted.iter().zip(&kept) {
            if kept.is_none() {
                fresh.push(Bound::new(*mapping, &leaving)?);
            }
        }
        // Nothing fails from here on.
        let mut fresh = fresh.into_iter();
        let mut old: Vec<Option<Listener>> = listeners.drain(..).map(Some).collect();
        for (mapping, kept) in wanted.iter().zip(kept) {
            let kept = kept.and_then(|index| old.get_mut(index)?.take());
            let listener = match kept {
                Some(mut listener) => {
                    listener.lead_to(mapping.container);
                    Some(listener)
                }
                None => fresh.next().map(|bound| bound.start(&self.shared)),
            };
            listeners.extend(listener);
        }
        for listener in old.into_iter().flatten() {
            listener.close().await;
        }
        Ok(mappings(&listeners))
    }

    /// [`Request::Target`](crate::protocol::Request::Target).
    pub(crate) fn target(&self, targets: &[Target]) -> Result<(), Failure> {
        let map: BTreeMap<_, _> = targets.iter().map(|t| (t.container, t.address)).collect();
        if map.len() != targets.len() {
            return Err(Failure::Refused {
                reason: "a container port is named twice".to_owned(),
            });
        }
        let shown: Vec<String> = map
            .iter()
            .map(|(container, address)| format!("{container} leads to {address}"))
            .collect();
        self.shared
            .routes
            .send_modify(|routes| routes.retarget(map));
        // Whoever looks for what went wrong needs to know when it was moved, and where to.
        self.shared.log.line(format_args!("{}", shown.join(", ")));
        Ok(())
    }

    /// [`Request::Hold`](crate::protocol::Request::Hold).
    pub(crate) fn hold(&self, owner: ControlId, limit: Duration) {
        let mut hold = HoldId::default();
        self.shared
            .routes
            .send_modify(|routes| hold = routes.hold(owner));
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let mut routes = shared.routes.subscribe();
            let ended = routes.wait_for(|routes| !routes.is_held_by(hold));
            if tokio::time::timeout(limit, ended).await.is_err()
                && shared.routes.send_if_modified(|routes| routes.expire(hold))
            {
                shared.log.line(format_args!(
                    "a hold reached its limit of {} ms: what waited is closed",
                    limit.as_millis()
                ));
            }
        });
    }

    /// [`Request::Release`](crate::protocol::Request::Release).
    pub(crate) fn release(&self) {
        self.shared.routes.send_if_modified(|routes| {
            let holding = routes.is_holding();
            routes.release();
            holding
        });
    }

    /// The end of a control connection.
    pub(crate) fn control_ended(&self, owner: ControlId) {
        self.shared
            .routes
            .send_if_modified(|routes| routes.release_of(owner));
    }

    /// [`Request::Status`](crate::protocol::Request::Status).
    pub(crate) async fn status(&self) -> ShimStatus {
        let ports = mappings(&self.listeners.lock().await);
        let routes = self.shared.routes.borrow();
        ShimStatus {
            pid: std::process::id(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            ports,
            targets: routes
                .targets()
                .iter()
                .map(|(container, address)| Target {
                    container: *container,
                    address: *address,
                })
                .collect(),
            holding: routes.is_holding(),
            open: self.shared.open.load(Ordering::Relaxed),
            held: self.shared.held.load(Ordering::Relaxed),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn mappings(listeners: &[Listener]) -> Vec<PortMapping> {
    listeners.iter().map(|listener| listener.mapping).collect()
}

/// Which of the bound ports (with whether the kernel chose it) serves each wanted one. Those that
/// are named go before those for which any will do.
fn assign(bound: &[(PortMapping, bool)], wanted: &[PortMapping]) -> Vec<Option<usize>> {
    let mut taken = vec![false; bound.len()];
    let mut kept = vec![None; wanted.len()];
    for any in [false, true] {
        for (wanted, kept) in wanted.iter().zip(&mut kept) {
            if any != (wanted.host == 0) {
                continue;
            }
            *kept = bound
                .iter()
                .zip(&taken)
                .position(|((bound, any_port), taken)| {
                    !taken
                        && bound.ip == wanted.ip
                        && if any {
                            *any_port && bound.container == wanted.container
                        } else {
                            bound.host == wanted.host
                        }
                });
            if let Some(index) = *kept {
                taken[index] = true;
            }
        }
    }
    kept
}

/// As many as there are descriptors for: what is beyond waits in the backlog instead of failing,
/// and a command gets through in any case.
fn max_connections() -> usize {
    let descriptors = raise_descriptor_limit().unwrap_or(u64::MAX);
    let connections = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / DESCRIPTORS_EACH;
    usize::try_from(connections.clamp(1, MAX_CONNECTIONS)).unwrap_or(usize::MAX)
}

/// Allows this process all descriptors that it may have; `None` when there is no limit.
fn raise_descriptor_limit() -> Option<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(text: &str) -> PortMapping {
        text.parse().unwrap()
    }

    #[test]
    fn a_named_port_is_kept_before_any_port_is() {
        let bound = [(mapping("4000:80"), true), (mapping("5000:80"), true)];
        let wanted = [mapping("80"), mapping("4000:81")];
        assert_eq!(assign(&bound, &wanted), [Some(1), Some(0)]);
    }

    #[test]
    fn another_address_or_a_second_of_the_same_is_not_kept() {
        let bound = [(mapping("4000:80"), false)];
        assert_eq!(assign(&bound, &[mapping("0.0.0.0:4000:80")]), [None]);
        let twice = [mapping("4000:80"), mapping("4000:81")];
        assert_eq!(assign(&bound, &twice), [Some(0), None]);
        assert_eq!(assign(&bound, &[mapping("80")]), [None], "it was named");
    }
}
