package worker

import (
	"encoding/binary"
	"errors"
	"time"

	"ferry"
)

// recordState says how far the turn of a record came.
type recordState byte

const (
	begun  recordState = 1 // a call may have been made; nobody recorded its end
	result recordState = 2 // the turn has ended, receipt says how
)

// record is what the inbox knows of a message: its highest turn, and whether an
// outcome is open.
type record struct {
	state      recordState
	turn       uint64
	revision   int
	generation int
	crashes    int // turns of this generation that were begun and never ended
	hasIt      bool
	begunAt    time.Time
	deadline   time.Time // begun: no call of this turn runs longer

	// An outcome is open: a call of doubtRevision may have written something, and
	// ended at callEnded at the latest. own: one that this worker made; else the
	// ledger told of it.
	doubt         bool
	own           bool
	free          bool // it costs nothing when it proves absent: others failed alike
	doubtRevision int
	callEnded     time.Time

	receipt []byte // result: the receipt as it travels
}

const recordVersion = 1

const (
	flagHasIt = 1 << iota
	flagDoubt
	flagOwn
	flagFree
)

var errRecord = errors.New("the inbox record cannot be read")

// encode gives the compact form: version, state, flags, numbers as varints,
// times as milliseconds, the receipt to the end.
func (r *record) encode() []byte {
	b := make([]byte, 0, 64+len(r.receipt))
	var flags byte
	if r.hasIt {
		flags |= flagHasIt
	}
	if r.doubt {
		flags |= flagDoubt
	}
	if r.own {
		flags |= flagOwn
	}
	if r.free {
		flags |= flagFree
	}
	b = append(b, recordVersion, byte(r.state), flags)
	b = binary.AppendUvarint(b, r.turn)
	for _, n := range []int{r.revision, r.generation, r.crashes, r.doubtRevision} {
		b = binary.AppendUvarint(b, uint64(max(n, 0)))
	}
	for _, t := range []time.Time{r.begunAt, r.deadline, r.callEnded} {
		var ms int64
		if !t.IsZero() {
			ms = t.UnixMilli()
		}
		b = binary.AppendVarint(b, ms)
	}
	return append(b, r.receipt...)
}

// decodeRecord reads the form of encode; the receipt is copied.
func decodeRecord(b []byte) (record, error) {
	if len(b) < 3 || b[0] != recordVersion {
		return record{}, errRecord
	}
	r := record{
		state: recordState(b[1]), hasIt: b[2]&flagHasIt != 0, doubt: b[2]&flagDoubt != 0, own: b[2]&flagOwn != 0,
		free: b[2]&flagFree != 0,
	}
	if r.state != begun && r.state != result {
		return record{}, errRecord
	}
	b = b[3:]
	ok := true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok = false
			return 0
		}
		b = b[n:]
		return v
	}
	moment := func() time.Time {
		v, n := binary.Varint(b)
		if n <= 0 {
			ok = false
			return time.Time{}
		}
		b = b[n:]
		if v == 0 {
			return time.Time{}
		}
		return time.UnixMilli(v).UTC()
	}
	r.turn = number()
	r.revision, r.generation, r.crashes, r.doubtRevision = int(number()), int(number()), int(number()), int(number())
	r.begunAt, r.deadline, r.callEnded = moment(), moment(), moment()
	if !ok {
		return record{}, errRecord
	}
	if len(b) > 0 {
		r.receipt = append([]byte(nil), b...)
	}
	return r, nil
}

// openSince says whether the record leaves an outcome open, of which revision (0:
// of more than one), and when its call had ended at the latest.
func (r *record) openSince() (open bool, revision int, ended time.Time) {
	if r == nil {
		return false, 0, time.Time{}
	}
	if r.state == begun {
		revision = r.revision
		if r.doubt && r.doubtRevision != revision {
			revision = 0
		}
		return true, revision, later(r.deadline, r.callEnded)
	}
	return r.doubt, r.doubtRevision, r.callEnded
}

// ownCall says whether a call of this worker is what left the outcome open.
func (r *record) ownCall() bool { return r != nil && (r.state == begun || r.doubt && r.own) }

// costsNothing says whether the open outcome on record costs no attempt when it
// proves absent at h. A call whose end nobody recorded is not covered, and where
// turns are claimed, another worker may have called since. A call of an earlier
// generation never costs anything: a replay begins with its whole budget.
func (r *record) costsNothing(h *ferry.HandOut) bool {
	if open, _, _ := r.openSince(); open && !h.Claims && r.generation != h.Generation {
		return true
	}
	return r != nil && r.state == result && r.doubt && r.free && (!h.Claims || r.turn+1 == h.Turn)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
