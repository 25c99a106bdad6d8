package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// TestDiskFull: while the broker's disk is full it refuses with 503 and
// Retry-After; with room again it accepts, and nothing that it accepted is lost.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{lock: "5s"})
	disk := w.path("data")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("ferry-e2e", disk, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("a tmpfs cannot be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if w.broker != nil {
			w.broker.kill()
		}
		// The kernel closes the files of a process that was killed a moment after it is gone.
		err := syscall.Unmount(disk, 0)
		for end := time.Now().Add(10 * time.Second); errors.Is(err, syscall.EBUSY) && time.Now().Before(end); err = syscall.Unmount(disk, 0) {
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	w.start()
	accepted := map[string]ferry.ID{}
	send := func(key string) error {
		a, err := w.client.Send(t.Context(), invoices, ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key})
		if err == nil {
			accepted[key] = a.ID
		}
		return err
	}
	// The ERP takes its time, so that the disk is full when the first are done.
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 20, Delay: 500 * time.Millisecond})
	for i := range 20 {
		if err := send(fmt.Sprintf("room-%02d", i)); err != nil {
			t.Fatal(err)
		}
	}
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	refused := 0
	eventually(t, 15*time.Second, func() string {
		refused++
		if code := ferry.CodeOf(send(fmt.Sprintf("full-%03d", refused))); code != ferry.CodeNoSpace {
			return fmt.Sprintf("a full disk is answered with %q", code)
		}
		return ""
	})
	w.wantNoSpace(fmt.Sprintf(`{"filler":%q}`, strings.Repeat("0123456789", 20<<10))) // a small one may find room that the queue gave back
	eventually(t, 30*time.Second, func() string {
		if n := len(w.erp.Documents("")); n < 8 {
			return fmt.Sprintf("the ERP has %d documents", n)
		}
		return ""
	})
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	// What was refused is sent again, as a sender does that minds Retry-After.
	for i := range refused {
		key := fmt.Sprintf("full-%03d", i+1)
		eventually(t, 15*time.Second, func() string {
			if err := send(key); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	w.wantOnce(accepted)
}

// fill writes until no byte is left.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, size := range []int{1 << 20, 4 << 10} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("fill the disk: %v", err)
		}
		err = nil
	}
}

// wantNoSpace holds the refusal as it goes over the wire.
func (w *world) wantNoSpace(text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.api+"/v1/routes/"+invoices+"/messages", strings.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := os.ReadFile(w.path("data/admin.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(key)))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(body), `"code":"noSpace"`) {
		w.t.Errorf("a full disk is answered with %s, Retry-After %q, %s, %v", resp.Status, resp.Header.Get("Retry-After"), body, err)
	}
}
