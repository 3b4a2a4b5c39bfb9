//! The chain of layers that a capture stands on: put on a shorter one where there is one, flattened
//! here and now only where nothing else has kept it from the runtime's limit.

use statefork_runtime::{
    Capture, CaptureRequest, Captured, FlattenRequest, ObjectId, Phase, RebaseRequest,
};

use super::{Environment, Live};
use crate::error::{CoreError, Result};
use crate::model::OperationKind;
use crate::operation::Recorder;
use crate::store::EnvironmentRecord;

/// Of the room for layers, the last fifth is for what is captured before a chain is flattened.
const RESERVE: u32 = 5;

/// The layers that a chain may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Those of the base.
    base: u32,
    /// As many as there can be in all.
    limit: u32,
}

impl Room {
    fn all(self) -> u32 {
        self.limit.saturating_sub(self.base)
    }

    /// Whether so many layers take half of it.
    pub(super) fn is_half_taken(self, layers: u32) -> bool {
        layers >= self.base + self.all() / 2
    }

    /// Whether so many layers leave the reserve only.
    fn is_almost_taken(self, layers: u32) -> bool {
        layers > self.limit - (self.all() / RESERVE).max(1)
    }
}

/// A capture as it is to be published.
pub(super) struct Settled {
    /// It.
    pub(super) captured: Captured,
    /// The object of the capture that it stands on; `None`: none but the base's.
    pub(super) stands_on: Option<ObjectId>,
}

impl Environment {
    /// The room that a capture of so many layers has to do with; `None` where the runtime has no
    /// limit, or these are few on any base.
    pub(super) async fn room(
        &self,
        record: &EnvironmentRecord,
        layers: u32,
    ) -> Result<Option<Room>> {
        match record.capabilities.layer_limit {
            Some(limit) if layers >= limit / 2 => {
                let base = self.store().base(record.number)?;
                let base = self.runtime.layers(&base.capture).await?;
                Ok(Some(Room { base, limit }))
            }
            _ => Ok(None),
        }
    }

    /// Puts a new capture on the flattened capture that has taken the place of one below it, and
    /// flattens it where it comes near the limit all the same. After an error the capture is as it
    /// was, and is given back.
    pub(super) async fn settle_chain(
        &self,
        recorder: &Recorder<'_>,
        live: &Live,
        captured: Captured,
        request: &CaptureRequest,
    ) -> Result<Settled, (CoreError, Captured)> {
        let mut settled = Settled {
            captured,
            stands_on: live.live.capture.clone(),
        };
        match self
            .rebase(recorder, live, &settled.captured, request)
            .await
        {
            Ok(Some(rebased)) => settled = rebased,
            Ok(None) => {}
            Err(error) if error.leaves_undone() => return Err((error, settled.captured)),
            // It stays as long as it is, which is no reason to have no snapshot.
            Err(error) => self
                .observer()
                .notice(&format!("the chain stays long: failed to {error}")),
        }
        match self
            .shorten(recorder, live, &settled.captured, request)
            .await
        {
            Ok(Some(captured)) => Ok(Settled {
                captured,
                stands_on: None,
            }),
            Ok(None) => Ok(settled),
            Err(error) => Err((error, settled.captured)),
        }
    }

    /// `None` if the container's chain passes over nothing that was flattened since.
    async fn rebase(
        &self,
        recorder: &Recorder<'_>,
        live: &Live,
        captured: &Captured,
        request: &CaptureRequest,
    ) -> Result<Option<Settled>> {
        let shorter = match &live.live.capture {
            Some(object) => self.store().shorter(live.record.number, object)?,
            None => None,
        };
        let Some(shorter) = shorter else {
            return Ok(None);
        };
        let request = RebaseRequest {
            name: format!("{}-rebased", request.name),
            labels: request.labels.clone(),
            from: shorter.from,
            onto: shorter.onto,
        };
        let rebasing = self.runtime.rebase(&captured.capture, &request);
        let rebased = recorder.phases.time(Phase::Rebase, rebasing).await?;
        self.replace(&captured.capture, &rebased).await?;
        Ok(Some(Settled {
            captured: rebased,
            stands_on: Some(shorter.object),
        }))
    }

    /// Near the runtime's limit of layers, a capture with the same files and few of them; what is
    /// launched from it begins a new chain. Somebody waits for it, so it is the last resort.
    async fn shorten(
        &self,
        recorder: &Recorder<'_>,
        live: &Live,
        captured: &Captured,
        request: &CaptureRequest,
    ) -> Result<Option<Captured>> {
        let layers = captured.layers;
        match self.room(&live.record, layers).await? {
            Some(room) if room.is_almost_taken(layers) => {}
            _ => return Ok(None),
        }
        self.observer()
            .progress(&format!("flattening a chain of {layers} layers"));
        let base = self.store().base(live.record.number)?;
        let request = FlattenRequest {
            name: format!("{}-flat", request.name),
            labels: request.labels.clone(),
            base: base.capture,
        };
        let flatten = self.runtime.flatten(&captured.capture, &request);
        let flattened = recorder.phases.time(Phase::Flatten, flatten).await?;
        self.replace(&captured.capture, &flattened).await?;
        Ok(Some(flattened))
    }

    /// Removes the capture that another one replaces; where that fails, the other.
    async fn replace(&self, old: &Capture, new: &Captured) -> Result<()> {
        match self.runtime.remove_capture(old).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let undone = self.runtime.remove_capture(&new.capture).await;
                Err(CoreError::from(error).and_then(undone.map_err(Into::into)))
            }
        }
    }

    /// Whether something is to be flattened behind, or was superseded and may go, after a capture with
    /// so many layers was published.
    pub(super) async fn is_flattening_due(
        &self,
        record: &EnvironmentRecord,
        layers: u32,
    ) -> Result<bool> {
        let room = self.room(record, layers).await?;
        let is_long = room.is_some_and(|room| room.is_half_taken(layers));
        if !is_long && !self.store().has_idle_superseded(record.number)? {
            return Ok(false);
        }
        Ok(!self.rests(OperationKind::Flatten, None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_what_the_base_leaves() {
        let room = Room {
            base: 3,
            limit: 125,
        };
        assert!(!room.is_half_taken(63) && room.is_half_taken(64));
        assert!(!room.is_almost_taken(101) && room.is_almost_taken(102));
        let small = Room {
            base: 120,
            limit: 125,
        };
        assert!(!small.is_half_taken(121) && small.is_half_taken(122));
        assert!(!small.is_almost_taken(124) && small.is_almost_taken(125));
    }
}
