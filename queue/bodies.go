package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// ErrBodyMissing says that a body is gone, or is not what was accepted.
var ErrBodyMissing = errors.New("the body is missing or was altered")

// BodyStore carries large bodies beside the queue (a claim check). It is never
// the truth: what is in it can be put again from the ledger at any time, so that
// a lost or emptied store costs time and nothing else. All methods may be called
// concurrently.
type BodyStore interface {
	// Put returns when the body is there, whole: nobody ever gets a part of one.
	// Again with the same name is harmless. open gives the body from its beginning,
	// as often as it is called, and who calls it closes what it gets.
	Put(ctx context.Context, name string, size int64, sha256 []byte, open func() (io.ReadCloser, error)) error
	// Get writes the body to w. ErrBodyMissing: it is not there. On any error w may
	// have got a part.
	Get(ctx context.Context, name string, w io.Writer) error
	// Delete removes the body; nil when it is not there.
	Delete(ctx context.Context, name string) error
	// Sweep removes what was put longer than older ago and keep does not want, and
	// says how many. It leaves alone what is not the store's own.
	Sweep(ctx context.Context, older time.Duration, keep func(name string) bool) (removed int, err error)
}

// BodyName is the name in a BodyStore of a revision of a message's body.
func BodyName(id ferry.ID, revision int) string { return id.String() + "." + strconv.Itoa(revision) }

// ParseBodyName reads what BodyName made.
func ParseBodyName(name string) (id ferry.ID, revision int, ok bool) {
	text, number, _ := strings.Cut(name, ".")
	id, err := ferry.ParseID(text)
	if err != nil {
		return ferry.ID{}, 0, false
	}
	revision, err = strconv.Atoi(number)
	return id, revision, err == nil && revision > 0 && BodyName(id, revision) == name
}

// Bodies is the store that large bodies travel by; nil: workers ask the broker
// for them, part by part.
func (q *Queue) Bodies() BodyStore { return q.bodies }

// FetchBody brings the body of a message that was too large to travel with it,
// and checks its size and SHA-256 while it comes; memory is needed for a part of
// it only. With a BodyStore it comes from there; what is not there, was altered
// or cannot be reached comes from the broker, part by part.
//
// w may get a part of the body more than once, each at its own offset. On an
// error it holds nothing that can be used. ErrBodyMissing: the body is gone or
// was altered, in the ledger too; any other error is a passing fault. Workers only.
func (q *Queue) FetchBody(ctx context.Context, h ferry.HandOut, w io.WriterAt) error {
	if h.Size < 0 || h.Size > ferry.MaxBody {
		return fmt.Errorf("body of message %s: %d bytes, %d at most: %w", h.ID, h.Size, ferry.MaxBody, ErrTooLarge)
	}
	if q.bodies == nil {
		return bodyError(h, q.fetchParts(ctx, h, newCheckedWriter(h, w)))
	}
	from := newCheckedWriter(h, w)
	stored := q.fetchStored(ctx, h, from)
	if stored == nil || from.failed != nil || ctx.Err() != nil {
		return bodyError(h, stored)
	}
	q.log.Warn("body.store", "route", h.Route, "message", h.ID, "error", stored.Error(), "next", "asking the broker")
	err := q.fetchParts(ctx, h, newCheckedWriter(h, w))
	if errors.Is(err, ErrBodyMissing) && !errors.Is(stored, ErrBodyMissing) {
		// The ledger has lost it, and the store, which may have it, cannot be asked.
		return bodyError(h, fmt.Errorf("the broker does not have it, and the store of bodies: %w", stored))
	}
	return bodyError(h, err)
}

func bodyError(h ferry.HandOut, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("body of message %s: %w", h.ID, err)
}

func (q *Queue) fetchStored(ctx context.Context, h ferry.HandOut, w *checkedWriter) error {
	err := q.bodies.Get(ctx, BodyName(h.ID, h.Revision), w)
	if w.overflow {
		return errAltered // whatever became of Get: it has more than was accepted
	}
	switch {
	case w.failed != nil:
		return w.failed
	case err != nil:
		return err
	}
	return w.check()
}

func (q *Queue) fetchParts(ctx context.Context, h ferry.HandOut, w *checkedWriter) error {
	part := int64(max(min(BodyChunk, q.props.MaxData-1024), 1))
	for w.n < h.Size {
		want := min(part, h.Size-w.n)
		chunk, err := q.ask(ctx, askBody, BodyRequest{
			ID: h.ID, Route: h.Route, Revision: h.Revision, Offset: w.n, Length: int(want),
		})
		if err != nil {
			return err
		}
		if int64(len(chunk)) != want {
			return fmt.Errorf("%d bytes at %d instead of %d: %w", len(chunk), w.n, want, ErrBodyMissing)
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return w.check()
}

var errAltered = fmt.Errorf("it is not what was accepted: %w", ErrBodyMissing)

// checkedWriter passes a body on to its place and holds it against the hand-out.
type checkedWriter struct {
	to       io.WriterAt
	sum      hash.Hash
	want     []byte
	size, n  int64
	overflow bool
	failed   error // of the place that it goes to: no other source helps
}

func newCheckedWriter(h ferry.HandOut, w io.WriterAt) *checkedWriter {
	return &checkedWriter{to: w, sum: sha256.New(), want: h.SHA256, size: h.Size}
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.size-w.n {
		w.overflow = true
		return 0, errAltered
	}
	n, err := w.to.WriteAt(p, w.n)
	w.sum.Write(p[:n])
	w.n += int64(n)
	w.failed = err
	return n, err
}

// check says whether all of it came, and nothing else. A hand-out without a hash
// vouches for the size alone.
func (w *checkedWriter) check() error {
	if w.n != w.size || len(w.want) > 0 && !bytes.Equal(w.sum.Sum(nil), w.want) {
		return errAltered
	}
	return nil
}
