package sbqueue

import (
	"bytes"
	"slices"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/nats-io/nkeys"

	"ferry"
)

// login is a worker's key, both halves.
func login(tb testing.TB) (public string, seed []byte) {
	tb.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		tb.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		tb.Fatal(err)
	}
	if seed, err = key.Seed(); err != nil {
		tb.Fatal(err)
	}
	return public, seed
}

// arrived is a message as it comes out of a queue.
func arrived(m *azservicebus.Message) *azservicebus.ReceivedMessage {
	r := &azservicebus.ReceivedMessage{Body: slices.Clone(m.Body), ApplicationProperties: map[string]any{}}
	if m.MessageID != nil {
		r.MessageID = *m.MessageID
	}
	for k, v := range m.ApplicationProperties {
		r.ApplicationProperties[k] = v
	}
	return r
}

func TestOnlyWhatAKnownWorkerSignedIsBelieved(t *testing.T) {
	public, seed := login(t)
	otherPublic, otherSeed := login(t)
	one, err := newSigner("one", slices.Clone(seed))
	if err != nil {
		t.Fatal(err)
	}
	// It says that it is one, and has another key.
	impostor, err := newSigner("one", otherSeed)
	if err != nil {
		t.Fatal(err)
	}
	var d directory
	if fresh, err := d.set([]WorkerAuth{{Name: "one", PublicKey: public}, {Name: "two", PublicKey: otherPublic}}); err != nil || len(fresh) != 2 {
		t.Fatalf("set: %v, %v", fresh, err)
	}
	signedBy := func(s *signer) *azservicebus.ReceivedMessage {
		m := &azservicebus.Message{MessageID: new("id-1"), Body: []byte("a receipt")}
		s.sign("ferry.receipts", m)
		return arrived(m)
	}
	for name, test := range map[string]struct {
		queue  string
		change func(m *azservicebus.ReceivedMessage)
		want   bool
	}{
		"as it was sent":       {"ferry.receipts", func(*azservicebus.ReceivedMessage) {}, true},
		"in another queue":     {"ferry.questions", func(*azservicebus.ReceivedMessage) {}, false},
		"with other data":      {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.Body[0] ^= 1 }, false},
		"with more data":       {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.Body = append(m.Body, 0) }, false},
		"under another id":     {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.MessageID = "id-2" }, false},
		"in another's name":    {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.ApplicationProperties[workerProperty] = "two" }, false},
		"in nobody's name":     {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { delete(m.ApplicationProperties, workerProperty) }, false},
		"in a stranger's name": {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.ApplicationProperties[workerProperty] = "three" }, false},
		"without a signature":  {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { delete(m.ApplicationProperties, signatureProperty) }, false},
		"with half of it": {"ferry.receipts", func(m *azservicebus.ReceivedMessage) {
			m.ApplicationProperties[signatureProperty] = m.ApplicationProperties[signatureProperty].([]byte)[:32]
		}, false},
		"with a text for it":   {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.ApplicationProperties[signatureProperty] = "signed" }, false},
		"without properties":   {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.ApplicationProperties = nil }, false},
		"with a number for it": {"ferry.receipts", func(m *azservicebus.ReceivedMessage) { m.ApplicationProperties[workerProperty] = 7 }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := signedBy(one)
			test.change(m)
			from, err := d.sender(test.queue, m)
			if (err == nil) != test.want || test.want && from != "one" {
				t.Errorf("sender: %q, %v", from, err)
			}
		})
	}
	if _, err := d.sender("ferry.receipts", signedBy(impostor)); err == nil {
		t.Error("another key was believed")
	}

	// A rotated key counts at once, the one before no more; who is gone is known still.
	if fresh, err := d.set([]WorkerAuth{{Name: "one", PublicKey: otherPublic}}); err != nil || len(fresh) != 0 {
		t.Fatalf("set: %v, %v", fresh, err)
	}
	if _, err := d.sender("ferry.receipts", signedBy(one)); err == nil {
		t.Error("the key of before was believed")
	}
	if from, err := d.sender("ferry.receipts", signedBy(impostor)); err != nil || from != "one" {
		t.Errorf("the new key: %q, %v", from, err)
	}
	if d.hears("two") || !d.knows("two") || d.knows("three") {
		t.Error("who is gone is to be known, and not heard")
	}
	if _, err := d.set([]WorkerAuth{{Name: "one", PublicKey: public, Revoked: true}}); err != nil || d.hears("one") || !d.knows("one") {
		t.Errorf("revoked: %v, heard %v, known %v", err, d.hears("one"), d.knows("one"))
	}
	for _, bad := range []WorkerAuth{{Name: "one", PublicKey: "U123"}, {Name: "One", PublicKey: public}, {Name: "one"}} {
		if _, err := d.set([]WorkerAuth{bad}); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestTheSeedIsChecked(t *testing.T) {
	_, seed := login(t)
	given := slices.Clone(seed)
	if _, err := newSigner("one", given); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(given, string(seed)) {
		t.Error("the seed was not wiped")
	}
	secret := []byte("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3V-")
	_, err := newSigner("one", slices.Clone(secret))
	if ferry.CodeOf(err) != ferry.CodeBadConfig || bytes.Contains([]byte(err.Error()), secret[2:10]) {
		t.Errorf("a damaged seed: %v", err)
	}
	if _, err := newSigner("No", slices.Clone(seed)); ferry.CodeOf(err) != ferry.CodeBadName {
		t.Errorf("a bad name: %v", err)
	}
}

// FuzzSigned: no two different packets have the same text to sign, however their
// parts are cut.
func FuzzSigned(f *testing.F) {
	f.Add("q", "w", "id", []byte("data"), "q", "wi", "d", []byte("data"))
	f.Add("q", "w", "id", []byte("data"), "qw", "", "id", []byte("data"))
	f.Add("", "", "", []byte{}, "", "", "", []byte{0})
	f.Add("q", "w", "i", []byte("\x01w"), "q", "w", "i\x01w", []byte{})
	f.Fuzz(func(t *testing.T, q1, w1, i1 string, d1 []byte, q2, w2, i2 string, d2 []byte) {
		same := q1 == q2 && w1 == w2 && i1 == i2 && bytes.Equal(d1, d2)
		if got := bytes.Equal(signed(q1, w1, i1, d1), signed(q2, w2, i2, d2)); got != same {
			t.Errorf("(%q %q %q %q) and (%q %q %q %q): alike %v, want %v", q1, w1, i1, d1, q2, w2, i2, d2, got, same)
		}
	})
}
