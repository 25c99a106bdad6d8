package natsqueue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"ferry"
	"ferry/queue"
)

// A packet may say of itself what the server says of a request: it stays a packet.
func TestPacketInTheServersWords(t *testing.T) {
	ctx := patient(t)
	public, seed := newKey(t)
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Listen: "127.0.0.1:0", Workers: []WorkerAuth{
		{Name: "worker-one", PublicKey: public, Routes: []string{"route-a"}},
	}})
	q := queue.New(brokerOf(t, s), queue.Options{})
	if _, err := q.Ensure(ctx, []string{"route-a"}); err != nil {
		t.Fatal(err)
	}
	nc := connectionOf(t, s, "worker-one", public, seed)
	subject := receiptSubject + "worker-one"
	forged := &nats.Msg{Subject: subject, Header: nats.Header{"Status": {"404"}}}
	if _, err := nc.RequestMsg(forged, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	sent := ferry.Receipt{
		ID: ferry.NewID(time.Now()), Route: "route-a", Turn: 1, Revision: 1, Generation: 1, Worker: "worker-one", Inbox: "inbox",
		Verdict: ferry.Rejected, Effect: ferry.EffectNone, Next: ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected},
	}
	if _, err := nc.Request(subject, queue.EncodeReceipt(&sent), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	got, err := q.ReceiveReceipts(ctx, 10)
	if err != nil || len(got) != 1 || got[0].Receipt.ID != sent.ID {
		t.Fatalf("receive: %d receipts, %v, want the good one", len(got), err)
	}
	if n := q.Undecodable(); n != 1 {
		t.Errorf("%d packets could not be read, want 1", n)
	}
	if err := got[0].Complete(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the receipts are done with", func() bool {
		p, err := q.ReceiptProgress(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return p.Settled >= p.Last
	})
}
