package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/client"
	"ferry/config"
)

// reloaded is a broker in this process that was started from a file.
type reloaded struct {
	t      *testing.T
	dir    string
	file   string
	s      *server
	url    string
	client *client.Client
	log    *syncBuffer
	stop   func()
}

const reloadHead = "dataDir: DIR/data\nlisten: 127.0.0.1:0\npublicUrl: http://127.0.0.1\nqueue: {nats: {listen: off}}\n"

func startReloaded(t *testing.T, text string) *reloaded {
	t.Helper()
	r := &reloaded{t: t, dir: t.TempDir(), log: &syncBuffer{}}
	r.file = filepath.Join(r.dir, "broker.yaml")
	r.write(text)
	cfg, err := config.LoadBroker(r.file)
	if err != nil {
		t.Fatal(err)
	}
	if r.s, err = startServer(t.Context(), cfg, slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.s.serve(ctx, l) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the broker ended: %v", err)
		}
	})
	t.Cleanup(r.stop)
	if _, err := r.s.broker.EnsureAdminKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(r.dir, "data", "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + l.Addr().String()
	if r.client, err = client.New(r.url, strings.TrimSpace(string(key)), client.Options{}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *reloaded) write(text string) {
	r.t.Helper()
	text = strings.ReplaceAll(reloadHead+text, "DIR", filepath.ToSlash(r.dir))
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reloaded) reload(text string) ferry.Reload {
	r.t.Helper()
	r.write(text)
	done, err := r.client.Reload(r.t.Context(), "why so")
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *reloaded) send(route, key, body string) (ferry.Accepted, error) {
	return r.client.Send(r.t.Context(), route, ferry.Message{Body: []byte(body), ContentType: "application/json", IdempotencyKey: key})
}

func (r *reloaded) mustSend(route, key string) ferry.Accepted {
	r.t.Helper()
	a, err := r.send(route, key, `{}`)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *reloaded) status() ferry.StatusReport {
	r.t.Helper()
	s, err := r.client.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *reloaded) audited(act string) (list []ferry.AuditEntry) {
	r.t.Helper()
	entries, err := r.client.Audit(r.t.Context(), 0, time.Time{}, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Act == act {
			list = append(list, e)
		}
	}
	return list
}

func TestReloadTakesRoutesOver(t *testing.T) {
	r := startReloaded(t, "routes: [{name: orders}, {name: notes, maxBytes: 1KiB}]\n")
	r.mustSend("orders", "o-1")
	if _, err := r.send("invoices", "i-1", `{}`); ferry.CodeOf(err) != ferry.CodeRouteNotFound {
		t.Fatalf("a route of tomorrow: %v", err)
	}
	schema := filepath.ToSlash(filepath.Join(r.dir, "note.json"))
	writeFiles(t, r.dir, map[string][]byte{"note.json": []byte(`{"type":"object","required":["text"]}`)})
	done := r.reload("routes: [{name: invoices, title: Bills}, {name: notes, schema: " + schema + "}]\nlimits: {connections: 1000}\n")
	for _, want := range []string{"routes[invoices] added", "routes[orders] removed", "routes[notes].schema", "routes[notes].maxBytes"} {
		if !slices.Contains(done.Changed, want) {
			t.Errorf("changed: %v, want %s", done.Changed, want)
		}
	}
	if !slices.Contains(done.NextStart, "limits.connections") {
		t.Errorf("at the next start: %v", done.NextStart)
	}
	r.mustSend("invoices", "i-1")
	if _, err := r.send("notes", "n-1", `{}`); ferry.CodeOf(err) != ferry.CodeInvalid {
		t.Errorf("a body that the new schema forbids: %v", err)
	}

	// The route that is gone holds a message: it retires, and says so.
	if _, err := r.send("orders", "o-2", `{}`); ferry.CodeOf(err) != ferry.CodeRouteRetired {
		t.Errorf("a retired route: %v", err)
	}
	if a, err := r.send("orders", "o-1", `{}`); err != nil || !a.Duplicate {
		t.Errorf("a repeat of before: %+v, %v", a, err)
	}
	s := r.status()
	if i := slices.IndexFunc(s.Routes, func(in ferry.RouteInfo) bool { return in.Name == "orders" }); i < 0 || !s.Routes[i].Retired || s.Routes[i].Pending != 1 {
		t.Errorf("routes: %+v", s.Routes)
	}
	for _, want := range []string{"orders was taken out", "limits.connections"} {
		if !strings.Contains(strings.Join(s.Problems, "\n"), want) {
			t.Errorf("status does not tell of %s: %v", want, s.Problems)
		}
	}
	entries := r.audited("reload")
	if len(entries) != 1 || !strings.Contains(entries[0].Detail, "routes[orders] removed") || entries[0].Note != "why so" || entries[0].KeyID == "" {
		t.Errorf("audit: %+v", entries)
	}

	// Also over a restart, under a file that lacks it.
	r.stop()
	cfg, err := config.LoadBroker(r.file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := startServer(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.stop() }()
	if route, ok := again.broker.Route("orders"); !ok || !route.Retired {
		t.Errorf("after a restart the route is %+v, %v", route, ok)
	}
}

func TestABadFileKeepsWhatRuns(t *testing.T) {
	r := startReloaded(t, "routes: [{name: orders}]\n")
	for _, c := range []struct{ name, text string }{
		{"an unknown", "routes: [{name: orders, titel: x}]\n"},
		{"no YAML", "routes: ["},
		{"a bad schema", "routes: [{name: orders}, {name: x1, schema: DIR/absent.json}]\n"},
		{"a bad jq", "routes: [{name: orders, orderBy: '.a['}]\n"},
		{"no secret", "routes: [{name: orders}]\nsas: [{name: flow, key: 'env:FERRY_ABSENT_KEY', rights: [send]}]\n"},
		{"no access log", "routes: [{name: orders}]\naccessLog: {path: DIR/absent/access.log}\n"},
	} {
		r.write(c.text)
		_, err := r.client.Reload(t.Context(), "")
		if ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%s: %v", c.name, err)
		}
		problems := strings.Join(r.status().Problems, "\n")
		if !strings.Contains(problems, "is not used as it is now") {
			t.Errorf("%s: status says %s", c.name, problems)
		}
		r.mustSend("orders", c.name)
	}
	r.write("routes: [{name: orders, titel: x}]\n")
	_, err := r.client.Reload(t.Context(), "")
	if edge, ok := err.(*ferry.Error); !ok || !strings.Contains(edge.Message, "broker.yaml:5") || !strings.Contains(edge.Hint, "title") { //nolint:errorlint // as the client gives it
		t.Errorf("the refusal: %v", err)
	}
	if _, err := r.client.Reload(t.Context(), ""); err == nil {
		t.Error("taken")
	}
	if n := strings.Count(r.log.String(), "titel"); n != 1+1 { // once as the first of the files above, and once for both that follow them
		t.Errorf("the log tells %d times of it:\n%s", n, r.log)
	}
	metrics, err := r.client.Metrics(t.Context())
	if err != nil || !strings.Contains(string(metrics), "ferry_config_reload_success 0") {
		t.Errorf("metrics: %v", err)
	}
	r.reload("routes: [{name: orders, title: x}]\n")
	if problems := strings.Join(r.status().Problems, "\n"); strings.Contains(problems, "not used") {
		t.Errorf("after a good one: %s", problems)
	}
	metrics, err = r.client.Metrics(t.Context())
	if err != nil || !strings.Contains(string(metrics), "ferry_config_reload_success 1") {
		t.Errorf("metrics: %v", err)
	}
}

// A file that changes is taken over by itself, by any way of replacing it, also as
// Kubernetes does: by a link to another folder.
func TestAFileThatChangesIsTakenOver(t *testing.T) {
	r := startReloaded(t, "routes: [{name: orders}]\n")
	r.write("routes: [{name: orders}, {name: notes}]\n")
	r.until("notes", func() bool { _, err := r.send("notes", "k", `{}`); return err == nil })
	if entries := r.audited("reload"); len(entries) != 1 || entries[0].By != "broker" || entries[0].Note != byFile {
		t.Errorf("audit: %+v", entries)
	}
	if !strings.Contains(r.log.String(), "config.reloaded") {
		t.Errorf("log: %s", r.log)
	}
}

func TestALinkThatChangesIsSeen(t *testing.T) {
	dir := t.TempDir()
	place := func(version, text string) {
		t.Helper()
		folder := filepath.Join(dir, version)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFiles(t, folder, map[string][]byte{"broker.yaml": []byte(text)})
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(version, next); err != nil {
			t.Skip(err) // Windows wants a right for that
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	place("..one", "a")
	file := filepath.Join(dir, "broker.yaml")
	if err := os.Symlink(filepath.Join("..data", "broker.yaml"), file); err != nil {
		t.Skip(err)
	}
	l, now := newFileLook(file), time.Now()
	looks := func(want ...bool) {
		t.Helper()
		for i, w := range want {
			if got := l.changed(nil, now); got != w {
				t.Fatalf("look %d: changed %v, want %v", i, got, w)
			}
		}
	}
	looks(false, true, false) // it may be another one than what was read at the start
	l.went(nil, now)
	place("..two", "b")
	looks(false, true, false) // once it is the same for two looks
	l.went(fmt.Errorf("bad"), now)
	looks(false)
	now = now.Add(lookAgain)
	looks(true)
	l.went(nil, now)
	looks(false)
	// What passes between two looks is nothing.
	place("..three", "c")
	looks(false)
	place("..four", "b")
	looks(false, false)
}

func (r *reloaded) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			r.t.Fatalf("%s: in vain\n%s", what, r.log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Under load, reloads drop no connection, refuse nothing, and lose no rate that was
// used: who failed to log in too often stays out.
func TestReloadUnderLoad(t *testing.T) {
	with := func(window int) string {
		return fmt.Sprintf("routes: [{name: orders, window: %d}, {name: r%d}]\nlimits: {failedLogins: 3/10m}\n", 100+window, window)
	}
	r := startReloaded(t, with(0))
	stranger, err := client.New(r.url, "fry_nobody", client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_, err = stranger.Me(t.Context())
	}
	if ferry.CodeOf(err) != ferry.CodeTooManyRequests {
		t.Fatalf("before: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if _, err := r.send("orders", fmt.Sprintf("%d-%d", i, n), `{}`); err != nil {
					t.Errorf("message %d-%d: %v", i, n, err)
					return
				}
			}
		})
	}
	for n := 1; n <= 10; n++ {
		r.reload(with(n))
		r.mustSend(fmt.Sprintf("r%d", n), "k")
	}
	cancel()
	senders.Wait()
	if _, err = stranger.Me(t.Context()); ferry.CodeOf(err) != ferry.CodeTooManyRequests {
		t.Errorf("after reloads the address may try again: %v", err)
	}
	if got := r.s.parts.Load().cfg.Routes[0].Window; got != 110 {
		t.Errorf("window %d", got)
	}
}
