package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/queue"
)

// large is a hand-out whose body of n bytes the broker has.
func (w *world) large(n int) (ferry.HandOut, []byte) {
	h := w.handOut()
	body := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	sum := sha256.Sum256(body)
	w.say(func(w *world) { w.bodies[h.ID] = body })
	h.Body, h.Size, h.SHA256 = nil, int64(n), sum[:]
	return h, body
}

// spooled are the files of bodies that the worker has.
func (w *world) spooled() []string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "bodies", "*"))
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

func TestALargeBodyLiesInAFileForItsTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		var during []string
		var call adapters.Call
		w.erp.post = func(_ context.Context, c adapters.Call) ferry.Verdict {
			during, call = w.spooled(), c
			return delivered("INV-1")
		}
		w.run()
		h, body := w.large(3*queue.BodyChunk + 17)
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Delivered || w.erp.firstBody() != string(body) {
			w.t.Fatalf("receipt %+v, body of %d bytes", r, len(w.erp.firstBody()))
		}
		if len(during) != 1 || call.Open == nil {
			w.t.Fatalf("during the call there are %v; opened: %t", during, call.Open != nil)
		}
		if _, err := call.Open(); !errors.Is(err, os.ErrNotExist) || len(w.spooled()) != 0 {
			w.t.Errorf("after its turn there are %v", w.spooled())
		}
	})
}

// Each turn fetches it anew, and a turn that only looks up has it too.
func TestALargeBodyOverSeveralTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		open, looked := 0, 0
		w.erp.post = func(_ context.Context, c adapters.Call) ferry.Verdict {
			if open++; open == 1 {
				return verdict(ferry.Unknown, ferry.EffectMaybe, 504)
			}
			return delivered("INV-1")
		}
		w.erp.look = func(_ context.Context, c adapters.Call) adapters.LookupResult {
			payload, err := c.Payload()
			if err == nil {
				looked = len(payload)
			}
			return adapters.LookupResult{State: adapters.Absent}
		}
		w.run()
		h, body := w.large(ferry.InlineBody + 1)
		w.publish(h)
		r := w.only()
		time.Sleep(r.Next.After)
		w.publish(next(h, r))
		if r := w.only(); r.Verdict != ferry.Delivered || looked != len(body) || open != 2 {
			w.t.Errorf("receipt %+v, the lookup had %d bytes, %d posts", r, looked, open)
		}
		if files := w.spooled(); len(files) != 0 {
			w.t.Errorf("there stay %v", files)
		}
	})
}

func TestALargeBodyIsMissingOrAltered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		for what, change := range map[string]func(w *world, h *ferry.HandOut){
			"missing": func(w *world, h *ferry.HandOut) { delete(w.bodies, h.ID) },
			"altered": func(w *world, h *ferry.HandOut) { w.bodies[h.ID] = bytes.ToUpper(w.bodies[h.ID]) },
			"short":   func(w *world, h *ferry.HandOut) { w.bodies[h.ID] = w.bodies[h.ID][1:] },
		} {
			h, _ := w.large(ferry.InlineBody + 1000)
			w.say(func(w *world) { change(w, &h) })
			w.publish(h)
			r := w.only()
			wantNext(w.t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonBodyMissing})
			if files := w.spooled(); len(files) != 0 {
				w.t.Errorf("%s: there stay %v", what, files)
			}
		}
		w.wantCounts(0, 0)
	})
}

// Without room for a body nothing is lost: the delivery is given back, the route
// pauses, and the log says what to do.
func TestNoRoomForALargeBody(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		s := w.worker.spool
		s.mu.Lock()
		s.promise = 1 << 60
		s.mu.Unlock()
		h, body := w.large(ferry.InlineBody + 1)
		w.publish(h)
		if list := w.all(); len(list) != 0 {
			w.t.Fatalf("receipts without room: %+v", list)
		}
		if log := w.log.String(); !strings.Contains(log, "body.fetch") || !strings.Contains(log, "make room on the worker's disk") {
			w.t.Errorf("the log does not say what to do:\n%s", log)
		}
		s.mu.Lock()
		s.promise = 0
		s.mu.Unlock()
		time.Sleep(2 * pauseFault)
		if r := w.only(); r.Verdict != ferry.Delivered || w.erp.firstBody() != string(body) {
			w.t.Errorf("when there is room: %+v", r)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.promise != 0 || len(s.left) != 0 {
			w.t.Errorf("%d bytes stay promised, %v left", s.promise, s.left)
		}
	})
}

func TestTheSpoolIsEmptiedAtAStart(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := filepath.Join(w.dir, "bodies")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "body-left"), []byte("of a worker that was killed"), 0o600); err != nil {
			w.t.Fatal(err)
		}
		w.run()
		if files := w.spooled(); len(files) != 0 {
			w.t.Errorf("there stay %v", files)
		}
	})
}

func TestSpoolFailures(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("the broker is away")
	_, err = s.take(100, func(w io.WriterAt) error {
		_, _ = w.WriteAt([]byte("half"), 0)
		return away
	})
	if !errors.Is(err, away) {
		t.Errorf("take: %v", err)
	}
	path, err := s.take(4, func(w io.WriterAt) error { _, err := w.WriteAt([]byte("body"), 0); return err })
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 4 {
		t.Fatalf("%v, %v", info, err)
	}
	s.remove(path)
	if entries, err := os.ReadDir(s.dir); err != nil || len(entries) != 0 {
		t.Errorf("there stay %v, %v", entries, err)
	}
	// What cannot be removed is tried again.
	stuck := filepath.Join(s.dir, "stuck")
	if err := os.MkdirAll(filepath.Join(stuck, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.remove(stuck)
	if err := os.Remove(filepath.Join(stuck, "inside")); err != nil {
		t.Fatal(err)
	}
	s.remove(filepath.Join(s.dir, "another"))
	if _, err := os.Stat(stuck); !errors.Is(err, os.ErrNotExist) || len(s.left) != 0 {
		t.Errorf("it stays: %v, %v", err, s.left)
	}
	// A file in the folder's place.
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "bodies"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var fault *ferry.Error
	if _, err := openSpool(other); !errors.As(err, &fault) || fault.Hint == "" {
		t.Errorf("openSpool over a file: %v", err)
	}
}
