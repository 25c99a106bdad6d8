package sbqueue

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/nats-io/nkeys"

	"ferry"
)

// Service Bus tells that somebody had the right to send, not who it was. So a
// worker signs what it sends with the key that the ledger knows it by, and the
// broker believes the signature alone.
//
// A signature covers the queue, so that a receipt cannot be turned into a
// question, the id and the data. It does not keep a packet from being sent once
// more, and it need not. Only who may read the broker's own queues can have a
// packet to repeat, no worker can; and a repeat changes nothing: a receipt is a
// fact that counts once, or not at all when its turn is over; the answer to a
// question goes to the queue of the worker that signed it, whoever asked; a claim
// under its old nonce is granted what was granted, or refused; and a hello of long
// ago shows the worker as it was, until its next one seconds later.
const (
	workerProperty    = "ferry-worker"
	signatureProperty = "ferry-signature"
)

// errUnsigned says that a packet is not what a known worker sent.
var errUnsigned = errors.New("no signature of a known worker")

// WorkerAuth is a worker that may be heard.
type WorkerAuth struct {
	Name      string
	PublicKey string // nkey of a user: U…
	Routes    []string
	// Revoked: it is told that it is not heard any more.
	Revoked bool
}

// signed is what a signature covers: each part with its length, so that no two
// packets are alike.
func signed(queueName, worker, id string, data []byte) []byte {
	b := make([]byte, 0, len(queueName)+len(worker)+len(id)+len(data)+32)
	b = append(b, "ferry packet 1\n"...)
	for _, part := range []string{queueName, worker, id} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	return append(b, data...)
}

// signer signs for one worker. An nkey makes its key from the seed for each signature,
// which takes as long as signing: it is made once here.
type signer struct {
	worker string
	key    ed25519.PrivateKey
}

// newSigner takes the seed, and wipes it. Errors never hold any of it.
func newSigner(worker string, seed []byte) (*signer, error) {
	defer clear(seed)
	if err := ferry.ValidName("worker", worker); err != nil {
		return nil, err
	}
	key, err := signingKey(seed)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the nkey of worker %s is not the seed of a user, SU…", worker).
			WithHint("it is in the file that `broker workers add` wrote")
	}
	return &signer{worker: worker, key: key}, nil
}

func signingKey(seed []byte) (ed25519.PrivateKey, error) {
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return nil, err
	}
	defer pair.Wipe()
	plain, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	_, raw, err := nkeys.DecodeSeed(plain)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	return ed25519.NewKeyFromSeed(raw), nil
}

// sign adds who sends the message, with the signature.
func (s *signer) sign(queueName string, m *azservicebus.Message) {
	signature := ed25519.Sign(s.key, signed(queueName, s.worker, *m.MessageID, m.Body))
	m.ApplicationProperties = map[string]any{workerProperty: s.worker, signatureProperty: signature}
}

// directory is who may be heard. It is replaced whole.
type directory struct {
	// The keys by worker; nil is one that is known and not heard any more.
	known atomic.Pointer[map[string]nkeys.KeyPair]
}

// set replaces who may be heard, and gives the names that are new.
func (d *directory) set(workers []WorkerAuth) (fresh []string, err error) {
	keys := make(map[string]nkeys.KeyPair, len(workers))
	before := d.known.Load()
	if before != nil {
		for name := range *before {
			keys[name] = nil
		}
	}
	for _, w := range workers {
		if err := ferry.ValidName("worker", w.Name); err != nil {
			return nil, err
		}
		if w.Revoked {
			keys[w.Name] = nil
			continue
		}
		key, err := nkeys.FromPublicKey(w.PublicKey)
		if err != nil || !nkeys.IsValidPublicUserKey(w.PublicKey) {
			return nil, fmt.Errorf("worker %s: its public key is not one of a user", w.Name)
		}
		keys[w.Name] = key
		if before == nil || (*before)[w.Name] == nil {
			fresh = append(fresh, w.Name)
		}
	}
	d.known.Store(&keys)
	return fresh, nil
}

func (d *directory) of(worker string) (key nkeys.KeyPair, known bool) {
	all := d.known.Load()
	if all == nil {
		return nil, false
	}
	key, known = (*all)[worker]
	return key, known
}

// hears says whether a worker may be heard.
func (d *directory) hears(worker string) bool {
	key, _ := d.of(worker)
	return key != nil
}

// knows says whether a worker may be heard, or was once.
func (d *directory) knows(worker string) bool {
	_, known := d.of(worker)
	return known
}

// sender says which worker sent a message of the queue. claimed is who it says it
// is, also when that is not proven.
func (d *directory) sender(queueName string, m *azservicebus.ReceivedMessage) (claimed string, err error) {
	claimed, _ = m.ApplicationProperties[workerProperty].(string)
	signature, _ := m.ApplicationProperties[signatureProperty].([]byte)
	key, _ := d.of(claimed)
	if key == nil || key.Verify(signed(queueName, claimed, m.MessageID, m.Body), signature) != nil {
		return claimed, errUnsigned
	}
	return claimed, nil
}
