package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ferry"
)

func testHandOut() ferry.HandOut {
	at := time.Date(2026, 11, 23, 9, 0, 0, 1, time.UTC)
	return ferry.HandOut{
		ID: ferry.NewID(at), Route: "invoices", Turn: 7, Revision: 2, Generation: 1, Inbox: "i", Spent: 1, Attempt: 3,
		Doubt: true, RiskAccepted: true, NotBefore: at, ExternalKey: "k", Properties: map[string]string{"a": "b", "": "c"},
		CreatedAt: at, PublishedAt: at, Body: []byte("body"), Size: 4,
	}
}

func encodeWhole(h ferry.HandOut) []byte {
	return appendBytes(encodeHandOut(&h, len(h.Body)+8), fieldBody, h.Body)
}

func TestHandOutSkipsNewerFields(t *testing.T) {
	want := testHandOut()
	data := encodeWhole(want)
	data = appendString(data, 900, "from a newer broker")
	data = appendUint(data, 901, 1<<63)
	got, err := decodeHandOut(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("hand-out (-sent +came):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good := encodeWhole(testHandOut())
	newer := bytes.Clone(good)
	newer[0] = wireVersion + 1
	r := ferry.Receipt{ID: ferry.NewID(time.Now()), Turn: 1, Verdict: ferry.Delivered}
	noTurn := testHandOut()
	noTurn.Turn = 0
	wrongSize := testHandOut()
	wrongSize.Size = 5
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"empty":         {nil, "empty"},
		"newer version": {newer, "version 2 of the queue's format, this program reads version 1"},
		"only version":  {good[:1], "something else"},
		"a receipt":     {encodeReceipt(&r), "something else"},
		"cut":           {good[:len(good)-1], "cannot be read"},
		"no turn":       {encodeWhole(noTurn), "missing"},
		"wrong size":    {encodeWhole(wrongSize), "4 bytes instead of 5"},
		"bad id":        {appendBytes(bytes.Clone(good), fieldID, []byte("short")), "cannot be read"},
		"bad number":    {appendBytes(bytes.Clone(good), fieldSpent, []byte{0x80}), "cannot be read"},
		"vast number":   {appendUint(bytes.Clone(good), fieldSpent, 1<<63), "cannot be read"},
		"bad time":      {appendBytes(bytes.Clone(good), fieldCreatedAt, []byte{2}), "cannot be read"},
		"field zero":    {append(bytes.Clone(good), 0, 0), "cannot be read"},
		"vast length":   {append(bytes.Clone(good), 200, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1), "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := decodeHandOut(c.data)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("decode: %v, want an error with %q", err, c.says)
			}
			if !h.ID.IsZero() {
				t.Error("a hand-out came with the error")
			}
		})
	}
	if _, err := decodeReceipt(good); !errors.Is(err, errMalformed) {
		t.Errorf("a hand-out taken for a receipt: %v", err)
	}
	if _, err := decodeSignal(good); !errors.Is(err, errMalformed) {
		t.Errorf("a hand-out taken for a signal: %v", err)
	}
	broken := appendBytes(encodeReceipt(&r), receiptAttempt, []byte{attemptNumber, 1, 0x80})
	if _, err := decodeReceipt(broken); !errors.Is(err, errMalformed) {
		t.Errorf("a receipt with a broken attempt: %v", err)
	}
}

func TestSignalRefusesCutList(t *testing.T) {
	whole := encodeSignal(Signal{Confirmed: []Confirmed{{ID: ferry.NewID(time.Now()), Turn: 300}}})
	if s, err := decodeSignal(whole); err != nil || len(s.Confirmed) != 1 || s.Confirmed[0].Turn != 300 {
		t.Fatalf("decode: %+v, %v", s, err)
	}
	list := bytes.Repeat([]byte{1}, 16) // an id without its turn
	data := appendBytes([]byte{wireVersion, kindSignal}, signalConfirmed, list)
	if s, err := decodeSignal(data); !errors.Is(err, errMalformed) {
		t.Errorf("decode: %+v, %v", s, err)
	}
}

// What decodes must encode to what decodes to the same again.
func FuzzHandOut(f *testing.F) {
	f.Add(encodeWhole(testHandOut()))
	f.Add(appendString(encodeWhole(testHandOut()), 900, "newer"))
	f.Add([]byte{wireVersion, kindHandOut})
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := decodeHandOut(data)
		if err != nil {
			return
		}
		again, err := decodeHandOut(encodeWhole(h))
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v", err)
		}
		if diff := cmp.Diff(h, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	at := time.Date(2026, 11, 23, 9, 0, 0, 1, time.UTC)
	r := ferry.Receipt{
		ID: ferry.NewID(at), Route: "invoices", Turn: 1, Worker: "w", Verdict: ferry.Unknown, Effect: ferry.EffectMaybe,
		Attempts: []ferry.Attempt{{Number: 1, StartedAt: at, Fields: []ferry.FieldError{{Field: "a", Text: "b"}}}},
		Next:     ferry.Next{Do: ferry.DoRetry, After: time.Second, Doubt: true},
	}
	f.Add(encodeReceipt(&r))
	f.Add([]byte{wireVersion, kindReceipt})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeReceipt(data)
		if err != nil {
			return
		}
		again, err := decodeReceipt(encodeReceipt(&r))
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v", err)
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

func FuzzSignal(f *testing.F) {
	f.Add(encodeSignal(Signal{HelloAgain: true, Confirmed: []Confirmed{{Turn: 1}, {Turn: 1 << 60}}}))
	f.Add(encodeSignal(Signal{Report: &ReportCall{Nonce: "n", Since: time.Unix(1, 0).UTC()}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeSignal(data)
		if err != nil {
			return
		}
		again, err := decodeSignal(encodeSignal(s))
		if err != nil {
			t.Fatalf("what was decoded cannot be decoded again: %v", err)
		}
		if diff := cmp.Diff(s, again, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

func BenchmarkHandOut(b *testing.B) {
	h := testHandOut()
	h.Body = make([]byte, 1024)
	h.Size = 1024
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeHandOut(encodeWhole(h)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestUvarintLen(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 16383, 16384, 1 << 62, 1<<64 - 1} {
		if got, want := uvarintLen(v), len(binary.AppendUvarint(nil, v)); got != want {
			t.Errorf("uvarintLen(%d) = %d, want %d", v, got, want)
		}
	}
}
