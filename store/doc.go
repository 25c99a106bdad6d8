// Package store is the ledger: every accepted message, its attempts, what is
// due, what is set aside, keys, workers and the audit log, in one bbolt file.
//
// What it guarantees: a method that returns without error has its effect on
// disk (fsynced); an effect is whole or absent; every message is at all times
// exactly one of pending, completed, dead-lettered or discarded, and the
// counts say so because they change in the same commit, from the old state to
// the new one. One bad input never fails its neighbours in a group commit.
//
// Rules of the layout: keys that the accept path writes rise with time (ids are
// UUIDv7, the due index is ordered by time), since random keys make a large
// bbolt file four to five times slower; what changes often (the record) is
// apart from what is large (the bodies).
package store
