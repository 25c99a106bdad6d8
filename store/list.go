package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// Message returns all that is known of a message but its body.
func (l *Ledger) Message(id ferry.ID) (e ferry.Envelope, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		if e, err = l.envelope(tx, r); err != nil {
			return damaged(err)
		}
		e.Attempts, err = attempts(tx, id)
		return err
	})
	return e, err
}

// MessageHead is Message without the attempts: it costs one read of one record.
func (l *Ledger) MessageHead(id ferry.ID) (e ferry.Envelope, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		if e, err = l.envelope(tx, r); err != nil {
			return damaged(err)
		}
		return nil
	})
	return e, err
}

// envelope is the record as people see it, without the attempts.
func (l *Ledger) envelope(tx *bbolt.Tx, r *record) (ferry.Envelope, error) {
	e := ferry.Envelope{
		ID: r.ID, Route: l.nameOf(r.Route), State: l.shownState(r), Revision: r.Revision, Generation: r.Generation,
		IdempotencyKey: r.Key, CorrelationID: r.CorrelationID, OrderingKey: r.OrderingKey,
		ContentType: r.ContentType, Size: r.Size, Properties: r.Properties,
		CreatedAt: timeOf(r.CreatedAt), UpdatedAt: timeOf(r.UpdatedAt),
		Version: r.Version, DeliverAs: r.As,
		Reference: r.Reference, Result: json.RawMessage(r.Result), ResultNote: r.ResultNote,
		Awaiting:   r.shownAwaiting(),
		DeadLetter: r.Dead, Discarded: r.Discarded, Conflict: r.Conflict, Acts: r.Acts,
		Attempts: []ferry.Attempt{}, AttemptsTotal: r.Attempts,
		Sender: ferry.Sender{Name: r.SenderName, Flow: shownFlow(r.Flow)}, PossibleRepeatOf: r.RepeatOf,
	}
	if r.BodiesGone != 0 {
		t := timeOf(r.BodiesGone)
		e.BodyRemovedAt = &t
	}
	if r.DeliverAt != 0 {
		t := timeOf(r.DeliverAt)
		e.DeliverAt = &t
	}
	if r.ExpiresAt != 0 {
		t := timeOf(l.shownExpiry(r))
		e.ExpiresAt = &t
	}
	switch {
	case !r.State.Pending():
	case r.Parked:
		e.WaitingFor = &ferry.WaitingFor{Reason: ferry.WaitsForOrder}
		if head, ok := headOf(tx, r.Route, r.OrderingKey); ok {
			e.WaitingFor.Behind = &head
			if front, err := get(tx, head); err == nil && front != nil && front.State == ferry.StateDeadLettered {
				e.WaitingFor.Detail = "the message in front is a dead letter"
			}
		}
	case e.State == ferry.StateQueued:
		e.WaitingFor = &ferry.WaitingFor{Reason: ferry.WaitsForDelivery}
		if r.Holder != nil {
			until := l.DueAt(timeOf(r.Holder.Until))
			e.WaitingFor.Worker, e.WaitingFor.Until = r.Holder.Worker, &until
		}
	case r.Due > l.dueBy(r.Route):
		until := timeOf(r.Due)
		e.WaitingFor = &ferry.WaitingFor{Reason: ferry.WaitsForDueTime, Until: &until}
		switch {
		case r.awaits():
			e.WaitingFor.Reason = ferry.WaitsForConfirmation
		case r.State == ferry.StateAccepted && r.DeliverAt != 0:
			e.WaitingFor.Detail = "it is to be delivered then"
		case r.State == ferry.StateRetrying:
			e.WaitingFor.Detail = "its next attempt is then"
		}
	default:
		e.WaitingFor = &ferry.WaitingFor{Reason: ferry.WaitsForTurn}
	}
	if e.WaitingFor != nil {
		e.WaitingFor.Open, e.WaitingFor.Text = r.Doubt, r.Said
	}
	return e, nil
}

// shownFlow is a flow with the link to its run. It is a copy: the link is not stored.
func shownFlow(f *ferry.Flow) *ferry.Flow {
	if f == nil {
		return nil
	}
	shown := *f
	shown.RunURL = f.Link()
	return &shown
}

// ResolveID finds the one message whose id ends in suffix.
func (l *Ledger) ResolveID(suffix string) (ferry.ID, error) {
	suffix = strings.ToLower(suffix)
	if id, err := ferry.ParseID(suffix); err == nil {
		return id, nil
	}
	if !ferry.IsIDSuffix(suffix) {
		return ferry.ID{}, ferry.Errorf(ferry.CodeBadID, "%.40q is not a message id", suffix).
			WithHint("give the whole id, or at least its last 6 characters")
	}
	var found []ferry.ID
	end, _ := strconv.ParseUint(suffix[len(suffix)-2:], 16, 8) // two digits: see IsIDSuffix
	err := l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bMessages).Cursor()
		n := 0
		for k, _ := c.Last(); k != nil && len(found) < 2; k, _ = c.Prev() {
			if n++; n%givenBackEvery == 0 {
				commit.GiveBack(tx) // c is on a page, and finds it again
			}
			if k[len(k)-1] != byte(end) {
				continue
			}
			if id := ferry.ID(k); strings.HasSuffix(id.String(), suffix) {
				found = append(found, id)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return ferry.ID{}, err
	case len(found) == 0:
		return ferry.ID{}, ferry.Errorf(ferry.CodeMessageNotFound, "no message's id ends in %s", suffix)
	case len(found) > 1:
		return ferry.ID{}, ferry.Errorf(ferry.CodeAmbiguousID, "more than one message's id ends in %s", suffix).
			WithHint("give more of it: %s, %s", found[0], found[1])
	}
	return found[0], nil
}

// Messages lists messages, newest first. A page may come back short, or empty, with a
// cursor: it looks at the records for so long at the most. A message whose
// idempotency key is q is found at once, and may then come behind its place.
func (l *Ledger) Messages(f ferry.MessageFilter) (ferry.Page, error) {
	last, err := l.readCursor(f.Cursor, 16)
	if err != nil {
		return ferry.Page{}, err
	}
	page := ferry.Page{Items: []ferry.Envelope{}}
	if l.none(&f) {
		return page, nil
	}
	err = l.db.View(func(tx *bbolt.Tx) error { return l.messages(tx, &f, last, &page) })
	return page, err
}

func (l *Ledger) messages(tx *bbolt.Tx, f *ferry.MessageFilter, last []byte, page *ferry.Page) error {
	add := func(r *record) error {
		e, err := l.envelope(tx, r)
		page.Items = append(page.Items, e)
		return err
	}
	may, left, keyed, first := l.quicklyOf(f), newBudget(l.pageBound), l.byKey(tx, f), last == nil
	c := tx.Bucket(bMessages).Cursor()
	for k, v := l.startBefore(c, last, f.Until); k != nil; k, v = c.Prev() {
		id := ferry.ID(k)
		if !f.Since.IsZero() && id.Time().Before(f.Since.Truncate(time.Millisecond)) {
			return nil
		}
		full := len(page.Items) == f.Limit
		if full || !left.spend() {
			if page.NextCursor = l.writeCursor(last); full || !first {
				return nil
			}
			for _, r := range keyed { // those that the scan has not come to
				if bytes.Compare(r.ID[:], last) < 0 && len(page.Items) < f.Limit && l.matches(r, f) && covers(f, r.ID.Time()) {
					if err := add(r); err != nil {
						return err
					}
				}
			}
			return nil
		}
		last = append(last[:0:0], id[:]...)
		if !may.may(id, v) || !first && slices.ContainsFunc(keyed, func(r *record) bool { return r.ID == id }) {
			continue
		}
		r, err := decodeRecord(id, v)
		if err != nil {
			l.log.Error("a record cannot be read", "message", id, "error", err)
			continue
		}
		if l.matches(r, f) {
			if err := add(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// startBefore places the cursor before last, or before a time, or at the end.
func (l *Ledger) startBefore(c *bbolt.Cursor, last []byte, until time.Time) (k, v []byte) {
	switch {
	case last != nil:
		return seekBefore(c, last)
	case !until.IsZero():
		first := ferry.FirstID(until)
		return seekBefore(c, first[:])
	default:
		return c.Last()
	}
}

// seekBefore places the cursor on the last key before place.
func seekBefore(c *bbolt.Cursor, place []byte) (k, v []byte) {
	if k, _ := c.Seek(place); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// covers says whether a time lies within that of the filter.
func covers(f *ferry.MessageFilter, at time.Time) bool {
	return (f.Since.IsZero() || !at.Before(f.Since.Truncate(time.Millisecond))) && (f.Until.IsZero() || at.Before(f.Until))
}

func (l *Ledger) matches(r *record, f *ferry.MessageFilter) bool {
	if f.State != "" && l.shownState(r) != f.State {
		return false
	}
	if f.Sender != "" && r.SenderName != f.Sender || f.Flow != "" && !r.ofFlow(f.Flow) {
		return false
	}
	if f.Route != "" || f.Routes != nil {
		name := l.nameOf(r.Route)
		if f.Route != "" && name != f.Route || f.Routes != nil && !slices.Contains(f.Routes, name) {
			return false
		}
	}
	return f.Q == "" || r.answersTo(f.Q)
}

// answersTo says whether q is one of the record's names, or the beginning of one.
func (r *record) answersTo(q string) bool {
	names := []string{r.ID.String(), r.Key, r.CorrelationID, r.OrderingKey, r.Reference, r.SenderName}
	names = append(names, r.Search...)
	if r.Flow != nil {
		names = append(names, r.Flow.RunID, r.Flow.Name, r.Flow.WorkflowID, r.Flow.TrackingID, r.Flow.ClientTrackingID)
	}
	if r.Dead != nil && r.Dead.Reference != "" {
		names = append(names, r.Dead.Reference)
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, q) })
}

// ofFlow says whether name is that of the flow that sent it, or of its run.
func (r *record) ofFlow(name string) bool {
	return r.Flow != nil && (r.Flow.Name == name || r.Flow.WorkflowID == name || r.Flow.RunID == name)
}

// Cursors carry a place, the time that they were made, and a check that they
// were made here.

func (l *Ledger) writeCursor(place []byte) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()))
	b = append(b, place...)
	return base64.RawURLEncoding.EncodeToString(append(b, cursorCheck(b)...))
}

func cursorCheck(b []byte) []byte {
	h := hmac.New(sha256.New, []byte("ferry list cursor"))
	h.Write(b)
	return h.Sum(nil)[:6]
}

func (l *Ledger) readCursor(s string, size int) ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 8+size+6 || !hmac.Equal(cursorCheck(b[:8+size]), b[8+size:]) {
		return nil, ferry.Errorf(ferry.CodeBadCursor, "the cursor is not one of this list").WithHint("start again without a cursor")
	}
	if age := time.Since(time.Unix(int64(binary.BigEndian.Uint64(b)), 0)); age > ferry.CursorLife {
		return nil, ferry.Errorf(ferry.CodeBadCursor, "the cursor is older than a day").WithHint("start again without a cursor")
	}
	return b[8 : 8+size], nil
}
