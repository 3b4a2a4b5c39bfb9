//! The locks of operations, and the recovery that comes with taking them.

use std::time::Duration;

use super::Environment;
use crate::error::{CoreError, Result};
use crate::lock::{Holder, Lock, LockMode, LockRequest, read_holder};
use crate::model::OperationKind;
use crate::store::Dead;

/// A branch that is locked, and the environment with it.
pub(super) struct Locked {
    /// The branch's name.
    pub(super) branch: String,
    environment: Lock,
    _branch: Lock,
}

impl Locked {
    /// Lets the branch go; the environment stays locked.
    pub(super) fn release_branch(self) -> Lock {
        self.environment
    }
}

impl Environment {
    /// Takes the locks of an operation on the branch, and recovers what an operation on it that
    /// died has left.
    pub(super) async fn lock_branch(&self, kind: OperationKind) -> Result<Locked> {
        let name = self.branch_name()?;
        self.lock_named_branch(kind, name).await
    }

    pub(super) async fn lock_named_branch(
        &self,
        kind: OperationKind,
        name: String,
    ) -> Result<Locked> {
        let locked = self.lock_and_recover(kind.as_str(), name).await?;
        self.tell_recovered()?;
        if let Err(error) = self.revive_shim(&locked.branch).await {
            // It is not what was asked for, and what was may do without.
            let branch = &locked.branch;
            self.observer().notice(&format!(
                "the ports of branch {branch:?} are not served: failed to {error}"
            ));
        }
        self.keep_time(Some(&locked.branch)).await;
        Ok(locked)
    }

    /// `command` is what others are told who wait for the locks.
    pub(super) async fn lock_and_recover(
        &self,
        command: &'static str,
        name: String,
    ) -> Result<Locked> {
        let (environment, dead) = self.share_environment(command).await?;
        let branch = self.branch_lock(command, &name, self.options.lock_timeout);
        let branch = self.options.cancel.or(branch).await?;
        self.recover(Some(&name)).await?;
        self.recover_others(command, dead, Some(&name)).await?;
        Ok(Locked {
            branch: name,
            environment,
            _branch: branch,
        })
    }

    /// Takes the lock of an operation on branches that are still to be made, and recovers what others
    /// that died have left.
    pub(super) async fn lock_beside(&self, kind: OperationKind) -> Result<Lock> {
        let environment = self.share_and_recover(kind.as_str()).await?;
        self.tell_recovered()?;
        self.keep_time(None).await;
        Ok(environment)
    }

    /// Takes the environment's lock beside others, and recovers what can be without a branch's.
    pub(super) async fn share_and_recover(&self, command: &'static str) -> Result<Lock> {
        let (environment, dead) = self.share_environment(command).await?;
        self.recover_others(command, dead, None).await?;
        Ok(environment)
    }

    /// Takes the environment's lock beside others; with what was dead before.
    async fn share_environment(&self, command: &'static str) -> Result<(Lock, Vec<Dead>)> {
        let dead = self.store().dead(&self.name, self.runtime.name())?;
        if dead.iter().any(|operation| operation.branch.is_none()) {
            // What concerned the whole environment is recovered by one at a time.
            let _whole = self.lock_environment(command, LockMode::Exclusive).await?;
            self.recover(None).await?;
        }
        let environment = self.lock_environment(command, LockMode::Shared).await?;
        Ok((environment, dead))
    }

    /// Recovers what operations on branches but `own` have left.
    async fn recover_others(
        &self,
        command: &'static str,
        dead: Vec<Dead>,
        own: Option<&str>,
    ) -> Result<()> {
        for other in dead.into_iter().filter_map(|operation| operation.branch) {
            // Where somebody works on it, they have recovered it, or will.
            if Some(other.as_str()) != own
                && let Ok(_lock) = self.branch_lock(command, &other, Duration::ZERO).await
            {
                self.recover(Some(&other)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn branch_lock(
        &self,
        command: &'static str,
        name: &str,
        timeout: Duration,
    ) -> Result<Lock> {
        Lock::acquire(LockRequest {
            path: self.home.branch_lock(&self.name, self.runtime.name(), name),
            what: format!("branch {name:?} of environment {:?}", self.name),
            mode: LockMode::Exclusive,
            command,
            timeout,
        })
        .await
    }

    /// Keeps a freeze of the branch's container (exclusive) and the start of a further command in
    /// it (shared) apart. A command that starts while Docker 20.10 freezes the container stays in
    /// the freezer, and the daemon waits for it.
    pub(super) async fn lock_processes(&self, branch: &str, mode: LockMode) -> Result<Lock> {
        let request = LockRequest {
            path: self
                .home
                .processes_lock(&self.name, self.runtime.name(), branch),
            what: format!("the processes of branch {branch:?}"),
            mode,
            command: "freeze",
            timeout: self.options.lock_timeout,
        };
        self.options.cancel.or(Lock::acquire(request)).await
    }

    /// Takes the lock of an operation on the environment as a whole, and recovers everything that
    /// operations that died have left.
    pub(super) async fn lock_whole(&self, kind: OperationKind) -> Result<Lock> {
        let lock = self
            .lock_environment(kind.as_str(), LockMode::Exclusive)
            .await?;
        self.recover(None).await?;
        self.tell_recovered()?;
        self.keep_time(None).await;
        Ok(lock)
    }

    async fn lock_environment(&self, command: &'static str, mode: LockMode) -> Result<Lock> {
        let request = LockRequest {
            path: self.home.environment_lock(&self.name, self.runtime.name()),
            what: format!("environment {:?}", self.name),
            mode,
            command,
            timeout: self.options.lock_timeout,
        };
        let gate = self.home.environment_gate(&self.name, self.runtime.name());
        let lock = Lock::acquire_in_turn(request, gate);
        let mut outcome = self.options.cancel.or(lock).await;
        if let Err(CoreError::Locked { holder, .. }) = &mut outcome
            && holder.is_none()
        {
            // Held shared: whoever holds a branch holds the environment too.
            *holder = self.branch_holder()?;
        }
        outcome
    }

    /// Who holds a branch of the environment, as far as it says.
    fn branch_holder(&self) -> Result<Option<Holder>> {
        let Some(record) = self.store().environment(&self.name, self.runtime.name())? else {
            return Ok(None);
        };
        let branches = self.store().branches(record.number)?;
        Ok(branches.iter().find_map(|branch| {
            let lock = self
                .home
                .branch_lock(&self.name, self.runtime.name(), &branch.name);
            read_holder(&lock)
        }))
    }
}
