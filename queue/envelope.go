package queue

import (
	"fmt"
	"math"
	"strings"
	"time"

	"ferry"
)

// The fields of a hand-out. Numbers are never used again for something else.
const (
	fieldID = iota + 1
	fieldRoute
	fieldTurn
	fieldRevision
	fieldGeneration
	fieldInbox
	fieldSpent
	fieldAttempt
	fieldFlags
	fieldNotBefore
	fieldExternalKey
	fieldIdempotencyKey
	fieldCorrelationID
	fieldOrderingKey
	fieldContentType
	fieldProperty
	fieldTraceparent
	fieldCreatedAt
	fieldExpiresAt
	fieldPublishedAt
	fieldSize
	fieldSHA256
	fieldBody
	fieldTakenOver
	fieldStatusURL
	fieldAwaitedAt
	fieldConfirmURL
	fieldBinding
	fieldVersion
)

// Fields that came later, numbered one by one.
const (
	fieldHeld = fieldVersion + 1
	// fieldTrace holds the trace beyond its traceparent: the span of the last call and
	// the tracestate, a blank between.
	fieldTrace = fieldVersion + 2
)

// The bits of fieldFlags.
const (
	flagDoubt = 1 << iota
	flagElsewhere
	flagOpenRevision
	flagRiskAccepted
	flagClaims
	flagAwaiting
)

// encodeHandOut writes everything but the body, which goes last so that one
// allocation serves both: appendBytes(…, fieldBody, …) adds it.
func encodeHandOut(h *ferry.HandOut, room int) []byte {
	size := 256 + len(h.ExternalKey) + len(h.IdempotencyKey) + len(h.CorrelationID) + len(h.OrderingKey) +
		len(h.StatusURL) + len(h.ConfirmURL)
	for name, value := range h.Properties {
		size += len(name) + len(value) + 12
	}
	b := make([]byte, 0, size+room)
	b = append(b, wireVersion, kindHandOut)
	b = appendBytes(b, fieldID, h.ID[:])
	b = appendString(b, fieldRoute, h.Route)
	b = appendUint(b, fieldTurn, h.Turn)
	b = appendInt(b, fieldRevision, h.Revision)
	b = appendInt(b, fieldGeneration, h.Generation)
	b = appendString(b, fieldInbox, h.Inbox)
	b = appendInt(b, fieldSpent, h.Spent)
	b = appendInt(b, fieldAttempt, h.Attempt)
	b = appendUint(b, fieldFlags, handOutFlags(h))
	b = appendTime(b, fieldNotBefore, h.NotBefore)
	b = appendString(b, fieldExternalKey, h.ExternalKey)
	b = appendString(b, fieldIdempotencyKey, h.IdempotencyKey)
	b = appendString(b, fieldCorrelationID, h.CorrelationID)
	b = appendString(b, fieldOrderingKey, h.OrderingKey)
	b = appendString(b, fieldContentType, h.ContentType)
	for name, value := range h.Properties {
		b = appendPair(b, fieldProperty, name, value)
	}
	b = appendString(b, fieldTraceparent, h.Traceparent)
	b = appendTime(b, fieldCreatedAt, h.CreatedAt)
	b = appendTime(b, fieldExpiresAt, h.ExpiresAt)
	b = appendTime(b, fieldPublishedAt, h.PublishedAt)
	b = appendUint(b, fieldSize, uint64(max(h.Size, 0)))
	b = appendInt(b, fieldTakenOver, h.TakenOver)
	b = appendString(b, fieldStatusURL, h.StatusURL)
	b = appendTime(b, fieldAwaitedAt, h.AwaitedAt)
	b = appendString(b, fieldConfirmURL, h.ConfirmURL)
	b = appendUint(b, fieldBinding, h.Binding)
	b = appendString(b, fieldVersion, h.Version)
	b = appendUint(b, fieldHeld, uint64(max(h.Held, 0)))
	if h.LastTraceparent != "" || h.Tracestate != "" {
		b = appendString(b, fieldTrace, h.LastTraceparent+" "+h.Tracestate)
	}
	return appendBytes(b, fieldSHA256, h.SHA256)
}

func handOutFlags(h *ferry.HandOut) uint64 {
	var flags uint64
	for _, f := range []struct {
		set bool
		bit uint64
	}{
		{h.Doubt, flagDoubt},
		{h.Elsewhere, flagElsewhere},
		{h.OpenRevision, flagOpenRevision},
		{h.RiskAccepted, flagRiskAccepted},
		{h.Claims, flagClaims},
		{h.Awaiting, flagAwaiting},
	} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// decodeHandOut reads a hand-out. Its Body is a part of data, which the caller
// gives away.
func decodeHandOut(data []byte) (ferry.HandOut, error) {
	var h ferry.HandOut
	f, err := openFields(data, kindHandOut)
	if err != nil {
		return h, err
	}
	for {
		field, v, ok := f.next()
		if !ok {
			break
		}
		decodeHandOutField(&f, &h, field, v)
	}
	switch {
	case f.err != nil:
		return ferry.HandOut{}, f.err
	case h.ID.IsZero() || h.Route == "" || h.Turn == 0:
		return ferry.HandOut{}, fmt.Errorf("%w: id, route or turn is missing", errMalformed)
	case h.Body != nil && int64(len(h.Body)) != h.Size:
		return ferry.HandOut{}, fmt.Errorf("%w: the body has %d bytes instead of %d", errMalformed, len(h.Body), h.Size)
	}
	return h, nil
}

func decodeHandOutField(f *fields, h *ferry.HandOut, field int, v []byte) {
	switch field {
	case fieldID:
		f.id(h.ID[:], v)
	case fieldRoute:
		h.Route = string(v)
	case fieldTurn:
		h.Turn = f.uint(v)
	case fieldRevision:
		h.Revision = f.int(v)
	case fieldGeneration:
		h.Generation = f.int(v)
	case fieldInbox:
		h.Inbox = string(v)
	case fieldSpent:
		h.Spent = f.int(v)
	case fieldAttempt:
		h.Attempt = f.int(v)
	case fieldFlags:
		flags := f.uint(v)
		h.Doubt = flags&flagDoubt != 0
		h.Elsewhere = flags&flagElsewhere != 0
		h.OpenRevision = flags&flagOpenRevision != 0
		h.RiskAccepted = flags&flagRiskAccepted != 0
		h.Claims = flags&flagClaims != 0
		h.Awaiting = flags&flagAwaiting != 0
	case fieldNotBefore:
		h.NotBefore = f.time(v)
	case fieldExternalKey:
		h.ExternalKey = string(v)
	case fieldIdempotencyKey:
		h.IdempotencyKey = string(v)
	case fieldCorrelationID:
		h.CorrelationID = string(v)
	case fieldOrderingKey:
		h.OrderingKey = string(v)
	case fieldContentType:
		h.ContentType = string(v)
	case fieldProperty:
		name, value := f.pair(v)
		if h.Properties == nil {
			h.Properties = make(map[string]string)
		}
		h.Properties[name] = value
	case fieldTraceparent:
		h.Traceparent = string(v)
	case fieldCreatedAt:
		h.CreatedAt = f.time(v)
	case fieldExpiresAt:
		h.ExpiresAt = f.time(v)
	case fieldPublishedAt:
		h.PublishedAt = f.time(v)
	case fieldSize:
		h.Size = int64(f.int(v))
	case fieldSHA256:
		h.SHA256 = v
	case fieldBody:
		h.Body = v
	case fieldTakenOver:
		h.TakenOver = f.int(v)
	case fieldStatusURL:
		h.StatusURL = string(v)
	case fieldAwaitedAt:
		h.AwaitedAt = f.time(v)
	case fieldConfirmURL:
		h.ConfirmURL = string(v)
	case fieldBinding:
		h.Binding = f.uint(v)
	case fieldVersion:
		h.Version = string(v)
	case fieldHeld:
		h.Held = time.Duration(min(f.uint(v), math.MaxInt64))
	case fieldTrace:
		h.LastTraceparent, h.Tracestate, _ = strings.Cut(string(v), " ")
	}
}
