package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"ferry"
	"ferry/internal/rules"
)

// record is one message in the ledger: everything but its bodies and attempts.
// The fields of the protocol come first.
type record struct {
	ID    ferry.ID
	Route uint32
	Seq   uint64 // of the route's accepts, from 1, without gaps
	State ferry.State

	Turn       uint64 // rises in every commit that makes the message ready
	Revision   int
	Generation int
	Spent      int   // attempts spent in this generation
	Due        int64 // Unix ns: its key in the due index, while it is ready
	Parked     bool  // waits behind another message of its ordering key
	OrderSeq   uint64
	Doubt      bool // an outcome is open: look up before the next post
	OpenRev    bool // the open outcome is that of an earlier revision
	Risk       bool // replayed by a person who knows that it may already exist
	Elsewhere  bool // begun by an inbox that is no longer bound
	Ordered    bool // discarded while others of its ordering key could wait behind it
	NotBefore  int64
	TakenOver  int       // claims of this generation whose holders never reported
	Holder     *holder   // several workers, or receivers: who may call, in the current turn
	Awaiting   *awaiting // the destination took it and says later
	Said       string    // how its last turn ended, when that was without a call: for people

	CreatedAt, UpdatedAt, DeliverAt, ExpiresAt int64 // Unix ns, 0: none

	// HeldThen is how long its route had been held in all when ExpiresAt was set, at
	// its accept or its end, ns: see held.go. HeldTurned is what that was when a
	// worker's word that it has expired was last not believed.
	HeldThen, HeldTurned int64

	Key, CorrelationID, OrderingKey, ContentType string
	Traceparent                                  string
	LastSpan, Tracestate                         string // of the trace: the last call's traceparent, and what goes with Traceparent
	SenderName                                   string
	Flow                                         *ferry.Flow
	Properties                                   map[string]string
	Version, As                                  string // of the route; As: the one that the worker is told, where it is another
	ResultNote                                   string // why Result is the destination's own
	// SentHash is the SHA-256 of every revision as it was sent, one after the other,
	// zeroes where that is the body; the last ones may be missing.
	SentHash []byte
	BodyHash []byte // SHA-256 of every revision, one after the other
	Size     int64

	Attempts  int // counted, not all kept
	Reference string
	Result    []byte
	DoneRev   int // the revision that the destination is known to have; 0: not proven
	Dead      *ferry.DeadLetter
	Discarded *ferry.Act
	Acts      []ferry.Act
	Conflict  string
	Search    []string // what the route's search keys found in the body
	ReplyTo   *ferry.ReplyTo
	Callbacks []callback // who is called back, the first who asked first
	Untold    bool       // a callback of its end was lost or given up

	Deliveries int        // receives of this generation, where receivers pull
	Locks      []ferry.ID // of those receives, the latest last: each may still say that it was done
	EndedBy    ferry.ID   // the lock under which a receiver ended it
	BodiesGone int64      // when retention removed the bodies of every revision, Unix ns

	Handled handled // by a bulk act, the last one

	// Of a message that a flow sent without a key: which of the equal messages of its
	// batch it is, from 0; and what it may repeat.
	Nth      int
	RepeatOf ferry.ID
}

// nextTurn is the next turn of the message: what was handed out before is old.
func (r *record) nextTurn() {
	if rules.On(rules.Turn) {
		r.Turn++
	}
}

// The record's encoding: fields of tag and value. Even tags hold a uvarint, odd
// ones a length and bytes, so that a reader passes over tags it does not know.
const (
	tRoute      = 2
	tSeq        = 4
	tState      = 6
	tTurn       = 8
	tRevision   = 10
	tGeneration = 12
	tSpent      = 14
	tDue        = 16
	tFlags      = 18
	tOrderSeq   = 20
	tNotBefore  = 22
	tCreatedAt  = 24
	tUpdatedAt  = 26
	tDeliverAt  = 28
	tExpiresAt  = 30
	tSize       = 32
	tAttempts   = 34
	tDoneRev    = 36
	tTakenOver  = 38
	tDeliveries = 40
	tUntold     = 46
	tNth        = 44
	tHandledAs  = 72
	tHeldThen   = 62
	tHeldTurned = 64
	tBodiesGone = 68

	tKey         = 1
	tCorrelation = 3
	tOrdering    = 5
	tContentType = 7
	tCallback    = 9 // of earlier versions
	tTraceparent = 11
	tLastSpan    = 65
	tTracestate  = 67
	tSender      = 13
	tFlow        = 15
	tProperties  = 17
	tBodyHash    = 19
	tReference   = 21
	tResult      = 23
	tDead        = 25
	tDiscarded   = 27
	tActs        = 29
	tConflict    = 31
	tSearch      = 33
	tHolder      = 35
	tAwaiting    = 37
	tSaid        = 41
	tLocks       = 49
	tEndedBy     = 51
	tReplyTo     = 47
	tForm        = 53
	tSentHash    = 55
	tCallbacks   = 61
	tRepeatOf    = 57
	tHandledBy   = 73
)

const (
	flagParked = 1 << iota
	flagDoubt
	flagOpenRev
	flagRisk
	flagElsewhere
	flagOrdered
)

// storedStates are the stored forms, by code; queued is never stored.
var storedStates = [...]ferry.State{
	1: ferry.StateAccepted, 2: ferry.StateRetrying, 3: ferry.StateCompleted,
	4: ferry.StateDeadLettered, 5: ferry.StateDiscarded,
}

func stateCode(s ferry.State) uint64 {
	for code, stored := range storedStates {
		if stored == s && code > 0 {
			return uint64(code)
		}
	}
	return 0
}

func (r *record) encode(b []byte) ([]byte, error) {
	num := func(tag byte, v uint64) {
		if v != 0 {
			b = binary.AppendUvarint(append(b, tag), v)
		}
	}
	str := func(tag byte, s string) {
		if s != "" {
			b = append(binary.AppendUvarint(append(b, tag), uint64(len(s))), s...)
		}
	}
	var flags uint64
	for i, set := range []bool{r.Parked, r.Doubt, r.OpenRev, r.Risk, r.Elsewhere, r.Ordered} {
		if set {
			flags |= 1 << i
		}
	}
	num(tRoute, uint64(r.Route))
	num(tSeq, r.Seq)
	num(tState, stateCode(r.State))
	num(tTurn, r.Turn)
	num(tRevision, uint64(r.Revision))
	num(tGeneration, uint64(r.Generation))
	num(tSpent, uint64(r.Spent))
	num(tDue, uint64(r.Due))
	num(tFlags, flags)
	num(tOrderSeq, r.OrderSeq)
	num(tNotBefore, uint64(r.NotBefore))
	num(tCreatedAt, uint64(r.CreatedAt))
	num(tUpdatedAt, uint64(r.UpdatedAt))
	num(tDeliverAt, uint64(r.DeliverAt))
	num(tExpiresAt, uint64(r.ExpiresAt))
	num(tSize, uint64(r.Size))
	num(tAttempts, uint64(r.Attempts))
	num(tDoneRev, uint64(r.DoneRev))
	num(tTakenOver, uint64(r.TakenOver))
	num(tDeliveries, uint64(r.Deliveries))
	if r.Untold {
		num(tUntold, 1)
	}
	num(tNth, uint64(r.Nth))
	num(tHandledAs, r.Handled.as())
	num(tHeldThen, uint64(r.HeldThen))
	num(tHeldTurned, uint64(r.HeldTurned))
	num(tBodiesGone, uint64(r.BodiesGone))
	str(tKey, r.Key)
	str(tCorrelation, r.CorrelationID)
	str(tOrdering, r.OrderingKey)
	str(tContentType, r.ContentType)
	str(tTraceparent, r.Traceparent)
	str(tLastSpan, r.LastSpan)
	str(tTracestate, r.Tracestate)
	str(tSender, r.SenderName)
	str(tBodyHash, string(r.BodyHash))
	str(tSentHash, string(r.SentHash))
	str(tReference, r.Reference)
	str(tResult, string(r.Result))
	str(tConflict, r.Conflict)
	str(tSaid, r.Said)
	str(tLocks, joinIDs(r.Locks))
	if !r.EndedBy.IsZero() {
		str(tEndedBy, string(r.EndedBy[:]))
	}
	if !r.RepeatOf.IsZero() {
		str(tRepeatOf, string(r.RepeatOf[:]))
	}
	if !r.Handled.Operation.IsZero() {
		str(tHandledBy, string(r.Handled.Operation[:]))
	}
	if len(r.Properties) > 0 {
		str(tProperties, string(encodeProperties(r.Properties)))
	}
	// The rest is rare: JSON keeps it simple.
	var err error
	rare := func(tag byte, v any) {
		text, jsonErr := json.Marshal(v)
		err = errors.Join(err, jsonErr)
		str(tag, string(text))
	}
	if r.Flow != nil {
		rare(tFlow, r.Flow)
	}
	if r.Dead != nil {
		rare(tDead, r.Dead)
	}
	if r.Discarded != nil {
		rare(tDiscarded, r.Discarded)
	}
	if len(r.Acts) > 0 {
		rare(tActs, r.Acts)
	}
	if r.Holder != nil {
		rare(tHolder, r.Holder)
	}
	if r.Awaiting != nil {
		rare(tAwaiting, r.Awaiting)
	}
	if len(r.Search) > 0 {
		rare(tSearch, r.Search)
	}
	if r.ReplyTo != nil {
		rare(tReplyTo, r.ReplyTo)
	}
	if f := (formOf{r.Version, r.As, r.ResultNote}); f != (formOf{}) {
		rare(tForm, f)
	}
	if len(r.Callbacks) > 0 {
		rare(tCallbacks, r.Callbacks)
	}
	if err != nil {
		return nil, fmt.Errorf("encode message %s: %w", r.ID, err)
	}
	return b, nil
}
