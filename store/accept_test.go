package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

func TestAcceptAndRepeat(t *testing.T) {
	l := newLedger(t)
	ctx := context.Background()
	first := accept(t, l, `{"n":1}`, withKey("k"))
	for range 2 {
		answer, err := l.Accept(ctx, message(`{"n":1}`, withKey("k")))
		if err != nil || answer.ID != first || !answer.Duplicate || answer.State != ferry.StateAccepted {
			t.Errorf("a repeat: %+v, %v", answer, err)
		}
		l = reopen(t, l) // the index is rebuilt
	}
	_, err := l.Accept(ctx, message(`{"n":2}`, withKey("k")))
	wantCode(t, err, ferry.CodeKeyReused)
	if e := err.(*ferry.Error); e.Existing == nil || e.Existing.ID != first {
		t.Errorf("the error names %+v", e.Existing)
	}
	if id := accept(t, l, `{"n":2}`, withKey("k"), func(m *ferry.Message) { m.Route = otherRoute }); id == first {
		t.Error("keys are not scoped by route")
	}
	_, err = l.Accept(ctx, message("x", func(m *ferry.Message) { m.Route = "nowhere" }))
	wantCode(t, err, ferry.CodeRouteNotFound)
	_, err = l.Accept(ctx, message(`{"n":3}`, withKey("k"), replacing))
	wantCode(t, err, ferry.CodeKeyReused) // not set aside yet

	report(t, l, first, ferry.Rejected, setAside(ferry.ReasonRejected))
	answer, err := l.Accept(ctx, message(`{"n":3}`, withKey("k"), replacing))
	if err != nil || answer.ID != first || answer.Duplicate || answer.Revision != 2 {
		t.Fatalf("a replacement: %+v, %v", answer, err)
	}
	body, _, err := readBody(l, first, 0)
	if err != nil || string(body) != `{"n":3}` {
		t.Errorf("the body is %s, %v", body, err)
	}
	if body, _, _ := readBody(l, first, 1); string(body) != `{"n":1}` {
		t.Errorf("the first body is %s", body)
	}
	must0(t, l.sound())
}

func TestAcceptBatch(t *testing.T) {
	l := newLedger(t)
	ctx := context.Background()
	accept(t, l, "old", withKey("used"))
	batch := func() []ferry.Message {
		return []ferry.Message{
			message("a", withKey("a")), message("new", withKey("used")), message("a", withKey("a")),
			message("other", withKey("a")), message("plain"),
		}
	}
	_, errs, err := l.AcceptBatch(ctx, batch(), false)
	must0(t, err)
	wantCode(t, errs[1], ferry.CodeKeyReused)
	if page, _ := l.Messages(ferry.MessageFilter{Limit: 10}); len(page.Items) != 1 {
		t.Fatalf("%d messages after a refused batch, want 1", len(page.Items))
	}
	answers, errs, err := l.AcceptBatch(ctx, batch(), true)
	must0(t, err)
	for i, code := range []ferry.Code{"", ferry.CodeKeyReused, "", ferry.CodeKeyReused, ""} {
		if got := ferry.CodeOf(errs[i]); got != code {
			t.Errorf("item %d: %v, want %q", i, errs[i], code)
		}
	}
	if answers[0].Duplicate || !answers[2].Duplicate || answers[2].ID != answers[0].ID {
		t.Errorf("a repeat inside the batch: %+v, %+v", answers[0], answers[2])
	}
	if info, _ := l.Route(testRoute); info.Accepted != 3 || info.Pending != 3 {
		t.Errorf("the route counts %+v", info)
	}
	must0(t, l.sound())
}

func TestIdempotencyWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		first := accept(t, l, "x", withKey("k"))
		time.Sleep(ferry.IdempotencyWindow - time.Second)
		if id := accept(t, l, "x", withKey("k")); id != first {
			t.Error("forgotten inside the window")
		}
		time.Sleep(2 * time.Second)
		if id := accept(t, l, "x", withKey("k")); id == first {
			t.Error("remembered beyond the window")
		}
	})
}

func TestIdempotencyIndexIsBounded(t *testing.T) {
	x := newIdemIndex(time.Hour, 0) // the least: 1,000 entries
	start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i := range 20_000 {
		at := start.Add(time.Duration(i/3) * time.Millisecond)
		x.add(idemKeyOf(1, string(u32(uint32(i)))), ferry.NewID(at))
		keys := 0
		for _, g := range x.keys.generations {
			keys += len(g.ids)
		}
		if keys != x.keys.n || keys > 1000 || i > 1000 && keys < 750 {
			t.Fatalf("after %d: %d entries, counted %d", i, keys, x.keys.n)
		}
	}
	if _, ok := x.find(idemKeyOf(1, string(u32(19_999))), start); !ok {
		t.Error("the newest is forgotten")
	}
}

func TestLargeBodiesLieInFiles(t *testing.T) {
	l := newLedger(t)
	ctx := context.Background()
	large := string(bytes.Repeat([]byte("0123456789"), ferry.InlineBody/10+1))
	id := accept(t, l, large)
	if body, _, err := readBody(l, id, 0); err != nil || string(body) != large {
		t.Fatalf("the body: %d bytes, %v", len(body), err)
	}
	for _, tc := range []struct {
		offset int64
		length int
		want   string
	}{
		{0, 5, large[:5]},
		{int64(len(large)) - 3, 100, large[len(large)-3:]},
		{int64(len(large)) + 1, 5, ""},
		{0, -1, ""},
		{0, 1 << 40, large},
	} {
		if part, err := l.BodyPart(id, 1, tc.offset, tc.length); err != nil || string(part) != tc.want {
			t.Errorf("part %d+%d: %d bytes, %v", tc.offset, tc.length, len(part), err)
		}
	}
	ready := handOut(t, l, testRoute, 1)
	if len(ready) != 1 || ready[0].Body != nil || ready[0].Size != int64(len(large)) || ready[0].Missing {
		t.Errorf("handed out %+v", ready)
	}
	// An edit of a small message to a large body, which takes the staged file over.
	small := deadLetter(t, l, "small")
	must0(t, l.Replay(ctx, small, []byte(large), "", "", "ann"))
	if body, _, err := readBody(l, small, 2); err != nil || string(body) != large {
		t.Errorf("the edited body: %d bytes, %v", len(body), err)
	}
	// What a crash between file and commit leaves.
	orphan, ahead := l.bodyPath(ferry.NewID(time.Now()), 1), l.bodyPath(id, 2)
	for _, path := range []string{orphan, ahead} {
		must0(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must0(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	if n, err := l.SweepBodies(t.Context(), time.Hour); n != 0 || err != nil {
		t.Errorf("young files were swept: %d, %v", n, err)
	}
	if n, err := l.SweepBodies(t.Context(), -time.Second); n != 2 || err != nil {
		t.Errorf("swept %d, %v; want 2", n, err)
	}
	if _, _, err := readBody(l, id, 0); err != nil {
		t.Errorf("a body that is referred to: %v", err)
	}
	must0(t, os.WriteFile(l.bodyPath(id, 1), []byte("altered"), 0o600))
	if _, _, err := readBody(l, id, 0); err == nil {
		t.Error("an altered body was served")
	}
}
