//! The main job, end to end: the built binary against the real daemons, seen as a user sees it.
//!
//! Every case runs on every runtime that it is about, as `docker::MODULE::CASE`,
//! `podman::MODULE::CASE` and `native::MODULE::CASE`.

mod apart;
mod application;
mod building;
mod chain;
#[cfg(feature = "crash-points")]
mod crash;
mod disk;
mod errors;
mod escape;
mod examples;
#[cfg(feature = "crash-points")]
mod foreign;
mod fork;
mod full;
mod graph;
mod hard;
mod host;
mod http;
mod identity;
mod interrupt;
mod kills;
mod mounts;
mod reboot;
mod restore;
mod session;
mod stress;
mod target_app;
mod warm;
mod world;

/// Makes a test of each case for each runtime.
macro_rules! cases {
    ($($(#[$attribute:meta])* $module:ident: $($case:ident),+;)+) => {
        cases! { @ docker $($(#[$attribute])* $module: $($case),+;)+ }
        cases! { @ podman $($(#[$attribute])* $module: $($case),+;)+ }
    };
    (@ $runtime:ident $($(#[$attribute:meta])* $module:ident: $($case:ident),+;)+) => {
        mod $runtime {
            $($(#[$attribute])* mod $module {
                $(#[test]
                fn $case() {
                    crate::$module::$case(crate::world::World::new(stringify!($runtime)));
                })+
            })+
        }
    };
}

cases! {
    session: the_classic_session_from_a_pipe, one_document_a_line, a_failed_line_is_not_the_end;
    application: the_main_job, exec_ends_as_its_command_does, logs_are_those_of_the_application,
        what_ended_starts_again_with_its_changes, messages_hold_anything,
        the_figures_tell_every_operation, two_commands_at_once_take_turns,
        commands_start_beside_snapshots, files_are_copied_in_and_out;
    mounts: a_declared_volume_is_part_of_a_snapshot, a_shared_mount_is_named_and_not_rolled_back,
        memory_is_named_and_empty_after_a_restore;
    restore: one_that_crashes_leaves_the_old_process, one_that_never_gets_ready_leaves_the_old_process,
        ten_in_a_row_refuse_no_connection, the_address_stays_when_the_shim_is_killed;
    identity: of_each_container, of_forks_and_renamed_branches, below_a_link_and_above_memory,
        a_shared_folder_gets_no_file, a_machine_id_for_each,
        the_hook_runs_in_what_comes_from_a_snapshot, a_hook_that_fails_undoes_the_restore,
        what_was_prepared_runs_the_hook_when_it_is_used;
    apart: two_forks_share_nothing;
    examples: the_best_of_three_stays;
    errors: names_that_nothing_has, an_image_that_is_missing, a_build_that_fails,
        an_application_that_exits_at_once, an_application_that_is_never_ready,
        a_port_that_is_in_use, a_container_removed_behind_our_back, other_settings,
        a_daemon_that_does_not_answer;
    graph: tags_and_revisions, restore_back_and_forth, what_follows_a_removed_snapshot_stays,
        branches_live_side_by_side, try_keeps_or_goes_back, what_is_stopped_starts_with_its_changes,
        a_killed_restore_is_undone_by_itself, a_freeze_has_a_limit;
    fork: from_now_and_from_an_old_snapshot, of_a_parent_that_is_stopped,
        one_whose_port_is_in_use_fails_alone, names_and_what_is_shared_are_refused_first,
        interrupted_ones_are_undone, they_end_after_their_time, a_killed_shim_does_not_keep_them;
    #[cfg(feature = "crash-points")]
    crash: of_up, of_snapshot, of_step, of_restore, of_rm, of_tag,
        of_branch_rm, of_try, of_fork, of_down, of_purge;
    interrupt: up_is_undone, a_build_is_undone, restore_is_undone, any_moment_of_a_snapshot_or_step,
        down_comes_to_its_end, exec_is_left_to_itself;
    stress: ten_processes_on_one_home, a_held_lock_names_its_holder;
    full: the_home_s_disk, the_home_s_disk_amid_an_operation, the_runtime_s_disk;
    chain: steps_beyond_the_limit_of_layers, what_flattens_behind_is_killed_and_purged;
    escape: mount, ptrace, sysrq, kcore, mknod, setuid, unshare, keyctl, bpf, modules, layer, cp,
        the_first_process_may_do_no_more, native_refuses_as_much;
    warm: a_restore_goes_on_in_what_was_prepared, one_may_wait_until_the_old_one_is_gone,
        what_a_prepared_one_has_done, a_killed_shim_or_worker_loses_nothing,
        a_restarted_daemon_s_are_replaced;
    hard: a_sparse_gigabyte, capabilities_of_files_stay, a_mapping_that_is_written_all_the_time,
        one_byte_beside_much;
}

// What is not about a daemon; another runtime builds. Its flattening is over before it could be killed.
cases! { @ native
    session: the_classic_session_from_a_pipe, one_document_a_line, a_failed_line_is_not_the_end;
    application: the_main_job, exec_ends_as_its_command_does, logs_are_those_of_the_application,
        what_ended_starts_again_with_its_changes, messages_hold_anything,
        the_figures_tell_every_operation, two_commands_at_once_take_turns,
        commands_start_beside_snapshots, files_are_copied_in_and_out;
    building: another_runtime_builds, another_runtime_fails_to_build,
        a_build_by_another_runtime_is_undone, nothing_there_builds;
    mounts: a_shared_mount_is_named_and_not_rolled_back,
        memory_is_named_and_empty_after_a_restore, memory_runs_nothing_and_is_there_while_it_runs;
    restore: one_that_crashes_leaves_the_old_process, one_that_never_gets_ready_leaves_the_old_process,
        ten_in_a_row_refuse_no_connection, the_address_stays_when_the_shim_is_killed;
    identity: of_each_container, of_forks_and_renamed_branches, below_a_link_and_above_memory,
        a_shared_folder_gets_no_file, a_machine_id_for_each,
        the_hook_runs_in_what_comes_from_a_snapshot, a_hook_that_fails_undoes_the_restore,
        what_was_prepared_runs_the_hook_when_it_is_used;
    apart: two_forks_share_nothing;
    examples: the_best_of_three_stays, a_search_finds_its_way;
    errors: names_that_nothing_has, an_image_that_is_missing, an_application_that_exits_at_once,
        an_application_that_is_never_ready, a_port_that_is_in_use,
        a_container_removed_behind_our_back, other_settings;
    graph: tags_and_revisions, restore_back_and_forth, what_follows_a_removed_snapshot_stays,
        branches_live_side_by_side, try_keeps_or_goes_back, what_is_stopped_starts_with_its_changes,
        a_killed_restore_is_undone_by_itself, a_freeze_has_a_limit;
    fork: from_now_and_from_an_old_snapshot, of_a_parent_that_is_stopped,
        one_whose_port_is_in_use_fails_alone, names_and_what_is_shared_are_refused_first,
        interrupted_ones_are_undone, they_end_after_their_time, a_killed_shim_does_not_keep_them,
        cut_off_at_random_moments, many_at_once_all_answer_and_go;
    #[cfg(feature = "crash-points")]
    crash: of_up, of_snapshot, of_step, of_restore, of_a_restore_whose_branch_goes, of_rm, of_tag,
        of_branch_rm, of_try, of_fork, of_down;
    interrupt: up_is_undone, restore_is_undone, any_moment_of_a_snapshot_or_step,
        down_comes_to_its_end, exec_is_left_to_itself;
    stress: ten_processes_on_one_home, a_held_lock_names_its_holder;
    full: the_home_s_disk, the_home_s_disk_amid_an_operation;
    chain: steps_beyond_the_limit_of_layers;
    escape: mount, ptrace, sysrq, kcore, mknod, setuid, unshare, keyctl, bpf, modules, layer, cp,
        the_first_process_may_do_no_more, all_below_a_process_1, all_where_rights_may_grow;
    warm: a_restore_goes_on_in_what_was_prepared, one_may_wait_until_the_old_one_is_gone,
        what_a_prepared_one_has_done, a_killed_shim_or_worker_loses_nothing;
    hard: a_sparse_gigabyte, holes_take_no_room, capabilities_of_files_stay,
        attributes_of_users_stay, a_mapping_that_is_written_all_the_time, one_byte_beside_much,
        one_byte_beside_much_is_little;
    kills: of_the_shim, of_the_first_process, of_who_waits_for_its_end, of_who_makes_it,
        a_purge_leaves_the_neighbour_alone;
    reboot: what_ran_is_brought_back_by_up, a_snapshot_is_restored_at_once,
        a_restore_that_was_cut_off_is_undone;
}
