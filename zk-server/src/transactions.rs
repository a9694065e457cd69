//! How a server runs transactions: each takes a zxid, changes the tree or leaves it as it was, and fires watches.

use zk_proto::{ErrorCode, Perms, Time, session::SessionId};

use crate::{
    acl::Identities,
    config::Version,
    connection::{ConnectionId, NO_ZXID},
    server::Server,
    txn::Txn,
    watches::Notification,
};

impl Server {
    /// Runs a transaction for a client, given by its connection and session, or for the server itself. Fires the
    /// watches on what it changed. If `run` fails, its changes are undone; the zxid is used up nevertheless.
    pub(crate) fn transact<T>(
        &mut self,
        now: Time,
        client: Option<(ConnectionId, SessionId)>,
        run: impl FnOnce(&mut Txn<'_>) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        let zxid = self.zxids.assign();
        let no_identities = Identities::none(self.config.schemes());
        let connection = client.and_then(|(connection, _)| self.connections.get(&connection));
        let mut txn = Txn::new(
            &mut self.tree,
            connection.map_or(&no_identities, |connection| &connection.identities),
            client.map_or(SessionId(0), |(_, session)| session),
            zxid,
            self.config.wall_millis(now),
            self.config.extended_types,
        );
        let result = run(&mut txn);
        if result.is_err() {
            txn.undo();
        }
        let zxid = if self.config.version < Version::V3_9 { NO_ZXID } else { zxid };
        for change in txn.into_changes() {
            for Notification { kind, path, acl, watchers } in self.watches.fire(&change) {
                for watcher in watchers {
                    self.send_on(watcher, |connection| {
                        if connection.identities.check(acl, Perms::READ).is_ok() {
                            connection.notify(zxid, kind, path);
                        }
                    });
                    self.check_pending(watcher);
                }
            }
        }
        self.schedule_check(now);
        result
    }

    /// Ends a session: deletes its ephemeral nodes and closes its connection. Returns false if there is no such
    /// session.
    pub(crate) fn end_session(&mut self, now: Time, session: SessionId) -> bool {
        let Some(connection) = self.delete_session(now, session) else { return false };
        if let Some(connection) = connection {
            self.close(connection);
        }
        true
    }

    /// Ends a session and deletes its ephemeral nodes. Returns its connection, which stays open, or `None` if there
    /// is no such session.
    pub(crate) fn delete_session(
        &mut self,
        now: Time,
        session: SessionId,
    ) -> Option<Option<ConnectionId>> {
        let ended = self.sessions.remove(session)?;
        if !ended.is_local {
            let paths: Vec<_> = self.tree.ephemerals_of(session).map(str::to_owned).collect();
            self.remove_nodes(now, &paths);
        }
        Some(ended.connection)
    }

    /// Removes the containers that are no longer needed and the nodes whose TTL has passed, if the check for them is
    /// due. Each removal is a transaction.
    pub(crate) fn remove_expired_nodes(&mut self, now: Time) {
        if self.next_check.is_some_and(|at| at <= now) {
            for path in self.tree.expired(self.config.wall_millis(now)) {
                self.remove_nodes(now, &[path]);
            }
            self.next_check = None;
        }
        self.schedule_check(now);
    }

    /// Removes nodes in one transaction of the server itself.
    fn remove_nodes(&mut self, now: Time, paths: &[String]) {
        let _: Result<(), _> = self.transact(now, None, |txn| {
            for path in paths {
                txn.remove(path);
            }
            Ok(())
        });
    }

    fn schedule_check(&mut self, now: Time) {
        if !self.tree.has_expiring() {
            self.next_check = None;
        } else if self.next_check.is_none() {
            self.next_check = Some(now.after(self.config.container_check_interval));
        }
    }
}
