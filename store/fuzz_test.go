package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

func FuzzDecodeRecord(f *testing.F) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	id := ferry.NewID(now)
	full := &record{
		ID: id, Route: 1, Seq: 2, State: ferry.StateDeadLettered, Turn: 3, Revision: 1, Generation: 2, Doubt: true, Ordered: true,
		CreatedAt: now.UnixNano(), Key: "k", OrderingKey: "o", Properties: map[string]string{"a": "b"}, BodyHash: make([]byte, 32),
		Deliveries: 2, Locks: []ferry.ID{ferry.NewID(now), ferry.NewID(now)}, EndedBy: ferry.NewID(now),
		Holder: &holder{Worker: "w", Nonce: "n", Until: 1, Pull: true, Most: 3},
		Flow:   &ferry.Flow{RunID: "r"}, Dead: &ferry.DeadLetter{Reason: ferry.ReasonRejected, At: now}, Acts: []ferry.Act{{Act: "replay", At: now}},
		Callbacks: []callback{{URL: "https://h.example/cb?sig=1", Key: "k1"}, {URL: "https://h.example/2"}}, Untold: true,
		ReplyTo: &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "answers", CorrelationID: "m-1"},
	}
	b, err := full.encode(nil)
	if err != nil {
		f.Fatal(err)
	}
	got, err := decodeRecord(id, b)
	if diff := cmp.Diff(full, got); err != nil || diff != "" {
		f.Fatalf("encoded and decoded: %v\n%s", err, diff)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte{tState, 4})
	f.Add([]byte{99, 1, 'x', tState, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = peekKey(b)
		r, err := decodeRecord(id, b)
		if err != nil {
			return
		}
		again, err := r.encode(nil)
		if err != nil {
			return // JSON that decodes, and cannot be written: a time beyond year 9999
		}
		back, err := decodeRecord(id, again)
		if err != nil || back.State != r.State || back.Turn != r.Turn {
			t.Fatalf("decoded %+v, then %+v, %v", r, back, err)
		}
		_ = r.knowsBody(nil)
	})
}

func FuzzDecodeProperties(f *testing.F) {
	f.Add(encodeProperties(map[string]string{"a": "b", "": "", "c": "d"}))
	f.Add([]byte{5, 'x'})
	f.Add(bytes.Repeat([]byte{0xff}, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := decodeProperties(b)
		if err != nil {
			return
		}
		back, err := decodeProperties(encodeProperties(p))
		if diff := cmp.Diff(p, back); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func FuzzReadCursor(f *testing.F) {
	l := &Ledger{}
	f.Add(l.writeCursor(make([]byte, 16)))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if place, err := l.readCursor(s, 16); err == nil && s != "" && len(place) != 16 {
			t.Fatalf("a cursor of %d bytes", len(place))
		}
	})
}
