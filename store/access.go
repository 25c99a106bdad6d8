package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// keyRow is an API key as it is kept: its secret only as a hash. The secret has
// 160 random bits, so that a plain hash cannot be searched.
type keyRow struct {
	ferry.Key
	Hash []byte `json:"hash"`

	used atomic.Int64 // Unix ns of the last use since the start
}

const keyAlphabet = "abcdefghijkmnpqrstuvwxyz23456789" // 32, none alike

func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	for i := range b {
		b[i] = keyAlphabet[b[i]%32]
	}
	return string(b)
}

// keyCheck is four characters that tell a mistyped key from a revoked one, and
// let scanners for leaked secrets be sure.
func keyCheck(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	var b [4]byte
	for i := range b {
		b[i] = keyAlphabet[sum>>(5*i)&31]
	}
	return string(b[:])
}

func hashSecret(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// CreateKey makes a key: fry_<id>_<secret>_<check>. The text is shown only here.
func (l *Ledger) CreateKey(ctx context.Context, spec ferry.KeySpec, by string) (ferry.NewKey, error) {
	return l.CreateKeptKey(ctx, spec, by, nil)
}

// CreateKeptKey is CreateKey; keep is given the text before the key is valid, and
// there is no key unless it succeeds: no key that nobody knows is left behind.
func (l *Ledger) CreateKeptKey(ctx context.Context, spec ferry.KeySpec, by string, keep func(text string) error) (ferry.NewKey, error) {
	l.mu.RLock()
	count := len(l.keys)
	l.mu.RUnlock()
	if count >= ferry.MaxKeys {
		return ferry.NewKey{}, ferry.Errorf(ferry.CodeLimitReached, "there are %d keys already", count).
			WithHint("revoke some first: broker keys list")
	}
	key := ferry.Key{ID: randomText(8), Name: spec.Name, Role: spec.Role, Routes: spec.Routes, CreatedAt: time.Now().UTC(), CreatedBy: by, Limit: spec.Limit}
	if !spec.Expires.IsZero() {
		key.ExpiresAt = &spec.Expires
	}
	return l.writeKey(ctx, key, "keys create", by, keep)
}

func (l *Ledger) writeKey(ctx context.Context, key ferry.Key, act, by string, keep func(text string) error) (ferry.NewKey, error) {
	text := "fry_" + key.ID + "_" + randomText(32)
	text += "_" + keyCheck(text)
	if keep != nil {
		if err := keep(text); err != nil {
			return ferry.NewKey{}, err
		}
	}
	row := &keyRow{Key: key, Hash: hashSecret(text)}
	if err := l.saveKey(ctx, row, act, by); err != nil {
		return ferry.NewKey{}, err
	}
	return ferry.NewKey{Key: key, Secret: text}, nil
}

func (l *Ledger) saveKey(ctx context.Context, row *keyRow, act, by string) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		if err := mayChangeKey(tx, row); err != nil {
			return err
		}
		if row.RevokedAt != nil {
			if err := l.dropOf(tx, row.ID); err != nil {
				return err
			}
		}
		if err := putJSON(tx, bKeys, []byte(row.ID), row); err != nil {
			return err
		}
		l.group.after = append(l.group.after, func() { l.keys[row.ID] = row })
		return l.audit(tx, ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: act, Target: "key " + row.ID + " (" + row.Name + ")"})
	})
}

// Authenticate finds who a key's text belongs to.
func (l *Ledger) Authenticate(text string) (ferry.Identity, error) {
	unknown := func(why string) error {
		return ferry.Errorf(ferry.CodeUnauthenticated, "the key is not valid: %s", why).
			WithHint("an administrator makes keys with: broker keys create NAME --role sender")
	}
	parts := strings.Split(text, "_")
	if len(parts) != 4 || parts[0] != "fry" {
		return ferry.Identity{}, unknown("it does not look like fry_…")
	}
	if keyCheck(strings.Join(parts[:3], "_")) != parts[3] {
		return ferry.Identity{}, unknown("it was cut or mistyped")
	}
	l.mu.RLock()
	row, ok := l.keys[parts[1]]
	l.mu.RUnlock()
	now := time.Now()
	switch {
	case !ok || subtle.ConstantTimeCompare(row.Hash, hashSecret(text)) != 1:
		return ferry.Identity{}, unknown("this broker does not know it")
	case row.RevokedAt != nil:
		return ferry.Identity{}, unknown("it was revoked")
	case row.ExpiresAt != nil && now.After(*row.ExpiresAt):
		return ferry.Identity{}, unknown("it has expired")
	}
	row.used.Store(now.UnixNano())
	return ferry.Identity{Name: row.Name, KeyID: row.ID, Role: row.Role, Routes: row.Routes, Limit: row.Limit}, nil
}

// Keys lists all keys, by name.
func (l *Ledger) Keys() []ferry.Key {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := make([]ferry.Key, 0, len(l.keys))
	for _, row := range l.keys {
		key := row.Key
		if ns := row.used.Load(); ns != 0 {
			t := timeOf(ns)
			key.LastUsed = &t
		}
		list = append(list, key)
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Name < list[j].Name || list[i].Name == list[j].Name && list[i].ID < list[j].ID
	})
	return list
}

// findKey takes an id or a name that only one live key has.
func (l *Ledger) findKey(idOrName string) (*keyRow, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if row, ok := l.keys[idOrName]; ok {
		return row, nil
	}
	var found *keyRow
	for _, row := range l.keys {
		if row.Name == idOrName && row.RevokedAt == nil {
			if found != nil {
				return nil, ferry.Errorf(ferry.CodeConflict, "several keys are named %q", idOrName).WithHint("use the id: broker keys list")
			}
			found = row
		}
	}
	if found == nil {
		if strings.HasPrefix(idOrName, "fry_") { // its whole text, which must not be repeated
			return nil, ferry.Errorf(ferry.CodeNotFound, "a key's text is not its id").WithHint("the id is the part behind the first fry_; broker keys list shows it")
		}
		return nil, ferry.Errorf(ferry.CodeNotFound, "there is no key %q", idOrName).WithHint("broker keys list shows them")
	}
	return found, nil
}

// RotateKey gives a key a new secret; the old one ends at once.
func (l *Ledger) RotateKey(ctx context.Context, idOrName, by string) (ferry.NewKey, error) {
	row, err := l.findKey(idOrName)
	if err != nil {
		return ferry.NewKey{}, err
	}
	return l.writeKey(ctx, row.Key, "keys rotate", by, nil)
}

// RevokeKey ends a key for ever. Revoking twice is no error.
func (l *Ledger) RevokeKey(ctx context.Context, idOrName, by string) (ferry.Key, error) {
	row, err := l.findKey(idOrName)
	if err != nil || row.RevokedAt != nil {
		if row == nil {
			return ferry.Key{}, err
		}
		return row.Key, err
	}
	now := time.Now().UTC()
	revoked := &keyRow{Key: row.Key, Hash: bytes.Clone(row.Hash)}
	revoked.RevokedAt = &now
	return revoked.Key, l.saveKey(ctx, revoked, "keys revoke", by)
}

// mayChangeKey looks at the key as the group has it, so that acts which come
// together cannot undo a revocation, or revoke the last two admin keys.
func mayChangeKey(tx *bbolt.Tx, row *keyRow) error {
	v := tx.Bucket(bKeys).Get([]byte(row.ID))
	if v == nil {
		return nil // a new one
	}
	old := new(keyRow)
	if err := json.Unmarshal(v, old); err != nil {
		return damaged(fmt.Errorf("key %s: %w: %w", row.ID, errDamaged, err))
	}
	if old.RevokedAt != nil && row.RevokedAt == nil {
		return ferry.Errorf(ferry.CodeConflict, "key %s was revoked", row.ID).WithHint("make a new one: broker keys create")
	}
	if row.RevokedAt == nil || !old.liveAdmin() {
		return nil
	}
	others := 0
	if err := eachJSON(tx, bKeys, func(k *keyRow) {
		if k.ID != row.ID && k.liveAdmin() {
			others++
		}
	}); err != nil {
		return damaged(err)
	}
	if others == 0 {
		return ferry.Errorf(ferry.CodeConflict, "key %s is the last admin key", row.ID).
			WithHint("make another one first: broker keys create NAME --role admin")
	}
	return nil
}

func (row *keyRow) liveAdmin() bool {
	return row.Role == ferry.RoleAdmin && row.RevokedAt == nil && (row.ExpiresAt == nil || row.ExpiresAt.After(time.Now()))
}

// audit appends an entry to the audit log, in the act's own commit.
func (l *Ledger) audit(tx *bbolt.Tx, e ferry.AuditEntry) error {
	b := appending(tx, bAudit)
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	e.Seq = seq
	return putJSON(tx, bAudit, u64(seq), e)
}

// Audit lists entries behind the sequence number after, oldest first.
func (l *Ledger) Audit(after uint64, limit int) ([]ferry.AuditEntry, error) {
	list := []ferry.AuditEntry{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bAudit).Cursor()
		for k, v := c.Seek(u64(after + 1)); k != nil && len(list) < limit; k, v = c.Next() {
			e, err := decodeJSON[ferry.AuditEntry](v)
			if err != nil {
				return err
			}
			e.Seq = binary.BigEndian.Uint64(k)
			list = append(list, e)
		}
		return nil
	})
	return list, err
}
