package broker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ferry"
	"ferry/internal/disk"
)

// tokenKeyBytes is the length of a key that makes tokens.
const tokenKeyBytes = 32

// tokenKey is a key that makes tokens which stand for an API key in one respect.
// Each purpose has its own, in a file of its own beside the ledger, so that losing
// or replacing one touches no other.
type tokenKey struct {
	file string // in the data folder
	what string // for an error: "key for confirmations"
	lost string // for a hint: who is refused once it was replaced
}

// open reads the key, and makes it when there is none.
func (k tokenKey) open(dir string) ([]byte, error) {
	path := filepath.Join(dir, k.file)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k.create(dir, path)
	}
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the %s cannot be read: %w", k.what, err).
			WithHint("give %s back to the user that runs the broker, or remove it: a new one is made", path)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != tokenKeyBytes {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "%s holds no %s", path, k.what).
			WithHint("restore it, or remove it: a new one is made, and %s", k.lost)
	}
	return key, nil
}

// create writes a new key, durably before anybody gets a token of it.
func (k tokenKey) create(dir, path string) ([]byte, error) {
	key := make([]byte, tokenKeyBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails: it ends the process first
	temporary := path + ".new"
	_ = os.Remove(temporary) // of a start that was cut off
	err := disk.WriteNew(temporary, []byte(hex.EncodeToString(key)+"\n"), 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err == nil {
		err = disk.SyncDir(dir)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return nil, keyFileError(k.what, path, err)
	}
	return key, nil
}

func (b *Broker) openTokenKeys(ctx context.Context) (err error) {
	if b.confirmKey, err = b.openTokenKey(ctx, confirmTokenKey()); err != nil {
		return err
	}
	if b.resultKey, err = b.openTokenKey(ctx, resultTokenKey()); err != nil {
		return err
	}
	b.callbackKey, err = b.openTokenKey(ctx, callbackTokenKey())
	return err
}

// openTokenKey reads a key. That one was lost and another made is in the audit log;
// that the first start made it goes without saying.
func (b *Broker) openTokenKey(ctx context.Context, k tokenKey) ([]byte, error) {
	_, missing := os.Stat(filepath.Join(b.opts.DataDir, k.file))
	key, err := k.open(b.opts.DataDir)
	if err != nil || !errors.Is(missing, fs.ErrNotExist) {
		return key, err
	}
	if log, err := b.ledger.Audit(0, time.Time{}, 1); err != nil || len(log) == 0 {
		return key, err
	}
	return key, b.ledger.NoteAct(ctx, ferry.AuditEntry{By: "broker", Act: "make key", Target: k.file, Note: "there was none: " + k.lost})
}
