package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
	"ferry/client"
	"ferry/config"
)

// With a listener for operators, the other one has nothing of theirs, also for an
// admin's key; failed logins count on both, and both follow a reload.
func TestAdminListener(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "broker.yaml")
	text := strings.ReplaceAll(reloadHead+"adminListen: 127.0.0.1:1\nroutes: [{name: orders}]\nlimits: {failedLogins: 4/10m}\n", "DIR", filepath.ToSlash(dir))
	writeFiles(t, dir, map[string][]byte{"broker.yaml": []byte(text)})
	cfg, err := config.LoadBroker(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := startServer(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	public, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if s.adminListener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.serve(ctx, public) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.broker.EnsureAdminKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "data", "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	clientOf := func(l net.Listener, key string) *client.Client {
		t.Helper()
		c, err := client.New("http://"+l.Addr().String(), strings.TrimSpace(key), client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	outside, inside := clientOf(public, string(key)), clientOf(s.adminListener, string(key))
	look := func() {
		t.Helper()
		if _, err := outside.Keys(t.Context()); ferry.CodeOf(err) != ferry.CodeNotFound {
			t.Errorf("keys outside: %v", err)
		}
		if _, err := outside.Reload(t.Context(), ""); ferry.CodeOf(err) != ferry.CodeNotFound {
			t.Errorf("reload outside: %v", err)
		}
		if _, err := inside.Keys(t.Context()); err != nil {
			t.Errorf("keys inside: %v", err)
		}
		if _, err := outside.Send(t.Context(), "orders", ferry.Message{Body: []byte(`{}`)}); err != nil {
			t.Errorf("send outside: %v", err)
		}
		if _, err := inside.Send(t.Context(), "orders", ferry.Message{Body: []byte(`{}`)}); ferry.CodeOf(err) != ferry.CodeNotFound {
			t.Errorf("send inside: %v", err)
		}
		for _, l := range []net.Listener{public, s.adminListener} {
			for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/v1/me": 401} {
				if got := statusAt(t, "http://"+l.Addr().String()+path); got != want {
					t.Errorf("%s of %s: %d", path, l.Addr(), got)
				}
			}
		}
		if got := statusAt(t, "http://"+public.Addr().String()+"/metrics"); got != http.StatusNotFound {
			t.Errorf("metrics outside: %d", got)
		}
	}
	look()
	stranger := clientOf(public, "fry_nobody")
	for range 4 {
		if _, err := stranger.Me(t.Context()); err == nil {
			t.Fatal("a stranger was let in")
		}
	}
	if _, err = clientOf(s.adminListener, "fry_nobody").Me(t.Context()); ferry.CodeOf(err) != ferry.CodeTooManyRequests {
		t.Errorf("who failed outside may go on inside: %v", err)
	}
	writeFiles(t, dir, map[string][]byte{"broker.yaml": []byte(strings.Replace(text, "name: orders", "name: orders, title: Orders", 1))})
	if done, err := inside.Reload(t.Context(), ""); err != nil || len(done.Changed) != 1 {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := inside.Keys(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := outside.Keys(t.Context()); ferry.CodeOf(err) != ferry.CodeNotFound {
		t.Errorf("after a reload: %v", err)
	}
}

func statusAt(t *testing.T, url string) int {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// A server that stops says that it is not ready first, answers everything for a
// while, ends the connections, and answers who waits.
func TestStopSaysSoFirst(t *testing.T) {
	r := startReloaded(t, "routes: [{name: orders}, {name: handed, workers: pull}]\ndrain: {delay: 2s, within: 10s}\n")
	key, err := os.ReadFile(filepath.Join(r.dir, "data", "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan int, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodPost, r.url+"/handed/messages/head?timeout=50", nil)
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			waited <- 0
			return
		}
		_ = answer.Body.Close()
		waited <- answer.StatusCode
	}()
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	r.until("not ready", func() bool { return statusAt(t, r.url+"/readyz") == http.StatusServiceUnavailable })
	if got := statusAt(t, r.url+"/healthz"); got != http.StatusOK {
		t.Errorf("healthz: %d", got)
	}
	r.mustSend("orders", "while it stops")
	answer, err := http.Get(r.url + "/healthz")
	if err != nil || !answer.Close {
		t.Errorf("a connection goes on: %v", err)
	}
	if err == nil {
		_ = answer.Body.Close()
	}
	if got := <-waited; got != http.StatusNoContent {
		t.Errorf("a receiver that waits is answered %d", got)
	}
	<-stopped
	if _, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://")); err == nil {
		t.Error("somebody still listens")
	}
}
