//! Tests of the client that run on every runtime.
//!
//! A test is an `async fn` that takes a [`Handler`](zk_client::Handler), uses nothing else of a runtime, and
//! runs as a task of that handler. [`suite!`](crate::suite!) lists all tests and generates a `#[test]` of
//! each for one runtime. To add a test, write a function in the file of its topic and add it to that list. To
//! add a runtime, write a function in [`runtimes`](mod@crate::runtimes) and a file like
//! `tests/tests/tokio.rs`.
//!
//! The tests share one server; each has a `TestContext` with a root node of its own. Tests that need an
//! ensemble or Python are slow and do not run on every runtime. They have lists of their own: `suite!(run,
//! ensemble)`, `suite!(run, tls)` and `suite!(run, kazoo)`. `suite!(run, fail_over)` is the one ensemble test that runs
//! on every runtime; `suite!(run, administration)` has those that run on tokio and on threads.
#![expect(missing_docs, reason = "a test's name says what it shows")]

pub(crate) mod canary;
pub(crate) mod context;
mod proxy_filters;
pub(crate) mod shared_server;

pub mod acls;
pub mod admin;
pub mod connection_faults;
pub mod credentials;
pub mod ensemble;
pub mod guide;
pub mod identities;
pub mod kazoo;
pub mod life_cycle;
pub mod lock_failures;
pub mod lock_interop;
pub mod locks;
pub mod multi_reads;
pub mod nodes;
pub mod options;
pub mod outcomes;
pub mod persistent_watches;
pub mod recorded_log;
pub mod results;
pub mod retries;
pub mod sasl;
pub mod secrets;
pub mod secure_servers;
pub mod semaphores;
pub mod session_states;
pub mod tls;
pub mod transactions;
pub mod watch_recipes;
pub mod watches;

pub use context::{guard, unguarded};
pub use shared_server::{use_embedded_server, use_tls};

/// Generates a `#[test]` of each test of the suite, in one module per topic. `run` is a function like those
/// in [`runtimes`](mod@crate::runtimes): it calls the test with a handler and runs the future that it
/// returns.
#[macro_export]
macro_rules! suite {
    ($run:path) => {
        $crate::suite! { $run, $crate::suite::guard =>
            life_cycle {
                start_times_out_without_a_server_and_can_be_retried,
                a_failed_start_names_host_and_cause,
                a_start_right_after_a_failed_one_succeeds,
                start_on_a_running_client_times_out,
                start_async_signals_when_there_is_a_session,
                two_starts_make_one_session,
                repeated_stops_succeed,
                stop_while_connecting_returns_at_once,
                start_after_stop_makes_a_new_session,
                restart_makes_a_new_session,
                restart_starts_a_stopped_client,
                a_stop_after_a_restart_wins,
                a_client_dropped_during_a_restart_leaves_no_tasks,
                starts_and_stops_in_a_row_do_not_hang,
                a_restart_while_the_session_closes_succeeds,
                a_restart_right_after_a_stop_succeeds,
                threads_can_start_and_stop_concurrently,
                calls_before_start_fail_as_closed,
                calls_during_stop_fail_as_closed,
                dropping_the_last_client_closes_the_session,
                dropping_a_client_lets_pending_calls_finish,
                stop_completes_calls_in_flight_first,
                stop_without_a_connection_returns_at_once,
                stop_times_out_on_a_silent_server,
                a_session_can_be_resumed_in_another_client,
                a_session_that_cannot_be_resumed_is_replaced,
                a_plain_thread_can_block_on_every_call,
                a_call_that_would_block_a_task_panics,
            }
            session_states {
                a_disconnect_and_a_reconnect_are_each_reported_once,
                failed_attempts_report_one_suspension,
                an_expiry_is_reported_as_lost_then_connected,
                queued_calls_of_an_expired_session_fail_as_expired,
                credentials_refused_at_start_fail_the_start,
                credentials_refused_later_end_the_session,
                a_listener_can_be_removed_and_can_remove_itself,
                a_removed_listener_gets_no_queued_states,
                a_panicking_listener_does_not_affect_others,
                a_listener_can_make_blocking_calls,
                a_state_is_reported_before_results_of_that_state,
                a_thread_can_follow_the_states,
                the_state_stream_ends_when_the_client_stops,
                the_state_stream_continues_over_a_restart,
                a_stopped_client_has_no_session,
                refused_credentials_can_be_replaced,
                equal_credentials_are_sent_once,
                a_silent_server_is_disconnected_in_time,
                a_session_survives_many_reconnects,
            }
            options {
                hosts_can_have_a_chroot,
                a_missing_chroot_is_logged_once_per_start,
                invalid_options_fail_at_once,
                the_server_negotiates_the_session_timeout,
                a_read_only_client_can_write_to_full_servers,
                all_credentials_are_sent,
                hosts_are_tried_in_order_or_at_random,
                attempts_are_spaced_by_the_backoff,
                a_missing_acl_is_an_error_with_advice,
                new_nodes_get_the_default_acl,
                a_reply_over_the_limit_fails_only_its_call,
                a_request_over_the_limit_is_not_sent,
                calls_over_the_queue_limit_are_refused,
                bytes_over_the_queue_limit_are_refused,
                hosts_can_be_changed,
                some_clients_move_to_a_host_that_is_added,
                hosts_can_be_a_list_and_are_reported,
                a_weak_handle_does_not_keep_its_client_alive,
                a_server_answers_four_letter_words,
            }
            nodes {
                every_kind_of_node_can_be_created,
                an_invalid_time_to_live_is_not_sent,
                null_data_are_not_empty_data,
                paths_can_use_any_script,
                invalid_paths_are_not_sent,
                create_reports_the_servers_refusals,
                makepath_creates_the_parents_with_the_same_acl,
                makepath_works_concurrently,
                sequential_names_are_relative_to_the_chroot,
                clients_with_a_chroot_share_the_session,
                reads_with_and_without_stat_and_watch_agree,
                set_and_delete_check_versions,
                ensure_path_keeps_existing_nodes,
                recursive_delete_removes_the_whole_tree,
                recursive_delete_finishes_despite_concurrent_creates,
                sync_returns_its_path,
                all_nodes_below_a_node_are_counted,
                ephemeral_nodes_are_listed_by_prefix,
                errors_say_what_failed_where_and_why,
            }
            admin {
                a_session_learns_who_it_is,
                a_server_says_its_version_mode_and_load,
                any_server_can_be_asked,
                refusals_of_four_letter_words_are_told_apart,
                the_configuration_of_a_standalone_server_has_no_members,
                an_operation_that_a_server_does_not_know_fails_alone,
                servers_answer_an_unknown_operation_and_close_the_connection,
            }
            multi_reads {
                reads_are_answered_in_order_and_fail_alone,
                paths_of_reads_are_relative_to_the_chroot,
                an_invalid_read_is_not_sent,
            }
            acls {
                acls_are_read_and_written_by_version,
                an_acl_id_with_any_characters_is_read_back,
                an_invalid_acl_is_refused,
                digest_auth_keeps_others_out,
                credentials_are_sent_first_on_every_connection,
                credentials_are_sent_again_in_the_next_session,
                a_credential_added_during_a_restart_applies_to_the_next_session,
                an_address_gives_access_by_its_network,
                an_ipv6_address_in_an_acl_needs_a_new_server,
                an_acl_of_the_own_identities_becomes_one_of_each,
            }
            credentials {
                a_withdrawn_credential_is_forgotten_at_the_reconnect,
                a_replaced_credential_is_the_only_one_of_its_scheme,
                the_server_knows_the_present_credentials_after_any_loss,
                no_call_fails_by_a_reconnect,
                a_reconnect_waits_for_the_servers_and_ends_with_the_client,
                a_credential_refused_at_a_reconnect_ends_the_session,
            }
            transactions {
                results_are_in_the_order_of_operations,
                an_empty_transaction_commits,
                a_failure_rolls_back_the_whole_transaction,
                paths_are_relative_to_the_chroot,
                invalid_operations_fail_before_anything_is_sent,
                watches_fire_for_each_operation,
            }
            watches {
                each_kind_of_watch_fires_for_its_events,
                a_failed_read_leaves_no_watch,
                a_watch_fires_once,
                all_watches_on_a_path_fire_in_order,
                event_paths_are_relative_to_the_chroot,
                an_event_arrives_before_a_reply_that_shows_the_change,
                a_dropped_watch_is_not_rearmed,
                dropped_watches_are_removed_from_the_server,
                arming_and_dropping_in_a_loop_sends_no_removals,
                watches_of_ended_recipes_are_removed_from_the_server,
                events_for_dropped_watches_are_ignored,
                a_change_while_disconnected_fires_once,
                many_watches_survive_a_reconnect,
                a_watch_ends_with_its_session,
                a_watch_of_a_dropped_client_fails_as_closed,
                a_panicking_callback_does_not_affect_others,
                callbacks_run_in_the_order_of_changes,
                a_blocked_result_callback_does_not_delay_watches,
                a_blocked_watch_callback_does_not_delay_results,
                a_watch_can_be_awaited_polled_or_given_a_callback,
            }
            persistent_watches {
                a_persistent_watch_reports_every_change_of_its_node,
                a_recursive_watch_reports_every_change_of_its_tree,
                a_change_is_reported_before_a_reply_that_shows_it,
                changes_have_their_zxid_if_the_server_sends_it,
                paths_are_relative_to_the_chroot_of_the_watch,
                watches_of_one_mode_share_one_watch_on_the_server,
                dropped_persistent_watches_are_removed_from_the_server,
                removed_watches_end_and_say_so,
                a_reconnect_is_reported_as_a_gap,
                many_persistent_watches_survive_a_reconnect,
                a_persistent_watch_ends_with_its_session,
                a_slow_reader_is_told_of_an_overflow,
                long_paths_count_towards_the_overflow,
                a_callback_gets_every_item_in_order,
                a_callback_that_returns_false_removes_its_watch,
                a_thread_can_read_a_persistent_watch,
                one_shot_watches_do_not_end_a_persistent_one,
                a_change_beside_a_read_with_a_watch_is_reported_or_a_gap,
                both_modes_can_be_watched_on_one_path,
                a_child_watch_fires_beside_a_recursive_one,
                each_type_of_watch_is_removed_for_itself,
                watches_can_be_removed_without_a_connection,
            }
            outcomes {
                an_error_of_a_request_has_its_outcome,
                an_error_without_a_request_has_no_outcome,
                an_error_says_what_is_wrong_and_what_to_do,
                an_error_has_its_cause,
            }
            results {
                a_result_reports_its_status,
                a_wait_times_out_and_the_call_continues,
                callbacks_run_before_and_after_completion,
                a_dropped_result_still_completes,
                an_invalid_call_returns_a_failed_result,
                any_thread_can_poll_a_result,
                calls_complete_in_order,
                calls_of_many_tasks_all_complete,
                a_blocked_callback_keeps_the_session_alive_and_the_order,
                a_panicking_callback_does_not_affect_others,
                a_callback_can_make_blocking_calls,
            }
            connection_faults {
                a_lost_reply_leaves_the_outcome_unknown,
                a_lost_request_leaves_the_outcome_unknown,
                no_write_is_applied_twice,
                calls_made_while_suspended_are_sent_in_order_after_reconnect,
                a_reply_with_the_wrong_xid_forces_a_reconnect,
                a_connection_cut_inside_a_frame_is_replaced,
                a_handshake_cut_anywhere_is_retried,
                an_undecodable_reply_fails_only_its_call,
                bytes_that_are_not_packets_force_a_reconnect,
                a_packet_that_never_ends_times_out,
                unknown_events_and_errors_are_harmless,
                a_session_resumed_with_another_id_is_expired,
                reconnects_to_servers_that_close_after_one_reply_are_limited,
                bytes_can_arrive_one_by_one,
                calls_are_pipelined_over_a_slow_network,
                dead_and_silent_hosts_are_skipped,
                a_hanging_name_lookup_times_out_and_is_skipped,
            }
            tls {
                a_session_works_over_both_versions,
                a_client_shows_its_certificate,
                a_servers_certificate_is_checked,
                a_refused_client_is_told_why,
                the_wrong_kind_of_port_is_named,
                dangerous_options_skip_checks,
                a_reconnect_resumes_the_tls_session,
                certificates_that_change_on_disk_are_used_next,
                a_user_can_bring_a_configuration,
                the_handshake_counts_within_the_connect_deadline,
                replies_before_a_truncation_are_not_lost,
                tls_options_are_checked_when_a_client_is_built,
            }
            lock_failures {
                an_acquire_given_up_at_any_packet_leaves_no_node,
                permanent_errors_end_an_acquire,
                an_acquire_fails_if_it_may_not_read_the_node_before_it,
                an_invalid_path_creates_nothing,
                a_failed_acquire_leaves_no_node,
                an_acquire_waits_while_the_queue_is_full,
            }
            lock_interop {
                extra_lock_patterns_include_foreign_nodes,
                nodes_have_the_naming_scheme_of_the_options,
                a_curator_semaphore_is_refused,
            }
            locks {
                one_client_holds_the_lock_and_others_wait_in_order,
                a_disconnected_holder_keeps_the_lock_while_its_session_lives,
                a_holder_is_notified_when_its_session_expires,
                a_waiter_whose_session_expires_queues_again,
                a_lost_create_reply_makes_one_node,
                a_node_of_another_session_is_not_adopted,
                a_waiter_that_gives_up_leaves_no_node,
                a_waiting_thread_can_be_cancelled,
                tasks_sharing_one_lock_hold_it_in_turn,
                threads_sharing_one_lock_hold_it_in_turn,
                readers_share_the_lock_and_a_writer_waits_for_all,
                readers_and_writers_all_get_their_turn,
                a_lost_delete_is_retried,
                a_panicking_holder_releases_the_lock,
                a_release_wakes_only_the_next_waiter,
                a_waiter_recreates_its_deleted_node,
                a_stopped_client_holds_no_lock,
                a_lock_whose_node_is_deleted_is_lost,
            }
            retries {
                reads_are_retried,
                writes_are_retried_only_if_not_applied,
                a_retry_stops_at_its_limits,
                threads_can_retry,
                a_protected_create_makes_one_node,
                a_protected_create_ignores_nodes_of_other_sessions,
                a_protected_create_fails_if_its_session_expires,
                set_and_check_reports_whether_it_was_applied,
                delete_and_check_reports_whether_it_was_applied,
            }
            semaphores {
                at_most_max_leases_are_held,
                many_tasks_and_threads_share_the_leases,
                a_waiting_thread_can_be_cancelled,
                all_contenders_agree_on_the_number_of_leases,
                a_lease_is_lost_with_its_session,
                a_lost_reply_makes_one_lease,
                an_acquire_given_up_at_any_packet_leaves_no_node,
                a_lease_is_taken_only_in_turn,
                a_failed_acquire_leaves_no_node,
                all_free_leases_can_be_acquired_at_once,
                a_lease_whose_node_is_deleted_is_lost,
            }
            watch_recipes {
                a_data_watch_survives_session_expiry,
                a_data_watch_distinguishes_null_from_empty_data,
                a_data_watch_reports_a_missing_node_and_its_creation,
                a_callback_can_end_its_watch_and_can_panic,
                a_children_watch_can_end_with_its_session,
                a_children_watch_reports_each_change_until_the_node_is_deleted,
                no_change_is_missed,
                a_slow_reader_gets_the_newest_state,
                a_dropped_or_cancelled_watch_ends,
                a_watch_ends_when_its_client_stops,
                a_thread_can_follow_a_node,
                patient_children_watch_waits_for_quiet,
            }
            guide {
                life_cycle,
                states,
                creating,
                reading,
                access_lists,
                writing,
                retrying,
                watching,
                transactions,
                servers,
                results,
                tls,
                threads,
                logging_in,
                kerberos,
                locks,
                a_lock_that_is_in_doubt,
            }
            sasl {
                a_client_logs_in_with_a_password,
                an_acl_can_name_a_user_of_sasl,
                a_login_works_over_tls,
                a_wrong_password_and_an_unknown_user_are_refused_for_good,
                a_refused_client_can_start_with_another_password,
                a_login_that_is_cut_at_any_packet_is_retried,
                every_connection_logs_in_before_anything_else,
                a_rotated_password_is_taken_up_at_the_next_connection,
                a_callback_that_fails_or_panics_is_asked_again,
                a_callback_that_blocks_delays_only_its_client,
                a_callback_that_hangs_does_not_hold_up_other_options,
                a_server_without_sasl_is_an_error,
                a_server_that_proves_nothing_gets_no_request,
                a_login_that_does_not_end_is_given_up,
                a_mechanism_of_the_users_own_can_log_in,
            }
            secrets {
                secrets_do_not_appear_in_logs_or_values,
                secrets_of_tls_do_not_appear_in_logs_or_values,
            }
        }
    };
    ($run:path, ensemble) => {
        $crate::suite! { $run, $crate::suite::unguarded =>
            ensemble {
                a_session_fails_over_to_another_server,
                watches_survive_a_fail_over,
                a_persistent_watch_goes_on_after_a_fail_over,
                a_stalled_server_is_disconnected_in_time,
                an_expired_session_is_replaced,
                a_silent_network_suspends_the_session,
                two_clients_can_resume_one_session,
                a_session_is_lost_when_its_server_loses_its_data,
                a_server_can_require_digest_credentials,
                a_server_can_require_sasl,
                a_server_that_lets_refused_clients_in_is_not_used,
                a_read_only_server_can_be_logged_in_to,
                a_read_only_client_reads_without_a_quorum,
                a_session_is_suspended_without_a_quorum,
                attempts_are_spaced_while_no_server_runs,
                a_client_continues_when_a_member_leaves,
                no_write_is_lost_in_a_rolling_restart,
                no_write_is_lost_when_leaders_are_killed,
                watches_fire_once_over_many_reconnects,
                many_watches_are_rearmed_on_another_server,
            }
        }
    };
    ($run:path, tls) => {
        $crate::suite! { $run, $crate::suite::guard =>
            secure_servers {
                a_certificate_identifies_the_client,
                a_certificate_that_changes_on_disk_identifies_the_client_next,
                a_refused_client_is_told_why,
                a_servers_certificate_is_checked,
                the_wrong_kind_of_port_is_named,
                a_reconnect_resumes_the_tls_session,
                a_user_can_bring_a_configuration,
            }
        }
    };
    ($run:path, tls_fail_over) => {
        $crate::suite! { $run, $crate::suite::guard =>
            secure_servers {
                a_session_fails_over_with_tls,
            }
        }
    };
    ($run:path, identities) => {
        $crate::suite! { $run, $crate::suite::guard =>
            identities {
                a_certificate_gives_access_by_its_subject,
                a_login_gives_access_by_its_user,
                a_new_certificate_counts_after_a_reconnect,
                another_login_counts_after_a_reconnect,
                secrets_of_logins_do_not_appear_in_logs_or_values,
            }
        }
    };
    ($run:path, administration) => {
        $crate::suite! { $run, $crate::suite::unguarded =>
            ensemble {
                members_can_be_removed_added_and_changed,
                changes_of_members_that_cannot_be_are_refused,
                reconfiguration_can_be_disabled,
                empty_containers_and_old_nodes_are_deleted,
                a_server_without_extended_types_knows_no_time_to_live,
                words_that_are_not_whitelisted_are_refused,
                a_server_without_a_quorum_does_not_serve,
                clients_spread_over_a_list_that_changes,
            }
        }
    };
    ($run:path, fail_over) => {
        $crate::suite! { $run, $crate::suite::unguarded =>
            ensemble {
                a_session_fails_over_to_another_server,
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
                locks_with_foreign_nodes,
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
            include_str!("life_cycle.rs"),
            include_str!("session_states.rs"),
            include_str!("options.rs"),
            include_str!("multi_reads.rs"),
            include_str!("nodes.rs"),
            include_str!("acls.rs"),
            include_str!("credentials.rs"),
            include_str!("identities.rs"),
            include_str!("admin.rs"),
            include_str!("transactions.rs"),
            include_str!("watches.rs"),
            include_str!("persistent_watches.rs"),
            include_str!("results.rs"),
            include_str!("connection_faults.rs"),
            include_str!("locks.rs"),
            include_str!("retries.rs"),
            include_str!("sasl.rs"),
            include_str!("semaphores.rs"),
            include_str!("watch_recipes.rs"),
            include_str!("guide.rs"),
            include_str!("secrets.rs"),
            include_str!("outcomes.rs"),
            include_str!("lock_failures.rs"),
            include_str!("lock_interop.rs"),
            include_str!("ensemble/administration.rs"),
            include_str!("ensemble/required_auth.rs"),
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
