package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"ferry"
)

var errDamaged = errors.New("a damaged record")

// decodeRecord reads what encode wrote. Nothing of the result points into b.
func decodeRecord(id ferry.ID, b []byte) (*record, error) {
	r := &record{ID: id}
	for len(b) > 0 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return nil, fmt.Errorf("message %s: %w", id, errDamaged)
		}
		b = b[1+n:]
		if tag%2 == 0 {
			if err := r.setNumber(tag, v); err != nil {
				return nil, fmt.Errorf("message %s: %w", id, err)
			}
			continue
		}
		if v > uint64(len(b)) {
			return nil, fmt.Errorf("message %s: %w", id, errDamaged)
		}
		if err := r.setBytes(tag, b[:v]); err != nil {
			return nil, fmt.Errorf("message %s: field %d: %w", id, tag, err)
		}
		b = b[v:]
	}
	if r.State == "" {
		return nil, fmt.Errorf("message %s: %w: no state", id, errDamaged)
	}
	if r.State == ferry.StateDeadLettered && r.Dead == nil {
		return nil, fmt.Errorf("message %s: %w: a dead letter without a reason", id, errDamaged)
	}
	return r, nil
}

func (r *record) setNumber(tag byte, v uint64) error {
	if v > math.MaxInt64 {
		return errDamaged
	}
	switch tag {
	case tRoute:
		r.Route = uint32(v)
	case tSeq:
		r.Seq = v
	case tState:
		if v == 0 || v >= uint64(len(storedStates)) {
			return fmt.Errorf("%w: state %d", errDamaged, v)
		}
		r.State = storedStates[v]
	case tTurn:
		r.Turn = v
	case tRevision:
		r.Revision = int(v)
	case tGeneration:
		r.Generation = int(v)
	case tSpent:
		r.Spent = int(v)
	case tDue:
		r.Due = int64(v)
	case tFlags:
		r.Parked, r.Doubt, r.OpenRev = v&flagParked != 0, v&flagDoubt != 0, v&flagOpenRev != 0
		r.Risk, r.Elsewhere, r.Ordered = v&flagRisk != 0, v&flagElsewhere != 0, v&flagOrdered != 0
	case tOrderSeq:
		r.OrderSeq = v
	case tNotBefore:
		r.NotBefore = int64(v)
	case tCreatedAt:
		r.CreatedAt = int64(v)
	case tUpdatedAt:
		r.UpdatedAt = int64(v)
	case tDeliverAt:
		r.DeliverAt = int64(v)
	case tExpiresAt:
		r.ExpiresAt = int64(v)
	case tSize:
		r.Size = int64(v)
	case tAttempts:
		r.Attempts = int(v)
	case tDoneRev:
		r.DoneRev = int(v)
	case tTakenOver:
		r.TakenOver = int(v)
	case tDeliveries:
		r.Deliveries = int(v)
	case tUntold:
		r.Untold = v != 0
	case tNth:
		r.Nth = int(v)
	case tHandledAs:
		r.Handled.setAs(v)
	case tHeldThen:
		r.HeldThen = int64(v)
	case tHeldTurned:
		r.HeldTurned = int64(v)
	case tBodiesGone:
		r.BodiesGone = int64(v)
	}
	return nil
}

func (r *record) setBytes(tag byte, v []byte) error {
	switch tag {
	case tKey:
		r.Key = string(v)
	case tSaid:
		r.Said = string(v)
	case tLocks:
		ids, err := splitIDs(v)
		r.Locks = ids
		return err
	case tEndedBy:
		if len(v) != len(r.EndedBy) {
			return errDamaged
		}
		r.EndedBy = ferry.ID(v)
	case tRepeatOf:
		if len(v) != len(r.RepeatOf) {
			return errDamaged
		}
		r.RepeatOf = ferry.ID(v)
	case tHandledBy:
		if len(v) != len(r.Handled.Operation) {
			return errDamaged
		}
		r.Handled.Operation = ferry.ID(v)
	case tCorrelation:
		r.CorrelationID = string(v)
	case tOrdering:
		r.OrderingKey = string(v)
	case tContentType:
		r.ContentType = string(v)
	case tCallback:
		r.Callbacks = append(r.Callbacks, callback{URL: string(v)})
	case tTraceparent:
		r.Traceparent = string(v)
	case tLastSpan:
		r.LastSpan = string(v)
	case tTracestate:
		r.Tracestate = string(v)
	case tSender:
		r.SenderName = string(v)
	case tBodyHash:
		r.BodyHash = append([]byte(nil), v...)
	case tReference:
		r.Reference = string(v)
	case tResult:
		r.Result = append([]byte(nil), v...)
	case tConflict:
		r.Conflict = string(v)
	case tProperties:
		p, err := decodeProperties(v)
		r.Properties = p
		return err
	case tFlow:
		return json.Unmarshal(v, &r.Flow)
	case tDead:
		return json.Unmarshal(v, &r.Dead)
	case tDiscarded:
		return json.Unmarshal(v, &r.Discarded)
	case tActs:
		return json.Unmarshal(v, &r.Acts)
	case tHolder:
		return json.Unmarshal(v, &r.Holder)
	case tAwaiting:
		return json.Unmarshal(v, &r.Awaiting)
	case tSearch:
		return json.Unmarshal(v, &r.Search)
	case tReplyTo:
		return json.Unmarshal(v, &r.ReplyTo)
	case tForm:
		var f formOf
		err := json.Unmarshal(v, &f)
		r.Version, r.As, r.ResultNote = f.Version, f.As, f.ResultNote
		return err
	case tSentHash:
		r.SentHash = append([]byte(nil), v...)
	case tCallbacks:
		return json.Unmarshal(v, &r.Callbacks)
	}
	return nil
}
