package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/internal/faultfs"
)

// TestWhoLosesInAPowerCut sends the same to four stores, cuts their power, and
// asks what they have. The broker and a plain bbolt file have all that they
// answered for. A file without fsync, and a queue taken for a store, have not: if
// they had, this test, and TestPowerCut, could not see a loss.
func TestWhoLosesInAPowerCut(t *testing.T) {
	t.Parallel()
	const messages = 60
	for _, c := range []struct {
		kind  string
		loses bool
	}{{"bbolt", false}, {"bboltNoSync", true}, {"queueAsStore", true}, {"broker", false}} {
		t.Run(c.kind, func(t *testing.T) {
			w := newWorld(t, options{})
			disk := w.faulty("data")
			var s storing = &controlled{w: w, kind: c.kind, address: freePort(t)}
			if c.kind == "broker" {
				s = &brokerAsStore{w: w, ids: map[string]ferry.ID{}}
			}
			s.start()
			answered := sendAll(t, s, messages)
			s.kill()
			w.cut(disk, 0)
			s.start()
			have := s.keys()
			var lost []string
			for _, key := range answered {
				if !slices.Contains(have, key) {
					lost = append(lost, key)
				}
			}
			t.Logf("%s: %d answered, %d lost", c.kind, len(answered), len(lost))
			if (len(lost) > 0) != c.loses {
				t.Errorf("it lost %v", lost)
			}
		})
	}
}

// storing is something that answers for messages.
type storing interface {
	start()
	put(key string) error
	keys() []string
	kill()
}

// sendAll sends from four senders, and gives the keys that were answered.
func sendAll(t *testing.T, s storing, n int) (answered []string) {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	for sender := range 4 {
		group.Go(func() {
			for i := sender; i < n; i += 4 {
				key := fmt.Sprintf("key-%03d", i)
				if err := s.put(key); err != nil {
					t.Errorf("%s: %v", key, err)
					return
				}
				mu.Lock()
				answered = append(answered, key)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return answered
}

// controlled is a control as a process.
type controlled struct {
	w             *world
	kind, address string
	process       *process
}

func (c *controlled) start() {
	c.w.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.w.t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = []string{controlKind + "=" + c.kind, controlListen + "=" + c.address, controlDir + "=" + c.w.path("data")}
	c.process = startCommand(c.w.t, c.w.dir, c.kind, cmd)
	c.w.broker = c.process // killed before its disk is unmounted
	eventually(c.w.t, 20*time.Second, func() string {
		if !c.process.running() {
			return "" // it does not open what it kept: that is a loss too
		}
		_, err := c.call(http.MethodGet, "")
		if err != nil {
			return err.Error()
		}
		return ""
	})
}

func (c *controlled) call(method, body string) (string, error) {
	req, err := http.NewRequestWithContext(c.w.t.Context(), method, "http://"+c.address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

func (c *controlled) put(key string) error {
	_, err := c.call(http.MethodPost, key)
	return err
}

func (c *controlled) keys() []string {
	if !c.process.running() {
		return nil
	}
	text, err := c.call(http.MethodGet, "")
	if err != nil {
		c.w.t.Fatal(err)
	}
	return strings.Split(text, "\n")
}

func (c *controlled) kill() { c.process.kill() }

// brokerAsStore is the broker without a worker.
type brokerAsStore struct {
	w   *world
	mu  sync.Mutex
	ids map[string]ferry.ID
}

func (b *brokerAsStore) start() { b.w.startBroker() }
func (b *brokerAsStore) kill()  { b.w.broker.kill() }

func (b *brokerAsStore) put(key string) error {
	a, err := b.w.client.Send(b.w.t.Context(), invoices, ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids[key] = a.ID
	return err
}

func (b *brokerAsStore) keys() (keys []string) {
	for key, id := range b.ids {
		body, _, err := b.w.client.Body(b.w.t.Context(), id.String(), 0)
		if err == nil && string(body) == kibibyte(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// TestPowerCutOfTheFirstStart cuts the power right after the first start, when the
// data folder itself is new: with a key that was written and a message that was
// answered, both are there. The folder lies below the one that is cut, as its own
// name must be durable too.
func TestPowerCutOfTheFirstStart(t *testing.T) {
	t.Parallel()
	chance := seedOf(t)
	for i := range int(number(t, "FERRY_POWER_CUTS", 2, 1000)) {
		seed := chance.Uint64() * uint64(i%2)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			w := newWorld(t, options{})
			disk := w.faulty("disk")
			w.moveData("data", "disk/below/data")
			w.startBroker()
			a := w.send(invoices, "first", kibibyte("first"))
			large := w.send(invoices, "large", `{"x":"`+strings.Repeat("0123456789", 40<<10)+`"}`)
			w.broker.kill()
			w.cut(disk, seed)
			w.startBroker()
			for _, m := range []ferry.Accepted{a, large} {
				if body, _, err := w.client.Body(t.Context(), m.ID.String(), 0); err != nil || len(body) == 0 {
					t.Errorf("%s: %d bytes, %v", m.ID.Short(), len(body), err)
				}
			}
			w.cli("keys", "list")
		})
	}
}

// TestPowerCutInTheFirstStart cuts the power at every write of the first start:
// the next start is a clean one, whatever of the new files survived.
func TestPowerCutInTheFirstStart(t *testing.T) {
	t.Parallel()
	chance := seedOf(t)
	step := 4
	if os.Getenv("FERRY_POWER_CUTS") != "" {
		step = 1
	}
	more := true
	for n := 1 + chance.IntN(step); more; n += step {
		seed := chance.Uint64() * uint64(n%3)
		t.Run(fmt.Sprintf("write %d, seed %d", n, seed), func(t *testing.T) {
			w := newWorld(t, options{})
			disk := w.faulty("disk")
			w.moveData("data", "disk/data")
			// The disk takes no more writes: what came before is all that the cut can meet.
			stuck := disk.Inject(faultfs.Fault{Op: faultfs.Write | faultfs.Overwrite, Path: ledgerFolder, Nth: n, Err: ioError})
			w.serveOnce()
			more = stuck.Hits() > 0
			w.cut(disk, seed)
			w.client = nil
			w.startBroker()
			w.cli("keys", "list")
		})
	}
}
