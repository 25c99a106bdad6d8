package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsConfigOf makes this test binary a NATS server with that configuration
// file, so that tests can kill one.
const natsConfigOf = "FERRY_E2E_NATS_CONFIG"

// runNATS is a NATS server as somebody else runs it: a signal ends it in order,
// SIGHUP has it read its configuration again.
func runNATS(file string) int {
	options, err := server.ProcessConfigFile(file)
	if err == nil {
		var s *server.Server
		if s, err = server.NewServer(options); err == nil {
			s.ConfigureLogger()
			s.Start()
			s.WaitForShutdown()
			return 0
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// natsServer is such a server, with an account for the broker.
type natsServer struct {
	w       *world
	account string // its jetstream
	users   []string
	process *process
}

// newExternalWorld is a world whose queue lives on a NATS server elsewhere, which
// runs; nothing else does yet.
func newExternalWorld(t *testing.T, o options) (*world, *natsServer) {
	t.Helper()
	w := newWorld(t, o)
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	inside := fmt.Sprintf("listen: %q", w.queue)
	if !strings.Contains(string(text), inside) {
		t.Fatalf("there is no %s in %s", inside, text)
	}
	w.write("broker.yaml", strings.Replace(string(text), inside, fmt.Sprintf(`url: "nats://%s", nkey: ./broker.nk`, w.queue), 1))
	key := command(t, w.dir, "broker", "nats", "key", "broker.nk")
	if key.code != 0 {
		t.Fatalf("broker nats key: %s", key.errOut)
	}
	n := &natsServer{w: w, account: "enabled", users: []string{key.out}}
	n.start()
	return w, n
}

func (n *natsServer) write() {
	n.w.t.Helper()
	n.w.write("nats.conf", fmt.Sprintf(`
listen: %q
jetstream {store_dir: %q}
accounts {
  FERRY {
    jetstream: %s
    users: [
      {user: admin, password: admin}
%s
    ]
  }
}
`, n.w.queue, n.w.path("nats"), n.account, strings.Join(n.users, "\n")))
}

// start returns when the server takes logins.
func (n *natsServer) start() {
	n.w.t.Helper()
	n.write()
	n.process = startSelf(n.w.t, n.w.dir, natsConfigOf+"="+n.w.path("nats.conf"))
	n.await(nats.UserInfo("admin", "admin"))
}

func (n *natsServer) await(login nats.Option) {
	n.w.t.Helper()
	eventually(n.w.t, 10*time.Second, func() string {
		nc, err := nats.Connect("nats://"+n.w.queue, login)
		if err != nil {
			return err.Error()
		}
		nc.Close()
		return ""
	})
}

// reload changes the users as their operator would.
func (n *natsServer) reload() {
	n.w.t.Helper()
	n.write()
	if err := n.process.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		n.w.t.Fatal(err)
	}
}

func (n *natsServer) kill() { n.process.kill() }

func (n *natsServer) stop() {
	n.w.t.Helper()
	n.process.stop(n.w.t, 20*time.Second)
}

// lose deletes everything that the server, which is down, has kept.
func (n *natsServer) lose() {
	n.w.t.Helper()
	if err := os.RemoveAll(n.w.path("nats")); err != nil {
		n.w.t.Fatal(err)
	}
}

// startAll brings up broker, the worker's login there, and the worker.
func (n *natsServer) startAll() {
	w := n.w
	w.t.Helper()
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", strings.Join(w.routeNames(), ","), "--out", "erp-worker.nk", "--nats-config", "erp-worker.conf")
	n.admit("erp-worker")
	w.startWorker()
	w.awaitGranted()
}

// admit adds the entry that the broker wrote for a worker.
func (n *natsServer) admit(worker string) {
	n.w.t.Helper()
	entry, err := os.ReadFile(n.w.path(worker + ".conf"))
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.users = append(n.users, string(entry))
	n.reload()
	login, err := nats.NkeyOptionFromSeed(n.w.path(worker + ".nk"))
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.await(login)
}

// admin is the account's administrator.
func (n *natsServer) admin() jetstream.JetStream {
	n.w.t.Helper()
	nc, err := nats.Connect("nats://"+n.w.queue, nats.UserInfo("admin", "admin"))
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return js
}

// purge empties a stream that has at least so many packets.
func (n *natsServer) purge(js jetstream.JetStream, name string, least uint64) {
	n.w.t.Helper()
	var stream jetstream.Stream
	eventually(n.w.t, 10*time.Second, func() string {
		var err error
		if stream, err = js.Stream(n.w.t.Context(), name); err != nil {
			return err.Error()
		}
		if have := stream.CachedInfo().State.Msgs; have < least {
			return fmt.Sprintf("%s has %d packets, not %d", name, have, least)
		}
		return ""
	})
	if err := stream.Purge(n.w.t.Context()); err != nil {
		n.w.t.Fatal(err)
	}
}

// startSelf runs this test binary as another program.
func startSelf(t *testing.T, dir string, env ...string) *process {
	t.Helper()
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = env
	return startCommand(t, dir, "nats", cmd)
}
