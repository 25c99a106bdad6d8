package ferry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Caller is what the audit log keeps of who asked, beside the name.
type Caller struct {
	KeyID     string // as Identity.KeyID
	RequestID string
}

type callerKey struct{}

// WithCaller says on whose behalf what is done under the context is done.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is the caller of a context; zero for what the broker does by itself.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// Chained is the hash of the entry behind an entry whose hash is before: SHA-256,
// in hex, over before and the entry's fields as a JSON array of strings, the time
// in RFC 3339 UTC with nanoseconds. Whoever changes or takes out an entry has to
// change the hash of every later one, which a copy kept elsewhere shows.
func (e AuditEntry) Chained(before string) string {
	fields := [...]string{before, e.At.UTC().Format(time.RFC3339Nano), e.By, e.KeyID, e.Act, e.Target, e.Note, e.RequestID}
	text, _ := json.Marshal(fields) // strings: it cannot fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
