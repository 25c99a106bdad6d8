package natsqueue

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ferry/queue"
)

// Three replicas: one server may go at any moment.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	ctx := patient(t)
	var broker queue.Driver
	address := queue.MessagesOf("invoices")
	eventually(t, "the cluster takes the streams", func() bool {
		d, err := ConnectBroker(ctx, ExternalOptions{
			URL: c.urls(), Seed: slices.Clone(c.brokerSeed), Replicas: 3, Log: testLog(t),
			Limits: Limits{Lock: 5 * time.Second, MaxStoreBytes: 64 << 20},
		})
		if err != nil {
			return false
		}
		for _, a := range []queue.Address{queue.AllReceipts(), address} {
			if _, err := d.Ensure(ctx, a); err != nil {
				_ = d.Close(ctx)
				return false
			}
		}
		broker = d
		return true
	})
	defer broker.Close(ctx)
	info, _, err := broker.(*driver).keep.manager.info(ctx, address)
	if err != nil || info.Config.Replicas != 3 || info.Cluster == nil {
		t.Fatalf("%+v, %v", info, err)
	}
	before, err := broker.Progress(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(id string) bool {
		_, err := broker.Publish(ctx, address, []queue.Packet{{ID: id, Data: []byte(id)}})
		return err == nil
	}
	if !publish("one") {
		t.Fatal("it takes no packet")
	}
	worker, err := Connect(ctx, ConnectOptions{Worker: "worker-one", URL: c.urls(), Seed: slices.Clone(c.workerSeed), Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close(ctx)

	c.stop(info.Cluster.Leader)
	eventually(t, "the others take packets", func() bool { return publish("two") })
	got := map[string]bool{}
	eventually(t, "both packets come", func() bool {
		items, err := worker.Receive(ctx, address, 10)
		for _, item := range items {
			got[string(item.Data)] = true
			if err := worker.Settle(ctx, address, item, queue.Complete); err != nil {
				t.Logf("settle: %v", err)
			}
		}
		return err == nil && got["one"] && got["two"]
	})
	eventually(t, "the broker hears how far it is", func() bool {
		after, err := broker.Progress(ctx, address)
		if err == nil && (after.Incarnation != before.Incarnation || after.Last < 2) {
			t.Fatalf("another leader counts as a loss: %+v, then %+v", before, after)
		}
		return err == nil
	})
}

// cluster is some servers with one configuration.
type cluster struct {
	servers                []*server.Server
	addresses              []string
	brokerSeed, workerSeed []byte
}

func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	var own, between []string
	for range n {
		own, between = append(own, freeAddress(t)), append(between, freeAddress(t))
	}
	c := &cluster{addresses: own}
	brokerKey, seed := newKey(t)
	c.brokerSeed = seed
	workerKey, seed := newKey(t)
	c.workerSeed = seed
	broker, err := BrokerConfig(brokerKey)
	if err != nil {
		t.Fatal(err)
	}
	worker, err := WorkerConfig(WorkerAuth{Name: "worker-one", PublicKey: workerKey, Routes: []string{"invoices"}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for i := range n {
		file := filepath.Join(dir, fmt.Sprintf("n%d.conf", i))
		text := fmt.Sprintf("listen: %q\nserver_name: n%d\njetstream {store_dir: %q}\ncluster {name: ferry, listen: %q, routes: [\"nats://%s\"]}\n"+
			"accounts {\n FERRY {\njetstream: enabled\nusers: [\n%s%s]\n }\n SYS {users: [{user: sys, password: sys}]}\n}\nsystem_account: SYS\n",
			own[i], i, filepath.Join(dir, fmt.Sprint("store-", i)), between[i], strings.Join(between, `", "nats://`), broker, worker)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		options, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		options.NoSigs, options.NoLog = true, true
		s, err := server.NewServer(options)
		if err != nil {
			t.Fatal(err)
		}
		go s.Start()
		c.servers = append(c.servers, s)
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}
	for _, s := range c.servers {
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("a server takes no connections")
		}
	}
	return c
}

func (c *cluster) urls() string { return "nats://" + strings.Join(c.addresses, ",nats://") }

func (c *cluster) stop(name string) {
	for _, s := range c.servers {
		if s.Name() == name {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
