import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.atomic.AtomicValue;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicLong;
import org.apache.curator.framework.recipes.atomic.DistributedAtomicValue;
import org.apache.curator.framework.recipes.barriers.DistributedBarrier;
import org.apache.curator.framework.recipes.barriers.DistributedDoubleBarrier;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.cache.CuratorCacheListener;
import org.apache.curator.framework.recipes.cache.PathChildrenCache;
import org.apache.curator.framework.recipes.cache.TreeCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.leader.LeaderSelector;
import org.apache.curator.framework.recipes.leader.LeaderSelectorListenerAdapter;
import org.apache.curator.framework.recipes.locks.InterProcessLock;
import org.apache.curator.framework.recipes.locks.InterProcessMultiLock;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.framework.recipes.locks.InterProcessReadWriteLock;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreMutex;
import org.apache.curator.framework.recipes.locks.InterProcessSemaphoreV2;
import org.apache.curator.framework.recipes.locks.Lease;
import org.apache.curator.framework.recipes.nodes.GroupMember;
import org.apache.curator.framework.recipes.nodes.PersistentNode;
import org.apache.curator.framework.recipes.nodes.PersistentTtlNode;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.framework.recipes.shared.SharedCount;
import org.apache.curator.framework.recipes.shared.SharedCountListener;
import org.apache.curator.framework.recipes.shared.SharedCountReader;
import org.apache.curator.framework.recipes.shared.SharedValue;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.data.Stat;

/**
 * Curator's recipes, each used by two clients. Each line after "> " says what a recipe did, without what differs from
 * run to run.
 */
public final class Recipes {
    private static final int SHORT = 300;
    private static final int LONG = 60_000;
    private static String hosts;
    private static CuratorFramework one;
    private static CuratorFramework two;
    private static final ExecutorService THREADS = Executors.newCachedThreadPool();

    private static void say(String what, Object value) {
        System.out.println("> " + what + ": " + value);
    }

    private static void run(String what, Callable<Object> action) {
        try {
            Object value = action.call();
            say(what, value instanceof byte[] ? new String((byte[]) value, StandardCharsets.UTF_8) : value);
        } catch (KeeperException error) {
            say(what, error.code() + " " + error.getPath());
        } catch (Exception error) {
            say(what, error);
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** The names of children, without their unique ids, in the order of their numbers. */
    private static List<String> children(String path) throws Exception {
        List<String> names = new ArrayList<>();
        for (String name : one.getChildren().forPath(path)) {
            names.add(name.replaceAll("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"));
        }
        Collections.sort(names);
        return names;
    }

    private static void await(String what, Callable<Boolean> condition) throws Exception {
        long end = System.currentTimeMillis() + LONG;
        while (!isTrue(condition)) {
            if (System.currentTimeMillis() > end) {
                say(what, "never");
                return;
            }
            Thread.sleep(10);
        }
        say(what, "yes");
    }

    /** A call that fails, as when a session has expired, is made again. */
    private static boolean isTrue(Callable<Boolean> condition) throws Exception {
        try {
            return condition.call();
        } catch (KeeperException error) {
            return false;
        }
    }

    private static CuratorFramework connect(int sessionTimeout) throws Exception {
        CuratorFramework client =
                CuratorFrameworkFactory.newClient(hosts, sessionTimeout, 15_000, new RetryOneTime(100));
        client.start();
        if (!client.blockUntilConnected(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no session");
        }
        return client;
    }

    /** Ends the session of a client as if it had expired. */
    private static void expire(CuratorFramework client) throws Exception {
        ZooKeeper owner = client.getZookeeperClient().getZooKeeper();
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper second = new ZooKeeper(hosts, 10_000, event -> {
            if (event.getState() == org.apache.zookeeper.Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        }, owner.getSessionId(), owner.getSessionPasswd());
        connected.await(60, TimeUnit.SECONDS);
        second.close();
    }

    public static void main(String[] args) throws Exception {
        hosts = args[0];
        one = connect(30_000);
        two = connect(30_000);
        framework();
        mutexes();
        readWriteLocks();
        semaphores();
        leaders();
        barriers();
        counters();
        nodes();
        caches();
        queues();
        one.close();
        two.close();
        System.out.println("> end");
        System.exit(0);
    }

    private static void framework() throws Exception {
        run("create with parents", () -> one.create().creatingParentsIfNeeded().forPath("/f/a/b", bytes("x")));
        run("create with parent containers",
                () -> one.create().creatingParentContainersIfNeeded().forPath("/containers/a/b"));
        run("the parent is a container", () -> {
            Stat stat = new Stat();
            one.getZookeeperClient().getZooKeeper().getData("/containers/a", false, stat);
            return stat.getEphemeralOwner();
        });
        run("create with protection", () -> {
            String made = one.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath("/f/p-");
            return made.replaceAll("_c_.{36}", "_c_ID");
        });
        run("create or set", () -> one.create().orSetData().forPath("/f/a/b", bytes("again")));
        run("create idempotent", () -> one.create().idempotent().forPath("/f/a/b", bytes("again")));
        run("create with a lifetime",
                () -> one.create().withTtl(3_600_000).withMode(CreateMode.PERSISTENT_WITH_TTL).forPath("/f/ttl"));
        run("compressed data", () -> {
            one.create().compressed().forPath("/f/gz", bytes("squeezed"));
            return two.getData().decompressed().forPath("/f/gz");
        });
        run("get", () -> two.getData().forPath("/f/a/b"));
        run("set with a version", () -> one.setData().withVersion(7).forPath("/f/a/b", bytes("y")));
        run("a transaction", () -> one.transaction().forOperations(
                one.transactionOp().create().forPath("/f/t", bytes("1")),
                one.transactionOp().setData().forPath("/f/t", bytes("2")),
                one.transactionOp().check().withVersion(1).forPath("/f/t"),
                one.transactionOp().delete().forPath("/f/t")).size());
        run("a transaction that fails", () -> one.transaction().forOperations(
                one.transactionOp().create().forPath("/f/t"),
                one.transactionOp().delete().forPath("/f/nowhere")));
        run("after it", () -> one.checkExists().forPath("/f/t"));
        run("the ACL", () -> one.getACL().forPath("/f"));
        run("the config", () -> new String(one.getConfig().forEnsemble(), StandardCharsets.UTF_8));
        LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
        one.watchers().add().withMode(AddWatchMode.PERSISTENT_RECURSIVE)
                .usingWatcher((org.apache.curator.framework.api.CuratorWatcher) event ->
                        events.add(event.getType() + " " + event.getPath())).forPath("/f");
        two.create().forPath("/f/watched");
        say("an event", events.poll(60, TimeUnit.SECONDS));
        run("remove the watch", () -> {
            one.watchers().removeAll().forPath("/f");
            return "removed";
        });
        say("its last event", events.poll(60, TimeUnit.SECONDS));
        run("delete with children", () -> {
            one.delete().guaranteed().deletingChildrenIfNeeded().forPath("/f");
            return one.checkExists().forPath("/f");
        });
        CuratorFramework below = one.usingNamespace("below");
        run("a namespace", () -> below.create().forPath("/here", bytes("x")));
        run("outside of it", () -> one.getData().forPath("/below/here"));
    }

    private static void mutexes() throws Exception {
        InterProcessMutex mine = new InterProcessMutex(one, "/mutex");
        InterProcessMutex other = new InterProcessMutex(two, "/mutex");
        run("the mutex", () -> mine.acquire(LONG, TimeUnit.MILLISECONDS));
        run("the mutex again", () -> mine.acquire(SHORT, TimeUnit.MILLISECONDS));
        run("its nodes", () -> children("/mutex"));
        run("the mutex of the other", () -> other.acquire(SHORT, TimeUnit.MILLISECONDS));
        run("its nodes after a timeout", () -> children("/mutex"));
        Future<Boolean> waiting = THREADS.submit(() -> {
            boolean held = other.acquire(LONG, TimeUnit.MILLISECONDS);
            other.release();
            return held;
        });
        await("the other waits", () -> children("/mutex").size() == 2);
        mine.release();
        say("it still waits", !waiting.isDone());
        mine.release();
        say("then it is the other's", waiting.get(60, TimeUnit.SECONDS));
        run("its nodes at the end", () -> children("/mutex"));

        InterProcessLock flat = new InterProcessSemaphoreMutex(one, "/flat");
        InterProcessLock flatOther = new InterProcessSemaphoreMutex(two, "/flat");
        run("a mutex of one lease", () -> flat.acquire(LONG, TimeUnit.MILLISECONDS));
        run("it is not reentrant", () -> flat.acquire(SHORT, TimeUnit.MILLISECONDS));
        run("nor free", () -> flatOther.acquire(SHORT, TimeUnit.MILLISECONDS));
        flat.release();
        run("then it is the other's", () -> flatOther.acquire(LONG, TimeUnit.MILLISECONDS));
        flatOther.release();

        InterProcessLock both = new InterProcessMultiLock(one, Arrays.asList("/both-1", "/both-2"));
        InterProcessMutex half = new InterProcessMutex(two, "/both-2");
        half.acquire();
        run("two locks, one of which is held", () -> both.acquire(SHORT, TimeUnit.MILLISECONDS));
        run("neither is held", () -> children("/both-1"));
        half.release();
        run("two locks", () -> both.acquire(LONG, TimeUnit.MILLISECONDS));
        both.release();

        // Eight threads of two clients.
        AtomicInteger inside = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        AtomicInteger entries = new AtomicInteger();
        List<Future<?>> threads = new ArrayList<>();
        for (int n = 0; n < 8; n++) {
            InterProcessMutex lock = new InterProcessMutex(n % 2 == 0 ? one : two, "/crowd");
            threads.add(THREADS.submit(() -> {
                for (int round = 0; round < 10; round++) {
                    lock.acquire();
                    most.accumulateAndGet(inside.incrementAndGet(), Math::max);
                    entries.incrementAndGet();
                    inside.decrementAndGet();
                    lock.release();
                }
                return null;
            }));
        }
        for (Future<?> thread : threads) {
            thread.get(60, TimeUnit.SECONDS);
        }
        say("a crowd", entries + " entries, at most " + most + " at once");

        // The holder's session expires.
        CuratorFramework third = connect(10_000);
        AtomicReference<ConnectionState> lost = new AtomicReference<>();
        third.getConnectionStateListenable().addListener((client, state) -> {
            if (state == ConnectionState.LOST) {
                lost.set(state);
            }
        });
        InterProcessMutex theirs = new InterProcessMutex(third, "/mutex");
        theirs.acquire();
        expire(third);
        run("the mutex of an expired session", () -> mine.acquire(LONG, TimeUnit.MILLISECONDS));
        await("its holder knows", () -> lost.get() != null);
        mine.release();
        third.close();
    }

    private static void readWriteLocks() throws Exception {
        InterProcessReadWriteLock mine = new InterProcessReadWriteLock(one, "/rw");
        InterProcessReadWriteLock other = new InterProcessReadWriteLock(two, "/rw");
        run("read", () -> mine.readLock().acquire(LONG, TimeUnit.MILLISECONDS));
        run("read beside it", () -> other.readLock().acquire(LONG, TimeUnit.MILLISECONDS));
        run("their nodes", () -> children("/rw"));
        run("write beside them", () -> other.writeLock().acquire(SHORT, TimeUnit.MILLISECONDS));
        other.readLock().release();
        mine.readLock().release();
        run("write", () -> mine.writeLock().acquire(LONG, TimeUnit.MILLISECONDS));
        run("read within write", () -> mine.readLock().acquire(LONG, TimeUnit.MILLISECONDS));
        run("read beside write", () -> other.readLock().acquire(SHORT, TimeUnit.MILLISECONDS));
        mine.writeLock().release();
        run("read beside what was write", () -> other.readLock().acquire(LONG, TimeUnit.MILLISECONDS));
        other.readLock().release();
        mine.readLock().release();
        run("no nodes", () -> children("/rw"));
    }

    private static void semaphores() throws Exception {
        InterProcessSemaphoreV2 mine = new InterProcessSemaphoreV2(one, "/semaphore", 3);
        InterProcessSemaphoreV2 other = new InterProcessSemaphoreV2(two, "/semaphore", 3);
        List<Lease> leases = new ArrayList<>(mine.acquire(2));
        Lease third = other.acquire(LONG, TimeUnit.MILLISECONDS);
        say("a third lease", third != null);
        run("a fourth", () -> other.acquire(SHORT, TimeUnit.MILLISECONDS));
        run("their nodes", () -> children("/semaphore") + " " + children("/semaphore/leases").size());
        Future<Lease> waiting = THREADS.submit(() -> other.acquire(LONG, TimeUnit.MILLISECONDS));
        mine.returnLease(leases.remove(0));
        Lease fourth = waiting.get(60, TimeUnit.SECONDS);
        say("the fourth after a return", fourth != null);
        run("who takes part", () -> mine.getParticipantNodes().size());
        mine.returnAll(leases);
        other.returnAll(Arrays.asList(third, fourth));
        run("none at the end", () -> children("/semaphore/leases"));

        SharedCount count = new SharedCount(one, "/leases", 1);
        count.start();
        InterProcessSemaphoreV2 counted = new InterProcessSemaphoreV2(two, "/counted", counter(two));
        Lease first = counted.acquire(LONG, TimeUnit.MILLISECONDS);
        say("a counted lease", first != null);
        run("another", () -> counted.acquire(SHORT, TimeUnit.MILLISECONDS));
        Future<Lease> more = THREADS.submit(() -> counted.acquire(LONG, TimeUnit.MILLISECONDS));
        count.setCount(2);
        say("another when there are more", more.get(60, TimeUnit.SECONDS) != null);
        counted.returnLease(first);
        counted.returnLease(more.get());
        count.close();
    }

    private static SharedCount counter(CuratorFramework client) throws Exception {
        SharedCount count = new SharedCount(client, "/leases", 1);
        count.start();
        return count;
    }

    private static void leaders() throws Exception {
        LeaderLatch mine = new LeaderLatch(one, "/latch", "one");
        mine.start();
        run("the first leads", () -> mine.await(60, TimeUnit.SECONDS));
        LeaderLatch other = new LeaderLatch(two, "/latch", "two");
        other.start();
        await("both take part", () -> mine.getParticipants().size() == 2);
        say("the leader", other.getLeader().getId() + " " + other.hasLeadership());
        run("its nodes", () -> children("/latch"));
        mine.close();
        run("the second leads", () -> other.await(60, TimeUnit.SECONDS));
        say("the leader", other.getLeader().getId());
        other.close();

        CuratorFramework third = connect(10_000);
        LeaderLatch expiring = new LeaderLatch(third, "/latch-2", "three");
        expiring.start();
        expiring.await();
        LeaderLatch next = new LeaderLatch(one, "/latch-2", "one");
        next.start();
        await("both take part", () -> next.getParticipants().size() == 2);
        expire(third);
        run("the next leads when the session expires", () -> next.await(60, TimeUnit.SECONDS));
        await("the other takes part again", () -> next.getParticipants().size() == 2 && !expiring.hasLeadership());
        next.close();
        run("and leads again", () -> expiring.await(60, TimeUnit.SECONDS));
        expiring.close();
        third.close();

        ConcurrentLinkedQueue<String> terms = new ConcurrentLinkedQueue<>();
        AtomicInteger leading = new AtomicInteger();
        AtomicInteger most = new AtomicInteger();
        List<LeaderSelector> selectors = new ArrayList<>();
        for (int n = 0; n < 4; n++) {
            String id = "selector-" + n;
            LeaderSelector selector = new LeaderSelector(n % 2 == 0 ? one : two, "/selector",
                    new LeaderSelectorListenerAdapter() {
                        @Override
                        public void takeLeadership(CuratorFramework client) throws Exception {
                            most.accumulateAndGet(leading.incrementAndGet(), Math::max);
                            Thread.sleep(20);
                            terms.add(id);
                            leading.decrementAndGet();
                        }
                    });
            selector.setId(id);
            selector.start();
            selectors.add(selector);
        }
        await("each has led", () -> terms.size() == 4);
        List<String> all = new ArrayList<>(terms);
        Collections.sort(all);
        say("the terms", all + ", at most " + most + " at once");
        selectors.forEach(LeaderSelector::close);
    }

    private static void barriers() throws Exception {
        DistributedBarrier barrier = new DistributedBarrier(one, "/barrier");
        barrier.setBarrier();
        DistributedBarrier seen = new DistributedBarrier(two, "/barrier");
        run("a closed barrier", () -> seen.waitOnBarrier(SHORT, TimeUnit.MILLISECONDS));
        Future<Boolean> waiting = THREADS.submit(() -> seen.waitOnBarrier(LONG, TimeUnit.MILLISECONDS));
        barrier.removeBarrier();
        say("an open barrier", waiting.get(60, TimeUnit.SECONDS));

        List<Future<Boolean>> members = new ArrayList<>();
        CountDownLatch entered = new CountDownLatch(3);
        for (int n = 0; n < 3; n++) {
            DistributedDoubleBarrier member = new DistributedDoubleBarrier(n % 2 == 0 ? one : two, "/double", 3);
            members.add(THREADS.submit(() -> {
                boolean in = member.enter(LONG, TimeUnit.MILLISECONDS);
                entered.countDown();
                return in && entered.await(60, TimeUnit.SECONDS) && member.leave(LONG, TimeUnit.MILLISECONDS);
            }));
        }
        for (Future<Boolean> member : members) {
            say("a member entered and left", member.get(60, TimeUnit.SECONDS));
        }
        run("a barrier without enough members",
                () -> new DistributedDoubleBarrier(one, "/double-2", 2).enter(SHORT, TimeUnit.MILLISECONDS));
    }

    private static void counters() throws Exception {
        DistributedAtomicLong mine = new DistributedAtomicLong(one, "/long", new RetryOneTime(10));
        run("a counter", () -> value(mine.get()));
        run("initialized", () -> mine.initialize(5L));
        run("again", () -> mine.initialize(6L));
        run("incremented", () -> value(mine.increment()));
        run("with 10 added", () -> value(mine.add(10L)));
        run("compared and set", () -> value(mine.compareAndSet(16L, 1L)));
        run("compared and not set", () -> value(mine.compareAndSet(16L, 2L)));
        run("set by force", () -> {
            mine.forceSet(0L);
            return value(mine.get());
        });
        List<Future<Integer>> threads = new ArrayList<>();
        for (int n = 0; n < 4; n++) {
            DistributedAtomicLong counter = new DistributedAtomicLong(n % 2 == 0 ? one : two, "/long",
                    new org.apache.curator.retry.RetryNTimes(1000, 1));
            threads.add(THREADS.submit(() -> {
                int done = 0;
                for (int round = 0; round < 25; round++) {
                    done += counter.increment().succeeded() ? 1 : 0;
                }
                return done;
            }));
        }
        int sum = 0;
        for (Future<Integer> thread : threads) {
            sum += thread.get(60, TimeUnit.SECONDS);
        }
        say("increments are counted", sum == mine.get().postValue());
        DistributedAtomicValue value = new DistributedAtomicValue(two, "/value", new RetryOneTime(10));
        run("a value", () -> {
            AtomicValue<byte[]> set = value.trySet(bytes("x"));
            return set.succeeded() + " " + new String(value.get().postValue(), StandardCharsets.UTF_8);
        });

        SharedCount count = new SharedCount(one, "/count", 3);
        SharedCount seen = new SharedCount(two, "/count", 3);
        count.start();
        seen.start();
        LinkedBlockingQueue<Integer> changes = new LinkedBlockingQueue<>();
        seen.addListener(new SharedCountListener() {
            @Override
            public void countHasChanged(SharedCountReader reader, int value) {
                changes.add(value);
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {}
        });
        count.setCount(4);
        say("a shared count", changes.poll(60, TimeUnit.SECONDS));
        run("of an old version", () -> {
            var old = seen.getVersionedValue();
            count.setCount(5);
            return seen.trySetCount(old, 6);
        });
        await("the newest count", () -> seen.getCount() == 5);
        count.close();
        seen.close();
        SharedValue shared = new SharedValue(one, "/shared", bytes("seed"));
        shared.start();
        run("a shared value", () -> shared.trySetValue(shared.getVersionedValue(), bytes("new")));
        run("read by the other", () -> two.getData().forPath("/shared"));
        shared.close();
    }

    private static String value(AtomicValue<Long> value) {
        return value.succeeded() + " " + value.preValue() + " " + value.postValue();
    }

    private static void nodes() throws Exception {
        CuratorFramework third = connect(10_000);
        PersistentNode node = new PersistentNode(third, CreateMode.EPHEMERAL, false, "/kept", bytes("x"));
        node.start();
        run("a kept node", () -> node.waitForInitialCreate(60, TimeUnit.SECONDS));
        one.delete().forPath("/kept");
        await("it comes back after a deletion", () -> one.checkExists().forPath("/kept") != null);
        long before = one.checkExists().forPath("/kept").getEphemeralOwner();
        expire(third);
        await("it comes back in the next session", () -> {
            Stat stat = one.checkExists().forPath("/kept");
            return stat != null && stat.getEphemeralOwner() != before;
        });
        node.setData(bytes("y"));
        await("its data are set", () -> Arrays.equals(one.getData().forPath("/kept"), bytes("y")));
        node.close();
        await("it goes", () -> one.checkExists().forPath("/kept") == null);

        PersistentTtlNode ttl = new PersistentTtlNode(third, "/lifetime", 1_000, bytes("x"));
        ttl.start();
        run("a node with a lifetime", () -> ttl.waitForInitialCreate(60, TimeUnit.SECONDS));
        run("its touched node", () -> {
            await("it is touched", () -> one.checkExists().forPath("/lifetime/touch") != null);
            return children("/lifetime");
        });
        ttl.close();

        GroupMember member = new GroupMember(one, "/group", "one", bytes("1"));
        GroupMember other = new GroupMember(third, "/group", "three", bytes("3"));
        member.start();
        other.start();
        await("both are members", () -> member.getCurrentMembers().size() == 2);
        other.close();
        await("one is", () -> member.getCurrentMembers().size() == 1);
        member.close();
        third.close();
    }

    private static void caches() throws Exception {
        two.create().creatingParentsIfNeeded().forPath("/cache/a/deep", bytes("0"));
        two.setData().forPath("/cache", bytes("root"));
        LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
        CuratorFramework third = connect(10_000);
        CuratorCache cache = CuratorCache.build(third, "/cache");
        CountDownLatch initial = new CountDownLatch(1);
        cache.listenable().addListener(CuratorCacheListener.builder()
                .forAll((type, before, after) -> events.add(type + " " + text(before) + " -> " + text(after)))
                .forInitialized(initial::countDown).build());
        cache.start();
        initial.await(60, TimeUnit.SECONDS);
        List<String> first = new ArrayList<>();
        events.drainTo(first);
        Collections.sort(first);
        say("a cache at first", first);
        two.setData().forPath("/cache/a", bytes("1"));
        say("a change", events.poll(60, TimeUnit.SECONDS));
        two.create().withMode(CreateMode.EPHEMERAL).forPath("/cache/b", bytes("2"));
        say("a creation", events.poll(60, TimeUnit.SECONDS));
        two.delete().forPath("/cache/a/deep");
        say("a deletion", events.poll(60, TimeUnit.SECONDS));
        say("its size", cache.size() + " " + new String(cache.get("/cache/a").get().getData(), StandardCharsets.UTF_8));
        expire(third);
        await("it is in the next session", () -> third.checkExists().forPath("/cache") != null);
        two.create().forPath("/cache/late", bytes("3"));
        await("a creation in the next session", () -> cache.get("/cache/late").isPresent());
        cache.close();

        PathChildrenCache path = new PathChildrenCache(one, "/cache", true);
        path.start(PathChildrenCache.StartMode.BUILD_INITIAL_CACHE);
        say("a path's children", path.getCurrentData().size());
        two.delete().forPath("/cache/late");
        await("one less", () -> path.getCurrentData().size() == 2);
        path.close();
        TreeCache tree = new TreeCache(one, "/cache");
        tree.start();
        await("a tree", () -> tree.getCurrentData("/cache/b") != null);
        two.setData().forPath("/cache/b", bytes("4"));
        await("its change", () -> Arrays.equals(tree.getCurrentData("/cache/b").getData(), bytes("4")));
        tree.close();
        third.close();
    }

    private static String text(org.apache.curator.framework.recipes.cache.ChildData data) {
        return data == null ? "none"
                : data.getPath() + "=" + new String(data.getData(), StandardCharsets.UTF_8) + " of version "
                        + data.getStat().getVersion();
    }

    private static void queues() throws Exception {
        SimpleDistributedQueue mine = new SimpleDistributedQueue(one, "/queue");
        SimpleDistributedQueue other = new SimpleDistributedQueue(two, "/queue");
        Future<byte[]> waiting = THREADS.submit(() -> other.take());
        mine.offer(bytes("first"));
        mine.offer(bytes("second"));
        run("the first of a queue", () -> waiting.get(60, TimeUnit.SECONDS));
        run("the second", () -> other.poll());
        run("no third", () -> other.poll());
        run("its nodes", () -> children("/queue"));
    }
}
