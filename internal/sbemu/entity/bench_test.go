package entity

import (
	"fmt"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
)

func backlog(b *testing.B, n int) *Queue {
	b.Helper()
	ns := New(Options{})
	b.Cleanup(ns.Close)
	q, err := ns.Create(Config{Name: "q", LockDuration: 5 * time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	for range n {
		if err := q.Send(plain()); err != nil {
			b.Fatal(err)
		}
	}
	return q
}

func plain() Incoming {
	m := amqp.NewMessage(make([]byte, 1000))
	m.Properties = &amqp.MessageProperties{MessageID: "id"}
	return Incoming{Message: m, Size: 1100}
}

func BenchmarkSendReceiveComplete(b *testing.B) {
	for _, held := range []int{0, 50_000} {
		b.Run(fmt.Sprintf("backlog %d", held), func(b *testing.B) {
			q := backlog(b, held)
			var token Token
			r, err := q.Main().Attach(ReceiverOptions{Deliver: func(d Delivery) { token = d.Token }})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for i := range uint32(b.N) {
				if err := q.Send(plain()); err != nil {
					b.Fatal(err)
				}
				r.Flow(i, 1)
				if err := q.Main().Complete(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAbandonInTheMiddle(b *testing.B) {
	q := backlog(b, 50_000)
	if err := q.Update(Config{LockDuration: 5 * time.Minute, MaxDelivery: 1 << 30}); err != nil {
		b.Fatal(err)
	}
	var tokens []Token
	r, err := q.Main().Attach(ReceiverOptions{Deliver: func(d Delivery) { tokens = append(tokens, d.Token) }})
	if err != nil {
		b.Fatal(err)
	}
	r.Flow(0, 25_000)
	r.Flow(25_000, 0)
	for i := range uint32(b.N) {
		if err := q.Main().Abandon(tokens[len(tokens)/2], nil); err != nil {
			b.Fatal(err)
		}
		tokens[len(tokens)/2] = tokens[len(tokens)-1]
		tokens = tokens[:len(tokens)-1]
		r.Flow(25_000+i, 1)
	}
}

func BenchmarkPeek(b *testing.B) {
	q := backlog(b, 50_000)
	for b.Loop() {
		if list, err := q.Main().Peek(25_000, 10, nil); err != nil || len(list) != 10 {
			b.Fatal(len(list), err)
		}
	}
}
