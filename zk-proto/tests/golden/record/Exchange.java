// Drives the Apache ZooKeeper Java client through the recording proxy.
//
//     java -cp zookeeper.jar Exchange.java PROXY SERVER NAME
//
// PROXY is the address of proxy.py, SERVER that of the server behind it (for
// what a second client does unrecorded), NAME one of the methods of this class
// that are called in main(). Each method works under the node "/NAME". Every
// step is checked: a wrong outcome ends the program with an error.

import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.jute.InputArchive;
import org.apache.jute.OutputArchive;
import org.apache.jute.Record;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.KeeperException.Code;
import org.apache.zookeeper.MultiOperationRecord;
import org.apache.zookeeper.MultiResponse;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.StatsTrack;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.Watcher.WatcherType;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.OpCode;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;
import org.apache.zookeeper.proto.*;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

public class Exchange {
    static final List<ACL> OPEN = Ids.OPEN_ACL_UNSAFE;
    static final int TIMEOUT = 4000;
    static final byte[] ONE = bytes("one"), TWO = bytes("two");

    static String proxy, server, root;

    public static void main(String[] args) throws Exception {
        proxy = args[0];
        server = args[1];
        root = "/" + args[2];
        switch (args[2]) {
            case "connect": connect(); break;
            case "create": create(); break;
            case "data": data(); break;
            case "acl": acl(); break;
            case "auth": auth(); break;
            case "children": children(); break;
            case "multi": multi(); break;
            case "multiread": multiRead(); break;
            case "watches": watches(); break;
            case "addwatch": addWatch(); break;
            case "removewatches": removeWatches(); break;
            case "resume": resume(false); break;
            case "resume2": resume(true); break;
            case "expired": expired(); break;
            case "errors": errors(); break;
            case "raw": raw(); break;
            case "sasl": sasl(); break;
            case "sasl-wrong": wrongPassword(); break;
            case "reconfig": reconfig(); break;
            case "moved": moved(args[3]); break;
            case "local": local(); break;
            case "session": session(); break;
            case "readonly": readOnly(args[3]); break;
            case "readonly-local": readOnlyLocal(); break;
            default: throw new IllegalArgumentException(args[2]);
        }
        System.exit(0); // a client whose auth failed leaves a thread behind
    }

    // ---- the exchanges ----

    static void connect() throws Exception {
        Client zk = new Client(proxy);
        note("pings");
        Thread.sleep(TIMEOUT);
        note("whoAmI, sync, then closeSession");
        check(zk.whoAmI().size() == 1);
        zk.syncNow("/");
        zk.close();

        zk = new Client(proxy, 30000, true);
        note("that one asked with readOnly set, of a server that is not read-only");
        check(zk.exists("/", false) != null);
        zk.close();

        zk = new Client(proxy, 10_000_000, false);
        note("that one asked for 10,000 s: see the negotiated timeout");
        zk.close();
    }

    static void create() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, null, OPEN, CreateMode.PERSISTENT);
        for (boolean withStat : new boolean[] {false, true}) {
            for (CreateMode mode : CreateMode.values()) {
                Stat stat = withStat ? new Stat() : null;
                note("create " + mode + (withStat ? ", with Stat" : ""));
                String node = p + "/" + mode.toString().toLowerCase() + (withStat ? "-stat" : "");
                if (mode.isTTL()) {
                    zk.create(node, ONE, OPEN, mode, stat, 3_600_000L);
                } else if (stat == null) {
                    zk.create(node, ONE, OPEN, mode);
                } else {
                    zk.create(node, ONE, OPEN, mode, stat);
                }
            }
        }
        note("null data, empty data, a name that is not ASCII");
        zk.create(p + "/null", null, OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/empty", new byte[0], OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/\u017elu\u0165-\u65e5\u672c", ONE, OPEN, CreateMode.PERSISTENT);
        note("a sequential node without a prefix");
        zk.create(p + "/", ONE, OPEN, CreateMode.PERSISTENT_SEQUENTIAL);
        note("delete: version 0, any version");
        zk.delete(p + "/null", 0);
        zk.delete(p + "/empty", -1);
        zk.close();
    }

    static void data() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        note("exists: found, missing");
        check(zk.exists(p, false) != null);
        check(zk.exists(p + "/missing", false) == null);
        note("getData, setData with version 0, setData with any version");
        zk.getData(p, false, new Stat());
        zk.setData(p, TWO, 0);
        check(zk.setData(p, TWO, -1).getVersion() == 2);
        note("null data and empty data: setData, getData");
        zk.setData(p, null, -1);
        check(zk.getData(p, false, new Stat()) == null);
        zk.setData(p, new byte[0], -1);
        check(zk.getData(p, false, new Stat()).length == 0);
        note("bytes that are no text");
        zk.setData(p, new byte[] {0, 1, 2, (byte) 0x80, (byte) 0xff}, -1);
        zk.getData(p, false, null);
        note("an ephemeral node's Stat");
        zk.create(p + "/ephemeral", ONE, OPEN, CreateMode.EPHEMERAL);
        check(zk.exists(p + "/ephemeral", false).getEphemeralOwner() == zk.getSessionId());
        note("sync");
        zk.syncNow(p);
        note("pipelined: setData, getData, exists of a missing node, setData, getData");
        CountDownLatch done = new CountDownLatch(5);
        zk.setData(p, ONE, -1, (rc, path, ctx, stat) -> done.countDown(), null);
        zk.getData(p, false, (rc, path, ctx, data, stat) -> done.countDown(), null);
        zk.exists(p + "/missing", false, (rc, path, ctx, stat) -> done.countDown(), null);
        zk.setData(p, TWO, -1, (rc, path, ctx, stat) -> done.countDown(), null);
        zk.getData(p, false, (rc, path, ctx, data, stat) -> done.countDown(), null);
        check(done.await(10, TimeUnit.SECONDS));
        zk.close();
    }

    static void acl() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, null, OPEN, CreateMode.PERSISTENT);
        Id digest = new Id("digest", DigestAuthenticationProvider.generateDigest("user:secret"));
        note("create with each scheme: world, digest, ip (two), several, auth");
        zk.create(p + "/world", ONE, Ids.READ_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.create(p + "/digest", ONE, Arrays.asList(new ACL(Perms.ALL, digest)), CreateMode.PERSISTENT);
        zk.create(p + "/ip", ONE, Arrays.asList(new ACL(Perms.ALL, new Id("ip", "127.0.0.1"))), CreateMode.PERSISTENT);
        zk.create(p + "/net", ONE, Arrays.asList(new ACL(Perms.ALL, new Id("ip", "127.0.0.0/8"))), CreateMode.PERSISTENT);
        zk.create(p + "/several", ONE,
                Arrays.asList(new ACL(Perms.READ, Ids.ANYONE_ID_UNSAFE), new ACL(Perms.WRITE | Perms.ADMIN, digest)),
                CreateMode.PERSISTENT);
        note("`auth` with no identity but the address: InvalidACL");
        fails(Code.INVALIDACL, () -> zk.create(p + "/auth", ONE, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        note("getACL with READ alone: the digest is masked; with no right: NoAuth");
        zk.getACL(p + "/world", new Stat());
        zk.getACL(p + "/several", new Stat());
        fails(Code.NOAUTH, () -> zk.getACL(p + "/digest", new Stat()));
        note("NoAuth: getData, setData, create below, setACL, getChildren");
        fails(Code.NOAUTH, () -> zk.getData(p + "/digest", false, null));
        fails(Code.NOAUTH, () -> zk.setData(p + "/world", TWO, -1));
        fails(Code.NOAUTH, () -> zk.create(p + "/world/x", ONE, OPEN, CreateMode.PERSISTENT));
        fails(Code.NOAUTH, () -> zk.setACL(p + "/world", OPEN, -1));
        fails(Code.NOAUTH, () -> zk.getChildren(p + "/digest", false));
        note("exists without any right");
        check(zk.exists(p + "/digest", false) != null);
        note("addAuth digest, then create with `auth`, getACL, setACL (version 0, any)");
        zk.addAuthInfo("digest", bytes("user:secret"));
        zk.create(p + "/auth", ONE, Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
        zk.getACL(p + "/auth", new Stat());
        zk.getACL(p + "/several", new Stat());
        zk.getData(p + "/digest", false, new Stat());
        zk.setACL(p + "/digest", OPEN, 0);
        zk.setACL(p + "/digest", Ids.CREATOR_ALL_ACL, -1);
        fails(Code.BADVERSION, () -> zk.setACL(p + "/digest", OPEN, 7));
        note("an unknown scheme in an ACL: InvalidACL");
        fails(Code.INVALIDACL, () -> zk.setACL(p, Arrays.asList(new ACL(Perms.ALL, new Id("nosuch", "x"))), -1));
        zk.close();
    }

    static void auth() throws Exception {
        Client zk = new Client(proxy);
        note("addAuth digest, twice with two users; whoAmI");
        zk.addAuthInfo("digest", bytes("user:secret"));
        zk.addAuthInfo("digest", bytes("other:secret"));
        check(zk.whoAmI().size() == 3);
        zk.close();

        Client bad = new Client(proxy);
        note("addAuth with an unknown scheme: AuthFailed");
        bad.addAuthInfo("nosuch", bytes("user:secret"));
        bad.events.await(KeeperState.AuthFailed);
    }

    static void children() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        note("no children: getChildren (8), getChildren2 (12), getAllChildrenNumber, getEphemerals");
        check(zk.getChildren(p, false).isEmpty());
        check(zk.getChildren(p, false, new Stat()).isEmpty());
        check(zk.getAllChildrenNumber(p) == 0);
        check(zk.getEphemerals().isEmpty());
        note("with children");
        for (String name : new String[] {"a", "b", "b/c"}) {
            zk.create(p + "/" + name, ONE, OPEN, CreateMode.PERSISTENT);
        }
        zk.create(p + "/b/d", ONE, OPEN, CreateMode.EPHEMERAL);
        zk.create(p + "/e-", ONE, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL);
        check(zk.getChildren(p, false).size() == 3);
        check(zk.getChildren(p, false, new Stat()).size() == 3);
        check(zk.getAllChildrenNumber(p) == 5);
        note("getEphemerals: all, below a prefix, none below a prefix");
        check(zk.getEphemerals().size() == 2);
        check(zk.getEphemerals(p + "/b").size() == 1);
        check(zk.getEphemerals(p + "/a").isEmpty());
        note("NoNode for each");
        fails(Code.NONODE, () -> zk.getChildren(p + "/missing", false));
        fails(Code.NONODE, () -> zk.getChildren(p + "/missing", false, new Stat()));
        fails(Code.NONODE, () -> zk.getAllChildrenNumber(p + "/missing"));
        note("children of the root");
        zk.getChildren("/", false);
        zk.close();
    }

    static void multi() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        note("success: check, create (persistent, sequential, ephemeral, container, TTL), setData, delete");
        zk.multi(List.of(
                Op.check(p, 0),
                Op.create(p + "/a", ONE, OPEN, CreateMode.PERSISTENT),
                Op.create(p + "/s-", ONE, OPEN, CreateMode.PERSISTENT_SEQUENTIAL),
                Op.create(p + "/e", null, OPEN, CreateMode.EPHEMERAL),
                Op.create(p + "/c", new byte[0], OPEN, CreateMode.CONTAINER),
                Op.create(p + "/t", ONE, OPEN, CreateMode.PERSISTENT_WITH_TTL, 3_600_000L),
                Op.setData(p + "/a", TWO, 0),
                Op.delete(p + "/a", 1)));
        note("success: create2 (no method of the client sends it in a multi)");
        MultiResponse made = new MultiResponse();
        zk.send(OpCode.multi, new Request(a -> {
            new MultiHeader(OpCode.create2, false, -1).serialize(a, "");
            new CreateRequest(p + "/create2", ONE, OPEN, 0).serialize(a, "");
            new MultiHeader(-1, true, -1).serialize(a, "");
        }), made);
        check(made.getResultList().size() == 1);
        note("failure in the middle: BadVersion at the second of three");
        fails(Code.BADVERSION, () -> zk.multi(List.of(
                Op.create(p + "/b", ONE, OPEN, CreateMode.PERSISTENT),
                Op.check(p, 7),
                Op.delete(p + "/b", -1))));
        note("failure at the first: NoNode, two ops");
        fails(Code.NONODE, () -> zk.multi(List.of(Op.delete(p + "/missing", -1), Op.setData(p, TWO, -1))));
        note("failure at the last: NodeExists, two ops");
        fails(Code.NODEEXISTS, () -> zk.multi(List.of(
                Op.setData(p, TWO, -1),
                Op.create(p, ONE, OPEN, CreateMode.PERSISTENT))));
        note("NoAuth in the middle");
        zk.create(p + "/read", ONE, Ids.READ_ACL_UNSAFE, CreateMode.PERSISTENT);
        fails(Code.NOAUTH, () -> zk.multi(List.of(
                Op.setData(p, TWO, -1),
                Op.setData(p + "/read", TWO, -1),
                Op.setData(p, ONE, -1))));
        note("a multi of nothing");
        check(zk.multi(List.of()).isEmpty());
        note("watches and a multi: the events stand before the reply");
        zk.getData(p, true, null);
        zk.getChildren(p, true);
        zk.multi(List.of(
                Op.setData(p, TWO, -1),
                Op.create(p + "/f", ONE, OPEN, CreateMode.PERSISTENT),
                Op.delete(p + "/f", -1)));
        zk.close();
    }

    static void multiRead() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/a", null, OPEN, CreateMode.PERSISTENT);
        note("getData, getChildren, both of a missing node, getData (null), getChildren (none)");
        zk.multi(List.of(
                Op.getData(p),
                Op.getChildren(p),
                Op.getData(p + "/missing"),
                Op.getChildren(p + "/missing"),
                Op.getData(p + "/a"),
                Op.getChildren(p + "/a")));
        note("all well");
        zk.multi(List.of(Op.getData(p), Op.getChildren(p)));
        note("all failed");
        zk.multi(List.of(Op.getData(p + "/missing")));
        zk.close();
    }

    static void watches() throws Exception {
        Client zk = new Client(proxy);
        Client other = new Client(server);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        note("exists of a missing node; another client creates it: NodeCreated");
        zk.exists(p + "/a", true);
        other.create(p + "/a", ONE, OPEN, CreateMode.PERSISTENT);
        zk.events.await(EventType.NodeCreated);
        note("getData; another client sets: NodeDataChanged");
        zk.getData(p + "/a", true, null);
        other.setData(p + "/a", TWO, -1);
        zk.events.await(EventType.NodeDataChanged);
        note("exists of a node; another client sets: NodeDataChanged");
        zk.exists(p + "/a", true);
        other.setData(p + "/a", TWO, -1);
        zk.events.await(EventType.NodeDataChanged);
        note("getChildren (8); another client creates: NodeChildrenChanged");
        zk.getChildren(p, true);
        other.create(p + "/b", ONE, OPEN, CreateMode.PERSISTENT);
        zk.events.await(EventType.NodeChildrenChanged);
        note("getChildren (12); another client deletes: NodeChildrenChanged");
        zk.getChildren(p, true, new Stat());
        other.delete(p + "/b", -1);
        zk.events.await(EventType.NodeChildrenChanged);
        note("data and child watch of a node, child watch of its parent; another client deletes it");
        zk.getData(p + "/a", true, null);
        zk.getChildren(p + "/a", true);
        zk.getChildren(p, true);
        other.delete(p + "/a", -1);
        zk.events.await(EventType.NodeDeleted);
        zk.events.await(EventType.NodeChildrenChanged);
        note("own changes: the event stands before the reply of the write");
        zk.exists(p + "/c", true);
        zk.create(p + "/c", ONE, OPEN, CreateMode.EPHEMERAL);
        zk.getData(p + "/c", true, null);
        zk.setData(p + "/c", TWO, -1);
        zk.getData(p + "/c", true, null);
        zk.delete(p + "/c", -1);
        note("another session's ephemeral goes with its closeSession: NodeDeleted");
        other.create(p + "/d", ONE, OPEN, CreateMode.EPHEMERAL);
        zk.exists(p + "/d", true);
        other.close();
        zk.events.await(EventType.NodeDeleted);
        zk.close();
    }

    static void addWatch() throws Exception {
        Client zk = new Client(proxy);
        Events persistent = new Events(), recursive = new Events();
        String p = root;
        for (String node : new String[] {p, p + "/p", p + "/r"}) {
            zk.create(node, ONE, OPEN, CreateMode.PERSISTENT);
        }
        note("addWatch persistent and recursive, and persistent on a missing node");
        zk.addWatch(p + "/p", persistent, AddWatchMode.PERSISTENT);
        zk.addWatch(p + "/r", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.addWatch(p + "/missing", persistent, AddWatchMode.PERSISTENT);
        note("the same changes below each: setData, create of a child, its setData, its delete");
        for (String node : new String[] {p + "/p", p + "/r"}) {
            zk.setData(node, TWO, -1);
            zk.create(node + "/c", ONE, OPEN, CreateMode.PERSISTENT);
            zk.setData(node + "/c", TWO, -1);
            zk.delete(node + "/c", -1);
        }
        note("a grandchild below the recursive one");
        zk.create(p + "/r/c", ONE, OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/r/c/g", ONE, OPEN, CreateMode.PERSISTENT);
        note("delete and create again of the watched node, and create of the missing one");
        zk.delete(p + "/p", -1);
        zk.create(p + "/p", ONE, OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/missing", ONE, OPEN, CreateMode.PERSISTENT);
        note("a persistent and a one-shot watch on one node: setData");
        zk.getData(p + "/p", true, null);
        zk.setData(p + "/p", TWO, -1);
        note("addWatch on the same node with the other mode, then the other changes");
        zk.addWatch(p + "/p", recursive, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.create(p + "/p/c", ONE, OPEN, CreateMode.PERSISTENT);
        zk.close();
    }

    static void removeWatches() throws Exception {
        Client zk = new Client(proxy);
        Events w = new Events(), w2 = new Events();
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        note("checkWatches of data, children, any: what the client sends to remove one Watcher object of a path");
        for (WatcherType type : WatcherType.values()) {
            zk.getData(p, w, null);
            zk.getChildren(p, w);
            zk.removeWatches(p, w, type, false);
        }
        zk.getData(p, w, null);
        zk.getChildren(p, w);
        note("removeWatches of data, then children, then any (all of a path)");
        zk.removeAllWatches(p, WatcherType.Data, false);
        zk.removeAllWatches(p, WatcherType.Children, false);
        zk.getData(p, w, null);
        zk.removeAllWatches(p, WatcherType.Any, false);
        note("no event comes after that: setData");
        zk.setData(p, TWO, -1);
        note("an exist watch removed as a data watch");
        zk.exists(p + "/missing", w);
        zk.removeAllWatches(p + "/missing", WatcherType.Data, false);
        note("persistent and recursive watch removed as any");
        zk.addWatch(p, w, AddWatchMode.PERSISTENT);
        zk.removeAllWatches(p, WatcherType.Any, false);
        zk.addWatch(p, w2, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.removeAllWatches(p, WatcherType.Any, false);
        note("NoWatcher: removeWatches, checkWatches");
        fails(Code.NOWATCHER, () -> {
            zk.removeAllWatches(p, WatcherType.Any, false);
            return null;
        });
        fails(Code.NOWATCHER, () -> {
            zk.removeWatches(p, w, WatcherType.Data, false);
            return null;
        });
        zk.close();
    }

    /** The connection is cut, the nodes change, the client comes back. */
    static void resume(boolean persistent) throws Exception {
        Client zk = new Client(proxy, 30000, false);
        Client other = new Client(server);
        String p = root;
        zk.addAuthInfo("digest", bytes("user:secret"));
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        for (String node : new String[] {"data", "gone", "same", "children", "persistent", "recursive"}) {
            zk.create(p + "/" + node, ONE, OPEN, CreateMode.PERSISTENT);
        }
        note("data watches, exist watches, child watches");
        zk.getData(p + "/data", true, null);
        zk.getData(p + "/gone", true, null);
        zk.getData(p + "/same", true, null);
        zk.exists(p + "/new", true);
        zk.exists(p + "/never", true);
        zk.getChildren(p + "/children", true);
        zk.getChildren(p + "/same", true);
        if (persistent) {
            note("persistent watches");
            zk.addWatch(p + "/persistent", zk.events, AddWatchMode.PERSISTENT);
            zk.addWatch(p + "/recursive", zk.events, AddWatchMode.PERSISTENT_RECURSIVE);
        }
        tell("hold", "");
        zk.events.await(KeeperState.Disconnected);
        other.setData(p + "/data", TWO, -1);
        other.delete(p + "/gone", -1);
        other.create(p + "/new", ONE, OPEN, CreateMode.PERSISTENT);
        other.create(p + "/children/a", ONE, OPEN, CreateMode.PERSISTENT);
        other.setData(p + "/persistent", TWO, -1);
        other.create(p + "/recursive/a", ONE, OPEN, CreateMode.PERSISTENT);
        tell("open", "");
        zk.events.await(KeeperState.SyncConnected);
        for (EventType type : new EventType[] {
            EventType.NodeDataChanged, EventType.NodeDeleted, EventType.NodeCreated, EventType.NodeChildrenChanged
        }) {
            zk.events.await(type);
        }
        note("the session goes on; the watches that were not due still work");
        zk.exists(p, false);
        zk.setData(p + "/same", TWO, -1);
        if (persistent) {
            zk.setData(p + "/persistent", ONE, -1);
            zk.setData(p + "/recursive/a", ONE, -1);
        }
        zk.close();
        other.close();
    }

    static void expired() throws Exception {
        Client zk = new Client(proxy, 30000, false);
        zk.exists("/", false);
        note("another client takes the session over and closes it; this one comes back");
        Events taken = new Events();
        ZooKeeper thief = new ZooKeeper(server, 30000, taken, zk.getSessionId(), zk.getSessionPasswd());
        taken.await(KeeperState.SyncConnected);
        thief.close();
        zk.events.await(KeeperState.Expired);

        // a session that never was
        Events none = new Events();
        new ZooKeeper(proxy, 30000, none, 0x1234567890abcdefL, new byte[16]);
        none.await(KeeperState.Expired);

        // a session with a wrong password, while it lives
        Client live = new Client(server);
        Events wrong = new Events();
        new ZooKeeper(proxy, 30000, wrong, live.getSessionId(), new byte[16]);
        wrong.await(KeeperState.Expired);
        live.close();
    }

    static void errors() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/a", ONE, OPEN, CreateMode.PERSISTENT);
        zk.create(p + "/e", ONE, OPEN, CreateMode.EPHEMERAL);
        note("NoNode: create, create2, delete, getData, setData, getACL, setACL");
        fails(Code.NONODE, () -> zk.create(p + "/x/y", ONE, OPEN, CreateMode.PERSISTENT));
        fails(Code.NONODE, () -> zk.create(p + "/x/y", ONE, OPEN, CreateMode.PERSISTENT, new Stat()));
        fails(Code.NONODE, () -> { zk.delete(p + "/x", -1); return null; });
        fails(Code.NONODE, () -> zk.getData(p + "/x", false, null));
        fails(Code.NONODE, () -> zk.setData(p + "/x", ONE, -1));
        fails(Code.NONODE, () -> zk.getACL(p + "/x", new Stat()));
        fails(Code.NONODE, () -> zk.setACL(p + "/x", OPEN, -1));
        note("sync of a missing node is no error");
        zk.syncNow(p + "/x");
        note("NodeExists: create, create2, createContainer, createTTL");
        fails(Code.NODEEXISTS, () -> zk.create(p, ONE, OPEN, CreateMode.PERSISTENT));
        fails(Code.NODEEXISTS, () -> zk.create(p, ONE, OPEN, CreateMode.EPHEMERAL, new Stat()));
        fails(Code.NODEEXISTS, () -> zk.create(p, ONE, OPEN, CreateMode.CONTAINER));
        fails(Code.NODEEXISTS, () -> zk.create(p, ONE, OPEN, CreateMode.PERSISTENT_WITH_TTL, null, 1000));
        note("BadVersion: setData, delete");
        fails(Code.BADVERSION, () -> zk.setData(p, ONE, 7));
        fails(Code.BADVERSION, () -> { zk.delete(p + "/a", 7); return null; });
        note("NotEmpty");
        fails(Code.NOTEMPTY, () -> { zk.delete(p, -1); return null; });
        note("NoChildrenForEphemerals");
        fails(Code.NOCHILDRENFOREPHEMERALS, () -> zk.create(p + "/e/x", ONE, OPEN, CreateMode.PERSISTENT));
        note("BadArguments: delete of the root, of /zookeeper");
        fails(Code.BADARGUMENTS, () -> { zk.delete("/", -1); return null; });
        fails(Code.BADARGUMENTS, () -> { zk.delete("/zookeeper", -1); return null; });
        note("QuotaExceeded: twenty bytes at most below this node");
        Client other = new Client(server);
        StatsTrack limits = new StatsTrack();
        limits.setByteHardLimit(20);
        other.create("/zookeeper/quota" + p, null, OPEN, CreateMode.PERSISTENT);
        other.create("/zookeeper/quota" + p + "/zookeeper_limits", bytes(limits.toString()), OPEN, CreateMode.PERSISTENT);
        other.create("/zookeeper/quota" + p + "/zookeeper_stats", bytes(new StatsTrack().toString()), OPEN, CreateMode.PERSISTENT);
        other.close();
        fails(Code.QUOTAEXCEEDED, () -> zk.setData(p + "/a", new byte[30], -1));
        note("ReconfigDisabled: reconfig on a server without it");
        ReconfigRequest change = new ReconfigRequest(null, "1", null, -1);
        check(zk.send(OpCode.reconfig, change, new GetDataResponse()) == Code.RECONFIGDISABLED.intValue());
        zk.close();
    }

    /** What no method of the client sends. Nothing is checked: the file tells what the server says. */
    static void raw() throws Exception {
        Client zk = new Client(proxy);
        String p = root;
        zk.create(p, ONE, OPEN, CreateMode.PERSISTENT);
        note("create: a path with a trailing slash, one with `..`, a relative one, an empty one");
        for (String path : new String[] {p + "/", p + "/../x", "x", ""}) {
            zk.send(OpCode.create, new CreateRequest(path, ONE, OPEN, 0), null);
        }
        note("create: flags 9, no ACL (empty), no ACL (null)");
        zk.send(OpCode.create, new CreateRequest(p + "/f", ONE, OPEN, 9), null);
        zk.send(OpCode.create, new CreateRequest(p + "/f", ONE, List.of(), 0), null);
        zk.send(OpCode.create, new CreateRequest(p + "/f", ONE, null, 0), null);
        note("create (1) with the flags of a container, then of a TTL node");
        zk.send(OpCode.create, new CreateRequest(p + "/c", ONE, OPEN, 4), null);
        zk.send(OpCode.create, new CreateRequest(p + "/t", ONE, OPEN, 5), null);
        note("createContainer with flags 0; createTTL with flags 0, with ttl 0, with a ttl too great");
        zk.send(OpCode.createContainer, new CreateRequest(p + "/c0", ONE, OPEN, 0), null);
        zk.send(OpCode.createTTL, new CreateTTLRequest(p + "/t0", ONE, OPEN, 0, 1000), null);
        zk.send(OpCode.createTTL, new CreateTTLRequest(p + "/t1", ONE, OPEN, 5, 0), null);
        zk.send(OpCode.createTTL, new CreateTTLRequest(p + "/t2", ONE, OPEN, 5, 1L << 40), null);
        note("checkWatches and removeWatches with the types 4 and 5, which this server does not know");
        for (int type = 4; type <= 5; type++) {
            zk.send(OpCode.checkWatches, new CheckWatchesRequest(p, type), null);
            zk.send(OpCode.removeWatches, new RemoveWatchesRequest(p, type), null);
        }
        note("addWatch with mode 7");
        zk.send(OpCode.addWatch, new AddWatchRequest(p, 7), null);
        note("a multiRead of nothing, and one with a write");
        zk.send(OpCode.multiRead, new MultiOperationRecord(), null);
        zk.send(OpCode.multiRead, new MultiOperationRecord(List.of(Op.delete(p + "/x", -1))), null);
        note("a multi with a read");
        zk.send(OpCode.multi, new MultiOperationRecord(List.of(Op.getData(p))), null);
        note("getData of the root, of /zookeeper/config; getEphemerals with an empty prefix");
        zk.send(OpCode.getData, new GetDataRequest("/", false), null);
        zk.send(OpCode.getData, new GetDataRequest("/zookeeper/config", false), null);
        zk.send(OpCode.getEphemerals, new GetEphemeralsRequest(""), null);
        note("a request that ends too soon: exists without its last byte");
        zk.send(OpCode.exists, new SyncRequest(p), null);
        note("an opcode that there is not: 99");
        zk.send(99, null, null);
        zk.events.await(KeeperState.Disconnected);
        zk.events.await(KeeperState.SyncConnected);
        zk.close();
    }

    /** Against a server that demands SASL; the JAAS sections are Client (good) and Wrong. */
    static void sasl() throws Exception {
        Client zk = new Client(proxy);
        note("DIGEST-MD5 is done; whoAmI, a node for the `sasl` scheme, its ACL");
        zk.events.await(KeeperState.SaslAuthenticated);
        zk.whoAmI();
        zk.create(root, ONE, Arrays.asList(new ACL(Perms.ALL, new Id("sasl", "user"))), CreateMode.PERSISTENT);
        zk.getACL(root, new Stat());
        zk.close();

        wrongPassword();

        System.setProperty("zookeeper.sasl.client", "false");
        Client none = new Client(proxy);
        note("no SASL: SessionClosedRequireSaslAuth");
        fails(Code.SESSIONCLOSEDREQUIRESASLAUTH, () -> none.create(root + "/x", ONE, OPEN, CreateMode.PERSISTENT));
    }

    static void wrongPassword() throws Exception {
        System.setProperty("zookeeper.sasl.clientconfig", "Wrong");
        Events wrong = new Events();
        new ZooKeeper(proxy, TIMEOUT, wrong);
        wrong.await(KeeperState.AuthFailed);
    }

    /** Against an ensemble with reconfigEnabled and without extended types. */
    static void reconfig() throws Exception {
        Events events = new Events();
        ZooKeeperAdmin zk = new ZooKeeperAdmin(proxy, 30000, events);
        events.await(KeeperState.SyncConnected);
        note("getConfig with a watch, that is getData of /zookeeper/config");
        Stat stat = new Stat();
        byte[] before = zk.getConfig(true, stat);
        String fourth = "server.4=127.0.0.1:1:2:observer;127.0.0.1:3"; // none runs there
        note("NoAuth");
        fails(Code.NOAUTH, () -> zk.reconfigure(fourth, null, null, -1, null));
        note("as super: add an observer that does not run; the watch fires");
        zk.addAuthInfo("digest", bytes("super:secret"));
        zk.reconfigure(fourth, null, null, -1, stat);
        events.await(EventType.NodeDataChanged);
        note("remove it, from a given version of the configuration");
        Stat now = new Stat();
        byte[] with = zk.getConfig(false, now);
        String text = new String(with, StandardCharsets.UTF_8);
        long version = Long.parseLong(text.substring(text.lastIndexOf("version=") + 8).trim(), 16);
        zk.reconfigure(null, "4", null, version, stat);
        note("from a version that is past: BadVersion");
        fails(Code.BADVERSION, () -> zk.reconfigure(null, "4", null, version, null));
        note("all members given, the observer among them, then without it");
        String old = new String(before, StandardCharsets.UTF_8);
        String members = old.substring(0, old.indexOf("version=")).trim().replace('\n', ',');
        zk.reconfigure((String) null, null, members + "," + fourth, -1, stat);
        zk.reconfigure((String) null, null, members, -1, stat);
        note("two voters that do not run: NewConfigNoQuorum; joining that is no server: BadArguments");
        fails(Code.NEWCONFIGNOQUORUM, () -> zk.reconfigure((String) null, null,
                members.split(",")[0] + ",server.5=127.0.0.1:1:2;127.0.0.1:3,server.6=127.0.0.1:4:5;127.0.0.1:6", -1, null));
        fails(Code.BADARGUMENTS, () -> zk.reconfigure("nonsense", null, null, -1, null));
        note("createTTL without extended types: Unimplemented");
        fails(Code.UNIMPLEMENTED, () -> zk.create(root, ONE, OPEN, CreateMode.PERSISTENT_WITH_TTL, null, 1000));
        note("sync, in an ensemble");
        CountDownLatch done = new CountDownLatch(1);
        zk.sync("/", (rc, path, ctx) -> done.countDown(), null);
        check(done.await(10, TimeUnit.SECONDS));
        zk.close();
    }

    /** Against an ensemble: the session goes over to another of its servers. */
    static void moved(String another) throws Exception {
        Client zk = new Client(proxy, 30000, false);
        zk.create(root, ONE, OPEN, CreateMode.PERSISTENT);
        Events taken = new Events();
        ZooKeeper thief = new ZooKeeper(another, 30000, taken, zk.getSessionId(), zk.getSessionPasswd());
        taken.await(KeeperState.SyncConnected);
        note("the session is now on another server; getData here is answered, setData is not");
        zk.getData(root, false, null);
        fails(Code.CONNECTIONLOSS, () -> zk.setData(root, TWO, -1));
        tell("hold", "");
        thief.close();
    }

    /** Against a server of an ensemble where new sessions are local. */
    static void local() throws Exception {
        Client zk = new Client(proxy);
        note("a persistent node can be made; an ephemeral one gives EphemeralOnLocalSession");
        zk.create(root, ONE, OPEN, CreateMode.PERSISTENT);
        fails(Code.EPHEMERALONLOCALSESSION, () -> zk.create(root + "/e", ONE, OPEN, CreateMode.EPHEMERAL));
        fails(Code.EPHEMERALONLOCALSESSION, () -> zk.multi(Arrays.asList(
                Op.create(root + "/e", ONE, OPEN, CreateMode.EPHEMERAL))));
        zk.close();
    }

    /** Makes a session, tells it, and leaves it. Nothing of it is recorded. */
    static void session() throws Exception {
        Client zk = new Client(server, 40000, false);
        System.out.printf("%x:%s%n", zk.getSessionId(), HexFormat.of().formatHex(zk.getSessionPasswd()));
    }

    /** Against a server that has lost its quorum. All three clients are refused, in three ways. */
    static void readOnly(String session) throws Exception {
        // A session from before: no answer, the server closes.
        String[] parts = session.split(":");
        refused(new ZooKeeper(proxy, 40000, new Events(),
                Long.parseUnsignedLong(parts[0], 16), HexFormat.of().parseHex(parts[1]), true),
                "a session from before the loss, readOnly: no answer, the server closes");
        refused(new ZooKeeper(proxy, 30000, new Events(), true),
                "a new session, readOnly: a ReplyHeader (NotReadOnly) where a ConnectResponse is due");
        refused(new ZooKeeper(proxy, 30000, new Events()),
                "a new session, not readOnly: no answer, the server closes");
    }

    private static void refused(ZooKeeper zk, String what) throws Exception {
        Thread.sleep(1000); // one attempt, or two
        check(zk.getState() == ZooKeeper.States.CONNECTING);
        note("that was " + what);
        tell("hold", "");
        zk.close();
        tell("open", "");
    }

    /** Against a server that never had a quorum and makes local sessions. */
    static void readOnlyLocal() throws Exception {
        Events events = new Events();
        ZooKeeper zk = new ZooKeeper(proxy, 30000, events, true);
        events.await(KeeperState.ConnectedReadOnly);
        note("reads: exists, getData with a watch, getChildren, multiRead, whoAmI, getAllChildrenNumber");
        zk.exists("/", false);
        zk.getData("/", true, new Stat());
        zk.getChildren("/", false, new Stat());
        zk.multi(Arrays.asList(Op.getChildren("/")));
        zk.whoAmI();
        zk.getAllChildrenNumber("/");
        note("addAuth and addWatch");
        zk.addAuthInfo("digest", bytes("user:secret"));
        zk.addWatch("/", AddWatchMode.PERSISTENT);
        note("NotReadOnly: create, setData, delete, multi, sync");
        fails(Code.NOTREADONLY, () -> zk.create(root, ONE, OPEN, CreateMode.PERSISTENT));
        fails(Code.NOTREADONLY, () -> zk.setData("/", ONE, -1));
        fails(Code.NOTREADONLY, () -> { zk.delete(root, -1); return null; });
        fails(Code.NOTREADONLY, () -> zk.multi(Arrays.asList(Op.setData("/", ONE, -1))));
        CountDownLatch done = new CountDownLatch(1);
        zk.sync("/", (rc, path, ctx) -> done.countDown(), null);
        check(done.await(10, TimeUnit.SECONDS));
        note("closeSession");
        zk.close();
    }

    // ---- helpers ----

    /** Events in order of arrival; await() takes up to the first that fits. */
    static class Events implements Watcher {
        private final BlockingQueue<WatchedEvent> queue = new LinkedBlockingQueue<>();

        @Override
        public void process(WatchedEvent event) {
            queue.add(event);
        }

        void await(EventType type) throws Exception {
            while (next(type).getType() != type) { }
        }

        void await(KeeperState state) throws Exception {
            WatchedEvent event;
            do {
                event = next(state);
            } while (event.getType() != EventType.None || event.getState() != state);
        }

        private WatchedEvent next(Object wanted) throws Exception {
            WatchedEvent event = queue.poll(20, TimeUnit.SECONDS);
            if (event == null) {
                throw new IllegalStateException("no " + wanted);
            }
            return event;
        }
    }

    /** A connected client that can also send a request of any kind. */
    static class Client extends ZooKeeper {
        final Events events;

        Client(String address) throws Exception {
            this(address, TIMEOUT, false);
        }

        Client(String address, int timeout, boolean readOnly) throws Exception {
            this(address, timeout, readOnly, new Events());
        }

        private Client(String address, int timeout, boolean readOnly, Events events) throws Exception {
            super(address, timeout, events, readOnly);
            this.events = events;
            for (int i = 0; i < 400 && !getState().isConnected(); i++) {
                Thread.sleep(50);
            }
            check(getState().isConnected());
            if (getState() == States.CONNECTED) {
                events.await(KeeperState.SyncConnected);
            }
        }

        int send(int opcode, Record request, Record reply) throws Exception {
            RequestHeader header = new RequestHeader();
            header.setType(opcode);
            return cnxn.submitRequest(header, request, reply, null).getErr();
        }

        void syncNow(String path) throws Exception {
            CountDownLatch done = new CountDownLatch(1);
            sync(path, (rc, p, ctx) -> done.countDown(), null);
            check(done.await(10, TimeUnit.SECONDS));
        }
    }

    /** A request whose body is written by hand. */
    static class Request implements Record {
        interface Body {
            void write(OutputArchive archive) throws IOException;
        }

        private final Body body;

        Request(Body body) {
            this.body = body;
        }

        @Override
        public void serialize(OutputArchive archive, String tag) throws IOException {
            body.write(archive);
        }

        @Override
        public void deserialize(InputArchive archive, String tag) {
            throw new UnsupportedOperationException();
        }
    }

    static void fails(Code code, Callable<?> step) throws Exception {
        try {
            step.call();
        } catch (KeeperException e) {
            if (e.code() == code) {
                return;
            }
            throw e;
        }
        throw new IllegalStateException("no " + code);
    }

    static void check(boolean good) {
        if (!good) {
            throw new IllegalStateException("unexpected outcome");
        }
    }

    static void note(String text) throws IOException {
        tell("note", text);
    }

    /** A command to the proxy, see there. */
    static void tell(String word, String text) throws IOException {
        String[] parts = proxy.split(":");
        try (Socket socket = new Socket(parts[0], Integer.parseInt(parts[1]))) {
            socket.getOutputStream().write(bytes(word + text));
            socket.shutdownOutput();
            socket.getInputStream().readAllBytes();
        }
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
