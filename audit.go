package ferry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// AuditEntry is one operator's act or change of keys and workers: who, when, what
// and why. It is kept in the ledger for Retention.Audit, then in a file beside it.
type AuditEntry struct {
	Seq    uint64    `json:"seq"` // 1, 2, 3, without a gap
	At     time.Time `json:"at"`
	By     string    `json:"by"` // "broker": it did so by itself
	Act    string    `json:"act"`
	Target string    `json:"target"`
	Detail string    `json:"detail,omitempty"` // what of it, where the act leaves that open
	Note   string    `json:"note,omitempty"`   // why
	// KeyID is the identity behind By, as Identity.KeyID; RequestID the request of it,
	// or the bulk operation. Both are empty for what the broker does by itself.
	KeyID     string `json:"keyId,omitempty"`
	RequestID string `json:"requestId,omitempty"`
	// Hash chains the entry to the one before it: see AuditChain. Entries of before
	// there was a chain have none.
	Hash string `json:"hash,omitempty"`
}

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

// AuditChain holds entries of the audit log, in their order, against each other.
// The zero AuditChain begins anywhere. Whoever changes or takes out an entry has to
// change the hash of every later one, which a copy kept elsewhere shows.
type AuditChain struct {
	seq     uint64 // of the last entry, 0: there was none
	hash    string // of the last entry
	chained bool   // an entry with a hash was there
}

// Next is the hash of an entry that follows: SHA-256, in hex, over a JSON array of
// strings: the hash before, the entry's number, its time as JSON has it (RFC 3339 UTC
// with milliseconds), by, keyId, act, target, detail, note and requestId. The hash before
// the first entry is empty; that of an entry which has none is made the same way, as
// if it were the first.
func (c *AuditChain) Next(e AuditEntry) string {
	text, _ := json.Marshal([...]string{ // strings: it cannot fail
		c.hash, strconv.FormatUint(e.Seq, 10), e.At.UTC().Format("2006-01-02T15:04:05.000Z07:00"), e.By, e.KeyID, e.Act, e.Target, e.Detail, e.Note, e.RequestID,
	})
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Follow goes on behind an entry, unseen whether it fits.
func (c *AuditChain) Follow(e AuditEntry) {
	c.seq, c.chained = e.Seq, c.chained || e.Hash != ""
	if c.hash = e.Hash; e.Hash == "" {
		c.hash = new(AuditChain).Next(e)
	}
}

// Check goes on behind an entry, and says what of it does not fit to those before.
func (c *AuditChain) Check(e AuditEntry) error {
	before := *c
	c.Follow(e)
	switch {
	case before.seq != 0 && e.Seq != before.seq+1:
		return fmt.Errorf("behind entry %d comes entry %d", before.seq, e.Seq)
	case e.Hash == "" && before.chained:
		return fmt.Errorf("entry %d has no hash", e.Seq)
	case e.Hash != "" && (before.seq != 0 || e.Seq == 1) && e.Hash != before.Next(e):
		return fmt.Errorf("entry %d is not what was written, or the one before it is not", e.Seq)
	}
	return nil
}
