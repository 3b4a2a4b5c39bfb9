//! The list of defects.

macro_rules! defects {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One thing that is wrong with a runtime.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Defect {
            $($(#[$doc])* $name,)+
        }

        impl Defect {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

defects! {
    /// Every error is one of the daemon's.
    ErrorsHaveNoKind,
    /// An error does not say what was not found.
    ErrorsNameNothing,

    /// A container is found by its id only.
    InspectTakesIdsOnly,
    /// An exit code is forgotten.
    ExitCodesAreLost,
    /// `start` of an exited container does nothing.
    StartDoesNothing,
    /// `start` of an exited container gives it back the files of its image.
    StartResetsFiles,
    /// `start` of a running container starts it again.
    StartRestarts,
    /// `start` of a paused container thaws it.
    StartThaws,
    /// `stop` does not ask first.
    StopKills,
    /// `stop` does not kill after the grace.
    StopOnlyAsks,
    /// `kill` returns before the end.
    KillReturnsEarly,
    /// `stop`, `kill` and `remove` refuse a paused container.
    PausedCannotEnd,
    /// `stop` and `kill` refuse an exited container.
    ExitedCannotEnd,
    /// `pause` does nothing.
    PauseDoesNothing,
    /// `pause` shows in the state only.
    PauseIsAWord,
    /// A second `pause` or `unpause` is refused.
    PauseIsNotIdempotent,
    /// `pause` of an exited container is success.
    PauseOfExitedIsSuccess,
    /// `remove` leaves the container, killed.
    RemoveOnlyKills,
    /// `remove` refuses a running container.
    RemoveRefusesRunning,
    /// `remove` of an absent container is refused.
    RemoveNeedsOne,
    /// A removal at the same time as another is refused.
    RemovalsCollide,

    /// A command's standard error is in its standard output.
    ExecMergesStreams,
    /// A command always ends with 0.
    ExecAlwaysSucceeds,
    /// A command reads nothing.
    ExecReadsNothing,
    /// A command without input never reads its end.
    ExecWaitsForInput,
    /// Output that is no UTF-8 is replaced.
    ExecWantsText,
    /// Long output is cut.
    ExecCutsOutput,
    /// A command gets no terminal.
    ExecHasNoTerminal,
    /// A new size is not told.
    ExecIgnoresResize,
    /// Variables, user and directory of a command are ignored.
    ExecIgnoresSettings,
    /// A command runs as root in `/`, whatever its container's settings.
    ExecIgnoresTheContainer,
    /// An unknown user or directory is replaced by the container's.
    ExecTakesAnyUser,
    /// An absent program is an error of the call.
    ExecFailsWithoutProgram,
    /// A command in a container that does not run ends with 1.
    ExecHidesTheState,
    /// A command's end is never seen when its container was killed.
    ExecOutlivesItsContainer,
    /// One command at a time.
    ExecWantsToBeAlone,

    /// All lines are given whatever was asked.
    LogsIgnoreTheTail,
    /// Standard error is in standard output.
    LogsMergeStreams,
    /// An exited container has no logs.
    LogsEndWithTheContainer,
    /// Following shows what is there.
    LogsDoNotFollow,
    /// Following never ends.
    LogsFollowForEver,
    /// Only the last thousand lines are kept.
    LogsForgetOldLines,

    /// Nothing has ever changed.
    ChangesAreEmpty,
    /// Changes come in no order.
    ChangesAreNotSorted,
    /// Changes name what lies on mounts.
    ChangesShowMounts,
    /// Changes are those since the first image.
    ChangesAddUp,

    /// A folder is copied out without what is in it.
    CopyOutIsFlat,
    /// The first entry of an archive has the whole path as its name.
    CopyOutNamesThePath,
    /// What does not exist is copied out as an empty archive.
    CopyOutOfNothingIsEmpty,
    /// What lies on mounts is not copied out.
    CopyOutLeavesMountsOut,
    /// Only a running container can be copied from and to.
    CopyWantsRunning,
    /// Nothing is unpacked.
    CopyInDoesNothing,
    /// Whatever is unpacked is some archive.
    CopyInTakesAnything,
    /// A folder to unpack in is made where it does not exist.
    CopyInMakesFolders,
    /// What was in the folder is gone.
    CopyInClearsTheFolder,
    /// Entries of an archive get out of the folder.
    CopyInClimbs,
    /// A read-only mount is written.
    CopyInWritesReadOnly,

    /// Settings of the image are those of the container.
    AdoptRepeatsTheImage,
    /// Variables are not adopted.
    AdoptForgetsVariables,
    /// Mounts are adopted as writable ones.
    AdoptForgetsReadOnly,
    /// Published ports are not adopted.
    AdoptForgetsPorts,
    /// An absent container is an error.
    AdoptNeedsOne,
    /// Only a running container is adopted.
    AdoptWantsRunning,
    /// Adopting starts the container again.
    AdoptRestarts,
    /// There is always something that cannot be adopted.
    AdoptAlwaysObjects,

    /// Every capture is there.
    VerifyBelieves,
    /// No capture is there but one that was made of a container.
    VerifyKnowsNoImages,
    /// A capture that is not there is an error.
    VerifyNeedsOne,

    /// A capture holds nothing new.
    CaptureIsEmpty,
    /// A file that is deleted comes back.
    CaptureForgetsDeletions,
    /// What former captures hold is lost.
    CaptureForgetsTheChain,
    /// What is written after the capture is in it too.
    CaptureIsLive,
    /// A capture goes with its container.
    CaptureGoesWithItsContainer,
    /// Labels of the container are on the capture.
    CaptureInheritsLabels,
    /// Settings of the container are in the capture.
    CaptureInheritsSettings,
    /// A taken name is moved to the new capture.
    CaptureTakesNames,
    /// The bytes are those of the whole image.
    CaptureCountsTheImage,
    /// Files on mounts are in the capture.
    CaptureHoldsMounts,
    /// The container ends with the capture.
    CaptureKills,
    /// The container stays frozen after the capture.
    CaptureLeavesFrozen,
    /// A paused container is thawed by the capture.
    CaptureThaws,
    /// An exited container cannot be captured.
    CaptureWantsRunning,
    /// A capture that is dropped leaves the container frozen.
    CaptureFreezesWhenDropped,
    /// A capture at the same time as another is refused.
    CapturesCollide,
    /// Phases are not recorded.
    PhasesAreNotRecorded,
    /// Layers are those above the image.
    LayersLeaveTheImageOut,
    /// A file that was deleted comes back in a flattened capture.
    FlattenForgetsDeletions,
    /// The lowest content of a file counts in a flattened capture.
    FlattenTakesTheOldest,
    /// A flattened capture has no settings.
    FlattenForgetsSettings,
    /// A flattened capture lacks the labels that were asked for.
    FlattenIgnoresLabels,
    /// A flattened capture has as many layers as before.
    FlattenOnlyCopies,
    /// The base's layers are merged too.
    FlattenMergesTheBase,
    /// Flattening removes what was flattened.
    FlattenReplaces,
    /// A taken name is moved to the flattened capture.
    FlattenTakesNames,
    /// Any capture is taken for a base.
    FlattenTakesAnyBase,
    /// The bytes of a flattened capture are those of the whole image.
    FlattenCountsTheImage,
    /// A lost capture is flattened to an empty one.
    FlattenTakesAnything,
    /// A file that a moved layer deletes comes back in a rebased capture.
    RebaseForgetsDeletions,
    /// A rebased capture has the layers that it had.
    RebaseOnlyCopies,
    /// Of several layers only the uppermost is moved.
    RebaseMovesTheLastOnly,
    /// The layers of a rebased capture are in the wrong order.
    RebaseTurnsTheLayers,
    /// The layers of a rebased capture become one.
    RebaseMerges,
    /// A rebased capture has the settings of what it stands on.
    RebaseTakesSettings,
    /// A rebased capture lacks the labels that were asked for.
    RebaseIgnoresLabels,
    /// Rebasing removes what was rebased.
    RebaseReplaces,
    /// A taken name is moved to the rebased capture.
    RebaseTakesNames,
    /// What the capture does not stand on is taken too.
    RebaseTakesAnything,
    /// A lost capture is rebased to an empty one.
    RebaseMakesUpWhatIsLost,
    /// The bytes of a rebased capture are those of the whole image.
    RebaseCountsTheImage,
    /// Removing a capture removes those that stand on it.
    RemoveCaptureTakesChildren,
    /// Removing a capture that is in use succeeds.
    RemoveCaptureForces,
    /// Removing a capture does nothing.
    RemoveCaptureDoesNothing,
    /// Removing an absent capture is refused.
    RemoveCaptureNeedsOne,
    /// Removing the capture of an image removes the image.
    RemoveCaptureTakesImages,

    /// The command is the image's.
    LaunchIgnoresTheCommand,
    /// The entry point is the image's.
    LaunchIgnoresTheEntrypoint,
    /// The image's settings count for nothing.
    LaunchIgnoresTheImage,
    /// Variables are the image's.
    LaunchIgnoresVariables,
    /// The user is the image's.
    LaunchIgnoresTheUser,
    /// The working directory is the image's.
    LaunchIgnoresTheDirectory,
    /// All containers have the same host name.
    LaunchIgnoresTheHostname,
    /// Labels are not set.
    LaunchIgnoresLabels,
    /// No port is published.
    LaunchPublishesNothing,
    /// Nothing is mounted.
    LaunchIgnoresMounts,
    /// Mounts are always writable.
    LaunchIgnoresReadOnly,
    /// A bind mount's source is made where it does not exist.
    LaunchMakesSources,
    /// A named volume is made anew for each container.
    LaunchForgetsVolumes,
    /// Mounts are listed in no order.
    MountsAreNotSorted,
    /// A container that has the name is removed.
    LaunchTakesNames,
    /// A container under a taken name gets another one.
    LaunchMakesNames,
    /// A container whose start failed is left.
    LaunchLeavesFailed,
    /// A launch at the same time as another is refused.
    LaunchesCollide,
    /// Labels are set after the start.
    LaunchLabelsLate,
    /// Containers of one image have the same files.
    SiblingsShareFiles,
    /// A container's logs begin with those of the one that was captured.
    LogsAreInherited,

    /// An image is found by its name only.
    InspectImageTakesNamesOnly,
    /// An absent image is an error.
    InspectImageNeedsOne,
    /// An image's configuration is read in part.
    InspectImageLeavesSettingsOut,
    /// Every image has one layer and no bytes.
    InspectImageDoesNotCount,
    /// Images without a name are listed.
    ListImagesTellsUnnamed,
    /// An image is listed once for each of its names.
    ListImagesByName,
    /// The list of images is in no order.
    ListImagesIsNotSorted,
    /// Whatever is imported is some image.
    ImportTakesAnything,
    /// An import does not take its name off a former image.
    ImportKeepsFormerNames,
    /// An image with volumes is prepared as it is.
    PrepareDoesNothing,
    /// An image without volumes is copied.
    PrepareAlwaysCopies,
    /// An absent image is prepared too.
    PrepareTakesAnything,
    /// Removing a name removes the image with all names.
    RemoveImageTakesAllNames,
    /// Removing the last name leaves the image.
    RemoveImageOnlyUntags,
    /// Removing an image that is in use succeeds.
    RemoveImageForces,
    /// Removing an absent image is refused.
    RemoveImageNeedsOne,
    /// Removing an image by id is refused while it has several names.
    RemoveImageRefusesNames,

    /// Containers that do not run are not found.
    FindLeavesExitedOut,
    /// Images are not found.
    FindLeavesImagesOut,
    /// Images without a name are not found.
    FindLeavesUntaggedOut,
    /// What has inherited its labels is not found.
    FindLeavesInheritedOut,
    /// What is found is in no order.
    FindIsNotSorted,
    /// A home whose name begins with the given one counts too.
    FindMatchesBeginnings,
}
