package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// suspect is a body in a file that may be gone: whether the message has gone too
// is looked at outside of the read that found it.
type suspect struct {
	id       ferry.ID
	revision int
}

// maxSuspects bounds the bodies in files that one proof finds missing.
const maxSuspects = 10 * ferry.MaxFindings

// lists are the indexes in one transaction, opened once.
type lists struct {
	tx                *bbolt.Tx
	due, dead, claims *bbolt.Cursor
	order, bodies     *bbolt.Bucket
}

func listsOf(tx *bbolt.Tx) *lists {
	return &lists{
		tx: tx, due: tx.Bucket(bDue).Cursor(), dead: tx.Bucket(bDead).Cursor(), claims: tx.Bucket(bClaims).Cursor(),
		order: tx.Bucket(bOrder), bodies: tx.Bucket(bBodies),
	}
}

func has(c *bbolt.Cursor, key []byte) bool {
	k, _ := c.Seek(key)
	return bytes.Equal(k, key)
}

// record holds a record against the indexes that must know it, at one moment.
func (p *proving) record(in *lists, r *record) {
	switch {
	case r.State.Pending():
		p.pending(in, r)
	case r.Parked || r.Due != 0:
		p.findOf(r, ferry.FindingRecord, "the message is %s, and the record says that it waits to be handed out", r.State)
	case r.State == ferry.StateDeadLettered && !has(in.dead, deadKey(r)):
		p.findOf(r, ferry.FindingDead, "the message is a dead letter (%s), and the list of dead letters does not have it", r.Dead.Reason)
	case r.State == ferry.StateDiscarded && r.Discarded == nil:
		p.findOf(r, ferry.FindingRecord, "the message is discarded, and nobody is noted who did it")
	}
	if r.OrderSeq != 0 && !bytes.Equal(in.order.Get(orderKey(r)), r.ID[:]) {
		p.findOf(r, ferry.FindingOrder, "the message does not stand in the order of its ordering key")
	}
	for revision := 1; revision <= r.Revision; revision++ {
		p.body(in, r, revision)
	}
}

func (p *proving) pending(in *lists, r *record) {
	switch {
	case r.Parked:
		head, ok := headOf(in.tx, r.Route, r.OrderingKey)
		if r.OrderSeq == 0 || !ok || head == r.ID {
			p.findOf(r, ferry.FindingDue, "the message waits behind another of its ordering key, and there is none: nothing would ever hand it out")
		}
	case r.Due == 0 || !has(in.due, dueKey(r.Route, r.Due, r.ID)):
		p.findOf(r, ferry.FindingDue, "the message is pending, and is not in the list of what is to be handed out: nothing would ever hand it out")
	}
	if r.OrderingKey != "" && r.OrderSeq == 0 {
		p.findOf(r, ferry.FindingOrder, "the message has an ordering key and no place in its order")
	}
	if r.Holder != nil && !has(in.claims, claimKey(r)) {
		p.findOf(r, ferry.FindingClaim, "the message is claimed by %s, and nothing would take it over should that stay silent", r.Holder.Worker)
	}
}

// body looks whether a revision's body is there: in the ledger by its length, or by
// its hash in a deep proof; a file is looked at later.
func (p *proving) body(in *lists, r *record, revision int) {
	if r.BodiesGone != 0 {
		return // retention took it
	}
	want := r.hashOf(revision)
	if want == nil {
		p.findOf(r, ferry.FindingBody, "revision %d has no hash", revision)
		return
	}
	if empty := sha256.Sum256(nil); bytes.Equal(want, empty[:]) {
		return
	}
	body := in.bodies.Get(bodyKey(r.ID, revision))
	if body == nil {
		if r.Size <= ferry.InlineBody && revision == r.Revision {
			p.findOf(r, ferry.FindingBody, "the body of revision %d is gone", revision)
			return
		}
		p.inFile(r, revision)
		return
	}
	if revision == r.Revision && int64(len(body)) != r.Size {
		p.findOf(r, ferry.FindingBody, "the body of revision %d has %d bytes instead of %d", revision, len(body), r.Size)
		return
	}
	if p.req.Deep {
		if sum := sha256.Sum256(body); !bytes.Equal(sum[:], want) {
			p.findOf(r, ferry.FindingBody, "the body of revision %d was altered: its SHA-256 differs", revision)
		}
	}
}

// inFile notes a body in a file that is amiss at the first look; in a deep proof
// all of them are read.
func (p *proving) inFile(r *record, revision int) {
	if !p.req.Deep {
		info, err := os.Stat(p.l.bodyPath(r.ID, revision))
		if err == nil && (revision != r.Revision || info.Size() == r.Size) {
			return
		}
	}
	if p.req.Deep || len(p.bodies) < maxSuspects {
		p.bodies = append(p.bodies, suspect{r.ID, revision})
	}
}

// lookAtBodies reads the bodies in files that are suspect. A message that retention
// removed meanwhile has none, nor has one whose bodies it took.
func (p *proving) lookAtBodies() error {
	for _, s := range p.bodies {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		b, err := p.l.OpenBody(s.id, s.revision)
		switch {
		case err == nil:
			_ = b.Close()
			continue
		case ferry.CodeOf(err) == ferry.CodeMessageNotFound, ferry.CodeOf(err) == ferry.CodeBodyRemoved:
			continue
		case !errors.Is(err, ErrBodyMissing):
			return err
		}
		if err := p.bodyGone(s); err != nil {
			return err
		}
	}
	return nil
}

// bodyGone finds a body that could not be read, if its record still wants it.
func (p *proving) bodyGone(s suspect) error {
	return p.l.db.View(func(tx *bbolt.Tx) error {
		r, err := get(tx, s.id)
		if err == nil && r != nil && r.BodiesGone == 0 {
			p.findOf(r, ferry.FindingBody, "the body of revision %d is gone or was altered: its file %s", s.revision, p.l.bodyPath(s.id, s.revision))
		}
		return err
	})
}

// walkIndexes looks for entries of the indexes whose records do not know them.
func (p *proving) walkIndexes() error {
	var prefix []byte
	if p.route != 0 {
		prefix = u32(p.route)
	}
	stray := func(r *record, id ferry.ID, route uint32, text string) {
		if r != nil {
			route = r.Route
		}
		if !p.wants(route) {
			return
		}
		p.find(route, dayOf(id.Time().UnixNano()), ferry.Finding{Kind: ferry.FindingStray, ID: id, Text: text})
	}
	read := func(messages *bbolt.Bucket, id ferry.ID) (r *record, readable bool) {
		v := messages.Get(id[:])
		if v == nil {
			return nil, true
		}
		r, err := decodeRecord(id, v)
		return r, err == nil // what cannot be read is a finding already
	}
	if err := p.inSteps(bDue, prefix, func(messages *bbolt.Bucket, k, _ []byte) {
		due, id := splitDueKey(k)
		if r, ok := read(messages, id); ok && (r == nil || !r.State.Pending() || r.Parked || r.Due != due || r.Route != binary.BigEndian.Uint32(k)) {
			stray(r, id, binary.BigEndian.Uint32(k), "an entry in the list of what is to be handed out names a message that "+shown(r, "is not to be handed out then"))
		}
	}); err != nil {
		return err
	}
	if err := p.inSteps(bOrder, prefix, func(messages *bbolt.Bucket, k, v []byte) {
		if len(v) != 16 {
			return
		}
		if r, ok := read(messages, ferry.ID(v)); ok && (r == nil || r.OrderSeq == 0 || !bytes.Equal(orderKey(r), k)) {
			stray(r, ferry.ID(v), binary.BigEndian.Uint32(k), "an entry in the order of an ordering key names a message that "+shown(r, "does not stand there: what comes behind it may wait for ever"))
		}
	}); err != nil {
		return err
	}
	if err := p.inSteps(bDead, nil, func(messages *bbolt.Bucket, k, _ []byte) {
		id := ferry.ID(k[8:])
		if r, ok := read(messages, id); ok && (r == nil || r.State != ferry.StateDeadLettered || !bytes.Equal(deadKey(r), k)) {
			stray(r, id, 0, "an entry in the list of dead letters names a message that "+shown(r, "is no dead letter of that time"))
		}
	}); err != nil {
		return err
	}
	return p.inSteps(bClaims, nil, func(messages *bbolt.Bucket, k, _ []byte) {
		id := ferry.ID(k[8:])
		if r, ok := read(messages, id); ok && (r == nil || r.Holder == nil || !bytes.Equal(claimKey(r), k)) {
			stray(r, id, 0, "an entry in the list of claims names a message that "+shown(r, "is not claimed so"))
		}
	})
}

func shown(r *record, otherwise string) string {
	if r == nil {
		return "is not there"
	}
	return otherwise + " (it is " + string(r.State) + ")"
}

// inSteps calls see with the entries of a bucket under a prefix, so many in one
// read. What is put or removed between two reads may be seen or not.
func (p *proving) inSteps(bucket, prefix []byte, see func(messages *bbolt.Bucket, k, v []byte)) error {
	from := prefix
	for {
		done := false
		err := p.l.db.View(func(tx *bbolt.Tx) error {
			c, messages := tx.Bucket(bucket).Cursor(), tx.Bucket(bMessages)
			k, v := c.Seek(from)
			for n := 0; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
				if n++; n > proofStep {
					from = bytes.Clone(k)
					commit.GiveBack(tx)
					return nil
				}
				see(messages, k, v)
			}
			done = true
			return nil
		})
		if err == nil {
			err = p.ctx.Err()
		}
		if err != nil || done {
			return err
		}
	}
}
