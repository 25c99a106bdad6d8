package store

import (
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// InboxRecord is what a worker's inbox knows of a message.
type InboxRecord struct {
	ID        ferry.ID
	Route     string // empty: not kept with it
	Turn      uint64
	Begun     bool // its call's end is not known
	HasIt     bool // the destination has it
	Open      bool // the ledger has not confirmed it to the worker yet
	Reference string
}

// HoldAgainst compares a part of a worker's inbox with the ledger. The worker must
// have read its inbox before: whatever it knows was in the ledger earlier. mine
// says whether a route is the worker's; what it says of others is not looked at.
// removed counts messages that retention may have removed.
func (l *Ledger) HoldAgainst(worker string, records []InboxRecord, mine func(route string) bool) (findings []ferry.Finding, removed int64, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		restores := restoresOf(tx)
		for i := range records {
			in := &records[i]
			r, err := get(tx, in.ID)
			if err != nil {
				continue // a finding of its own
			}
			if r == nil {
				switch {
				case in.Route != "" && !mine(in.Route):
				case !restores.lost(in.ID.Time()) && l.mayBeRemoved(in):
					removed++
				default:
					findings = append(findings, unknownMessage(worker, in, restores))
				}
				continue
			}
			route := l.nameOf(r.Route)
			if !mine(route) {
				continue
			}
			if f, amiss := compareInbox(r, in); amiss {
				f.Route, f.Worker, f.ID, f.Number, f.Day = route, worker, r.ID, r.Seq, dayText(dayOf(r.CreatedAt))
				f.Reference = in.Reference
				findings = append(findings, f)
			}
		}
		return nil
	})
	return findings, removed, err
}

// mayBeRemoved says whether retention has removed messages as young as this one.
func (l *Ledger) mayBeRemoved(in *InboxRecord) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, row := range l.routes {
		if (in.Route == "" || in.Route == row.Name) && string(in.ID[:]) <= string(row.LastPurged[:]) {
			return true
		}
	}
	return false
}

func unknownMessage(worker string, in *InboxRecord, restores restores) ferry.Finding {
	said := "had it in hand, and wrote nothing"
	switch {
	case in.HasIt && in.Reference != "":
		said = "delivered it: " + in.Reference
	case in.HasIt:
		said = "delivered it"
	case in.Begun:
		said = "began to deliver it, and does not know whether the destination has it"
	}
	why := "this ledger has no such message"
	if restores.lost(in.ID.Time()) {
		why = "it was accepted after the backup that this ledger was restored from: it is gone here"
	}
	return ferry.Finding{
		Kind: ferry.FindingUnknown, Route: in.Route, Day: dayText(dayOf(in.ID.Time().UnixNano())), ID: in.ID, Worker: worker, Reference: in.Reference,
		Text: fmt.Sprintf("worker %s %s; %s", worker, said, why),
	}
}

func compareInbox(r *record, in *InboxRecord) (f ferry.Finding, amiss bool) {
	as := "delivered it"
	if in.Reference != "" {
		as += ": " + in.Reference
	}
	switch {
	case in.HasIt && in.Open:
		return f, false // its receipt may be on the way
	case in.HasIt && r.State == ferry.StateCompleted:
		if in.Reference == "" || r.Reference == "" || in.Reference == r.Reference {
			return f, false
		}
		return ferry.Finding{Kind: ferry.FindingWorkerOther, Text: fmt.Sprintf("the worker's reference is %s, the ledger's %s", in.Reference, r.Reference)}, true
	case in.HasIt && r.Conflict != "":
		return f, false // the ledger knows, and shows it
	case in.HasIt:
		text := "the worker " + as + "; the ledger says " + string(r.State)
		if r.State.Pending() {
			text += ": it completes once the worker has it in hand again"
		}
		return ferry.Finding{Kind: ferry.FindingWorkerDone, Text: text}, true
	case in.Turn > r.Turn:
		return ferry.Finding{Kind: ferry.FindingWorkerAhead, Text: fmt.Sprintf("the worker has turn %d in hand, the ledger is at %d: the ledger is older than the worker", in.Turn, r.Turn)}, true
	}
	return f, false
}

// restore is a time at which a backup took the place of the ledger.
type restore struct {
	BackupAt   time.Time `json:"backupAt"`
	RestoredAt time.Time `json:"restoredAt"`
}

type restores []restore

// onItsWay is how long before its commit a message may have been given its id.
const onItsWay = time.Minute

// lost says whether what was given its id at a time, and is not in the ledger, is
// missing since a backup took the ledger's place after it.
func (rs restores) lost(at time.Time) bool {
	for _, r := range rs {
		if at.After(r.BackupAt.Add(-onItsWay)) && at.Before(r.RestoredAt) {
			return true
		}
	}
	return false
}
