package store

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// RotateKey gives one of a key's secrets another text, whose predecessor ends at
// once; the other secret goes on. secret is primary, secondary, or empty: the older
// one, unless it is still in use while the newer one never was: who has not handed
// the newer one out yet would be cut off.
func (l *Ledger) RotateKey(ctx context.Context, idOrName, secret, note, by string) (ferry.NewKey, error) {
	row, err := l.findKey(idOrName)
	if err != nil {
		return ferry.NewKey{}, err
	}
	made := ferry.NewKey{Secret: newKeyText(row.ID)}
	err = l.changeKey(ctx, row.ID, func(tx *bbolt.Tx, k *keyRow) (*ferry.AuditEntry, error) {
		if k.RevokedAt != nil {
			return nil, ferry.Errorf(ferry.CodeConflict, "key %s was revoked", k.ID).WithHint("make a new one: broker keys create")
		}
		which, err := l.secretToRotate(k, secret)
		if err != nil {
			return nil, err
		}
		k.Key.Secrets = k.secrets()
		for len(k.Key.Secrets) <= which {
			k.Key.Secrets = append(k.Key.Secrets, ferry.KeySecret{Name: secretNames()[which]})
		}
		k.Key.Secrets[which].CreatedAt = time.Now().UTC()
		if which == 0 {
			k.Hash = hashSecret(made.Secret)
		} else {
			k.Second = hashSecret(made.Secret)
		}
		made.Key, made.Made = k.Key, secretNames()[which]
		return &ferry.AuditEntry{By: by, Act: "keys rotate", Detail: "the " + made.Made + " secret", Note: note}, nil
	})
	if err != nil {
		return ferry.NewKey{}, err
	}
	return made, nil
}

// secretToRotate says which of a key's secrets a rotation means.
func (l *Ledger) secretToRotate(k *keyRow, secret string) (int, error) {
	if secret != "" {
		names := secretNames()
		if which := slices.Index(names[:], secret); which >= 0 {
			return which, nil
		}
		return 0, ferry.Errorf(ferry.CodeInvalid, "a key has no secret %q", secret).WithHint("primary or secondary")
	}
	secrets := k.secrets()
	if len(secrets) < 2 {
		return 1, nil
	}
	older, newer := 1, 0
	if secrets[0].CreatedAt.Before(secrets[1].CreatedAt) {
		older, newer = 0, 1
	}
	// This runs on the committer's goroutine, which alone changes l.keys.
	if now := l.keys[k.ID]; now != nil && now.used[older].Load() != 0 && now.used[newer].Load() == 0 {
		names := secretNames()
		return 0, ferry.Errorf(ferry.CodeConflict, "the %s secret of key %s is in use, and the %s one, which is newer, was never used", names[older], k.ID, names[newer]).
			WithHint("give the newer one out first; or say which is to end: --secret %s", names[older])
	}
	return older, nil
}

// EditKey changes what a key may, and until when; its secrets stay.
func (l *Ledger) EditKey(ctx context.Context, idOrName string, edit ferry.KeyEdit, by string) (ferry.Key, error) {
	row, err := l.findKey(idOrName)
	if err != nil {
		return ferry.Key{}, err
	}
	var edited ferry.Key
	err = l.changeKey(ctx, row.ID, func(tx *bbolt.Tx, k *keyRow) (*ferry.AuditEntry, error) {
		if k.RevokedAt != nil {
			return nil, ferry.Errorf(ferry.CodeConflict, "key %s was revoked", k.ID).WithHint("make a new one: broker keys create")
		}
		if edit.Routes != nil && len(*edit.Routes) > 0 && k.Role != ferry.RoleSender && k.Role != ferry.RoleReceiver {
			return nil, ferry.Errorf(ferry.CodeInvalid, "a key of the role %s is not bound to routes", k.Role)
		}
		changes := k.edit(&edit)
		if k.Role == ferry.RoleAdmin && k.ExpiresAt != nil {
			if last, err := lastAdmin(tx, k.ID, *k.ExpiresAt); err != nil || last {
				return nil, orLastAdmin(err, k.ID)
			}
		}
		edited = k.Key
		return &ferry.AuditEntry{By: by, Act: "keys edit", Detail: strings.Join(changes, ", "), Note: edit.Note}, nil
	})
	if err != nil {
		return ferry.Key{}, err
	}
	return edited, nil
}

// edit makes the changes and says what they are.
func (row *keyRow) edit(edit *ferry.KeyEdit) (changes []string) {
	if edit.Expires != nil {
		row.ExpiresAt = nil
		text := "never expires"
		if !edit.Expires.IsZero() {
			at := edit.Expires.UTC()
			row.ExpiresAt, text = &at, "expires "+at.Format(time.RFC3339)
		}
		changes = append(changes, text)
	}
	if edit.Routes != nil {
		row.Routes = *edit.Routes
		text := "all routes"
		if len(row.Routes) > 0 {
			text = "routes " + strings.Join(row.Routes, ",")
		}
		changes = append(changes, text)
	}
	if edit.Limit != nil {
		row.Limit = *edit.Limit
		changes = append(changes, "limit "+row.Limit.String())
	}
	if edit.Environment != nil {
		row.Environment = *edit.Environment
		changes = append(changes, "environment "+*edit.Environment)
	}
	return changes
}

// RevokeKey ends a key for ever. Revoking twice is no error.
func (l *Ledger) RevokeKey(ctx context.Context, idOrName, note, by string) (ferry.Key, error) {
	row, err := l.findKey(idOrName)
	if err != nil {
		return ferry.Key{}, err
	}
	var revoked ferry.Key
	err = l.changeKey(ctx, row.ID, func(tx *bbolt.Tx, k *keyRow) (*ferry.AuditEntry, error) {
		now := time.Now().UTC()
		revoked = k.Key
		if k.RevokedAt != nil {
			return nil, nil
		}
		if k.adminAt(now) {
			if last, err := lastAdmin(tx, k.ID, now); err != nil || last {
				return nil, orLastAdmin(err, k.ID)
			}
		}
		k.RevokedAt = &now
		revoked = k.Key
		return &ferry.AuditEntry{By: by, Act: "keys revoke", Note: note}, nil
	})
	if err != nil {
		return ferry.Key{}, err
	}
	return revoked, nil
}

func orLastAdmin(err error, id string) error {
	if err != nil {
		return err
	}
	return ferry.Errorf(ferry.CodeConflict, "key %s is the last admin key", id).
		WithHint("make another one first: broker keys create NAME --role admin")
}

// changeKey changes the key as the group has it; without an entry for the audit log
// nothing is changed.
func (l *Ledger) changeKey(ctx context.Context, id string, change func(*bbolt.Tx, *keyRow) (*ferry.AuditEntry, error)) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		row, err := keyInTx(tx, id)
		if err != nil {
			return err
		}
		entry, err := change(tx, row)
		if err != nil || entry == nil {
			return err
		}
		return l.putKey(ctx, tx, row, *entry)
	})
}
