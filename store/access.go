package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
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

// keyRow is an API key as it is kept: its secrets only as hashes. A secret has 160
// random bits, so that a plain hash cannot be searched. Rows of before keys had two
// secrets have the first alone, and no word of when it was made.
type keyRow struct {
	ferry.Key
	Hash   []byte `json:"hash"`             // of the primary secret
	Second []byte `json:"second,omitempty"` // of the secondary

	used [2]atomic.Int64 // Unix ns of the last use of each
}

// secretNames are a key's secrets in the order of keyRow.used.
func secretNames() [2]string { return [2]string{ferry.SecretPrimary, ferry.SecretSecondary} }

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

func newKeyText(id string) string {
	text := "fry_" + id + "_" + randomText(32)
	return text + "_" + keyCheck(text)
}

func hashSecret(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// CreateKey makes a key with two secrets: fry_<id>_<secret>_<check>. Their texts are
// shown only here.
func (l *Ledger) CreateKey(ctx context.Context, spec ferry.KeySpec, by string) (ferry.NewKey, error) {
	return l.CreateKeptKey(ctx, spec, by, nil)
}

// CreateKeptKey is CreateKey; keep is given the primary text before the key is
// valid, and there is no key unless it succeeds: no key that nobody knows is left
// behind.
func (l *Ledger) CreateKeptKey(ctx context.Context, spec ferry.KeySpec, by string, keep func(text string) error) (ferry.NewKey, error) {
	now := time.Now().UTC()
	key := ferry.Key{ID: randomText(8), Name: spec.Name, Role: spec.Role, Routes: spec.Routes, CreatedAt: now, CreatedBy: by, Environment: spec.Environment, Limit: spec.Limit}
	if !spec.Expires.IsZero() {
		key.ExpiresAt = &spec.Expires
	}
	for _, name := range secretNames() {
		key.Secrets = append(key.Secrets, ferry.KeySecret{Name: name, CreatedAt: now})
	}
	made := ferry.NewKey{Key: key, Secret: newKeyText(key.ID), Made: ferry.SecretPrimary, Secondary: newKeyText(key.ID)}
	if keep != nil {
		if err := keep(made.Secret); err != nil {
			return ferry.NewKey{}, err
		}
	}
	row := &keyRow{Key: key, Hash: hashSecret(made.Secret), Second: hashSecret(made.Secondary)}
	err := l.update(ctx, 0, func(tx *bbolt.Tx) error {
		if err := l.roomForKey(tx); err != nil {
			return err
		}
		return l.putKey(ctx, tx, row, ferry.AuditEntry{By: by, Act: "keys create", Detail: keyDetail(&row.Key), Note: spec.Note})
	})
	if err != nil {
		return ferry.NewKey{}, err
	}
	return made, nil
}

// roomForKey lets a new key in: the one that was revoked longest ago makes room.
func (l *Ledger) roomForKey(tx *bbolt.Tx) error {
	if len(l.keys) < ferry.MaxKeys {
		return nil
	}
	var oldest *keyRow
	for _, row := range l.keys {
		if row.RevokedAt != nil && (oldest == nil || row.RevokedAt.Before(*oldest.RevokedAt)) && tx.Bucket(bKeys).Get([]byte(row.ID)) != nil {
			oldest = row
		}
	}
	if oldest == nil {
		return ferry.Errorf(ferry.CodeLimitReached, "there are %d keys already", len(l.keys)).
			WithHint("revoke some first: broker keys list")
	}
	l.group.after = append(l.group.after, func() { delete(l.keys, oldest.ID) })
	return tx.Bucket(bKeys).Delete([]byte(oldest.ID))
}

// putKey writes a key with its audit entry.
func (l *Ledger) putKey(ctx context.Context, tx *bbolt.Tx, row *keyRow, e ferry.AuditEntry) error {
	if row.RevokedAt != nil {
		if err := l.dropOf(ctx, tx, row.ID); err != nil {
			return err
		}
	}
	if err := putJSON(tx, bKeys, []byte(row.ID), row); err != nil {
		return err
	}
	l.group.after = append(l.group.after, func() {
		if before := l.keys[row.ID]; before != nil {
			for i := range row.used {
				row.used[i].Store(max(row.used[i].Load(), before.usedAt(i, row)))
			}
		}
		l.keys[row.ID] = row
	})
	e.At, e.Target = time.Now().UTC(), "key "+row.ID+" ("+row.Name+")"
	return l.audit(ctx, tx, e)
}

// usedAt is when a secret was last used that the row after it still has, else 0.
func (row *keyRow) usedAt(i int, after *keyRow) int64 {
	if !bytes.Equal(row.hash(i), after.hash(i)) {
		return 0
	}
	return row.used[i].Load()
}

func (row *keyRow) hash(i int) []byte {
	if i == 0 {
		return row.Hash
	}
	return row.Second
}

// Authenticate finds who a key's text belongs to.
func (l *Ledger) Authenticate(text string) (ferry.Identity, error) {
	unknown := func(why string) error {
		return ferry.Errorf(ferry.CodeUnauthenticated, "the key is not valid: %s", why).
			WithHint("an administrator makes keys with: broker keys create NAME --role sender")
	}
	parts := strings.SplitN(text, "_", 5)
	if len(parts) != 4 || parts[0] != "fry" {
		return ferry.Identity{}, unknown("it does not look like fry_…")
	}
	if keyCheck(text[:len(text)-len(parts[3])-1]) != parts[3] {
		return ferry.Identity{}, unknown("it was cut or mistyped")
	}
	l.mu.RLock()
	row, ok := l.keys[parts[1]]
	l.mu.RUnlock()
	which := -1
	if ok {
		which = row.which(hashSecret(text))
	}
	now := time.Now()
	switch {
	case which < 0:
		return ferry.Identity{}, unknown("this broker does not know it")
	case row.RevokedAt != nil:
		return ferry.Identity{}, unknown("it was revoked")
	case row.ExpiresAt != nil && !now.Before(*row.ExpiresAt):
		return ferry.Identity{}, unknown("it has expired")
	}
	row.used[which].Store(now.UnixNano())
	return ferry.Identity{Name: row.Name, KeyID: row.ID, Role: row.Role, Routes: row.Routes, Environment: row.Environment, Limit: row.Limit}, nil
}

// which says which of the key's secrets has the hash, -1 for none, in a time that
// tells nothing.
func (row *keyRow) which(hash []byte) int {
	which := -1
	which = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(row.Second, hash), 1, which)
	return subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(row.Hash, hash), 0, which)
}

// Keys lists all keys, by name.
func (l *Ledger) Keys() []ferry.Key {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := make([]ferry.Key, 0, len(l.keys))
	for _, row := range l.keys {
		list = append(list, row.shown())
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Name < list[j].Name || list[i].Name == list[j].Name && list[i].ID < list[j].ID
	})
	return list
}

// shown is the key with the last uses.
func (row *keyRow) shown() ferry.Key {
	key := row.Key
	key.LastUsed, key.Secrets = nil, row.secrets()
	for i := range key.Secrets {
		s := &key.Secrets[i]
		if ns := row.used[i].Load(); ns != 0 {
			at := timeOf(ns)
			s.LastUsed = &at
		}
		if s.LastUsed != nil && (key.LastUsed == nil || s.LastUsed.After(*key.LastUsed)) {
			key.LastUsed = s.LastUsed
		}
	}
	return key
}

// secrets are what is kept of the key's secrets.
func (row *keyRow) secrets() []ferry.KeySecret {
	if len(row.Key.Secrets) == 0 { // of before there were two
		return []ferry.KeySecret{{Name: ferry.SecretPrimary, CreatedAt: row.CreatedAt}}
	}
	return append([]ferry.KeySecret(nil), row.Key.Secrets...)
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

// keyInTx is the key as the group has it, so that acts which come together do not
// undo one another.
func keyInTx(tx *bbolt.Tx, id string) (*keyRow, error) {
	v := tx.Bucket(bKeys).Get([]byte(id))
	if v == nil {
		return nil, ferry.Errorf(ferry.CodeNotFound, "there is no key %q", id).WithHint("broker keys list shows them")
	}
	row := new(keyRow)
	if err := json.Unmarshal(v, row); err != nil {
		return nil, damaged(fmt.Errorf("key %s: %w: %w", id, errDamaged, err))
	}
	return row, nil
}

// lastAdmin says whether a key is the only one with which keys can still be made
// at a time.
func lastAdmin(tx *bbolt.Tx, id string, at time.Time) (bool, error) {
	others := 0
	err := eachJSON(tx, bKeys, func(k *keyRow) {
		if k.ID != id && k.adminAt(at) {
			others++
		}
	})
	if err != nil {
		return false, damaged(err)
	}
	return others == 0, nil
}

func (row *keyRow) adminAt(at time.Time) bool {
	return row.Role == ferry.RoleAdmin && row.RevokedAt == nil && (row.ExpiresAt == nil || row.ExpiresAt.After(at))
}

// keyDetail is what the audit log says of what a key may.
func keyDetail(k *ferry.Key) string {
	text := "role " + string(k.Role)
	if len(k.Routes) > 0 {
		text += ", routes " + strings.Join(k.Routes, ",")
	}
	if k.ExpiresAt != nil {
		text += ", expires " + k.ExpiresAt.UTC().Format(time.RFC3339)
	}
	if !k.Limit.Rate.IsZero() {
		text += ", rate " + k.Limit.Rate.String()
	}
	if !k.Limit.Quota.IsZero() {
		text += ", quota " + k.Limit.Quota.String()
	}
	if k.Environment != "" {
		text += ", environment " + k.Environment
	}
	return text
}
