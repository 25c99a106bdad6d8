package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"ferry"
)

func deadKey(r *record) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(r.Dead.At.UnixNano()))
	return append(b, r.ID[:]...)
}

// listDead puts a dead letter into the lists that it is found by.
func listDead(tx *bbolt.Tx, r *record) error {
	return errors.Join(tx.Bucket(bDead).Put(deadKey(r), nil), tx.Bucket(bDeadIn).Put(deadInKey(r), nil))
}

// setAside makes the record a dead letter. Its turn must have ended. Unless
// onward, a head of an ordering key keeps its followers waiting.
func (l *Ledger) setAside(tx *bbolt.Tx, r *record, dead *ferry.DeadLetter, onward bool) error {
	if err := l.joinGroup(tx, r, dead); err != nil {
		return err
	}
	// The counts go by reason: the new reason must stand before the move counts it.
	if !r.State.CanBecome(ferry.StateDeadLettered) {
		return fmt.Errorf("message %s cannot go from %s to %s", r.ID, r.State, ferry.StateDeadLettered)
	}
	l.count(tx, r, -1)
	// Receivers are not asked before a message is given up: people are told.
	dead.Open = r.Doubt && l.peek(r.Route).Pull
	from := r.State
	r.State, r.Dead = ferry.StateDeadLettered, dead
	l.count(tx, r, +1)
	l.tellOperation(tx, r, from)
	l.fixExpiry(r, from)
	if err := listDead(tx, r); err != nil {
		return err
	}
	if err := l.tellEnd(tx, r); err != nil {
		return err
	}
	if onward {
		return l.leaveOrder(tx, r)
	}
	return nil
}

// forgetDead takes a dead letter out of the list and its group. Its state is
// still dead-lettered, and its DeadLetter stays for the caller.
func (l *Ledger) forgetDead(tx *bbolt.Tx, r *record) error {
	if r.State != ferry.StateDeadLettered {
		return nil
	}
	if err := errors.Join(tx.Bucket(bDead).Delete(deadKey(r)), tx.Bucket(bDeadIn).Delete(deadInKey(r))); err != nil {
		return err
	}
	key := groupKey(r.Route, r.Dead.Group)
	v := tx.Bucket(bGroups).Get(key)
	if v == nil {
		return nil
	}
	g, err := decodeJSON[ferry.Group](v)
	if err != nil {
		l.log.Error("a damaged group of dead letters is dropped", "group", r.Dead.Group, "error", err)
	}
	if g.Count--; g.Count > 0 {
		return putJSON(tx, bGroups, key, g)
	}
	l.row(r.Route).Groups--
	return tx.Bucket(bGroups).Delete(key)
}

// otherErrors is what is said of the group of all that have none of their own.
const otherErrors = "errors beyond the first groups of this route"

func groupKey(route uint32, id string) []byte { return append(u32(route), id...) }

// joinGroup counts a dead letter in the group of those that failed alike.
func (l *Ledger) joinGroup(tx *bbolt.Tx, r *record, dead *ferry.DeadLetter) error {
	name, words := failureOf(dead)
	dead.Group = name
	b := tx.Bucket(bGroups)
	v := b.Get(groupKey(r.Route, dead.Group))
	row := l.row(r.Route)
	g := ferry.Group{ID: dead.Group, Route: row.Name, Reason: dead.Reason, Code: dead.Code, Description: words, First: dead.At, Sample: r.ID}
	if v == nil && row.Groups >= ferry.MaxGroups {
		other := b.Get(groupKey(r.Route, ferry.GroupOther))
		if other == nil || row.Groups > ferry.MaxGroups { // it is none of the named ones
			dead.Group, v = ferry.GroupOther, other
			g.ID, g.Reason, g.Code, g.Description = ferry.GroupOther, "", "", otherErrors
		}
	}
	if v == nil {
		row.Groups++
	} else if known, err := decodeJSON[ferry.Group](v); err == nil {
		g = known
	} else {
		l.log.Error("a damaged group of dead letters is begun anew", "group", dead.Group, "error", err)
	}
	g.Count++
	if dead.At.Before(g.First) { // restored
		g.First = dead.At
	}
	if !dead.At.Before(g.Last) {
		g.Last, g.Sample = dead.At, r.ID
	}
	return putJSON(tx, bGroups, groupKey(r.Route, dead.Group), g)
}
