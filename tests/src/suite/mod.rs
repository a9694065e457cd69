//! Tests of the client that run on every runtime.
//!
//! A test is an `async fn` over a [`Handler`](zk_client::Handler) that uses nothing of a runtime but
//! that; it runs as a task of its handler. [`suite!`](crate::suite!) has the list of them all, and makes
//! a `#[test]` of each for one runtime. A new test is a function in the file of its theme and a line in
//! that list; a new runtime is a function in [`runtimes`](mod@crate::runtimes) and a file like
//! `tests/tests/tokio.rs`.
//!
//! All tests share a server, and have a `Site` of their own on it; but for those that want
//! ensembles, which have a list of their own, as have those that want Python: `suite!(run, ensemble)`,
//! `suite!(run, kazoo)`. These take long, and do not run on every runtime; `suite!(run, fail_over)` is a
//! taste of them that does.
#![expect(missing_docs, reason = "a test's name says what it shows")]

mod contest;
mod counted;
pub(crate) mod site;

pub mod access;
pub mod ensemble;
pub mod faults;
pub mod guide;
pub mod kazoo;
pub mod life;
pub mod lock_failures;
pub mod lock_forms;
pub mod locks;
mod log;
pub mod nodes;
pub mod options;
pub mod outcomes;
pub mod results;
pub mod retries;
pub mod secrets;
pub mod semaphores;
pub mod states;
pub mod transactions;
pub mod watchers;
pub mod watches;

pub use site::{block_on, guard, share_embedded, unguarded};

/// Makes a `#[test]` of each test of the suite, in a module for each theme. `run` is a function that
/// runs one, of those in [`runtimes`](mod@crate::runtimes): it gets the test, which wants a handler and
/// returns a future, and runs that to its end.
#[macro_export]
macro_rules! suite {
    ($run:path) => {
        $crate::suite! { $run, $crate::suite::guard =>
            life {
                start_against_nothing_fails_in_time_and_can_be_tried_again,
                a_failed_start_names_host_and_cause,
                a_start_just_after_one_that_failed_is_done,
                a_start_of_a_client_that_runs_ends_in_time,
                start_async_tells_when_there_is_a_session,
                two_starts_make_one_session,
                two_stops_are_as_good_as_one,
                stop_while_connecting_returns_at_once,
                start_after_stop_is_a_new_session,
                restart_is_a_new_session,
                restart_starts_a_client_that_was_stopped,
                a_stop_after_a_restart_has_the_last_word,
                a_client_that_is_dropped_in_a_restart_leaves_nothing,
                starts_and_stops_in_a_row_do_not_hang,
                a_restart_in_the_last_moment_of_a_session_is_done,
                a_restart_right_after_a_stop_is_done,
                threads_may_start_and_stop_at_will,
                calls_before_the_start_fail_as_closed,
                calls_between_stop_and_its_end_fail_as_closed,
                the_drop_of_the_last_client_closes_the_session,
                the_drop_of_a_client_lets_work_under_way_finish,
                stop_completes_the_work_in_flight_first,
                stop_without_a_connection_returns_at_once,
                stop_does_not_wait_for_ever_for_a_silent_server,
                a_session_can_be_resumed_in_another_client,
                a_session_that_cannot_be_resumed_is_replaced,
                a_plain_thread_may_block_on_everything,
                a_call_that_would_block_a_task_panics,
            }
            states {
                a_drop_and_a_reconnect_are_heard_once_each,
                many_failed_attempts_are_one_suspension,
                an_expiry_is_lost_and_then_connected,
                calls_that_wait_for_a_session_that_expires_fail_as_expired,
                refused_credentials_at_the_start_are_an_error_and_lost,
                refused_credentials_later_are_an_error_and_lost,
                a_listener_can_be_removed_and_can_remove_itself,
                a_removed_listener_is_not_called_for_what_was_queued,
                a_listener_that_panics_stops_nobody,
                a_listener_may_call_and_block,
                a_state_is_told_before_a_result_of_that_state,
                a_thread_can_follow_the_states,
                the_states_end_when_the_client_has_stopped,
                the_states_go_on_over_a_restart,
                a_client_that_has_stopped_has_no_session,
                refused_credentials_can_be_replaced,
                equal_credentials_are_one,
                a_silent_server_is_left_in_time,
                a_session_outlives_many_connections,
            }
            options {
                hosts_may_have_a_chroot,
                a_missing_chroot_is_logged_once_a_start,
                options_that_cannot_be_are_told_at_once,
                the_session_timeout_is_the_servers_to_grant,
                a_client_that_takes_read_only_servers_writes_to_others,
                all_credentials_are_sent,
                hosts_are_tried_in_turn_or_in_random_order,
                attempts_are_spaced_as_asked,
                no_acl_is_an_error_that_says_what_to_do,
                the_default_acl_is_that_of_new_nodes,
                a_reply_over_the_limit_fails_only_its_call,
                a_request_over_the_limit_is_not_sent,
                calls_beyond_the_queue_are_refused,
                bytes_beyond_the_queue_are_refused,
                the_hosts_can_change,
                hosts_may_be_a_list_and_are_told,
                a_weak_handle_does_not_keep_its_client,
                a_server_answers_words_of_four_letters,
            }
            nodes {
                every_kind_of_node_can_be_created,
                a_time_to_live_that_cannot_be_is_not_sent,
                null_data_are_not_empty_data,
                paths_may_be_in_any_script,
                paths_that_break_the_rules_are_not_sent,
                create_refuses_what_the_server_refuses,
                makepath_makes_the_parents_with_the_same_acl,
                makepath_works_for_many_at_once,
                sequence_through_a_chroot,
                clients_with_a_chroot_share_the_session,
                reads_with_and_without_stat_and_watch_agree,
                set_and_delete_check_versions,
                ensure_path_takes_what_is_there,
                recursive_delete_takes_all_below,
                recursive_delete_outlasts_one_who_creates,
                sync_returns_its_path,
                errors_say_what_failed_where_and_why,
            }
            access {
                acls_are_read_and_written_by_version,
                an_identity_of_any_characters_is_read_back,
                an_acl_that_means_nothing_is_refused,
                digest_auth_keeps_others_out,
                credentials_go_first_on_every_connection,
                credentials_stay_for_the_next_session,
                a_credential_given_in_a_restart_is_for_the_next_session,
            }
            transactions {
                results_come_in_the_order_of_operations,
                an_empty_one_commits,
                a_failure_in_the_middle_undoes_all,
                paths_are_those_below_the_chroot,
                what_cannot_be_is_told_before_anything_is_sent,
                watches_hear_of_each_operation,
            }
            watches {
                each_kind_hears_of_its_events,
                a_failed_read_leaves_no_watch,
                a_watch_is_called_once,
                all_watches_on_a_path_are_called_in_order,
                the_paths_of_events_are_below_the_chroot,
                an_event_is_there_before_a_reply_that_shows_it,
                a_watch_that_is_dropped_is_forgotten,
                watches_that_nobody_wants_are_taken_off_the_server,
                a_loop_that_arms_and_drops_sends_nothing_more,
                watches_that_ended_are_taken_off_the_server,
                events_for_nobody_do_no_harm,
                a_change_while_away_fires_once,
                many_watches_live_over_a_reconnect,
                a_watch_ends_with_its_session,
                a_watch_outlives_its_client_only_to_say_so,
                a_panicking_callback_stops_no_other,
                callbacks_come_in_the_order_of_changes,
                a_blocked_result_callback_holds_up_no_watch,
                a_blocked_watch_callback_holds_up_no_result,
                a_watch_can_be_waited_for_in_many_ways,
            }
            outcomes {
                an_error_of_a_request_says_what_became_of_it,
                an_error_of_no_request_has_no_outcome,
                an_error_says_what_is_wrong_and_what_to_do,
                an_error_tells_what_has_caused_it,
            }
            results {
                a_result_tells_how_it_stands,
                a_wait_ends_with_its_timeout_and_the_call_goes_on,
                callbacks_come_whether_the_result_is_there_or_not,
                a_dropped_result_is_still_done_and_told,
                results_of_calls_that_cannot_be_are_results_too,
                any_thread_can_poll_a_result,
                a_thousand_calls_complete_in_their_order,
                calls_of_many_tasks_all_complete,
                a_blocked_callback_keeps_the_session_and_the_order,
                a_panicking_callback_stops_nothing,
                a_callback_may_call_and_wait,
            }
            faults {
                a_reply_that_is_lost_leaves_the_outcome_unknown,
                a_request_that_is_lost_leaves_the_outcome_unknown,
                nothing_is_ever_done_twice,
                calls_made_while_suspended_are_sent_in_order_after_it,
                a_reply_with_the_wrong_xid_remakes_the_connection,
                a_connection_cut_inside_a_frame_is_remade,
                a_handshake_cut_anywhere_is_tried_again,
                a_body_that_cannot_be_decoded_fails_its_call_alone,
                bytes_that_are_no_packets_remake_the_connection,
                a_packet_that_never_ends_is_left_in_time,
                what_a_client_does_not_know_does_no_harm,
                a_session_that_comes_back_as_another_is_expired,
                servers_that_answer_once_and_close_are_left_alone,
                bytes_may_come_one_by_one,
                a_slow_line_is_no_hindrance,
                dead_and_silent_hosts_are_passed_over,
                a_name_that_hangs_is_timed_out_and_passed_over,
            }
            lock_failures {
                given_up_at_any_packet_it_leaves_nothing,
                what_waiting_does_not_help_is_an_error,
                who_may_not_read_a_node_does_not_wait_for_it,
                a_path_that_is_none_makes_nothing,
                an_acquire_that_fails_leaves_no_node,
                a_full_queue_is_waited_out,
            }
            lock_forms {
                foreign_names_contend_by_an_option,
                nodes_have_the_form_that_an_option_names,
                a_semaphore_of_curators_is_refused,
            }
            locks {
                one_holds_and_the_others_wait_their_turn,
                a_holder_cut_off_within_its_session_still_holds,
                a_holder_whose_session_expires_is_told,
                a_waiter_whose_session_expires_starts_over,
                a_lost_reply_to_the_create_makes_one_node,
                a_node_of_another_session_is_not_adopted,
                a_waiter_that_gives_up_leaves_no_node,
                a_thread_that_waits_can_be_cancelled,
                many_tasks_on_one_lock_hold_it_in_turn,
                many_threads_on_one_lock_hold_it_in_turn,
                readers_share_and_a_writer_waits_for_all,
                readers_and_writers_all_get_their_turn,
                a_lost_delete_is_made_up_for,
                a_holder_that_panics_releases,
                a_release_wakes_the_next_in_line_alone,
                a_node_that_somebody_deletes_is_made_anew,
                a_stopped_client_holds_nothing,
                a_lock_whose_node_is_deleted_is_lost,
            }
            retries {
                a_read_is_tried_again,
                a_write_is_tried_again_only_if_it_was_not_done,
                a_retry_ends_when_it_is_told_to,
                a_thread_retries_as_a_task_does,
                a_protected_node_is_made_once,
                a_protected_node_is_not_anothers,
                a_protected_node_of_a_lost_session_is_lost,
                a_checked_set_tells_whether_it_was_done,
                a_checked_delete_tells_whether_it_was_done,
            }
            semaphores {
                as_many_as_allowed_hold_leases,
                many_tasks_and_threads_share_the_leases,
                a_thread_that_waits_can_be_cancelled,
                all_agree_on_the_number_of_leases,
                a_lease_of_a_lost_session_counts_as_gone,
                a_lost_reply_makes_one_lease,
                given_up_anywhere_it_leaves_nothing,
                a_lease_is_taken_only_in_turn,
                a_failed_acquire_leaves_nothing,
                all_free_leases_are_to_be_had_at_once,
                a_lease_whose_node_is_deleted_is_lost,
            }
            watchers {
                a_data_watch_lives_over_an_expiry,
                a_data_watch_tells_null_from_empty,
                a_data_watch_on_a_missing_node_waits_for_it,
                a_callback_can_end_its_watch_and_may_panic,
                a_children_watch_can_end_with_its_session,
                a_children_watch_tells_each_change_to_the_end,
                no_change_goes_by_unnoticed,
                a_slow_reader_hears_the_newest,
                a_watch_that_is_dropped_or_cancelled_ends,
                a_watch_ends_when_its_client_stops,
                a_thread_can_follow_a_node,
                a_patient_watch_waits_for_quiet,
            }
            guide {
                life_cycle,
                states,
                creating,
                reading,
                writing,
                retrying,
                watching,
                transactions,
                results,
                threads,
                locks,
                a_lock_that_is_in_doubt,
            }
            secrets {
                no_secret_shows_in_logs_or_values,
            }
        }
    };
    ($run:path, ensemble) => {
        $crate::suite! { $run, $crate::suite::unguarded =>
            ensemble {
                fail_over,
                watches_survive,
                a_stalled_server_is_left,
                expiry,
                silence,
                two_clients_on_one_session,
                a_server_is_wiped,
                credentials_are_demanded,
                sasl_is_demanded,
                read_only,
                no_quorum,
                no_servers,
                members_change,
                rolling_restart,
                leaders_die,
                cuts_and_watches,
                many_watches,
            }
        }
    };
    ($run:path, fail_over) => {
        $crate::suite! { $run, $crate::suite::unguarded =>
            ensemble {
                fail_over,
            }
        }
    };
    ($run:path, kazoo) => {
        $crate::suite! { $run, $crate::suite::unguarded =>
            kazoo {
                data_and_stats,
                access_lists,
                digests,
                transactions,
                sequential_ephemerals,
                chroots,
                watches,
                locks,
                read_and_write_locks,
                semaphores,
                foreign_locks,
            }
        }
    };
    ($run:path, $guard:path => $($theme:ident { $($test:ident,)+ })+) => {
        $(
            mod $theme {
                $(
                    #[test]
                    fn $test() {
                        $guard(|| $run($crate::suite::$theme::$test));
                    }
                )+
            }
        )+
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_test_is_on_the_list() {
        let list = include_str!("mod.rs");
        let themes = [
            include_str!("life.rs"),
            include_str!("states.rs"),
            include_str!("options.rs"),
            include_str!("nodes.rs"),
            include_str!("access.rs"),
            include_str!("transactions.rs"),
            include_str!("watches.rs"),
            include_str!("results.rs"),
            include_str!("faults.rs"),
            include_str!("locks.rs"),
            include_str!("retries.rs"),
            include_str!("semaphores.rs"),
            include_str!("watchers.rs"),
            include_str!("guide.rs"),
            include_str!("secrets.rs"),
            include_str!("ensemble/load.rs"),
            include_str!("ensemble/quorum.rs"),
            include_str!("ensemble/servers.rs"),
            include_str!("ensemble/sessions.rs"),
            include_str!("kazoo.rs"),
        ];
        for line in themes.iter().flat_map(|theme| theme.lines()) {
            let Some(test) = line.strip_prefix("pub async fn ") else { continue };
            let Some((name, _)) = test.split_once('<') else { continue };
            assert!(list.contains(&format!(" {name},\n")), "{name} is not on the list");
        }
    }
}
