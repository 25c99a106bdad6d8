package adaptertest

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest/practice"
)

// opened is a body that is not in memory, and how it was read.
type opened struct {
	body           string
	opens, readers atomic.Int64 // opened ever, and open now
}

func (o *opened) open() (io.ReadSeekCloser, error) {
	o.opens.Add(1)
	o.readers.Add(1)
	return &openBody{Reader: strings.NewReader(o.body), of: o}, nil
}

type openBody struct {
	*strings.Reader
	of   *opened
	shut atomic.Bool
}

func (b *openBody) Read(p []byte) (int, error) {
	if b.shut.Load() {
		return 0, errors.New("read after it was closed")
	}
	return b.Reader.Read(p)
}

func (b *openBody) Close() error {
	if !b.shut.Swap(true) {
		b.of.readers.Add(-1)
	}
	return nil
}

// largeText is in the body of a large call: more than what the ledger and the queue
// carry with a message.
const largeText = 320 << 10

// largeCall is a call whose body lies elsewhere.
func (f *fixture) largeCall() (adapters.Call, *opened) {
	o := &opened{body: `{"number":"1","text":"` + strings.Repeat("x", largeText) + `"}`}
	call := f.call("")
	call.Body, call.Size, call.Open = nil, int64(len(o.body)), o.open
	return call, o
}

func (o *opened) allClosed(t *testing.T) {
	t.Helper()
	eventually(t, "every reader of the body is closed", func() bool { return o.readers.Load() == 0 })
}

// largeBody: with and without a map, a body that lies elsewhere arrives whole, and
// every reader of it is closed.
func largeBody(t *testing.T, h Harness) {
	maps := []string{"", "."}
	if h.Expect.Objects {
		maps = maps[1:]
	}
	for _, mapped := range maps {
		f := h.setup(t, practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Map = mapped })
		for range 2 { // on a fresh connection, and on one that was used
			call, o := f.largeCall()
			want(t, f.deliver(t, call), ferry.Delivered, ferry.EffectDone)
			docs := f.written(call)
			if len(docs) != 1 || !h.isWhole(string(docs[0].Body), o.body) {
				t.Errorf("map %q: %d documents, or another body", mapped, len(docs))
			}
			o.allClosed(t)
			if p, err := f.adapter.Preview(t.Context(), call); err != nil || !h.isWhole(p.Body, o.body) {
				t.Errorf("map %q: preview of %d bytes, %v", mapped, len(p.Body), err)
			}
			o.allClosed(t)
		}
	}
}

// isWhole says whether all of the body is in what came of it: the same bytes, or
// its text where the system writes it in words of its own.
func (h Harness) isWhole(got, body string) bool {
	if h.Expect.Objects {
		return strings.Contains(got, strings.Repeat("x", largeText))
	}
	return got == body
}

// largeBodySentOnce: what may have been written is not sent again, also when the
// connection was used before; one that cannot be opened was not tried.
func largeBodySentOnce(t *testing.T, h Harness) {
	f := h.setup(t, practice.Settings{}, func(_ *adapters.DestinationConfig, r *adapters.RouteConfig) { r.Map = "" })
	for range 3 {
		want(t, f.deliver(t, f.call(`{"number":"0"}`)), ferry.Delivered, ferry.EffectDone)
		before := f.erp.Calls(practice.OpCreate)
		f.fail(t, practice.Fault{Kind: practice.FaultCutBefore, Times: -1})
		call, o := f.largeCall()
		want(t, f.deliver(t, call), ferry.Unknown, ferry.EffectMaybe)
		if n := f.erp.Calls(practice.OpCreate) - before; n != 1 || o.opens.Load() != 1 {
			t.Errorf("sent %d times, opened %d times", n, o.opens.Load())
		}
		o.allClosed(t)
		f.erp.ClearFaults()
	}
	before := f.erp.Calls(practice.OpCreate)
	call, _ := f.largeCall()
	call.Open = func() (io.ReadSeekCloser, error) { return nil, errors.New("the disk is asleep") }
	want(t, f.deliver(t, call), ferry.NotTried, ferry.EffectNone)
	call.Open = nil
	want(t, f.deliver(t, call), ferry.NotTried, ferry.EffectNone)
	if n := f.erp.Calls(practice.OpCreate) - before; n != 0 {
		t.Errorf("%d calls without a body", n)
	}
}
