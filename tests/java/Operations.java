import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.OpResult;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooDefs.Perms;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.ACL;
import org.apache.zookeeper.data.ClientInfo;
import org.apache.zookeeper.data.Id;
import org.apache.zookeeper.data.Stat;

/**
 * Each operation of ZooKeeper's Java client, on a server that nobody else uses. Each line after "> " says what an
 * operation returned or which events came, without what differs from run to run: times, session ids, and where
 * zxids begin.
 */
public final class Operations {
    private static final int TIMEOUT = 10_000;
    private static String hosts;
    private static long firstZxid;

    /** A watcher that keeps its events. */
    private static final class Events implements Watcher {
        private final LinkedBlockingQueue<WatchedEvent> events = new LinkedBlockingQueue<>();
        private final CountDownLatch connected = new CountDownLatch(1);

        @Override
        public void process(WatchedEvent event) {
            events.add(event);
            if (event.getState() == KeeperState.SyncConnected && event.getPath() == null) {
                connected.countDown();
            }
        }

        /** What has come so far. */
        List<String> take() {
            List<WatchedEvent> all = new ArrayList<>();
            events.drainTo(all);
            all.removeIf(event -> event.getType() == Event.EventType.None);
            List<String> texts = new ArrayList<>();
            for (WatchedEvent event : all) {
                String zxid = event.getZxid() < 0 ? "" : " at " + relative(event.getZxid());
                texts.add(event.getState() + " " + event.getType() + " " + event.getPath() + zxid);
            }
            return texts;
        }

        String await() throws InterruptedException {
            WatchedEvent event = events.poll(60, TimeUnit.SECONDS);
            return event == null ? "no event" : event.getState() + " " + event.getType();
        }
    }

    private static ZooKeeper connect(Events events) throws Exception {
        ZooKeeper zk = new ZooKeeperAdmin(hosts, TIMEOUT, events);
        if (!events.connected.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no session");
        }
        events.take();
        return zk;
    }

    private static long relative(long zxid) {
        return zxid - firstZxid;
    }

    private static void say(String what, Object value) {
        System.out.println("> " + what + ": " + value);
    }

    /** Runs one operation, and says what it returns. */
    private static void run(String what, Callable<Object> operation) {
        try {
            say(what, text(operation.call()));
        } catch (KeeperException error) {
            say(what, error.code() + " " + error.getPath());
        } catch (Exception error) {
            say(what, error);
        }
    }

    private static String text(Object value) {
        if (value instanceof byte[]) {
            return "\"" + new String((byte[]) value, StandardCharsets.UTF_8) + "\"";
        } else if (value instanceof Stat) {
            Stat s = (Stat) value;
            String owner = s.getEphemeralOwner() == 0 ? "none" : s.getEphemeralOwner() > 0 ? "session" : "special";
            return "created " + relative(s.getCzxid()) + ", changed " + relative(s.getMzxid()) + ", children "
                    + relative(s.getPzxid()) + ", versions " + s.getVersion() + " " + s.getCversion() + " "
                    + s.getAversion() + ", owner " + owner + ", length " + s.getDataLength() + ", "
                    + s.getNumChildren() + " children";
        } else if (value instanceof OpResult.ErrorResult) {
            return "error " + ((OpResult.ErrorResult) value).getErr();
        } else if (value instanceof OpResult.CreateResult) {
            OpResult.CreateResult result = (OpResult.CreateResult) value;
            return "created " + result.getPath() + " " + text(result.getStat());
        } else if (value instanceof OpResult.SetDataResult) {
            return "set " + text(((OpResult.SetDataResult) value).getStat());
        } else if (value instanceof OpResult.GetDataResult) {
            OpResult.GetDataResult result = (OpResult.GetDataResult) value;
            return "data " + text(result.getData()) + " " + text(result.getStat());
        } else if (value instanceof OpResult.GetChildrenResult) {
            return "children " + text(((OpResult.GetChildrenResult) value).getChildren());
        } else if (value instanceof OpResult) {
            return value.getClass().getSimpleName();
        } else if (value instanceof ClientInfo) {
            return ((ClientInfo) value).getAuthScheme() + ":" + ((ClientInfo) value).getUser();
        } else if (value instanceof List) {
            List<String> texts = new ArrayList<>();
            for (Object one : (List<?>) value) {
                texts.add(text(one));
            }
            if (!texts.isEmpty() && ((List<?>) value).get(0) instanceof String) {
                Collections.sort(texts);
            }
            return texts.toString();
        } else if (value instanceof ACL) {
            ACL acl = (ACL) value;
            return acl.getPerms() + " " + acl.getId().getScheme() + ":" + acl.getId().getId();
        }
        return String.valueOf(value);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Waits until the events of all that was done have come. */
    private static void settle(ZooKeeper zk) throws InterruptedException {
        CountDownLatch done = new CountDownLatch(1);
        zk.sync("/", (code, path, context) -> done.countDown(), null);
        done.await(60, TimeUnit.SECONDS);
    }

    public static void main(String[] args) throws Exception {
        hosts = args[0];
        Events events = new Events();
        ZooKeeper zk = connect(events);
        Stat first = new Stat();
        zk.create("/first", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT, first);
        firstZxid = first.getCzxid();
        creates(zk);
        reads(zk);
        acls(zk);
        multis(zk);
        watches(zk, events);
        admin(zk);
        sessions(zk);
        zk.close();
        System.out.println("> end");
        System.exit(0);
    }

    private static void creates(ZooKeeper zk) {
        for (CreateMode mode : CreateMode.values()) {
            String path = "/modes-" + mode.toFlag() + "-";
            long ttl = mode.isTTL() ? 3_600_000 : -1;
            run("create " + mode, () -> zk.create(path, bytes("x"), Ids.OPEN_ACL_UNSAFE, mode, null, ttl));
            run("create " + mode + " again", () -> {
                Stat stat = new Stat();
                String made = zk.create(path, null, Ids.OPEN_ACL_UNSAFE, mode, stat, ttl);
                return made + " " + text(stat);
            });
            if (!mode.isSequential()) {
                run("exists " + mode, () -> zk.exists(path, false));
                run("create below " + mode,
                        () -> zk.create(path + "/below", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
            }
        }
        run("create with a lifetime of -1", () -> zk.create("/ttl", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT_WITH_TTL, null, -1));
        run("create with a lifetime of 2^40", () -> zk.create("/ttl", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT_WITH_TTL, null, 1L << 40));
        run("create with a lifetime of 1", () -> zk.create("/ttl", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT_WITH_TTL, null, 0));
        run("create without a parent", () -> zk.create("/no/parent", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT));
        run("create a bad path", () -> zk.create("/bad/", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT));
        run("create without an ACL", () -> zk.create("/bad", null, new ArrayList<>(), CreateMode.PERSISTENT));
        run("create with an unknown scheme", () -> zk.create("/bad", null,
                Arrays.asList(new ACL(Perms.ALL, new Id("unknown", "x"))), CreateMode.PERSISTENT));
        run("create for the authenticated", () -> zk.create("/bad", null, Ids.CREATOR_ALL_ACL,
                CreateMode.PERSISTENT));
        run("create in Greek", () -> zk.create("/Ελλάδα", bytes("αβγ"), Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT));
        run("create in /zookeeper", () -> zk.create("/zookeeper/own", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT));
    }

    private static void reads(ZooKeeper zk) throws Exception {
        zk.create("/read", bytes("one"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        for (String name : new String[] {"b", "a", "c"}) {
            zk.create("/read/" + name, null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        zk.create("/read/a/deep", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        for (String path : new String[] {"/read", "/read/a", "/read/a/deep", "/nowhere", "/"}) {
            Stat stat = new Stat();
            run("exists " + path, () -> zk.exists(path, false));
            run("getData " + path, () -> text(zk.getData(path, false, stat)) + " " + text(stat));
            run("getChildren " + path, () -> zk.getChildren(path, false));
            run("getChildren2 " + path, () -> text(zk.getChildren(path, false, stat)) + " " + text(stat));
            run("getAllChildrenNumber " + path, () -> zk.getAllChildrenNumber(path));
            run("getEphemerals " + path, () -> zk.getEphemerals(path));
            run("getACL " + path, () -> text(zk.getACL(path, stat)) + " " + text(stat));
        }
        run("getEphemerals", () -> zk.getEphemerals());
        run("getEphemerals /read/a/d", () -> zk.getEphemerals("/read/a/d"));
        run("setData", () -> zk.setData("/read", bytes("two"), 0));
        run("setData of an old version", () -> zk.setData("/read", bytes("two"), 0));
        run("setData of any version", () -> zk.setData("/read", null, -1));
        run("setData nowhere", () -> zk.setData("/nowhere", null, -1));
        run("delete of an old version", () -> delete(zk, "/read/b", 7));
        run("delete of a parent", () -> delete(zk, "/read", -1));
        run("delete", () -> delete(zk, "/read/b", 0));
        run("delete again", () -> delete(zk, "/read/b", -1));
        run("delete /", () -> delete(zk, "/", -1));
        run("delete /zookeeper", () -> delete(zk, "/zookeeper", -1));
        run("the parent", () -> zk.exists("/read", false));
    }

    private static Object delete(ZooKeeper zk, String path, int version) throws Exception {
        zk.delete(path, version);
        return "deleted";
    }

    private static void acls(ZooKeeper zk) throws Exception {
        run("whoAmI", () -> withoutAddress(zk.whoAmI()));
        zk.addAuthInfo("digest", bytes("ann:secret"));
        run("whoAmI as ann", () -> withoutAddress(zk.whoAmI()));
        run("create for ann", () -> zk.create("/anns", bytes("x"), Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
        run("getACL as ann", () -> zk.getACL("/anns", new Stat()));
        Events events = new Events();
        ZooKeeper other = connect(events);
        run("getData as nobody", () -> other.getData("/anns", false, null));
        run("getACL as nobody", () -> other.getACL("/anns", new Stat()));
        run("setACL as nobody", () -> other.setACL("/anns", Ids.OPEN_ACL_UNSAFE, -1));
        run("create below as nobody", () -> other.create("/anns/x", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT));
        run("exists as nobody", () -> other.exists("/anns", false));
        List<ACL> mixed = new ArrayList<>(Ids.READ_ACL_UNSAFE);
        mixed.addAll(Ids.CREATOR_ALL_ACL);
        run("setACL of an old version", () -> zk.setACL("/anns", mixed, 5));
        run("setACL", () -> zk.setACL("/anns", mixed, 0));
        run("getACL as nobody now", () -> other.getACL("/anns", new Stat()));
        run("getData as nobody now", () -> other.getData("/anns", false, null));
        run("setData as nobody now", () -> other.setData("/anns", null, -1));
        run("delete as nobody", () -> delete(other, "/anns", -1));
        run("ip", () -> zk.create("/ip", null, Arrays.asList(new ACL(Perms.READ, new Id("ip", "127.0.0.0/8"))),
                CreateMode.PERSISTENT));
        run("a bad ip", () -> zk.create("/bad", null, Arrays.asList(new ACL(Perms.READ, new Id("ip", "x"))),
                CreateMode.PERSISTENT));
        other.close();

        Events refused = new Events();
        ZooKeeper wrong = connect(refused);
        wrong.addAuthInfo("unknown", bytes("x"));
        say("an unknown scheme", refused.await());
        run("getData after it", () -> wrong.getData("/read", false, null));
        wrong.close();
    }

    private static List<String> withoutAddress(List<ClientInfo> infos) {
        List<String> texts = new ArrayList<>();
        for (ClientInfo info : infos) {
            texts.add(text(info));
        }
        return texts;
    }

    private static void multis(ZooKeeper zk) {
        run("multi", () -> zk.multi(Arrays.asList(
                Op.create("/multi", bytes("x"), Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/multi/s-", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL),
                Op.create("/multi/t", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT_WITH_TTL, 3_600_000),
                Op.create("/multi/c", null, Ids.OPEN_ACL_UNSAFE, CreateMode.CONTAINER),
                Op.check("/multi", 0),
                Op.setData("/multi", bytes("y"), 0),
                Op.delete("/multi/c", -1))));
        run("after it", () -> zk.exists("/multi", false));
        try {
            zk.multi(Arrays.asList(
                    Op.setData("/multi", bytes("z"), -1),
                    Op.create("/multi/d", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                    Op.delete("/nowhere", -1),
                    Op.check("/multi", 0)));
            say("a multi that fails", "it succeeded");
        } catch (KeeperException error) {
            say("a multi that fails", error.code() + " " + text(error.getResults()));
        } catch (InterruptedException error) {
            say("a multi that fails", error);
        }
        run("after it", () -> zk.exists("/multi", false));
        run("an empty multi", () -> zk.multi(new ArrayList<>()));
        run("a multi read", () -> zk.multi(Arrays.asList(
                Op.getData("/multi"), Op.getChildren("/multi"), Op.getData("/nowhere"), Op.getChildren("/first"))));
        run("a multi of reads and writes", () -> zk.multi(Arrays.asList(
                Op.getData("/multi"), Op.setData("/multi", null, -1))));
        run("a transaction", () -> zk.transaction().check("/multi", 1).setData("/multi", bytes("w"), 1).commit());
    }

    private static void watches(ZooKeeper zk, Events defaults) throws Exception {
        zk.create("/w", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        defaults.take();
        Events own = new Events();
        zk.getData("/w", own, null);
        zk.exists("/w/new", own);
        zk.getChildren("/w", own);
        zk.getData("/w", true, null);
        change(zk);
        say("events of one-shot watches", own.take());
        say("events of the default watcher", defaults.take());

        for (AddWatchMode mode : AddWatchMode.values()) {
            Events lasting = new Events();
            run("addWatch " + mode, () -> {
                zk.addWatch("/w", lasting, mode);
                return "added";
            });
            change(zk);
            say("events of " + mode, lasting.take());
            zk.getData("/w", own, null);
            zk.setData("/w", bytes("beside"), -1);
            settle(zk);
            say("events of " + mode + " beside a one-shot watch", lasting.take() + " " + own.take());
            run("removeWatches of type Data", () -> {
                zk.removeWatches("/w", lasting, Watcher.WatcherType.Data, false);
                return "removed";
            });
            run("removeWatches of type Any", () -> {
                zk.removeWatches("/w", lasting, Watcher.WatcherType.Any, false);
                return "removed";
            });
            settle(zk);
            say("events of the removal", lasting.take());
            change(zk);
            say("events after the removal", lasting.take());
        }
        zk.addWatch("/w", AddWatchMode.PERSISTENT);
        zk.getChildren("/w", own);
        run("removeAllWatches", () -> {
            zk.removeAllWatches("/w", Watcher.WatcherType.Any, false);
            return "removed";
        });
        settle(zk);
        say("events of the removal of all", own.take() + " " + defaults.take());
        run("removeAllWatches again", () -> {
            zk.removeAllWatches("/w", Watcher.WatcherType.Any, false);
            return "removed";
        });
        run("addWatch nowhere", () -> {
            zk.addWatch("/nowhere", own, AddWatchMode.PERSISTENT);
            return "added";
        });
        zk.create("/nowhere", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        zk.delete("/nowhere", -1);
        settle(zk);
        say("events of a watch that was nowhere", own.take());
        zk.addWatch("/ws", own, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.multi(Arrays.asList(
                Op.create("/ws", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/ws/a", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT),
                Op.create("/ws/a/b", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL),
                Op.setData("/ws/a", null, -1),
                Op.delete("/ws/a/b", -1)));
        settle(zk);
        say("events of a multi", own.take());
        // The watch is set again after a reconnect.
        CountDownLatch again = new CountDownLatch(1);
        zk.register(event -> {
            if (event.getState() == KeeperState.SyncConnected) {
                again.countDown();
            }
        });
        ((org.apache.zookeeper.Testable) zk.getTestable()).closeSocket();
        say("reconnected", again.await(60, TimeUnit.SECONDS));
        zk.create("/ws/late", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        settle(zk);
        say("events after a reconnect", own.take());
    }

    private static void change(ZooKeeper zk) throws Exception {
        zk.setData("/w", bytes("changed"), -1);
        zk.create("/w/new", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        zk.setData("/w/new", bytes("changed"), -1);
        zk.delete("/w/new", -1);
        settle(zk);
    }

    private static void admin(ZooKeeper zk) {
        ZooKeeperAdmin admin = (ZooKeeperAdmin) zk;
        run("getConfig", () -> zk.getConfig(false, new Stat()));
        run("reconfig", () -> admin.reconfigure("server.2=127.0.0.1:1:2;3", null, null, -1, new Stat()));
        run("reconfig to a list", () -> admin.reconfigure(null, null, "server.1=127.0.0.1:1:2;3", -1, new Stat()));
        zk.addAuthInfo("digest", bytes("super:test"));
        run("reconfig as super", () -> admin.reconfigure("server.2=127.0.0.1:1:2;3", null, null, -1, new Stat()));
        run("reconfig to a list as super",
                () -> admin.reconfigure(null, null, "server.1=127.0.0.1:1:2;3", -1, new Stat()));
        run("reconfig of nothing as super", () -> admin.reconfigure((String) null, null, null, -1, new Stat()));
        run("setData of the config as super", () -> zk.setData("/zookeeper/config", bytes("x"), -1));
        run("create in /zookeeper as super", () -> zk.create("/zookeeper/own", null, Ids.OPEN_ACL_UNSAFE,
                CreateMode.PERSISTENT));
        run("quota", () -> {
            zk.create("/zookeeper/quota/read", null, Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
            zk.create("/zookeeper/quota/read/zookeeper_limits", bytes("count=1,bytes=-1"), Ids.OPEN_ACL_UNSAFE,
                    CreateMode.PERSISTENT);
            return zk.getChildren("/zookeeper/quota/read", false);
        });
    }

    private static void sessions(ZooKeeper zk) throws Exception {
        for (int timeout : new int[] {400, 7_777, 1_000_000}) {
            Events events = new Events();
            ZooKeeper other = new ZooKeeper(hosts, timeout, events);
            events.connected.await(60, TimeUnit.SECONDS);
            say("a session timeout of " + timeout, other.getSessionTimeout());
            other.close();
        }
        // A session that another client takes over, and then ends.
        Events events = new Events();
        ZooKeeper owner = connect(events);
        owner.create("/owned", null, Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL);
        Events seconds = new Events();
        ZooKeeper second = new ZooKeeper(hosts, TIMEOUT, seconds, owner.getSessionId(), owner.getSessionPasswd());
        seconds.connected.await(60, TimeUnit.SECONDS);
        run("the owner of the node", () -> second.exists("/owned", false).getEphemeralOwner() == owner.getSessionId());
        Events deletion = new Events();
        zk.exists("/owned", deletion);
        second.close();
        settle(zk);
        say("events of its end", deletion.take().toString().replaceAll(" at \\d+", ""));
        String last;
        do {
            last = events.await();
        } while (last.startsWith("Disconnected") || last.startsWith("SyncConnected"));
        say("the first owner", last);
        run("a call of the first owner", () -> owner.exists("/owned", false));
        owner.close();
        // A wrong password.
        Events wrong = new Events();
        ZooKeeper thief = new ZooKeeper(hosts, TIMEOUT, wrong, zk.getSessionId(), new byte[16]);
        say("a wrong password", wrong.await());
        thief.close();
    }
}
