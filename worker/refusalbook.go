package worker

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry/internal/commit"
)

// bucketRefusals holds destination -> what was refused there.
var bucketRefusals = []byte("refusals")

// keptRefusal is a refusal in the inbox. The fingerprint is a hash of a secret,
// which may be short: it is kept salted and hashed slowly, so that whoever reads
// the file cannot try passwords quickly.
type keptRefusal struct {
	At    time.Time   `json:"at"`
	Tries []time.Time `json:"tries,omitempty"`
	Salt  []byte      `json:"salt"`
	Hash  []byte      `json:"hash"`
}

const (
	refusalRounds = 600_000
	refusalWrite  = 10 * time.Second // for one write at the most
)

func slowHash(fingerprint string, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, fingerprint, salt, refusalRounds, sha256.Size)
}

func (b *inbox) keepRefusal(destination string, at time.Time, tries []time.Time, fingerprint string) error {
	r := keptRefusal{At: at.UTC(), Tries: tries, Salt: make([]byte, 16)}
	_, _ = rand.Read(r.Salt) // it never fails
	var err error
	if r.Hash, err = slowHash(fingerprint, r.Salt); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.writeRefusal(func(bucket *bbolt.Bucket) error { return bucket.Put([]byte(destination), text) })
}

func (b *inbox) dropRefusal(destination string) error {
	return b.writeRefusal(func(bucket *bbolt.Bucket) error { return bucket.Delete([]byte(destination)) })
}

func (b *inbox) writeRefusal(write func(*bbolt.Bucket) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), refusalWrite)
	defer cancel()
	return b.db.Update(ctx, func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(bucketRefusals)
		if err == nil {
			err = write(bucket)
		}
		return commit.Abort(err)
	})
}

func (b *inbox) refusalOf(destination, fingerprint string) (*keptRefusal, bool, error) {
	var text []byte
	err := b.db.View(func(tx *bbolt.Tx) error {
		if bucket := tx.Bucket(bucketRefusals); bucket != nil {
			text = append(text, bucket.Get([]byte(destination))...)
		}
		return nil
	})
	if err != nil || len(text) == 0 {
		return nil, false, err
	}
	var r keptRefusal
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, false, fmt.Errorf("the refusal of destination %s on record cannot be read: %w", destination, err)
	}
	hash, err := slowHash(fingerprint, r.Salt)
	return &r, err == nil && subtle.ConstantTimeCompare(hash, r.Hash) == 1, err
}
