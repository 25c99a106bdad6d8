package store

import (
	"context"
	"encoding/json"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Signer says which secret signs, and until when the one before does as well.
type Signer struct {
	Generation int       `json:"generation"`
	Since      time.Time `json:"since,omitzero"`
	OldUntil   time.Time `json:"oldUntil,omitzero"`
}

// next is the signer behind a rotation.
func (s Signer) next(now time.Time, keep time.Duration) Signer {
	n := Signer{Generation: s.Generation + 1, Since: now}
	if keep > 0 {
		n.OldUntil = now.Add(keep)
	}
	return n
}

// Signer is that of the callbacks that a key's messages ask for.
func (l *Ledger) Signer(keyID string) Signer {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if s, ok := l.subs.signers[keyID]; ok {
		return s
	}
	return Signer{Generation: 1}
}

// RotateSigner gives it its successor.
func (l *Ledger) RotateSigner(ctx context.Context, keyID string, keep time.Duration, by string) (is Signer, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		is = Signer{Generation: 1}
		if v := tx.Bucket(bSigners).Get([]byte(keyID)); v != nil {
			if err := json.Unmarshal(v, &is); err != nil {
				return damaged(err)
			}
		}
		is = is.next(time.Now().UTC(), keep)
		if err := putJSON(tx, bSigners, []byte(keyID), is); err != nil {
			return err
		}
		made := is
		l.group.after = append(l.group.after, func() { l.subs.signers[keyID] = made })
		return l.audit(ctx, tx, ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: "callbacks rotate", Target: "callbacks that key " + keyID + " asks for"})
	})
	return is, err
}
